//! The start of a backward pass from a known gradient.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// Has the value 0; its backward passes on the given gradient.
struct Seed(Tensor);

impl CustomOp1 for Seed {
    fn name(&self) -> &'static str {
        "seed"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

/// A scalar whose backward pass gives `output` the gradient `gradient` of the same shape: `sum(output * gradient)`
/// without the four buffers of that product. On other devices than the CPU it is that product.
pub fn seeded(output: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let gradient = gradient.to_dtype(output.dtype())?.detach();
    if output.device().is_cpu() {
        return output.apply_op1(Seed(gradient));
    }
    (output * gradient)?.sum_all()
}
