//! Attention masks. In every form of attention here the keys of a query are one contiguous run, or two where responses
//! share a prompt as a prefix. A few bounds describe them, so the fused form never builds, stores or adds a mask.

use std::ops::Range;
use std::sync::OnceLock;

use candle_core::{Device, Result, Tensor};

/// Score added to a masked pair: low enough to vanish in a softmax, high enough to stay finite in sums.
pub const MASKED: f32 = -1e30;

/// A part of a packed row that follows a shared prefix: each of its positions sees the whole prefix, and the suffix up
/// to itself. A prompt has an empty prefix; its responses are suffixes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suffix {
    /// Positions that the whole suffix sees; they come before it.
    pub prefix: Range<usize>,
    /// Positions of the suffix.
    pub own: Range<usize>,
}

/// The keys that a query sees: two contiguous runs, the first often empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRanges {
    /// Keys that every query of its suffix sees.
    pub shared: Range<usize>,
    /// The rest.
    pub own: Range<usize>,
}

/// Which keys each query sees.
#[derive(Debug, Clone)]
pub struct AttentionMask {
    rule: Rule,
    /// The same as an additive mask, built when the composed form first needs it and shared by every layer.
    additive: OnceLock<Option<Tensor>>,
}

#[derive(Debug, Clone)]
enum Rule {
    Causal { cached: usize, padding: Vec<usize> },
    Within(Vec<usize>),
    SharedPrefix(Vec<Suffix>),
}

impl AttentionMask {
    /// Causal: query `i` comes after `cached` earlier keys and sees those and the ones up to its own, except the first
    /// `padding[row]` of its row. A query that is itself padding sees only itself: its result is never used, but must
    /// stay finite.
    pub fn causal(cached: usize, padding: Vec<usize>) -> Self {
        Self { rule: Rule::Causal { cached, padding }, additive: OnceLock::new() }
    }

    /// Bidirectional within windows: `bounds` start at 0 and end at the number of keys.
    pub fn within(bounds: Vec<usize>) -> Self {
        Self { rule: Rule::Within(bounds), additive: OnceLock::new() }
    }

    /// One row of consecutive suffixes without gaps; each is causal and sees its whole prefix.
    pub fn suffixes(suffixes: Vec<Suffix>) -> Self {
        Self { rule: Rule::SharedPrefix(suffixes), additive: OnceLock::new() }
    }

    /// Keys that query `query` of row `row` sees.
    pub fn keys(&self, row: usize, query: usize) -> KeyRanges {
        let alone = |own| KeyRanges { shared: 0..0, own };
        match &self.rule {
            Rule::Causal { cached, padding } => {
                let end = cached + query + 1;
                alone(padding.get(row).map_or(0, |p| (*p).min(end - 1))..end)
            }
            Rule::Within(bounds) => {
                let after = bounds.partition_point(|b| *b <= query).clamp(1, bounds.len() - 1);
                alone(bounds[after - 1]..bounds[after])
            }
            Rule::SharedPrefix(suffixes) => match suffixes.get(suffixes.partition_point(|b| b.own.end <= query)) {
                Some(suffix) => KeyRanges { shared: suffix.prefix.clone(), own: suffix.own.start..query + 1 },
                None => alone(query..query + 1),
            },
        }
    }

    /// The end of the run of queries from `query` on that share a prefix, of `queries` in all.
    pub(super) fn alike_until(&self, query: usize, queries: usize) -> usize {
        match &self.rule {
            Rule::SharedPrefix(suffixes) => {
                suffixes.get(suffixes.partition_point(|b| b.own.end <= query)).map_or(queries, |suffix| suffix.own.end)
            }
            _ => queries,
        }
    }

    /// Checks that every bound is inside the tensors, so that bad bounds are an error and not a panic.
    pub(super) fn check(&self, rows: usize, queries: usize, keys: usize) -> Result<()> {
        let fits = match &self.rule {
            Rule::Causal { cached, padding } => cached + queries == keys && padding.len() == rows,
            Rule::Within(bounds) => {
                let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
                ascending && bounds.len() > 1 && bounds[0] == 0 && bounds.last() == Some(&keys) && queries == keys
            }
            Rule::SharedPrefix(suffixes) => {
                let follows = |at: usize, suffix: &Suffix| {
                    let Suffix { prefix, own } = suffix;
                    let fits = own.start == at && own.start < own.end && prefix.start <= prefix.end && prefix.end <= at;
                    fits.then_some(own.end)
                };
                let end = suffixes.iter().try_fold(0, follows);
                rows == 1 && queries == keys && end == Some(keys)
            }
        };
        if fits {
            return Ok(());
        }
        candle_core::bail!(
            "{rows} rows of {queries} queries and {keys} keys do not fit the attention mask {:?}",
            self.rule
        )
    }

    /// Additive mask `[batch or 1, 1, queries, keys]`; none if every query sees every key.
    pub(super) fn additive(&self, rows: usize, queries: usize, keys: usize, device: &Device) -> Result<Option<Tensor>> {
        if let Some(mask) = self.additive.get() {
            return Ok(mask.clone());
        }
        let alike = match &self.rule {
            Rule::Causal { padding, .. } => padding.iter().all(|p| *p == 0),
            Rule::Within(_) | Rule::SharedPrefix(_) => true,
        };
        let rows = if alike { 1 } else { rows };
        let mut values = vec![MASKED; rows * queries * keys];
        for (index, line) in values.chunks_mut(keys).enumerate() {
            let KeyRanges { shared, own } = self.keys(index / queries, index % queries);
            line[shared].fill(0.0);
            line[own].fill(0.0);
        }
        let mask = if values.contains(&MASKED) {
            // [batch, 1, queries, keys]
            Some(Tensor::from_vec(values, (rows, 1, queries, keys), device)?)
        } else {
            None
        };
        Ok(self.additive.get_or_init(|| mask).clone())
    }
}
