//! Rotary positions (Su et al., arXiv 2104.09864) in the "rotate half" layout.

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};

use super::super::simd::{self, Kernel, mul_add};
use super::super::strided::{self, Guard, StridedView};
use super::super::{Form, own_backward};

/// Cosines and sines of a batch's position ids.
#[derive(Debug, Clone)]
pub struct Rope {
    cos: Tensor,
    sin: Tensor,
}

impl Rope {
    /// `cos`, `sin: [batch or 1, seq_len, dim / 2]`; a single row is used for all rows.
    pub fn new(cos: &Tensor, sin: &Tensor) -> Result<Self> {
        let same = cos.dims() == sin.dims() && cos.rank() == 3;
        if !same {
            candle_core::bail!("cosines {:?} and sines {:?} do not make a rotary table", cos.dims(), sin.dims());
        }
        Ok(Self { cos: cos.detach().contiguous()?, sin: sin.detach().contiguous()? })
    }

    /// Cosines and sines.
    pub fn tables(&self) -> (&Tensor, &Tensor) {
        (&self.cos, &self.sin)
    }

    /// The table that rotates in the other direction.
    pub(super) fn backwards(&self) -> Result<Self> {
        Ok(Self { cos: self.cos.clone(), sin: self.sin.neg()? })
    }

    /// Does the table fit `x: [batch, seq_len, heads, dim]`?
    pub(super) fn check(&self, x: &Tensor) -> Result<()> {
        let (rows, seq_len, _, dim) = x.dims4()?;
        let (own_rows, own_len, half) = self.cos.dims3()?;
        if dim == 2 * half && own_len == seq_len && (own_rows == rows || own_rows == 1) {
            return Ok(());
        }
        candle_core::bail!("a rotary table {:?} does not fit {:?}", self.cos.dims(), x.dims())
    }

    /// Guards that keep the table readable for kernels.
    pub(super) fn guard(&self) -> (Guard<'_>, Guard<'_>) {
        (Guard::of(&self.cos), Guard::of(&self.sin))
    }
}

/// A table in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
    rows: usize,
    seq_len: usize,
    half: usize,
}

impl<'a> Table<'a> {
    pub(super) fn new(rope: &Rope, guard: &'a (Guard<'_>, Guard<'_>)) -> Result<Self> {
        let (rows, seq_len, half) = rope.cos.dims3()?;
        Ok(Self { cos: guard.0.values()?, sin: guard.1.values()?, rows, seq_len, half })
    }

    /// Rotates `x` (`dim` values at a position of a row), times `scale`, into `target`; `back` rotates in the other
    /// direction, as the gradient does.
    #[inline(always)]
    pub(super) fn rotate<const FMA: bool>(
        &self,
        (row, position): (usize, usize),
        x: &[f32],
        scale: f32,
        back: bool,
        target: &mut [f32],
    ) {
        let row = if self.rows == 1 { 0 } else { row };
        let at = (row * self.seq_len + position) * self.half;
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

/// `x: [batch, seq_len, heads, dim]` with every head rotated by its position id.
pub fn rotate(x: &Tensor, rope: &Rope) -> Result<Tensor> {
    rotate_by(Form::of(&[x]), x, rope)
}

/// [`rotate`] in a chosen form.
pub fn rotate_by(form: Form, x: &Tensor, rope: &Rope) -> Result<Tensor> {
    rope.check(x)?;
    match form {
        Form::Fused => strided::rows_of(x)?.apply_op1(Rotate { rope: rope.clone(), back: false }),
        Form::Composed => composed(x, rope),
    }
}

/// [`rotate`] composed of candle operations: the result is all that is kept, and its gradient is rotated backwards.
fn composed(x: &Tensor, rope: &Rope) -> Result<Tensor> {
    let result = turned(&x.detach(), rope)?;
    if !x.track_op() {
        return Ok(result);
    }
    let back = rope.backwards()?;
    own_backward::of_one("rotate", x, result, Box::new(move |_, _, gradient| Ok([turned(&gradient, &back)?])))
}

/// `x: [batch, seq_len, heads, dim]` rotated by candle operations; no graph.
pub(super) fn turned(x: &Tensor, rope: &Rope) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let (cos, sin) = (rope.cos.unsqueeze(2)?.to_dtype(x.dtype())?, rope.sin.unsqueeze(2)?.to_dtype(x.dtype())?);
    let (first, second) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let to_first = (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?;
    let to_second = (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?;
    // [batch, seq_len, heads, head_dim]
    Tensor::cat(&[&to_first, &to_second], D::Minus1)
}

struct Rotate {
    rope: Rope,
    back: bool,
}

struct RotateAll<'a> {
    x: StridedView<'a>,
    shape: (usize, usize, usize, usize),
    table: Table<'a>,
    back: bool,
}

impl Kernel for RotateAll<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        let (rows, seq_len, heads, dim) = self.shape;
        let mut out = vec![0.0; rows * seq_len * heads * dim];
        for (index, target) in out.chunks_exact_mut(dim).enumerate() {
            let (slot, head) = (index / heads, index % heads);
            let at = (slot / seq_len, slot % seq_len);
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
        let guard = self.rope.guard();
        let shape = layout.shape().dims4()?;
        let out = simd::run(RotateAll {
            x: StridedView::new(storage.as_slice()?, layout)?,
            shape,
            table: Table::new(&self.rope, &guard)?,
            back: self.back,
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let back = Self { rope: self.rope.clone(), back: !self.back };
        Ok(Some(strided::rows_of(&gradient.detach())?.apply_op1_no_bwd(&back)?))
    }
}
