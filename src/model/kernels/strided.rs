//! How kernels read tensors: slices with strides.

use candle_core::{CpuStorage, D, Layout, Result, Storage, StorageRef, Tensor};

/// A tensor `[batch, seq_len, heads, dim]` in memory whose last dimension is contiguous.
#[derive(Debug, Clone, Copy)]
pub struct StridedView<'a> {
    values: &'a [f32],
    strides: [usize; 3],
}

impl<'a> StridedView<'a> {
    /// A view of `values` with the strides of `layout`.
    pub fn new(values: &'a [f32], layout: &Layout) -> Result<Self> {
        let [row, position, head, value] = layout.stride() else {
            candle_core::bail!("a tensor has {} dimensions, but needs 4", layout.dims().len())
        };
        if *value != 1 && layout.dims()[3] != 1 {
            candle_core::bail!("the values of a head are {value} apart, but must be contiguous")
        }
        Ok(Self { values: &values[layout.start_offset()..], strides: [*row, *position, *head] })
    }

    /// The first `dim` values of a head.
    #[inline(always)]
    pub fn at(&self, row: usize, position: usize, head: usize, dim: usize) -> &'a [f32] {
        &self.from(row, position, head)[..dim]
    }

    /// Everything from the first value of a head on.
    #[inline(always)]
    pub fn from(&self, row: usize, position: usize, head: usize) -> &'a [f32] {
        &self.values[row * self.strides[0] + position * self.strides[1] + head * self.strides[2]..]
    }

    /// Distance of adjacent positions.
    pub fn position_stride(&self) -> usize {
        self.strides[1]
    }
}

/// `x`, copied if its last dimension is not contiguous.
pub fn rows_of(x: &Tensor) -> Result<Tensor> {
    let stride = x.stride();
    if stride.last() == Some(&1) || x.dim(D::Minus1)? == 1 { Ok(x.clone()) } else { x.contiguous() }
}

/// The values of a contiguous tensor.
pub fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    cut(storage.as_slice()?, layout)
}

fn cut<'a>(values: &'a [f32], layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => candle_core::bail!("this kernel reads contiguous tensors"),
    }
}

/// A read guard of an f32 tensor on the CPU.
pub struct Guard<'a> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
}

impl<'a> Guard<'a> {
    /// Locks `x` for reading.
    pub fn of(x: &'a Tensor) -> Self {
        let (storage, layout) = x.storage_and_layout();
        Self { storage, layout }
    }

    fn all(&self) -> Result<&[f32]> {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => Ok(values),
            _ => candle_core::bail!("this kernel reads f32 on the CPU only"),
        }
    }

    /// Its values, which must be contiguous.
    pub fn values(&self) -> Result<&[f32]> {
        cut(self.all()?, self.layout)
    }

    /// Its values as `[batch, seq_len, heads, dim]`.
    pub fn view(&self) -> Result<StridedView<'_>> {
        StridedView::new(self.all()?, self.layout)
    }
}
