//! The backward pass of fused attention: probabilities are recomputed tile by tile, as in `FlashAttention`.

use super::super::product::{Matrix, product};
use super::super::simd::{self, Kernel, mul_add};
use super::super::strided::StridedView;
use super::super::threads;
use super::heads::{Problem, Run, Sizes};

/// Gradients of one piece.
pub(super) struct Gradients {
    /// `[queries * group, dim]`.
    q: Vec<f32>,
    /// `[keys, dim]`.
    k: Vec<f32>,
    /// `[keys, dim]`.
    v: Vec<f32>,
}

/// Where gradients are written: row-major buffers with `width` values per position, in which the heads of a tensor
/// begin at an offset. Several places may share a buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Which of the buffers.
    pub(super) buffer: usize,
    /// Values per position.
    pub(super) width: usize,
    /// First value of the tensor in a position.
    pub(super) offset: usize,
}

/// Gradients of queries, keys and values, written to `buffers` at `places`. `mixed` is what the forward pass gave,
/// `gradient` that of the loss with respect to it, both `[batch, queries, heads, dim]`.
pub(super) fn run(
    problem: &Problem<'_>,
    mixed: StridedView<'_>,
    gradient: StridedView<'_>,
    buffers: &mut [Vec<f32>],
    places: [Place; 3],
) {
    let sizes = problem.sizes;
    let Sizes { queries, keys, dim, .. } = sizes;
    let group = sizes.group();
    let pieces = threads::map(sizes.pieces(), 3 * sizes.multiplications(), |index| {
        simd::run(Backward { problem, mixed, gradient, index })
    });
    for (index, gradients) in pieces.into_iter().enumerate() {
        let (row, head) = problem.piece(index);
        let parts = [(gradients.q, group * dim, queries), (gradients.k, dim, keys), (gradients.v, dim, keys)];
        for ((values, chunk, count), place) in parts.into_iter().zip(places) {
            for (position, values) in values.chunks_exact(chunk).enumerate() {
                let at = (row * count + position) * place.width + place.offset + head * chunk;
                buffers[place.buffer][at..at + chunk].copy_from_slice(values);
            }
        }
    }
}

struct Backward<'p, 'a> {
    problem: &'p Problem<'a>,
    mixed: StridedView<'p>,
    gradient: StridedView<'p>,
    index: usize,
}

impl Kernel for Backward<'_, '_> {
    type Output = Gradients;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Gradients {
        let problem = self.problem;
        let Sizes { keys: key_count, dim, .. } = problem.sizes;
        let piece = problem.piece(self.index);
        let stacked = problem.stack_queries::<FMA>(piece);
        let mut scratch = Vec::new();
        let keys = problem.keys::<FMA>(piece, &mut scratch);
        let values = problem.values(piece);
        let (upstream, delta) = self.upstream::<FMA>();
        let mut out =
            Gradients { q: vec![0.0; stacked.len()], k: vec![0.0; key_count * dim], v: vec![0.0; key_count * dim] };
        let (mut weights, mut slopes) = (Vec::new(), Vec::new());
        for tile in problem.tiles(piece.0) {
            let (start, end, count) = (tile.stacked.start, tile.stacked.end, tile.stacked.len());
            let width = tile.width();
            problem.probabilities::<FMA>(&tile, &stacked, keys, &mut weights);
            let above = Matrix::new(&upstream[start * dim..end * dim], count, dim, dim);
            slopes.resize(count * width, 0.0);
            for Run { at, keys: run } in tile.runs() {
                product(&mut slopes[at..], width, false, above, values.rows(run.start, run.end).t());
            }
            // Gradient of the scores: dS = P * (dP - delta).
            let lines = slopes.chunks_exact_mut(width).zip(weights.chunks_exact(width)).zip(&delta[start..end]);
            for ((slopes, weights), delta) in lines {
                for (slope, weight) in slopes.iter_mut().zip(weights) {
                    *slope = weight * (*slope - delta);
                }
            }
            let queries = Matrix::new(&stacked[start * dim..end * dim], count, dim, dim);
            for Run { at, keys: run } in tile.runs() {
                let weights = Matrix::new(&weights[at..], count, run.len(), width);
                let scores = Matrix::new(&slopes[at..], count, run.len(), width);
                let seen = run.start * dim..run.end * dim;
                product(&mut out.v[seen.clone()], dim, true, weights.t(), above);
                product(&mut out.k[seen], dim, true, scores.t(), queries);
                let of_queries = &mut out.q[start * dim..end * dim];
                product(of_queries, dim, at > 0, scores, keys.rows(run.start, run.end));
            }
        }
        self.turn_back::<FMA>(&mut out);
        out
    }
}

impl Backward<'_, '_> {
    /// The stacked gradients `dO` of the result, and the `delta` of each query: `rowsum(dO * O)`.
    #[inline(always)]
    fn upstream<const FMA: bool>(&self) -> (Vec<f32>, Vec<f32>) {
        let (row, head) = self.problem.piece(self.index);
        let (dim, group) = (self.problem.sizes.dim, self.problem.sizes.group());
        let stacked = self.problem.sizes.stacked();
        let mut upstream = Vec::with_capacity(stacked * dim);
        let mut delta = Vec::with_capacity(stacked);
        for index in 0..stacked {
            let (query, head) = (index / group, head * group + index % group);
            let own = self.gradient.at(row, query, head, dim);
            delta.push(simd::dot::<FMA>(own, self.mixed.at(row, query, head, dim)));
            upstream.extend_from_slice(own);
        }
        (upstream, delta)
    }

    /// From the gradients of rotated and scaled queries and rotated keys to those of the tensors.
    #[inline(always)]
    fn turn_back<const FMA: bool>(&self, out: &mut Gradients) {
        let (dim, group, scale) = (self.problem.sizes.dim, self.problem.sizes.group(), self.problem.scale());
        let row = self.problem.piece(self.index).0;
        let Some(table) = &self.problem.rope else {
            out.q.iter_mut().for_each(|v| *v = mul_add::<FMA>(*v, scale, 0.0));
            return;
        };
        let mut turned = vec![0.0; dim];
        for (index, values) in out.q.chunks_exact_mut(dim).enumerate() {
            table.rotate::<FMA>((row, index / group), values, scale, true, &mut turned);
            values.copy_from_slice(&turned);
        }
        for (key, values) in out.k.chunks_exact_mut(dim).enumerate() {
            table.rotate::<FMA>((row, key), values, 1.0, true, &mut turned);
            values.copy_from_slice(&turned);
        }
    }
}
