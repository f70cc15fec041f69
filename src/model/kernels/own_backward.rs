//! Operations composed of candle's on any device that keep less for their backward pass than candle would: the result
//! is computed without a graph and enters it with a backward of its own, which recomputes what it needs.

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, MetalStorage, Result, Shape, Storage, Tensor,
    bail,
};
use parking_lot::Mutex;

/// From the arguments, the result and its gradient to the gradients of the arguments; everything is detached.
pub type Backward<const N: usize> = Box<dyn Fn([Tensor; N], Tensor, Tensor) -> Result<[Tensor; N]> + Send + Sync>;

struct OwnBackward<const N: usize> {
    name: &'static str,
    /// The result, until the forward pass has handed it on.
    result: Mutex<Option<Tensor>>,
    backward: Backward<N>,
}

/// `result`, which was computed from `x` without a graph, as a function of `x` with this backward.
pub fn of_one(name: &'static str, x: &Tensor, result: Tensor, backward: Backward<1>) -> Result<Tensor> {
    x.apply_op1(OwnBackward::new(name, result, backward)?)
}

/// The same for a function of two tensors.
pub fn of_two(name: &'static str, x: [&Tensor; 2], result: Tensor, backward: Backward<2>) -> Result<Tensor> {
    x[0].apply_op2(x[1], OwnBackward::new(name, result, backward)?)
}

/// The same for a function of three tensors.
pub fn of_three(name: &'static str, x: [&Tensor; 3], result: Tensor, backward: Backward<3>) -> Result<Tensor> {
    x[0].apply_op3(x[1], x[2], OwnBackward::new(name, result, backward)?)
}

impl<const N: usize> OwnBackward<N> {
    fn new(name: &'static str, result: Tensor, backward: Backward<N>) -> Result<Self> {
        let whole = result.is_contiguous() && result.layout().start_offset() == 0;
        let result = if whole { result } else { result.force_contiguous()? };
        Ok(Self { name, result: Mutex::new(Some(result)), backward })
    }

    /// The memory of the result, which `on_device` finds in candle's storage.
    fn hand_on<B: BackendStorage>(&self, on_device: impl Fn(&Storage) -> Option<&B>) -> Result<(B, Shape)> {
        let Some(result) = self.result.lock().take() else { bail!("{}: the forward pass runs once", self.name) };
        let (storage, layout) = result.storage_and_layout();
        match on_device(&storage) {
            Some(own) => Ok((own.try_clone(layout)?, result.shape().clone())),
            None => bail!("{}: the result is on another device than the arguments", self.name),
        }
    }

    fn on_cpu(&self) -> Result<(CpuStorage, Shape)> {
        self.hand_on(|storage| if let Storage::Cpu(own) = storage { Some(own) } else { None })
    }

    fn on_cuda(&self) -> Result<(CudaStorage, Shape)> {
        self.hand_on(|storage| if let Storage::Cuda(own) = storage { Some(own) } else { None })
    }

    fn on_metal(&self) -> Result<(MetalStorage, Shape)> {
        self.hand_on(|storage| if let Storage::Metal(own) = storage { Some(own) } else { None })
    }
}

impl CustomOp1 for OwnBackward<1> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.on_cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.on_cuda()
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        self.on_metal()
    }

    fn bwd(&self, x: &Tensor, result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let [gradient] = (self.backward)([x.detach()], result.detach(), gradient.detach())?;
        Ok(Some(gradient))
    }
}

impl CustomOp2 for OwnBackward<2> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.on_cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.on_cuda()
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        self.on_metal()
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [x, y] = (self.backward)([x.detach(), y.detach()], result.detach(), gradient.detach())?;
        Ok((Some(x), Some(y)))
    }
}

impl CustomOp3 for OwnBackward<3> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.on_cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.on_cuda()
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.on_metal()
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        z: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let arguments = [x, y, z].map(Tensor::detach);
        let [x, y, z] = (self.backward)(arguments, result.detach(), gradient.detach())?;
        Ok((Some(x), Some(y), Some(z)))
    }
}
