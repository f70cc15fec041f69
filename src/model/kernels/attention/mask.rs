//! Attention masks. In every form of attention here the keys of a query are one contiguous run, or two where responses
//! share a prompt as a prefix. A few bounds describe them: the fused form
//! never builds, stores or adds a mask, and the composed form only within blocks that some of the pairs of are masked.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::{Device, Result, Tensor};

use super::plan::{BlockSides, KeyRanges, Plan};
use crate::model::transfers::up;

/// A part of a packed row that follows a shared prefix: each of its positions sees the whole prefix, and the suffix up
/// to itself. A prompt has an empty prefix; its responses are suffixes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suffix {
    /// Positions that the whole suffix sees; they come before it.
    pub prefix: Range<usize>,
    /// Positions of the suffix.
    pub own: Range<usize>,
}

/// Which keys each query sees.
#[derive(Debug, Clone)]
pub struct AttentionMask {
    rule: Rule,
    positions: Option<Tensor>,
    /// What the composed form computes, found when it first runs.
    plan: OnceLock<Arc<Plan>>,
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
        Self::of(Rule::Causal { cached, padding })
    }

    /// Bidirectional within windows: `bounds` start at 0 and end at the number of keys.
    pub fn within(bounds: Vec<usize>) -> Self {
        Self::of(Rule::Within(bounds))
    }

    /// One row of consecutive suffixes without gaps; each is causal and sees its whole prefix.
    pub fn suffixes(suffixes: Vec<Suffix>) -> Self {
        Self::of(Rule::SharedPrefix(suffixes))
    }

    fn of(rule: Rule) -> Self {
        Self { rule, positions: None, plan: OnceLock::new() }
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

    /// Do all rows of a batch have the same mask?
    fn is_alike_in_rows(&self) -> bool {
        match &self.rule {
            Rule::Causal { padding, .. } => padding.iter().all(|p| *p == 0),
            Rule::Within(_) | Rule::SharedPrefix(_) => true,
        }
    }

    /// The blocks that attention over these rows, queries and keys computes. They are found once, and every layer of a
    /// pass shares them.
    pub(super) fn plan(&self, sizes: (usize, usize, usize), sides: BlockSides, device: &Device) -> Result<Arc<Plan>> {
        if let Some(plan) = self.plan.get().filter(|plan| plan.sides == sides) {
            return Ok(Arc::clone(plan));
        }
        let (rows, queries, keys) = sizes;
        let rows = if self.is_alike_in_rows() { 1 } else { rows };
        let seen: Vec<KeyRanges> = (0..rows * queries).map(|i| self.keys(i / queries, i % queries)).collect();
        let plan = Arc::new(Plan::new(&seen, (rows, queries, keys), sides, || self.positions(keys, device))?);
        Ok(Arc::clone(self.plan.get_or_init(|| plan)))
    }

    /// `[keys]` on the device: 0, 1, 2, ...
    fn positions(&self, keys: usize, device: &Device) -> Result<Tensor> {
        match &self.positions {
            Some(positions) => positions.narrow(0, 0, keys),
            None => up("positions", (0..keys as u32).collect(), keys, device),
        }
    }

    /// The same mask with `positions` (0, 1, 2, ... on the device, at least as many as there are keys), so that a pass
    /// need not make them.
    #[must_use]
    pub fn with_positions(self, positions: Option<&Tensor>) -> Self {
        Self { positions: positions.cloned(), ..self }
    }
}
