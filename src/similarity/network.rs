//! The two towers, from candle-transformers.

use candle_core::{D, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::clip::ClipModel;
use candle_transformers::models::siglip;

use super::config::{Architecture, Config};

/// A built model.
pub(super) enum Network {
    Clip(ClipModel),
    Siglip { model: siglip::Model, odds: Odds },
}

/// Converts a cosine to the logit of a match.
#[derive(Debug, Clone, Copy)]
pub(super) struct Odds {
    scale: f64,
    bias: f64,
}

impl Odds {
    /// The probability that image and text of this cosine match.
    pub(super) fn probability(self, cosine: f64) -> f64 {
        1.0 / (1.0 + (-(self.scale * cosine + self.bias)).exp())
    }
}

impl Network {
    /// Builds the model on its weights.
    pub(super) fn new(config: &Config, weights: VarBuilder<'_>) -> candle_core::Result<Self> {
        match &config.architecture {
            Architecture::Clip(config) => {
                // Candle initialises this one randomly if it is missing.
                weights.get(config.vision_config.embed_dim, "vision_model.embeddings.class_embedding")?;
                Ok(Self::Clip(ClipModel::new(weights, config)?))
            }
            Architecture::Siglip(config) => {
                let number = |name: &str| weights.get(1, name)?.to_vec1::<f32>();
                let (scale, bias) = (number("logit_scale")?, number("logit_bias")?);
                let odds = Odds { scale: f64::from(scale[0]).exp(), bias: f64::from(bias[0]) };
                Ok(Self::Siglip { model: siglip::Model::new(config, weights)?, odds })
            }
        }
    }

    /// Unit vectors of images `[n, 3, side, side]`.
    pub(super) fn pictures(&self, pixels: &Tensor) -> candle_core::Result<Vec<Vec<f32>>> {
        unit(&match self {
            Self::Clip(model) => model.get_image_features(pixels)?,
            Self::Siglip { model, .. } => model.get_image_features(pixels)?,
        })
    }

    /// Unit vectors of texts: rows of token ids of one length.
    pub(super) fn texts(&self, ids: &[Vec<u32>], device: &Device) -> candle_core::Result<Vec<Vec<f32>>> {
        let width = ids.first().map_or(0, Vec::len);
        let ids = Tensor::from_vec(ids.concat(), (ids.len(), width), device)?;
        unit(&match self {
            Self::Clip(model) => model.get_text_features(&ids)?,
            Self::Siglip { model, .. } => model.get_text_features(&ids)?,
        })
    }

    /// How to convert a cosine to a probability; none for CLIP.
    pub(super) fn odds(&self) -> Option<Odds> {
        match self {
            Self::Clip(_) => None,
            Self::Siglip { odds, .. } => Some(*odds),
        }
    }
}

fn unit(vectors: &Tensor) -> candle_core::Result<Vec<Vec<f32>>> {
    let length = vectors.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    vectors.broadcast_div(&length)?.to_device(&Device::Cpu)?.to_vec2()
}
