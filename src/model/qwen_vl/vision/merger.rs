//! Mergers: blocks of 2 x 2 patches become one token of the decoder's width.

use candle_core::Tensor;

use super::block::Norm;
use crate::model::error::ModelError;
use crate::model::kernels;
use crate::model::linear::Linear;
use crate::model::qwen_vl::config::{VisionConfig, VisionMlp};
use crate::model::weights::WeightSource;

/// A merger.
#[derive(Debug)]
pub(super) struct Merger {
    norm: Norm,
    /// Deepstack mergers normalise the joined patches, the main one each patch.
    joined: bool,
    first: Linear,
    second: Linear,
    unit: usize,
}

impl Merger {
    /// The main merger; `out` is the decoder's width.
    pub(super) fn main(config: &VisionConfig, out: usize, source: &dyn WeightSource) -> Result<Self, ModelError> {
        let names = match config.mlp {
            VisionMlp::TanhGelu => ["norm", "linear_fc1", "linear_fc2"],
            VisionMlp::GatedSilu | VisionMlp::QuickGelu => ["ln_q", "mlp.0", "mlp.2"],
        };
        Self::new(config, out, source, "visual.merger", names, false)
    }

    /// The merger of deepstack features number `index`.
    pub(super) fn deepstack(
        config: &VisionConfig,
        out: usize,
        source: &dyn WeightSource,
        index: usize,
    ) -> Result<Self, ModelError> {
        let name = format!("visual.deepstack_merger_list.{index}");
        Self::new(config, out, source, &name, ["norm", "linear_fc1", "linear_fc2"], true)
    }

    fn new(
        config: &VisionConfig,
        out: usize,
        source: &dyn WeightSource,
        name: &str,
        [norm, first, second]: [&str; 3],
        joined: bool,
    ) -> Result<Self, ModelError> {
        let unit = config.merge_size * config.merge_size;
        let width = config.hidden_size * unit;
        let part = |part: &str| format!("{name}.{part}");
        Ok(Self {
            norm: Norm::new(source, &part(norm), if joined { width } else { config.hidden_size }, config.norm)?,
            joined,
            first: Linear::new(source, &part(first), width, width, true)?,
            second: Linear::new(source, &part(second), out, width, true)?,
            unit,
        })
    }

    /// `[images, patches, width]` -> `[images, merged tokens, decoder width]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let (images, patches, hidden) = x.dims3()?;
        let shape = (images, patches / self.unit, hidden * self.unit);
        let y =
            if self.joined { self.norm.forward(&x.reshape(shape)?)? } else { self.norm.forward(x)?.reshape(shape)? };
        Ok(self.second.forward(&kernels::gelu_erf(&self.first.forward(&y)?)?)?)
    }
}
