//! Which blocks of query-key pairs blockwise attention computes. A block in which no query sees a key is left out; one
//! in which every query sees every key needs no mask; the mask of any other is built on the device from the bounds of
//! its queries. Blocks with a mask are a band, so that their memory grows with the length and not with its square.

use std::ops::Range;

use candle_core::{DType, Result, Tensor};

use crate::model::transfers::up;

/// Score added to a masked pair: low enough to vanish in a softmax, high enough to stay finite in sums.
pub const MASKED: f32 = -1e30;

/// Scores of all rows and heads in one block (32 MiB).
pub const BLOCK_SCORES: usize = 1 << 23;
/// Sides of blocks are multiples of this.
const STEP: usize = 64;
/// Longest side of a square block: pairs that no query sees cost as much as others within a block.
const LONGEST: usize = 1024;

/// The keys that a query sees: two contiguous runs, the first often empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRanges {
    /// Keys that every query of its suffix sees.
    pub shared: Range<usize>,
    /// The rest.
    pub own: Range<usize>,
}

/// Largest sides of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSides {
    /// Queries.
    pub queries: usize,
    /// Keys.
    pub keys: usize,
}

impl BlockSides {
    /// Sides for `planes` rows and heads; few queries get more keys.
    pub fn fitting(planes: usize, queries: usize) -> Self {
        let scores = BLOCK_SCORES / planes.max(1);
        let whole = |side: usize| (side / STEP * STEP).max(STEP);
        let side = whole(scores.isqrt()).min(LONGEST);
        Self { queries: side, keys: whole(scores / queries.clamp(1, side)).max(side) }
    }
}

/// The blocks of one attention.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) sides: BlockSides,
    /// The ranges of keys that blocks take theirs from.
    pub(super) keys: Vec<Range<usize>>,
    pub(super) tiles: Vec<Tile>,
}

/// Adjacent queries, and the blocks of keys that any of them sees.
#[derive(Debug)]
pub(super) struct Tile {
    pub(super) queries: Range<usize>,
    pub(super) blocks: Vec<Block>,
}

#[derive(Debug)]
pub(super) struct Block {
    /// Which range of keys.
    pub(super) keys: usize,
    /// `[batch or 1, 1, queries, keys]`, added to the scores; none if every query sees every key.
    pub(super) mask: Option<Tensor>,
}

impl Plan {
    /// `seen`: the keys of each query, row by row; `positions` makes `[keys]` on the device: 0, 1, 2, ...
    pub(super) fn new(
        seen: &[KeyRanges],
        (rows, queries, keys): (usize, usize, usize),
        sides: BlockSides,
        positions: impl Fn() -> Result<Tensor>,
    ) -> Result<Self> {
        let of_keys = split(keys, sides.keys);
        let (mut tiles, mut bounds) = (Vec::new(), None);
        for of_queries in split(queries, sides.queries) {
            let mut blocks = Vec::new();
            for (index, of_keys) in of_keys.iter().enumerate() {
                let lines = (0..rows).flat_map(|row| &seen[row * queries..][of_queries.clone()]);
                let counts = lines.map(|line| overlap(&line.shared, of_keys) + overlap(&line.own, of_keys));
                let (least, most) = counts.fold((usize::MAX, 0), |(least, most), n| (n.min(least), n.max(most)));
                if most == 0 {
                    continue;
                }
                let mut additive = None;
                if least < of_keys.len() {
                    let known = match bounds.take() {
                        Some(known) => known,
                        None => Bounds::new(seen, rows, positions()?)?,
                    };
                    additive = Some(known.additive(&of_queries, of_keys)?);
                    bounds = Some(known);
                }
                blocks.push(Block { keys: index, mask: additive });
            }
            tiles.push(Tile { queries: of_queries, blocks });
        }
        Ok(Self { sides, keys: of_keys, tiles })
    }
}

/// `0..count` in ranges of `side`.
fn split(count: usize, side: usize) -> Vec<Range<usize>> {
    (0..count).step_by(side.max(1)).map(|start| start..count.min(start + side)).collect()
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> usize {
    a.end.min(b.end).saturating_sub(a.start.max(b.start))
}

/// The bounds of the keys that each query sees, on the device.
struct Bounds {
    /// First key and end of each run, `[batch or 1, 1, queries, 1]`.
    runs: Vec<[Tensor; 2]>,
    /// `[keys]`.
    positions: Tensor,
}

impl Bounds {
    fn new(seen: &[KeyRanges], rows: usize, positions: Tensor) -> Result<Self> {
        let upload = |bound: &dyn Fn(&KeyRanges) -> usize| {
            let values: Vec<u32> = seen.iter().map(|line| bound(line) as u32).collect();
            let shape = (rows, 1, seen.len() / rows, 1);
            up("attention bounds", values, shape, positions.device()) // [batch or 1, 1, queries, 1]
        };
        let mut runs = vec![[upload(&|line| line.own.start)?, upload(&|line| line.own.end)?]];
        if seen.iter().any(|line| !line.shared.is_empty()) {
            runs.push([upload(&|line| line.shared.start)?, upload(&|line| line.shared.end)?]);
        }
        Ok(Self { runs, positions })
    }

    /// `[batch or 1, 1, queries, keys]`: 0 where a query sees a key.
    fn additive(&self, queries: &Range<usize>, keys: &Range<usize>) -> Result<Tensor> {
        let keys = self.positions.narrow(0, keys.start, keys.len())?.reshape((1, 1, 1, keys.len()))?;
        let mut visible: Option<Tensor> = None;
        for [start, end] in &self.runs {
            let of = |bound: &Tensor| bound.narrow(2, queries.start, queries.len());
            let inside = (keys.broadcast_ge(&of(start)?)? * keys.broadcast_lt(&of(end)?)?)?;
            visible = Some(match visible {
                Some(earlier) => (earlier + inside)?,
                None => inside,
            });
        }
        let Some(visible) = visible else { candle_core::bail!("a query without keys has no mask") };
        visible.to_dtype(DType::F32)?.affine(f64::from(-MASKED), f64::from(MASKED))
    }
}
