//! Weights outside candle's tensors: matrices as they are stored, in a mapped file or in memory of their own.

use std::fmt::{self, Debug, Formatter};
use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor, bail};
use pulp::bytemuck;
use rayon::prelude::*;

use super::lines::{self, BLOCK, Lines, Q4_BYTES, Q8_BYTES};
use super::pack;

/// Lines that a thread packs at a time.
const PIECE: usize = 16;

/// How a value of a matrix is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// A 32-bit float.
    F32,
    /// The upper half of one.
    Bf16,
    /// A half-precision float.
    F16,
    /// An 8-bit integer in a block of 32 with one scale (`q8_0`).
    Q8,
    /// A 4-bit integer in such a block (`q4_0`).
    Q4,
}

impl Number {
    /// Bytes of this many values: whole blocks.
    pub fn bytes(self, values: usize) -> usize {
        match self {
            Self::F32 => 4 * values,
            Self::Bf16 | Self::F16 => 2 * values,
            Self::Q8 => values / BLOCK * Q8_BYTES,
            Self::Q4 => values / BLOCK * Q4_BYTES,
        }
    }

    /// Values that belong together: the width of a matrix is a multiple of it.
    pub fn block(self) -> usize {
        match self {
            Self::F32 | Self::Bf16 | Self::F16 => 1,
            Self::Q8 | Self::Q4 => BLOCK,
        }
    }
}

/// What holds the bytes of matrices; they never change.
pub trait Memory: Send + Sync {
    /// All of them.
    fn bytes(&self) -> &[u8];
}

impl Memory for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl Memory for Vec<f32> {
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }
}

/// A matrix `[out, inner]` on the CPU that is not trained.
#[derive(Clone)]
pub struct StoredMatrix {
    memory: Arc<dyn Memory>,
    place: Range<usize>,
    number: Number,
    out: usize,
    inner: usize,
}

impl Debug for StoredMatrix {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "StoredMatrix({:?} [{}, {}])", self.number, self.out, self.inner)
    }
}

impl StoredMatrix {
    /// The matrix `[out, inner]` whose bytes begin at `start`.
    ///
    /// # Errors
    /// A matrix that exceeds its memory, that does not consist of whole blocks, or whose 32-bit floats do not begin at
    /// a multiple of four bytes in memory.
    pub fn new(memory: Arc<dyn Memory>, start: usize, number: Number, (out, inner): (usize, usize)) -> Result<Self> {
        if !inner.is_multiple_of(number.block()) {
            bail!("rows of {inner} values are not whole blocks of {}", number.block())
        }
        let place = start..start.saturating_add(number.bytes(out * inner));
        let Some(bytes) = memory.bytes().get(place.clone()) else {
            bail!("a matrix of {out} x {inner} values at byte {start} exceeds {} bytes", memory.bytes().len())
        };
        if number == Number::F32 && bytemuck::try_cast_slice::<u8, f32>(bytes).is_err() {
            bail!("32-bit floats at byte {start} are not aligned")
        }
        Ok(Self { memory, place, number, out, inner })
    }

    /// `[out, inner]`.
    pub fn dims(&self) -> [usize; 2] {
        [self.out, self.inner]
    }

    /// How its values are stored.
    pub fn number(&self) -> Number {
        self.number
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.place.len()
    }

    /// Its rows.
    ///
    /// # Panics
    /// Never: [`Self::new`] checked the place and its alignment.
    pub fn lines(&self) -> Lines<'_> {
        let bytes = &self.memory.bytes()[self.place.clone()];
        match self.number {
            Number::F32 => Lines::F32(bytemuck::cast_slice(bytes)),
            Number::Bf16 => Lines::Bf16(bytes.as_chunks().0),
            Number::F16 => Lines::F16(bytes.as_chunks().0),
            Number::Q8 => Lines::Q8(bytes.as_chunks().0),
            Number::Q4 => Lines::Q4(bytes.as_chunks().0),
        }
    }

    /// Its values `[out, inner]` as 32-bit floats.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn widened(&self) -> Result<Tensor> {
        let mut values = vec![0.0; self.out * self.inner];
        let lines = self.lines();
        let width = PIECE * self.inner.max(1);
        let pieces = values.par_chunks_mut(width).enumerate();
        pieces.for_each(|(index, piece)| lines::widen(lines, index * width, piece));
        // [out, inner]
        Tensor::from_vec(values, (self.out, self.inner), &Device::Cpu)
    }

    /// Rows `ids` as 32-bit floats, `[ids, inner]`.
    ///
    /// # Errors
    /// A row that it does not have.
    pub fn rows(&self, ids: &[u32]) -> Result<Tensor> {
        let lines = self.lines();
        let mut values = vec![0.0; ids.len() * self.inner];
        for (id, row) in ids.iter().zip(values.chunks_exact_mut(self.inner.max(1))) {
            if *id as usize >= self.out {
                bail!("row {id} of a table with {} rows", self.out)
            }
            lines::widen(lines, *id as usize * self.inner, row);
        }
        // [ids, inner]
        Tensor::from_vec(values, (ids.len(), self.inner), &Device::Cpu)
    }

    /// The same matrix in blocks of integers, in memory of its own.
    ///
    /// # Errors
    /// Rows that do not divide into whole blocks.
    pub fn packed(&self, number: Number) -> Result<Self> {
        let shape = (self.out, self.inner);
        let mut bytes = vec![0; number.bytes(self.out * self.inner)];
        let (lines, width) = (self.lines(), PIECE * self.inner.max(1));
        let pieces = bytes.par_chunks_mut(number.bytes(width).max(1)).enumerate();
        pieces.for_each_init(
            || vec![0.0; width],
            |values, (index, piece)| {
                let from = index * width;
                let values = &mut values[..width.min(lines.len() - from)];
                lines::widen(lines, from, values);
                match number {
                    Number::Q8 => pack::pack_q8(values, piece.as_chunks_mut().0),
                    Number::Q4 => pack::pack_q4(values, piece.as_chunks_mut().0),
                    Number::F32 | Number::Bf16 | Number::F16 => {}
                }
            },
        );
        if number.block() != BLOCK {
            bail!("{number:?} does not pack values into blocks")
        }
        Self::new(Arc::new(bytes), 0, number, shape)
    }
}
