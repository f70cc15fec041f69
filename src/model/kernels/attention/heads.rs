//! The piece that fused attention is split into: the queries of one row that share one key-value head.
//!
//! The heads of a group attend to the same keys, so their queries are stacked: `queries * group` of them, the heads of
//! one query adjacent. Tiles of stacked queries are then small matrix products whose scores stay in the cache.

use std::ops::Range;

use super::super::product::{Matrix, product};
use super::super::simd;
use super::super::strided::StridedView;
use super::mask::AttentionMask;
use super::plan::KeyRanges;
use super::rope::Table;

/// Stacked queries of a tile.
const TILE: usize = 32;
/// Up to this number of stacked queries (a decode step), dot products are faster than a matrix product that packs its
/// operands.
const FEW: usize = 8;

/// Sizes of an attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) rows: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) dim: usize,
}

impl Sizes {
    pub(super) fn group(self) -> usize {
        self.heads / self.kv_heads
    }

    /// Independent pieces: rows times key-value heads.
    pub(super) fn pieces(self) -> usize {
        self.rows * self.kv_heads
    }

    /// Stacked queries of a piece.
    pub(super) fn stacked(self) -> usize {
        self.queries * self.group()
    }

    /// Multiplications of one pass, ignoring the mask.
    pub(super) fn multiplications(self) -> usize {
        2 * self.rows * self.heads * self.queries * self.keys * self.dim
    }
}

/// An attention in memory.
pub(super) struct Problem<'a> {
    pub(super) q: StridedView<'a>,
    pub(super) k: StridedView<'a>,
    pub(super) v: StridedView<'a>,
    pub(super) sizes: Sizes,
    pub(super) rope: Option<Table<'a>>,
    pub(super) mask: &'a AttentionMask,
}

/// Row and key-value head.
pub(super) type Piece = (usize, usize);

impl<'a> Problem<'a> {
    pub(super) fn piece(&self, index: usize) -> Piece {
        (index / self.sizes.kv_heads, index % self.sizes.kv_heads)
    }

    /// The factor of all scores.
    pub(super) fn scale(&self) -> f32 {
        (1.0 / (self.sizes.dim as f64).sqrt()) as f32
    }

    /// Stacked queries `[queries * group, dim]`, rotated and scaled.
    #[inline(always)]
    pub(super) fn stack_queries<const FMA: bool>(&self, (row, head): Piece) -> Vec<f32> {
        let Sizes { queries, dim, .. } = self.sizes;
        let (group, scale) = (self.sizes.group(), self.scale());
        let mut out = vec![0.0; queries * group * dim];
        for (index, target) in out.chunks_exact_mut(dim).enumerate() {
            let query = index / group;
            let source = self.q.at(row, query, head * group + index % group, dim);
            match &self.rope {
                Some(table) => table.rotate::<FMA>((row, query), source, scale, false, target),
                None => target.iter_mut().zip(source).for_each(|(t, s)| *t = s * scale),
            }
        }
        out
    }

    /// Keys `[keys, dim]`; `scratch` holds them where they must be rotated first.
    #[inline(always)]
    pub(super) fn keys<'s, const FMA: bool>(&'s self, piece: Piece, scratch: &'s mut Vec<f32>) -> Matrix<'s> {
        let Sizes { keys, dim, .. } = self.sizes;
        let Some(table) = &self.rope else { return self.matrix(&self.k, piece) };
        scratch.resize(keys * dim, 0.0);
        for (key, target) in scratch.chunks_exact_mut(dim).enumerate() {
            table.rotate::<FMA>((piece.0, key), self.k.at(piece.0, key, piece.1, dim), 1.0, false, target);
        }
        Matrix::new(scratch, keys, dim, dim)
    }

    /// Values `[keys, dim]`.
    pub(super) fn values(&self, piece: Piece) -> Matrix<'a> {
        self.matrix(&self.v, piece)
    }

    fn matrix(&self, view: &StridedView<'a>, (row, head): Piece) -> Matrix<'a> {
        Matrix::new(view.from(row, 0, head), self.sizes.keys, self.sizes.dim, view.position_stride())
    }

    /// Tiles of stacked queries, each with all keys that any of its queries attends to.
    pub(super) fn tiles(&self, row: usize) -> impl Iterator<Item = Tile> + '_ {
        let (Sizes { queries, .. }, group) = (self.sizes, self.sizes.group());
        let mut next = 0;
        std::iter::from_fn(move || {
            let start = next;
            if start == self.sizes.stacked() {
                return None;
            }
            next = (start + TILE).min(self.mask.alike_until(start / group, queries) * group);
            let KeyRanges { shared, mut own } = self.key_ranges(row, start);
            for index in start + 1..next {
                let more = self.key_ranges(row, index).own;
                own = own.start.min(more.start)..own.end.max(more.end);
            }
            Some(Tile { row, stacked: start..next, shared, own })
        })
    }

    /// Keys that stacked query `index` attends to.
    fn key_ranges(&self, row: usize, index: usize) -> KeyRanges {
        self.mask.keys(row, index / self.sizes.group())
    }

    /// Probabilities `[tile, keys of the tile]`, 0 for masked keys; `queries: [queries * group, dim]`.
    #[inline(always)]
    pub(super) fn probabilities<const FMA: bool>(
        &self,
        tile: &Tile,
        queries: &[f32],
        keys: Matrix<'_>,
        out: &mut Vec<f32>,
    ) {
        let (width, dim) = (tile.width(), self.sizes.dim);
        out.resize(tile.stacked.len() * width, 0.0);
        let queries = &queries[tile.stacked.start * dim..tile.stacked.end * dim];
        for Run { at, keys: run } in tile.runs() {
            let keys = keys.rows(run.start, run.end);
            if tile.stacked.len() <= FEW {
                for (line, query) in out.chunks_exact_mut(width).zip(queries.chunks_exact(dim)) {
                    for (key, score) in line[at..at + run.len()].iter_mut().enumerate() {
                        *score = simd::dot::<FMA>(query, keys.row(key));
                    }
                }
            } else {
                product(&mut out[at..], width, false, Matrix::new(queries, tile.stacked.len(), dim, dim), keys.t());
            }
        }
        let shared = tile.shared.len();
        for (line, index) in out.chunks_exact_mut(width).zip(tile.stacked.clone()) {
            let own = self.key_ranges(tile.row, index).own;
            let (from, to) = (shared + own.start - tile.own.start, shared + own.end - tile.own.start);
            line[shared..from].fill(0.0);
            line[to..].fill(0.0);
            // Queries after a shared prefix see their suffix from its start, so their keys have no gap.
            let from = if shared == 0 { from } else { 0 };
            simd::softmax::<FMA>(&mut line[from..to]);
        }
    }

    /// `out = probabilities values`, both of one tile.
    #[inline(always)]
    pub(super) fn mix<const FMA: bool>(&self, tile: &Tile, weights: &[f32], values: Matrix<'_>, out: &mut [f32]) {
        let (width, dim) = (tile.width(), self.sizes.dim);
        for Run { at, keys: run } in tile.runs() {
            let values = values.rows(run.start, run.end);
            if tile.stacked.len() <= FEW {
                for (line, target) in weights.chunks_exact(width).zip(out.chunks_exact_mut(dim)) {
                    if at == 0 {
                        target.fill(0.0);
                    }
                    for (key, weight) in line[at..at + run.len()].iter().enumerate() {
                        simd::add_scaled::<FMA>(target, *weight, values.row(key));
                    }
                }
            } else {
                let weights = Matrix::new(&weights[at..], tile.stacked.len(), run.len(), width);
                product(out, dim, at > 0, weights, values);
            }
        }
    }
}

/// Adjacent stacked queries of a row, and the keys that any of them attends to.
#[derive(Debug, Clone)]
pub(super) struct Tile {
    row: usize,
    pub(super) stacked: Range<usize>,
    shared: Range<usize>,
    own: Range<usize>,
}

/// A contiguous run of keys of a tile.
pub(super) struct Run {
    /// Their offset among the keys of the tile.
    pub(super) at: usize,
    /// Their range among all keys.
    pub(super) keys: Range<usize>,
}

impl Tile {
    /// Keys of the tile.
    pub(super) fn width(&self) -> usize {
        self.shared.len() + self.own.len()
    }

    /// The runs of its keys, none of them empty.
    pub(super) fn runs(&self) -> impl Iterator<Item = Run> + use<> {
        let shared = Run { at: 0, keys: self.shared.clone() };
        let own = Run { at: self.shared.len(), keys: self.own.clone() };
        [shared, own].into_iter().filter(|run| !run.keys.is_empty())
    }
}
