//! How a folder's weights are held in memory.

use candle_core::{DType, Device};

use super::device::usual_format;
use super::transfers::is_gpu;
use super::weights::VISION;
use crate::domain::weights::WeightFormat;

/// What is never trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frozen {
    /// Nothing: every weight is a variable.
    Nothing,
    /// The vision tower and its mergers.
    Vision,
    /// Everything that the folder holds: only adapters may be trained.
    Everything,
}

/// How the weights of a folder are held. Where the CPU computes, matrices that are never trained stay as narrow as
/// their file has them, mapped from it if it is write-protected; their products are those of the widened values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// The number format of weights in memory and in what is written; a narrower file stays as it is where it is
    /// frozen.
    pub dtype: DType,
    /// What is never trained.
    pub frozen: Frozen,
    /// The format of frozen linear layers of the decoder; other devices take it when a model is built.
    pub format: WeightFormat,
}

impl Holding {
    /// Every weight is a variable of this number format.
    pub fn variables(dtype: DType) -> Self {
        Self { dtype, frozen: Frozen::Nothing, format: WeightFormat::Native }
    }

    /// Nothing is trained; the number format is the usual one of the device.
    pub fn read_only(device: &Device, format: WeightFormat) -> Self {
        Self { dtype: usual_format(device), frozen: Frozen::Everything, format }
    }

    /// Is a weight of this name never trained, and computed with on the CPU?
    pub(super) fn freezes(self, name: &str, device: &Device) -> bool {
        let frozen = match self.frozen {
            Frozen::Nothing => false,
            Frozen::Vision => name.starts_with(VISION),
            Frozen::Everything => true,
        };
        frozen && !is_gpu(device)
    }
}
