//! The backward pass of the fused delta rule: states are recomputed chunk by chunk from the beginning, and gradients go
//! through the chunks from the end.

use super::super::simd::{self, Kernel};
use super::super::threads;
use super::chunk_backward::{Slopes, backward};
use super::forward::{Chunk, walk};
use super::layout::Layout;
use super::segments::Start;

/// Gradients of the arguments, each as it lies in memory.
pub(super) struct Gradients {
    pub(super) qkv: Vec<f32>,
    pub(super) gates: Vec<f32>,
    pub(super) initial: Vec<f32>,
}

/// Gradients of the states of the value heads of a key head.
type States = Vec<Vec<f32>>;

/// What one key head gives.
struct Piece {
    chunks: Vec<Slopes>,
    /// For each cached sequence that a segment starts from its states' gradients.
    initial: Vec<(usize, States)>,
}

/// Gradients of the arguments from that of the result: of results, and behind them, if there are any, of states.
pub(super) fn run(layout: &Layout<'_>, gradient: &[f32]) -> Gradients {
    let (rows, seq_len) = layout.segments.shape();
    let (results, states) = gradient.split_at(rows * seq_len * layout.heads.value_width());
    let pieces = threads::map(layout.heads.key_heads, 3 * layout.multiplications(), |head| {
        simd::run(Backward { layout, results, states, head })
    });
    let mut out = Gradients {
        qkv: vec![0.0; layout.qkv.len()],
        gates: vec![0.0; layout.gates.len()],
        initial: vec![0.0; layout.initial.len()],
    };
    for (head, piece) in pieces.into_iter().enumerate() {
        for slopes in &piece.chunks {
            out.place(layout, head, slopes);
        }
        for (sequence, states) in &piece.initial {
            for (value_head, state) in layout.served(head).zip(states) {
                add(&mut out.initial[layout.cached(*sequence, value_head)..], state);
            }
        }
    }
    out
}

fn add(target: &mut [f32], values: &[f32]) {
    target.iter_mut().zip(values).for_each(|(target, value)| *target += value);
}

impl Gradients {
    /// Writes what a chunk of a key head gives.
    fn place(&mut self, layout: &Layout<'_>, head: usize, slopes: &Slopes) {
        let (heads, served) = (layout.heads, layout.served(head));
        let (key_dim, width) = (heads.key_dim, served.len() * heads.value_dim);
        for token in 0..slopes.count {
            let position = slopes.first + token;
            let line = &mut self.qkv[position * heads.channels()..(position + 1) * heads.channels()];
            let (keys, values) = line.split_at_mut(2 * heads.key_width());
            let (queries, keys) = keys.split_at_mut(heads.key_width());
            let own = token * key_dim..(token + 1) * key_dim;
            queries[head * key_dim..][..key_dim].copy_from_slice(&slopes.q[own.clone()]);
            keys[head * key_dim..][..key_dim].copy_from_slice(&slopes.k[own]);
            values[head * width..][..width].copy_from_slice(&slopes.v[token * width..(token + 1) * width]);
            let gates = &mut self.gates[2 * position * heads.value_heads..][..2 * heads.value_heads];
            let (decays, strengths) = gates.split_at_mut(heads.value_heads);
            for (member, value_head) in served.clone().enumerate() {
                decays[value_head] = slopes.decay[member * slopes.count + token];
                strengths[value_head] = slopes.beta[member * slopes.count + token];
            }
        }
    }
}

struct Backward<'p, 'a> {
    layout: &'p Layout<'a>,
    /// `[positions, value_heads, value_dim]`.
    results: &'p [f32],
    /// `[segments, value_heads, key_dim, value_dim]`; empty if the states were not asked for.
    states: &'p [f32],
    head: usize,
}

impl Kernel for Backward<'_, '_> {
    type Output = Piece;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Piece {
        let layout = self.layout;
        let parents = layout.segments.parents();
        let mut chunks: Vec<Chunk> = Vec::new();
        walk::<FMA>(layout, self.head, &parents, |chunk| chunks.push(chunk));
        let mut out = Piece { chunks: Vec::with_capacity(chunks.len()), initial: Vec::new() };
        // What the segments that start after each segment give it.
        let mut from_children: Vec<States> = vec![Vec::new(); layout.segments.len()];
        for (index, segment) in layout.segments.all().iter().enumerate().rev() {
            let mut states = self.end(index);
            sum(&mut states, std::mem::take(&mut from_children[index]));
            while let Some(chunk) = chunks.pop_if(|chunk| chunk.segment == index) {
                out.chunks.push(backward::<FMA>(layout, &chunk, self.head, self.results, &mut states));
            }
            match segment.start {
                Start::Zeros => {}
                Start::Cached(sequence) => out.initial.push((sequence, states)),
                Start::After(parent) => sum(&mut from_children[parent], states),
            }
        }
        out
    }
}

impl Backward<'_, '_> {
    /// The gradient that the result itself gives to the states at the end of a segment.
    #[inline(always)]
    fn end(&self, segment: usize) -> States {
        let length = self.layout.state_len();
        let state = |value_head: usize| {
            let at = (segment * self.layout.heads.value_heads + value_head) * length;
            self.states.get(at..at + length).map_or_else(|| vec![0.0; length], <[f32]>::to_vec)
        };
        self.layout.served(self.head).map(state).collect()
    }
}

/// Adds states to others, of which there may be none yet.
fn sum(target: &mut States, states: States) {
    if target.is_empty() {
        *target = states;
    } else {
        target.iter_mut().zip(&states).for_each(|(target, state)| add(target, state));
    }
}
