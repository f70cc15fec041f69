//! The forward pass of the fused delta rule: key heads are independent of each other.

use super::super::simd::{self, Kernel};
use super::super::threads;
use super::CHUNK;
use super::chunk::{Keys, Values};
use super::layout::Layout;

/// A chunk that is worked out.
pub(super) struct Chunk {
    pub(super) segment: usize,
    pub(super) keys: Keys,
    /// The value heads that the key head serves.
    pub(super) values: Vec<Values>,
}

/// States at the ends of segments, `[value heads of the key head][key_dim, value_dim]` each; empty if not requested.
pub(super) type Ends = Vec<Vec<Vec<f32>>>;

/// Works out the chunks of a key head in order and hands out each. `wanted`: of which segments are the ends wanted?
#[inline(always)]
pub(super) fn walk<const FMA: bool>(
    layout: &Layout<'_>,
    head: usize,
    wanted: &[bool],
    mut each: impl FnMut(Chunk),
) -> Ends {
    let served = layout.served(head);
    let dim = layout.heads.value_dim;
    let mut ends: Ends = vec![Vec::new(); layout.segments.len()];
    for (index, segment) in layout.segments.all().iter().enumerate() {
        let first = layout.segments.first(index);
        let start = |value_head: usize| {
            layout.start(index, value_head, |parent| ends[parent][value_head - served.start].clone())
        };
        let mut states: Vec<Vec<f32>> = served.clone().map(start).collect();
        for offset in (0..segment.own.len()).step_by(CHUNK) {
            let count = CHUNK.min(segment.own.len() - offset);
            let keys = Keys::new::<FMA>(layout, head, first + offset, count);
            let mut values = Vec::with_capacity(states.len());
            for (value_head, state) in served.clone().zip(&mut states) {
                let worked = Values::new::<FMA>(layout, &keys, value_head, std::mem::take(state));
                *state = worked.end(&keys, dim);
                values.push(worked);
            }
            each(Chunk { segment: index, keys, values });
        }
        if wanted[index] {
            ends[index] = states;
        }
    }
    ends
}

/// Results `[positions, value_heads, value_dim]`, and behind them, if wanted, the states at the ends of all segments
/// `[segments, value_heads, key_dim, value_dim]`.
pub(super) fn run(layout: &Layout<'_>, keep_states: bool) -> Vec<f32> {
    let heads = layout.heads;
    let pieces = threads::map(heads.key_heads, layout.multiplications(), |head| {
        simd::run(Forward { layout, head, keep_states })
    });
    let (rows, seq_len) = layout.segments.shape();
    let results = rows * seq_len * heads.value_width();
    let states = if keep_states { layout.segments.len() * heads.value_heads * layout.state_len() } else { 0 };
    let mut out = vec![0.0; results + states];
    let (results, states) = out.split_at_mut(results);
    let width = heads.repeats() * heads.value_dim;
    for (head, (piece, ends)) in pieces.into_iter().enumerate() {
        for (first, values) in piece {
            for (token, line) in values.chunks_exact(width).enumerate() {
                let at = (first + token) * heads.value_width() + head * width;
                results[at..at + width].copy_from_slice(line);
            }
        }
        for (segment, ends) in ends.into_iter().enumerate().filter(|_| keep_states) {
            let at = (segment * heads.value_heads + head * heads.repeats()) * layout.state_len();
            for (state, place) in ends.iter().zip(states[at..].chunks_exact_mut(layout.state_len())) {
                place.copy_from_slice(state);
            }
        }
    }
    out
}

struct Forward<'p, 'a> {
    layout: &'p Layout<'a>,
    head: usize,
    keep_states: bool,
}

impl Kernel for Forward<'_, '_> {
    /// For each chunk its first position and its results `[count, value heads of the key head, value_dim]`; the ends.
    type Output = (Vec<(usize, Vec<f32>)>, Ends);

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Self::Output {
        let Self { layout, head, keep_states } = self;
        let (dim, repeats) = (layout.heads.value_dim, layout.heads.repeats());
        let wanted: Vec<bool> = layout.segments.parents().iter().map(|parent| *parent || keep_states).collect();
        let mut out = Vec::new();
        let ends = walk::<FMA>(layout, head, &wanted, |chunk| {
            let mut lines = vec![0.0; chunk.keys.count * repeats * dim];
            for (member, values) in chunk.values.iter().enumerate() {
                let results = values.results(&chunk.keys, dim);
                let places = lines[member * dim..].chunks_mut(repeats * dim);
                places.zip(results.chunks_exact(dim)).for_each(|(place, line)| place[..dim].copy_from_slice(line));
            }
            out.push((chunk.keys.first, lines));
        });
        (out, ends)
    }
}
