//! Rotary positions (Su et al., arXiv 2104.09864) in the "rotate half" layout.

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};

use super::super::Form;
use super::super::lanes::{self, Kernel, mul_add};
use super::super::mixed::times;
use super::super::view::{self, Held, View};

/// Cosines and sines of the positions of a batch.
#[derive(Debug, Clone)]
pub struct Rope {
    cos: Tensor,
    sin: Tensor,
}

impl Rope {
    /// `cos`, `sin: [rows or 1, columns, dim / 2]`; one row serves all.
    pub fn new(cos: &Tensor, sin: &Tensor) -> Result<Self> {
        let same = cos.dims() == sin.dims() && cos.rank() == 3;
        if !same {
            candle_core::bail!("cosines {:?} and sines {:?} are no rotary table", cos.dims(), sin.dims());
        }
        Ok(Self { cos: cos.detach().contiguous()?, sin: sin.detach().contiguous()? })
    }

    /// Cosines and sines.
    pub fn tables(&self) -> (&Tensor, &Tensor) {
        (&self.cos, &self.sin)
    }

    /// Does the table fit `x: [rows, columns, heads, dim]`?
    pub(super) fn check(&self, x: &Tensor) -> Result<()> {
        let (rows, columns, _, dim) = x.dims4()?;
        let (own_rows, own_columns, half) = self.cos.dims3()?;
        if dim == 2 * half && own_columns == columns && (own_rows == rows || own_rows == 1) {
            return Ok(());
        }
        candle_core::bail!("a rotary table {:?} does not fit {:?}", self.cos.dims(), x.dims())
    }

    /// The table in memory, as kernels read it.
    pub(super) fn hold(&self) -> (Held<'_>, Held<'_>) {
        (Held::of(&self.cos), Held::of(&self.sin))
    }
}

/// A table in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
    rows: usize,
    columns: usize,
    half: usize,
}

impl<'a> Table<'a> {
    pub(super) fn new(rope: &Rope, held: &'a (Held<'_>, Held<'_>)) -> Result<Self> {
        let (rows, columns, half) = rope.cos.dims3()?;
        Ok(Self { cos: held.0.values()?, sin: held.1.values()?, rows, columns, half })
    }

    /// Rotates `x` (`dim` values at a column of a row), times `scale`, into `target`; `back` turns the other way, which is the
    /// gradient.
    #[inline(always)]
    pub(super) fn rotate<const FMA: bool>(
        &self,
        (row, column): (usize, usize),
        x: &[f32],
        scale: f32,
        back: bool,
        target: &mut [f32],
    ) {
        let row = if self.rows == 1 { 0 } else { row };
        let at = (row * self.columns + column) * self.half;
        let (cos, sin) = (&self.cos[at..][..self.half], &self.sin[at..][..self.half]);
        let turn = if back { -scale } else { scale };
        let (first, second) = x.split_at(self.half);
        let second = &second[..self.half];
        let (to_first, to_second) = target.split_at_mut(self.half);
        let to_second = &mut to_second[..self.half];
        for i in 0..self.half {
            let (c, s) = (cos[i] * scale, sin[i] * turn);
            to_first[i] = mul_add::<FMA>(first[i], c, -(second[i] * s));
            to_second[i] = mul_add::<FMA>(second[i], c, first[i] * s);
        }
    }
}

/// `x: [rows, columns, heads, dim]` with every head rotated by its column's position.
pub fn rotate(x: &Tensor, rope: &Rope) -> Result<Tensor> {
    rotate_by(Form::of(&[x]), x, rope)
}

/// [`rotate`] in a chosen form.
pub fn rotate_by(form: Form, x: &Tensor, rope: &Rope) -> Result<Tensor> {
    rope.check(x)?;
    match form {
        Form::Fused => view::rows_of(x)?.apply_op1(Rotate { rope: rope.clone(), back: false }),
        Form::Composed => composed(x, rope),
    }
}

/// [`rotate`] of candle operations.
pub(super) fn composed(x: &Tensor, rope: &Rope) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let (cos, sin) = (rope.cos.unsqueeze(2)?, rope.sin.unsqueeze(2)?);
    let (first, second) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let to_first = (times(&first, &cos)? - times(&second, &sin)?)?;
    let to_second = (times(&second, &cos)? + times(&first, &sin)?)?;
    Tensor::cat(&[&to_first, &to_second], D::Minus1)
}

struct Rotate {
    rope: Rope,
    back: bool,
}

struct RotateAll<'a> {
    x: View<'a>,
    shape: (usize, usize, usize, usize),
    table: Table<'a>,
    back: bool,
}

impl Kernel for RotateAll<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        let (rows, columns, heads, dim) = self.shape;
        let mut out = vec![0.0; rows * columns * heads * dim];
        for (index, target) in out.chunks_exact_mut(dim).enumerate() {
            let (slot, head) = (index / heads, index % heads);
            let at = (slot / columns, slot % columns);
            self.table.rotate::<FMA>(at, self.x.at(at.0, at.1, head, dim), 1.0, self.back, target);
        }
        out
    }
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let held = self.rope.hold();
        let shape = layout.shape().dims4()?;
        let out = lanes::run(RotateAll {
            x: View::new(storage.as_slice()?, layout)?,
            shape,
            table: Table::new(&self.rope, &held)?,
            back: self.back,
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let back = Self { rope: self.rope.clone(), back: !self.back };
        Ok(Some(view::rows_of(&gradient.detach())?.apply_op1_no_bwd(&back)?))
    }
}
