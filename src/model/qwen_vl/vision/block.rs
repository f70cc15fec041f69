//! A block of the vision tower: attention within bounds, then an MLP; norm and activation are the family's.

use candle_core::Tensor;

use super::EPS;
use crate::model::error::ModelError;
use crate::model::kernels::{self, AttentionMask, Rope};
use crate::model::linear::Linear;
use crate::model::qwen_vl::config::{VisionConfig, VisionMlp, VisionNorm};
use crate::model::weights::WeightSource;

/// A norm over the last dimension.
#[derive(Debug)]
pub(super) struct Norm {
    weight: Tensor,
    /// Layer norms have a bias, root-mean-square norms none.
    bias: Option<Tensor>,
}

impl Norm {
    pub(super) fn new(
        source: &dyn WeightSource,
        name: &str,
        width: usize,
        kind: VisionNorm,
    ) -> Result<Self, ModelError> {
        let weight = source.get(&format!("{name}.weight"), &[width])?;
        let bias = match kind {
            VisionNorm::Layer => Some(source.get(&format!("{name}.bias"), &[width])?),
            VisionNorm::RootMeanSquare => None,
        };
        Ok(Self { weight, bias })
    }

    pub(super) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match &self.bias {
            Some(bias) => kernels::layer_norm(x, &self.weight, bias, EPS),
            None => kernels::rms_norm(x, &self.weight, EPS),
        }
    }
}

#[derive(Debug)]
enum Mlp {
    Gated { gate: Linear, up: Linear, down: Linear },
    Plain { first: Linear, second: Linear, activation: fn(&Tensor) -> candle_core::Result<Tensor> },
}

impl Mlp {
    fn new(config: &VisionConfig, source: &dyn WeightSource, name: &str) -> Result<Self, ModelError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let linear = |part: &str, out, inner| Linear::new(source, &format!("{name}.{part}"), out, inner, true);
        Ok(match config.mlp {
            VisionMlp::GatedSilu => Self::Gated {
                gate: linear("gate_proj", inner, hidden)?,
                up: linear("up_proj", inner, hidden)?,
                down: linear("down_proj", hidden, inner)?,
            },
            VisionMlp::QuickGelu => Self::Plain {
                first: linear("fc1", inner, hidden)?,
                second: linear("fc2", hidden, inner)?,
                activation: kernels::quick_gelu,
            },
            VisionMlp::TanhGelu => Self::Plain {
                first: linear("linear_fc1", inner, hidden)?,
                second: linear("linear_fc2", hidden, inner)?,
                activation: kernels::gelu,
            },
        })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Gated { gate, up, down } => down.forward(&kernels::gated_silu(&gate.forward(x)?, &up.forward(x)?)?),
            Self::Plain { first, second, activation } => second.forward(&activation(&first.forward(x)?)?),
        }
    }
}

/// One block.
#[derive(Debug)]
pub(super) struct Block {
    norm1: Norm,
    qkv: Linear,
    proj: Linear,
    norm2: Norm,
    mlp: Mlp,
    heads: usize,
}

/// What the blocks of one forward pass share: the rotary table and the attention mask.
pub(super) struct Pass<'a> {
    pub(super) rope: &'a Rope,
    pub(super) mask: &'a AttentionMask,
}

impl Block {
    pub(super) fn new(config: &VisionConfig, source: &dyn WeightSource, index: usize) -> Result<Self, ModelError> {
        let hidden = config.hidden_size;
        let name = |part: &str| format!("visual.blocks.{index}.{part}");
        Ok(Self {
            norm1: Norm::new(source, &name("norm1"), hidden, config.norm)?,
            qkv: Linear::new(source, &name("attn.qkv"), 3 * hidden, hidden, true)?,
            proj: Linear::new(source, &name("attn.proj"), hidden, hidden, true)?,
            norm2: Norm::new(source, &name("norm2"), hidden, config.norm)?,
            mlp: Mlp::new(config, source, &name("mlp"))?,
            heads: config.heads,
        })
    }

    /// `x: [images, patches, width]` -> the same shape.
    pub(super) fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        let x = (x + self.attend(&self.norm1.forward(x)?, pass)?)?;
        Ok((&x + self.mlp.forward(&self.norm2.forward(&x)?)?)?)
    }

    fn attend(&self, x: &Tensor, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        let (images, patches, hidden) = x.dims3()?;
        let qkv = self.qkv.forward(x)?.reshape((images, patches, 3, self.heads, hidden / self.heads))?;
        let part = |i: usize| qkv.narrow(2, i, 1)?.squeeze(2);
        let mixed = kernels::attention(&part(0)?, &part(1)?, &part(2)?, Some(pass.rope), pass.mask, None)?.mixed;
        Ok(self.proj.forward(&mixed)?)
    }
}
