//! Which keys a query may see. In every form of attention here they are a run of neighbours, or two where responses share a
//! prompt, so a few bounds say it all: no mask has to be built, stored or added.

use std::ops::Range;
use std::sync::OnceLock;

use candle_core::{Device, Result, Tensor};

/// Score of a masked pair; large enough to vanish in a softmax, small enough to stay finite in sums.
pub const MASKED: f32 = -1e30;

/// A part of a row that is read behind another: each of its columns sees the whole trunk, and the branch up to itself. A
/// prompt is a branch without a trunk, its responses are branches of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Columns that the whole branch sees; they end before it begins.
    pub trunk: Range<usize>,
    /// Columns of the branch.
    pub own: Range<usize>,
}

/// The keys that a query sees: two runs of neighbours, the first often empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What every query of its branch sees.
    pub shared: Range<usize>,
    /// The rest.
    pub own: Range<usize>,
}

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
    Branches(Vec<Branch>),
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

    /// One row of branches that follow each other without gaps; each is causal behind its trunk.
    pub fn branches(branches: Vec<Branch>) -> Self {
        Self { rule: Rule::Branches(branches), mask: OnceLock::new() }
    }

    /// Keys that query `query` of row `row` sees.
    pub fn keys(&self, row: usize, query: usize) -> Seen {
        let alone = |own| Seen { shared: 0..0, own };
        match &self.rule {
            Rule::Causal { cached, padding } => {
                let end = cached + query + 1;
                alone(padding.get(row).map_or(0, |p| (*p).min(end - 1))..end)
            }
            Rule::Within(bounds) => {
                let after = bounds.partition_point(|b| *b <= query).clamp(1, bounds.len() - 1);
                alone(bounds[after - 1]..bounds[after])
            }
            Rule::Branches(branches) => match branches.get(branches.partition_point(|b| b.own.end <= query)) {
                Some(branch) => Seen { shared: branch.trunk.clone(), own: branch.own.start..query + 1 },
                None => alone(query..query + 1),
            },
        }
    }

    /// The end of the queries from `query` on that share one run of keys, of `queries` in all.
    pub(super) fn alike_until(&self, query: usize, queries: usize) -> usize {
        match &self.rule {
            Rule::Branches(branches) => {
                branches.get(branches.partition_point(|b| b.own.end <= query)).map_or(queries, |branch| branch.own.end)
            }
            _ => queries,
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
            Rule::Branches(branches) => {
                let follows = |at: usize, branch: &Branch| {
                    let Branch { trunk, own } = branch;
                    let fits = own.start == at && own.start < own.end && trunk.start <= trunk.end && trunk.end <= at;
                    fits.then_some(own.end)
                };
                let end = branches.iter().try_fold(0, follows);
                rows == 1 && queries == keys && end == Some(keys)
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
            Rule::Within(_) | Rule::Branches(_) => true,
        };
        let rows = if alike { 1 } else { rows };
        let mut values = vec![MASKED; rows * queries * keys];
        for (index, line) in values.chunks_mut(keys).enumerate() {
            let Seen { shared, own } = self.keys(index / queries, index % queries);
            line[shared].fill(0.0);
            line[own].fill(0.0);
        }
        let mask = if values.contains(&MASKED) {
            Some(Tensor::from_vec(values, (rows, 1, queries, keys), device)?)
        } else {
            None
        };
        Ok(self.mask.get_or_init(|| mask).clone())
    }
}
