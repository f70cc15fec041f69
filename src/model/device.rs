//! From a device's name to candle's device.

use candle_core::{DType, Device};

use super::error::ModelError;
use crate::domain::device::DeviceName;
use crate::domain::spec::DeviceClass;

/// Opens the device `name`.
///
/// # Errors
/// [`ModelError::Device`] when this build has no support for its kind, or the machine has no such device.
pub fn open_device(name: DeviceName) -> Result<Device, ModelError> {
    let fault = |problem: String| ModelError::Device { device: name.to_string(), problem };
    supported(name)?;
    let opened = match name.class() {
        DeviceClass::Cpu | DeviceClass::Any => Ok(Device::Cpu),
        // One stream for all threads. Candle's usual device has one for each, and then nothing orders the work of a
        // thread after that of another which made its tensors.
        DeviceClass::Cuda => Device::new_cuda_with_stream(name.number()),
        DeviceClass::Metal => Device::new_metal(name.number()),
    };
    opened.map_err(|error| fault(format!("it cannot be opened ({error}); is it there, with its driver?")))
}

/// The default number format of weights on a device: 32 bits on a CPU, which computes in them anyway, 16 (`bf16`) on a
/// GPU.
pub fn usual_format(device: &Device) -> DType {
    if device.is_cpu() { DType::F32 } else { DType::BF16 }
}

/// Does this build support the kind of device that `name` is?
pub fn supported(name: DeviceName) -> Result<(), ModelError> {
    let (feature, compiled) = match name.class() {
        DeviceClass::Cpu | DeviceClass::Any => return Ok(()),
        DeviceClass::Cuda => ("cuda", cfg!(feature = "cuda")),
        DeviceClass::Metal => ("metal", cfg!(feature = "metal")),
    };
    if compiled {
        return Ok(());
    }
    let problem = format!(
        "this program was built without support for it; build it with `cargo build --release --features {feature}`, or use cpu"
    );
    Err(ModelError::Device { device: name.to_string(), problem })
}
