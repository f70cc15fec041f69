//! How kernels read tensors: slices with strides.

use candle_core::{CpuStorage, D, Layout, Result, Storage, StorageRef, Tensor};

/// A tensor `[rows, columns, heads, dim]` in memory whose last dimension lies side by side.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    values: &'a [f32],
    strides: [usize; 3],
}

impl<'a> View<'a> {
    /// `values` as `layout` says.
    pub fn new(values: &'a [f32], layout: &Layout) -> Result<Self> {
        let [row, column, head, value] = layout.stride() else {
            candle_core::bail!("a tensor of {} dimensions where 4 are needed", layout.dims().len())
        };
        if *value != 1 && layout.dims()[3] != 1 {
            candle_core::bail!("the values of a head lie {value} apart where they must lie side by side")
        }
        Ok(Self { values: &values[layout.start_offset()..], strides: [*row, *column, *head] })
    }

    /// The first `dim` values of a head.
    #[inline(always)]
    pub fn at(&self, row: usize, column: usize, head: usize, dim: usize) -> &'a [f32] {
        &self.from(row, column, head)[..dim]
    }

    /// Everything from the first value of a head on.
    #[inline(always)]
    pub fn from(&self, row: usize, column: usize, head: usize) -> &'a [f32] {
        &self.values[row * self.strides[0] + column * self.strides[1] + head * self.strides[2]..]
    }

    /// Distance of neighbouring columns.
    pub fn column_stride(&self) -> usize {
        self.strides[1]
    }
}

/// `x`, copied if its last dimension does not lie side by side.
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

/// A CPU tensor of f32 that stays readable while this lives.
pub struct Held<'a> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
}

impl<'a> Held<'a> {
    /// Takes hold of `x`.
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

    /// Its values as `[rows, columns, heads, dim]`.
    pub fn view(&self) -> Result<View<'_>> {
        View::new(self.all()?, self.layout)
    }
}
