//! Segments as batches for the composed form: those that can be computed at one time, padded with zeros to the longest.
//!
//! Zeros are exact: a token whose key, value, log decay and beta are 0 leaves the state as it is.

use candle_core::{Device, Result, Tensor};

use super::segments::{Segments, Start};

/// Segments of one depth: what they start from is known when those of lower depths are done.
pub(super) struct Wave {
    /// Number of segments.
    pub(super) count: usize,
    /// Positions of the longest.
    pub(super) longest: usize,
    /// For each position of each segment its flat position in the batch; padding names the position after the last.
    gather: Tensor,
    /// For each segment its start in the table of states: zeros, cached sequences, then the ends of earlier waves.
    starts: Tensor,
}

/// All segments in waves.
pub(super) struct Waves {
    pub(super) all: Vec<Wave>,
    /// For each position of the batch its place in the results of all waves; padding names the place after the last.
    places: Tensor,
    /// For each segment its place in the table of states.
    ends: Tensor,
}

impl Waves {
    pub(super) fn new(segments: &Segments, cached: usize, device: &Device) -> Result<Self> {
        let depths = segments.depths();
        let (rows, seq_len) = segments.shape();
        let positions = rows * seq_len;
        let mut places = vec![u32::MAX; positions];
        let mut ends = vec![0_u32; segments.len()];
        let (mut all, mut done, mut next_end) = (Vec::new(), 0, 1 + cached);
        for depth in 0..depths.iter().map(|depth| depth + 1).max().unwrap_or(0) {
            let members: Vec<usize> = (0..segments.len()).filter(|index| depths[*index] == depth).collect();
            let lengths = |index: &usize| segments.all()[*index].own.len();
            let longest = members.iter().map(lengths).max().unwrap_or(0);
            let mut gather = vec![positions as u32; members.len() * longest];
            let mut starts = Vec::with_capacity(members.len());
            for (member, index) in members.iter().enumerate() {
                let first = segments.first(*index);
                for offset in 0..lengths(index) {
                    gather[member * longest + offset] = (first + offset) as u32;
                    places[first + offset] = (done + member * longest + offset) as u32;
                }
                starts.push(match segments.all()[*index].start {
                    Start::Cached(sequence) => 1 + sequence as u32,
                    Start::After(parent) => ends[parent],
                    Start::Zeros => 0,
                });
                ends[*index] = next_end as u32;
                next_end += 1;
            }
            done += gather.len();
            all.push(Wave {
                count: members.len(),
                longest,
                // [segments of the wave * longest]
                gather: Tensor::new(gather, device)?,
                // [segments of the wave]
                starts: Tensor::new(starts, device)?,
            });
        }
        places.iter_mut().filter(|place| **place == u32::MAX).for_each(|place| *place = done as u32);
        // [rows * seq_len], [segments]
        Ok(Self { all, places: Tensor::new(places, device)?, ends: Tensor::new(ends, device)? })
    }

    /// Results of all waves, each `[segments * longest, width]`, in the order of the batch: `[rows * seq_len, width]`.
    pub(super) fn scatter(&self, results: &[Tensor]) -> Result<Tensor> {
        with_zeros(&Tensor::cat(results, 0)?)?.index_select(&self.places, 0)
    }

    /// The state at the end of each segment, from the table that has the ends of all waves.
    pub(super) fn ends(&self, table: &Tensor) -> Result<Tensor> {
        table.index_select(&self.ends, 0)
    }
}

impl Wave {
    /// Values `[rows * seq_len + 1, width]`, the last of them zeros, as `[segments, longest, width]`.
    pub(super) fn gather(&self, values: &Tensor) -> Result<Tensor> {
        let width = values.dim(1)?;
        values.index_select(&self.gather, 0)?.reshape((self.count, self.longest, width))
    }

    /// The states that the segments start from, out of the table so far.
    pub(super) fn starts(&self, table: &Tensor) -> Result<Tensor> {
        table.index_select(&self.starts, 0)
    }
}

/// `values [n, ..]` and a row of zeros after them.
pub(super) fn with_zeros(values: &Tensor) -> Result<Tensor> {
    let mut dims = values.dims().to_vec();
    dims[0] = 1;
    // [n + 1, ..]
    Tensor::cat(&[values, &Tensor::zeros(dims, values.dtype(), values.device())?], 0)
}
