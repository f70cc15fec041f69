//! The forward pass of fused attention.

use super::super::simd::{self, Kernel};
use super::super::threads;
use super::heads::{Problem, Run, Sizes};

/// What the pass gives, row-major.
pub(super) struct Output {
    /// `[batch, queries, heads * dim]`.
    pub(super) mixed: Vec<f32>,
    /// `[batch, heads, queries kept, keys]`; empty if none are kept.
    pub(super) probabilities: Vec<f32>,
}

/// Attention over `problem`; keeps the probabilities of queries from `keep` on.
pub(super) fn run(problem: &Problem<'_>, keep: Option<usize>) -> Output {
    let sizes = problem.sizes;
    let Sizes { queries, keys, heads, dim, .. } = sizes;
    let kept = keep.map_or(0, |from| queries.saturating_sub(from));
    let group = sizes.group();
    let pieces =
        threads::map(sizes.pieces(), sizes.multiplications(), |index| simd::run(Forward { problem, index, kept }));
    let mut out = Output {
        mixed: vec![0.0; sizes.rows * queries * heads * dim],
        probabilities: Vec::with_capacity(sizes.rows * heads * kept * keys),
    };
    for (index, (mixed, probabilities)) in pieces.into_iter().enumerate() {
        let (row, head) = problem.piece(index);
        // The heads of a group are adjacent, in the result as in the stack.
        for (query, values) in mixed.chunks_exact(group * dim).enumerate() {
            let at = ((row * queries + query) * heads + head * group) * dim;
            out.mixed[at..at + group * dim].copy_from_slice(values);
        }
        out.probabilities.extend_from_slice(&probabilities);
    }
    out
}

struct Forward<'p, 'a> {
    problem: &'p Problem<'a>,
    index: usize,
    kept: usize,
}

impl Kernel for Forward<'_, '_> {
    /// Mixed values `[queries * group, dim]` and probabilities `[group, kept, keys]`.
    type Output = (Vec<f32>, Vec<f32>);

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Self::Output {
        let Self { problem, index, kept } = self;
        let Sizes { queries, keys: width, dim, .. } = problem.sizes;
        let group = problem.sizes.group();
        let piece = problem.piece(index);
        let stacked = problem.stack_queries::<FMA>(piece);
        let mut scratch = Vec::new();
        let keys = problem.keys::<FMA>(piece, &mut scratch);
        let values = problem.values(piece);
        let mut mixed = vec![0.0; queries * group * dim];
        let mut seen = vec![0.0; group * kept * width];
        let mut weights = Vec::new();
        for tile in problem.tiles(piece.0) {
            problem.probabilities::<FMA>(&tile, &stacked, keys, &mut weights);
            let target = &mut mixed[tile.stacked.start * dim..tile.stacked.end * dim];
            problem.mix::<FMA>(&tile, &weights, values, target);
            for (line, at) in weights.chunks_exact(tile.width()).zip(tile.stacked.clone()) {
                let (query, member) = (at / group, at % group);
                if let Some(place) = (query + kept).checked_sub(queries) {
                    let start = (member * kept + place) * width;
                    for Run { at, keys } in tile.runs() {
                        seen[start + keys.start..start + keys.end].copy_from_slice(&line[at..at + keys.len()]);
                    }
                }
            }
        }
        (mixed, seen)
    }
}
