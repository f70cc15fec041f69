//! Which keys a query may see. In every form of attention here they are a run of neighbours, so a pair of bounds says it
//! all: no mask has to be built, stored or added.

use std::ops::Range;
use std::sync::OnceLock;

use candle_core::{Device, Result, Tensor};

/// Score of a masked pair; large enough to vanish in a softmax, small enough to stay finite in sums.
pub const MASKED: f32 = -1e30;

/// The keys that each query sees.
#[derive(Debug, Clone)]
pub struct Visible {
    rule: Rule,
    /// The same as an additive mask, once the composed form has asked for it; every layer shares it.
    mask: OnceLock<Option<Tensor>>,
}

#[derive(Debug, Clone)]
enum Rule {
    Causal { cached: usize, padding: Vec<usize> },
    Within(Vec<usize>),
}

impl Visible {
    /// Query `i` stands behind `cached` earlier keys and sees those and the ones up to its own, except the first
    /// `padding[row]` of its row. A query that is padding itself sees itself only: its result is never used, but must stay
    /// finite.
    pub fn causal(cached: usize, padding: Vec<usize>) -> Self {
        Self { rule: Rule::Causal { cached, padding }, mask: OnceLock::new() }
    }

    /// Both ways, between neighbouring `bounds` only; they start at 0 and end at the number of keys.
    pub fn within(bounds: Vec<usize>) -> Self {
        Self { rule: Rule::Within(bounds), mask: OnceLock::new() }
    }

    /// Keys that query `query` of row `row` sees.
    pub fn keys(&self, row: usize, query: usize) -> Range<usize> {
        match &self.rule {
            Rule::Causal { cached, padding } => {
                let end = cached + query + 1;
                padding.get(row).map_or(0, |p| (*p).min(end - 1))..end
            }
            Rule::Within(bounds) => {
                let after = bounds.partition_point(|b| *b <= query).clamp(1, bounds.len() - 1);
                bounds[after - 1]..bounds[after]
            }
        }
    }

    /// Checks that every bound lies inside the tensors, so that bad bounds are an error and not a panic.
    pub(super) fn check(&self, rows: usize, queries: usize, keys: usize) -> Result<()> {
        let fits = match &self.rule {
            Rule::Causal { cached, padding } => cached + queries == keys && padding.len() == rows,
            Rule::Within(bounds) => {
                let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
                ascending && bounds.len() > 1 && bounds[0] == 0 && bounds.last() == Some(&keys) && queries == keys
            }
        };
        if fits {
            return Ok(());
        }
        candle_core::bail!(
            "{rows} rows of {queries} queries and {keys} keys do not fit the visible keys {:?}",
            self.rule
        )
    }

    /// Additive mask `[rows or 1, 1, queries, keys]`; none where every query sees every key.
    pub(super) fn mask(&self, rows: usize, queries: usize, keys: usize, device: &Device) -> Result<Option<Tensor>> {
        if let Some(mask) = self.mask.get() {
            return Ok(mask.clone());
        }
        let alike = match &self.rule {
            Rule::Causal { padding, .. } => padding.iter().all(|p| *p == 0),
            Rule::Within(_) => true,
        };
        let rows = if alike { 1 } else { rows };
        let mut values = vec![MASKED; rows * queries * keys];
        for (index, line) in values.chunks_mut(keys).enumerate() {
            line[self.keys(index / queries, index % queries)].fill(0.0);
        }
        let mask = if values.contains(&MASKED) {
            Some(Tensor::from_vec(values, (rows, 1, queries, keys), device)?)
        } else {
            None
        };
        Ok(self.mask.get_or_init(|| mask).clone())
    }
}
