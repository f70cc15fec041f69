//! The sequences of a batch, for operations that carry something from one position to the next.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, bail};

use super::super::attention::Suffix;

/// What the state and the convolution of a segment start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Zeros: the segment begins a sequence.
    Zeros,
    /// Row of the initial states and columns that the caller passes: the segment continues a cached sequence.
    Cached(usize),
    /// The end of an earlier segment of the same batch, by its index: a response after a shared prompt. Several segments
    /// may name one parent; the gradients of all of them reach it.
    After(usize),
}

/// Adjacent positions of one row that belong to one sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The row.
    pub row: usize,
    /// Positions within the row. State and columns are read after the last one.
    pub own: Range<usize>,
    /// What it starts from.
    pub start: Start,
}

/// The sequences of a batch. Positions that belong to none (padding) are neither read nor written: their outputs and
/// gradients are 0, and they enter no state. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Segments {
    rows: usize,
    seq_len: usize,
    all: Arc<[Segment]>,
}

/// Where an input of the convolution comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Before the beginning of a sequence.
    Zero,
    /// A position of the batch, `row * seq_len + position`.
    Position(usize),
    /// A column of a cached sequence, `back` positions before its end (1: the last one).
    Cached { sequence: usize, back: usize },
}

impl Segments {
    /// One segment per left-padded row, `padding[row]..seq_len`. `cached`: each row continues the cached sequence of its
    /// index; else rows start from zeros.
    pub fn rows(seq_len: usize, padding: &[usize], cached: bool) -> Self {
        let segment = |(row, padding): (usize, &usize)| Segment {
            row,
            own: (*padding).min(seq_len)..seq_len,
            start: if cached { Start::Cached(row) } else { Start::Zeros },
        };
        Self { rows: padding.len(), seq_len, all: padding.iter().enumerate().map(segment).collect() }
    }

    /// One packed row without padding: segment `i` is `suffixes[i]`; one with a prefix starts after the segment whose own
    /// positions are that prefix.
    ///
    /// # Errors
    /// A prefix that is not one of the earlier suffixes.
    pub fn packed(seq_len: usize, suffixes: &[Suffix]) -> Result<Self> {
        let mut all: Vec<Segment> = Vec::with_capacity(suffixes.len());
        for suffix in suffixes {
            let start = if suffix.prefix.is_empty() {
                Start::Zeros
            } else {
                match all.iter().rposition(|earlier| earlier.own == suffix.prefix) {
                    Some(parent) => Start::After(parent),
                    None => bail!("the prefix {:?} is not one of the earlier sequences of its row", suffix.prefix),
                }
            };
            all.push(Segment { row: 0, own: suffix.own.clone(), start });
        }
        Self::new(1, seq_len, all)
    }

    /// Any segments, parents before their children.
    ///
    /// # Errors
    /// Segments outside the batch, that overlap, or that start after themselves or a later one.
    pub fn new(rows: usize, seq_len: usize, segments: Vec<Segment>) -> Result<Self> {
        let mut places: Vec<(usize, usize, usize)> = Vec::with_capacity(segments.len());
        for (index, segment) in segments.iter().enumerate() {
            let Segment { row, own, start } = segment;
            let fits = *row < rows && own.start <= own.end && own.end <= seq_len;
            if !fits || matches!(start, Start::After(parent) if *parent >= index) {
                bail!("segment {index} ({segment:?}) does not fit a batch of {rows} rows of {seq_len} positions");
            }
            if !own.is_empty() {
                places.push((*row, own.start, own.end));
            }
        }
        places.sort_unstable();
        if let Some(pair) = places.windows(2).find(|pair| pair[0].0 == pair[1].0 && pair[1].1 < pair[0].2) {
            bail!("two segments of row {} overlap at position {}", pair[0].0, pair[1].1);
        }
        Ok(Self { rows, seq_len, all: segments.into() })
    }

    /// Number of segments: the first dimension of states and columns that come back.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The segments, parents before their children.
    pub fn all(&self) -> &[Segment] {
        &self.all
    }

    /// Rows and positions of the batch.
    pub(super) fn shape(&self) -> (usize, usize) {
        (self.rows, self.seq_len)
    }

    /// The first position of a segment, `row * seq_len + position`.
    pub(super) fn first(&self, index: usize) -> usize {
        self.all[index].row * self.seq_len + self.all[index].own.start
    }

    /// Number of cached sequences that the segments need.
    pub(super) fn cached(&self) -> usize {
        let needed = |segment: &Segment| {
            if let Start::Cached(sequence) = segment.start { sequence + 1 } else { 0 }
        };
        self.all.iter().map(needed).max().unwrap_or(0)
    }

    /// For each segment: does another one start after it?
    pub(super) fn parents(&self) -> Vec<bool> {
        let mut parents = vec![false; self.all.len()];
        for segment in self.all.iter() {
            if let Start::After(parent) = segment.start {
                parents[parent] = true;
            }
        }
        parents
    }

    /// For each segment the number of segments before it in its sequence.
    pub(super) fn depths(&self) -> Vec<usize> {
        let mut depths = Vec::with_capacity(self.all.len());
        for segment in self.all.iter() {
            depths.push(if let Start::After(parent) = segment.start { depths[parent] + 1 } else { 0 });
        }
        depths
    }

    /// The input `back` positions before the first one of a segment.
    pub(super) fn before(&self, index: usize, back: usize) -> Source {
        match self.all[index].start {
            Start::Zeros => Source::Zero,
            Start::Cached(sequence) => Source::Cached { sequence, back },
            Start::After(parent) => self.at_end(parent, back),
        }
    }

    /// The input `back` positions before the end of a segment (1: its last position).
    pub(super) fn at_end(&self, index: usize, back: usize) -> Source {
        let own = self.all[index].own.len();
        if back <= own { Source::Position(self.first(index) + own - back) } else { self.before(index, back - own) }
    }
}
