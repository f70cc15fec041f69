//! The arguments of the delta rule in memory.

use super::DeltaHeads;
use super::segments::{Segments, Start};

/// Contiguous arguments.
#[derive(Clone, Copy)]
pub(super) struct Layout<'a> {
    pub(super) segments: &'a Segments,
    pub(super) heads: DeltaHeads,
    /// `[positions, channels]`.
    pub(super) qkv: &'a [f32],
    /// `[positions, 2, value_heads]`: log decays and strengths.
    pub(super) gates: &'a [f32],
    /// `[cached sequences, value_heads, key_dim, value_dim]`; empty if there are none.
    pub(super) initial: &'a [f32],
}

impl<'a> Layout<'a> {
    /// Values of a state of one value head.
    pub(super) fn state_len(&self) -> usize {
        self.heads.key_dim * self.heads.value_dim
    }

    #[inline(always)]
    fn channels(&self, position: usize, start: usize, count: usize) -> &'a [f32] {
        &self.qkv[position * self.heads.channels() + start..][..count]
    }

    /// A raw query.
    #[inline(always)]
    pub(super) fn query(&self, position: usize, head: usize) -> &'a [f32] {
        self.channels(position, head * self.heads.key_dim, self.heads.key_dim)
    }

    /// A raw key.
    #[inline(always)]
    pub(super) fn key(&self, position: usize, head: usize) -> &'a [f32] {
        self.channels(position, self.heads.key_width() + head * self.heads.key_dim, self.heads.key_dim)
    }

    /// A value.
    #[inline(always)]
    pub(super) fn value(&self, position: usize, head: usize) -> &'a [f32] {
        self.channels(position, 2 * self.heads.key_width() + head * self.heads.value_dim, self.heads.value_dim)
    }

    #[inline(always)]
    pub(super) fn decay(&self, position: usize, head: usize) -> f32 {
        self.gates[2 * position * self.heads.value_heads + head]
    }

    #[inline(always)]
    pub(super) fn beta(&self, position: usize, head: usize) -> f32 {
        self.gates[(2 * position + 1) * self.heads.value_heads + head]
    }

    /// The value heads of a key head.
    pub(super) fn served(&self, key_head: usize) -> std::ops::Range<usize> {
        key_head * self.heads.repeats()..(key_head + 1) * self.heads.repeats()
    }

    /// The state of a value head that a segment starts from, given the ends of earlier segments.
    pub(super) fn start(&self, segment: usize, head: usize, end: impl Fn(usize) -> Vec<f32>) -> Vec<f32> {
        match self.segments.all()[segment].start {
            Start::Zeros => vec![0.0; self.state_len()],
            Start::Cached(sequence) => self.initial[self.cached(sequence, head)..][..self.state_len()].to_vec(),
            Start::After(parent) => end(parent),
        }
    }

    /// Where the initial state of a cached sequence begins.
    pub(super) fn cached(&self, sequence: usize, head: usize) -> usize {
        (sequence * self.heads.value_heads + head) * self.state_len()
    }

    /// Multiplications of a pass, about.
    pub(super) fn multiplications(&self) -> usize {
        let DeltaHeads { value_heads, key_dim, value_dim, .. } = self.heads;
        let positions = self.qkv.len() / self.heads.channels().max(1);
        5 * positions * value_heads * key_dim * value_dim
    }
}
