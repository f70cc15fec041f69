//! Qwen3.5 (dense; 3.6 has the same type): a decoder of gated delta nets and gated full attention, and Qwen3-VL's
//! vision tower. Trainable and servable, with images or, as `qwen3_5_text`, without.

mod attention;
pub mod config;
mod delta_net;
mod fields;
mod footprint;
mod parse;
pub mod text;

use std::sync::Arc;

use candle_core::{Device, Tensor};

pub use config::Config;
use text::Decoder;

use super::blank::usual_spread;
use super::cache::LayerShape;
use super::family::{Family, Folder, Names, Start};
use super::features::FeatureCache;
use super::footprint::Footprint;
use super::qwen_vl::encode_with;
use super::qwen_vl::vision::VisionTower;
use super::weights::WeightSource;
use super::{Batch, Capture, ImagePatches, KvCache, ModelError, ModelInfo, Tape, VisionLanguageModel, kernels};

/// `mtp.` is multi-token prediction, which drafts tokens elsewhere. MLX writes norm weights with 1 already added.
const FILES: Names = Names {
    files: &[("model.visual.", "visual."), ("model.language_model.", "model.")],
    published: &[("visual.", "model.visual."), ("model.", "model.language_model.")],
    modules: &[("model.", "model.language_model."), ("", "model.")],
    carried: &["mtp."],
    wide: &[".A_log", ".dt_bias", ".linear_attn.norm.weight"],
    refused: &[
        ("language_model.", "the layout of MLX, whose norm weights mean something else: take the original checkpoint"),
        ("vision_tower.", "the layout of MLX, whose norm weights mean something else: take the original checkpoint"),
    ],
};

/// Text alone: the module of the decoder is `model` itself.
const TEXT_FILES: Names = Names { published: &[], modules: &[], ..FILES };

/// Mixtures of experts.
const OTHERS: &[(&str, &str)] = &[
    ("qwen3_5_moe", "is a mixture of experts, which is not supported: take a dense model"),
    ("qwen3_5_moe_text", "is a mixture of experts, which is not supported: take a dense model"),
];

/// The families of this folder.
pub(super) const FAMILIES: &[Family] = &[
    Family { model_type: "qwen3_5", info, build, footprint, names: &FILES, others: OTHERS, fresh },
    Family { model_type: "qwen3_5_text", info, build, footprint, names: &TEXT_FILES, others: &[], fresh },
];

fn info(folder: &Folder<'_>, parameters: usize) -> Result<ModelInfo, ModelError> {
    Ok(Config::of(folder)?.info(parameters))
}

fn footprint(folder: &Folder<'_>) -> Result<Box<dyn Footprint>, ModelError> {
    Ok(Box::new(Config::of(folder)?))
}

fn build(
    folder: &Folder<'_>,
    parameters: usize,
    source: &dyn WeightSource,
    device: &Device,
) -> Result<Arc<dyn VisionLanguageModel>, ModelError> {
    Ok(Arc::new(Qwen35::new(&Config::of(folder)?, parameters, source, device)?))
}

/// Longest and shortest memory of a new delta net's heads, as the share that a position forgets, times `exp(A_log)`.
const STEPS: [f32; 2] = [1e-3, 1e-1];
/// How much smaller the outputs of a new layer are than usual. Delta nets and MLPs add to the states in every
/// layer, and would drown what an image says.
const QUIET: f64 = 0.25;

/// Norms that scale by `1 + weight` start at 0. Heads of delta nets forget at different rates, from hundreds of positions
/// to less than one: `exp(A_log)` goes from 1 to 16, and `softplus(dt_bias)` over [`STEPS`].
fn fresh(name: &str, shape: &[usize]) -> Option<Start> {
    const CENTRED: [&str; 5] = [
        ".input_layernorm.weight",
        ".post_attention_layernorm.weight",
        ".q_norm.weight",
        ".k_norm.weight",
        "model.norm.weight",
    ];
    const OUTPUTS: [&str; 3] = [".linear_attn.out_proj.weight", ".self_attn.o_proj.weight", ".mlp.down_proj.weight"];
    // [heads]
    let by_head = |value: fn(f32) -> f32| {
        let heads = shape[0];
        let share = |head: usize| head as f32 / (heads.max(2) - 1) as f32;
        Some(Start::Values((0..heads).map(|head| value(share(head))).collect()))
    };
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if name.ends_with(".A_log") {
        by_head(|share| (1.0 + 15.0 * share).ln())
    } else if name.ends_with(".dt_bias") {
        // The inverse of softplus.
        by_head(|share| (STEPS[0] * (STEPS[1] / STEPS[0]).powf(share)).exp_m1().ln())
    } else if ends(&CENTRED) {
        Some(Start::Constant(0.0))
    } else if name.starts_with("model.layers.") && ends(&OUTPUTS) {
        Some(Start::Spread(QUIET * usual_spread(shape[1])))
    } else {
        None
    }
}

/// A Qwen3.5 model over one view of its weights.
#[derive(Debug)]
pub struct Qwen35 {
    info: ModelInfo,
    cached: Vec<LayerShape>,
    decoder: Decoder,
    vision: Option<VisionTower>,
    /// Cached image features, if the tower is frozen.
    features: Option<Arc<FeatureCache>>,
    device: Device,
}

impl Qwen35 {
    /// Builds the model on `source`'s weights.
    pub fn new(
        config: &Config,
        parameters: usize,
        source: &dyn WeightSource,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let width = config.text.hidden_size;
        let vision = config.vision.as_ref().map(|vision| VisionTower::new(&vision.tower, width, source, device));
        Ok(Self {
            info: config.info(parameters),
            cached: config.text.cached(),
            decoder: Decoder::new(&config.text, source, device)?,
            vision: vision.transpose()?,
            features: source.feature_cache(),
            device: device.clone(),
        })
    }

    /// The decoder on its own.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The vision tower on its own.
    pub fn vision(&self) -> Option<&VisionTower> {
        self.vision.as_ref()
    }

    fn tower(&self) -> Result<&VisionTower, ModelError> {
        self.info.image_input()?;
        self.vision.as_ref().ok_or_else(|| ModelError::Input("the model has no vision tower".to_owned()))
    }
}

impl VisionLanguageModel for Qwen35 {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn encode_images(&self, images: &[Arc<ImagePatches>]) -> Result<Vec<Tensor>, ModelError> {
        encode_with(self.tower()?, self.features.as_deref(), images)
    }

    fn forward(
        &self,
        batch: &Batch,
        features: Option<&Tensor>,
        cache: Option<&mut KvCache>,
        capture: &mut Capture,
    ) -> Result<Tensor, ModelError> {
        kernels::among_workers(batch.ids.len(), || self.decoder.forward(batch, features, cache, capture))
    }

    fn forward_on<'m>(&'m self, batch: &'m Batch, tape: &mut Tape<'m>) -> Result<Tensor, ModelError> {
        // Features of a frozen tower are constants: nothing has to be recomputed.
        let features = match (&self.vision, &self.features) {
            (Some(vision), None) => vision.encode_on(&batch.images, tape)?,
            _ => self.features(batch)?,
        };
        self.decoder.forward_on(batch, features.as_ref(), tape)
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        self.decoder.logits(hidden)
    }

    fn new_cache(&self, rows: usize, capacity: usize) -> Result<KvCache, ModelError> {
        KvCache::new(&self.cached, rows, capacity, &self.device)
    }
}
