//! Operations whose second operand is not trained: a frozen weight, a rotary table, a mask.
//!
//! Candle's own matrix product, product and sum compute a gradient for both operands and keep it until the backward
//! pass ends, even if it is never used: for a frozen weight that costs a third of the work and as much memory as
//! training it. Here the backward is only what the first operand needs: `g @ W`, `g * c` and `g`. The forms of
//! [`super::kernels`] that are composed of candle's operations stay the reference; the results are equal bit for bit,
//! because the same kernels run.

use candle_core::backend::BackendStorage;
use candle_core::op::{Add, Mul};
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, MetalStorage, Result, Shape, Storage, Tensor, bail};

/// What is done with the constant.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// `x [rows, inner] @ c [out, inner]^T`.
    Project,
    /// `x * c`.
    Times,
    /// `x + c`.
    Plus,
}

/// An operation with a constant operand.
struct ConstantOp {
    kind: Kind,
    constant: Tensor,
}

/// `x [rows, inner] @ weight [out, inner]^T`; the backward is `g @ weight`, and the weight gets none.
pub fn project(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    apply(Kind::Project, x, weight)
}

/// `x * factor`, which is broadcast to the shape of `x`; only `x` gets a gradient.
pub fn times(x: &Tensor, factor: &Tensor) -> Result<Tensor> {
    apply(Kind::Times, x, factor)
}

/// `x + term`, which is broadcast to the shape of `x`; only `x` gets a gradient.
pub fn plus(x: &Tensor, term: &Tensor) -> Result<Tensor> {
    apply(Kind::Plus, x, term)
}

fn apply(kind: Kind, x: &Tensor, constant: &Tensor) -> Result<Tensor> {
    if x.dtype() != constant.dtype() {
        bail!("an operand of {:?} does not fit a constant of {:?}", x.dtype(), constant.dtype());
    }
    x.apply_op1(ConstantOp { kind, constant: constant.detach() })
}

impl Kind {
    /// The same on every device: `x` and the constant with their memory layouts.
    fn run<B: BackendStorage>(self, x: &B, x_layout: &Layout, c: &B, c_layout: &Layout) -> Result<(B, Shape)> {
        if matches!(self, Self::Project) {
            let (rows, inner) = x_layout.shape().dims2()?;
            let (out, width) = c_layout.shape().dims2()?;
            if width != inner {
                bail!("a weight of {out} x {width} cannot project rows of {inner}");
            }
            let y = x.matmul(c, (1, rows, out, inner), x_layout, &c_layout.transpose(0, 1)?)?;
            return Ok((y, Shape::from((rows, out))));
        }
        let c_layout = c_layout.broadcast_as(x_layout.shape())?;
        let y = match self {
            Self::Times => x.binary_impl::<Mul>(c, x_layout, &c_layout)?,
            Self::Plus | Self::Project => x.binary_impl::<Add>(c, x_layout, &c_layout)?,
        };
        Ok((y, x_layout.shape().clone()))
    }
}

impl CustomOp1 for ConstantOp {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Project => "project-constant",
            Kind::Times => "times-constant",
            Kind::Plus => "plus-constant",
        }
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (constant, place) = self.constant.storage_and_layout();
        match &*constant {
            Storage::Cpu(constant) => self.kind.run(x, layout, constant, place),
            _ => bail!("{}: the constant is on another device", self.name()),
        }
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (constant, place) = self.constant.storage_and_layout();
        match &*constant {
            Storage::Cuda(constant) => self.kind.run(x, layout, constant, place),
            _ => bail!("{}: the constant is on another device", self.name()),
        }
    }

    fn metal_fwd(&self, x: &MetalStorage, layout: &Layout) -> Result<(MetalStorage, Shape)> {
        let (constant, place) = self.constant.storage_and_layout();
        match &*constant {
            Storage::Metal(constant) => self.kind.run(x, layout, constant, place),
            _ => bail!("{}: the constant is on another device", self.name()),
        }
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(match self.kind {
            Kind::Project => gradient.contiguous()?.matmul(&self.constant)?,
            Kind::Times => gradient.broadcast_mul(&self.constant)?,
            Kind::Plus => gradient.clone(),
        }))
    }
}
