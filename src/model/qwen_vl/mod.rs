//! Qwen2-VL, Qwen2.5-VL and Qwen3-VL: decoder with rotary positions in time, height and width, vision tower, mergers.
//! Trainable and servable.

pub mod config;
pub(super) mod fields;
pub(super) mod footprint;
pub(super) mod parse;
pub(super) mod parse_rope;
pub mod rope;
pub mod text;
pub mod vision;

use std::sync::Arc;

use candle_core::{Device, Tensor};

pub use config::{Config, Generation};
use text::Decoder;
use vision::VisionTower;

use super::{Batch, Capture, ImagePatches, KvCache, ModelError, ModelInfo, Tape, VisionLanguageModel, kernels};
use crate::model::cache::LayerShape;
use crate::model::family::{Family, Folder, Names, as_usual};
use crate::model::features::FeatureCache;
use crate::model::footprint::Footprint;
use crate::model::weights::WeightSource;

/// How the weights of Qwen-VL models are called; those of the newer layout begin with `model.visual.` and
/// `model.language_model.`, as the modules of transformers do.
pub(super) const NAMES: Names = Names {
    files: &[("model.visual.", "visual."), ("model.language_model.", "model.")],
    published: &[],
    modules: &[("model.", "model.language_model."), ("", "model.")],
    carried: &[],
    wide: &[],
    refused: &[],
};

const NAMES_3: Names =
    Names { published: &[("visual.", "model.visual."), ("model.", "model.language_model.")], ..NAMES };

/// The families of this folder.
pub(super) const FAMILIES: &[Family] =
    &[family("qwen2_vl", &NAMES), family("qwen2_5_vl", &NAMES), family("qwen3_vl", &NAMES_3)];

const fn family(model_type: &'static str, names: &'static Names) -> Family {
    Family { model_type, info, build, footprint, names, others: &[], fresh: as_usual }
}

fn config(folder: &Folder<'_>) -> Result<Config, ModelError> {
    Config::parse(folder.config_path, folder.config, folder.generation)
}

fn info(folder: &Folder<'_>, parameters: usize) -> Result<ModelInfo, ModelError> {
    Ok(config(folder)?.info(parameters))
}

fn footprint(folder: &Folder<'_>) -> Result<Box<dyn Footprint>, ModelError> {
    Ok(Box::new(config(folder)?))
}

fn build(
    folder: &Folder<'_>,
    parameters: usize,
    source: &dyn WeightSource,
    device: &Device,
) -> Result<Arc<dyn VisionLanguageModel>, ModelError> {
    Ok(Arc::new(QwenVl::new(&config(folder)?, parameters, source, device)?))
}

/// A Qwen-VL model over one view of its weights.
#[derive(Debug)]
pub struct QwenVl {
    info: ModelInfo,
    kv: (usize, usize),
    decoder: Decoder,
    vision: VisionTower,
    /// Cached image features, if the tower is frozen.
    features: Option<Arc<FeatureCache>>,
    device: Device,
}

impl QwenVl {
    /// Builds the model on `source`'s weights.
    pub fn new(
        config: &Config,
        parameters: usize,
        source: &dyn WeightSource,
        device: &Device,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            info: config.info(parameters),
            kv: (config.text.kv_heads, config.text.head_dim),
            decoder: Decoder::new(&config.text, source, device)?,
            vision: VisionTower::new(&config.vision, config.text.hidden_size, source, device)?,
            features: source.feature_cache(),
            device: device.clone(),
        })
    }

    /// The vision tower on its own.
    pub fn vision(&self) -> &VisionTower {
        &self.vision
    }
}

/// Features of images, one `[merged tokens, hidden]` tensor an image; those of a frozen tower are cached.
pub(super) fn encode_with(
    vision: &VisionTower,
    cache: Option<&FeatureCache>,
    images: &[Arc<ImagePatches>],
) -> Result<Vec<Tensor>, ModelError> {
    let encode = |images: &[Arc<ImagePatches>]| {
        let patches = images.iter().map(|image| image.grid.patches()).sum();
        kernels::among_workers(patches, || vision.encode(images))
    };
    let Some(features) = cache else { return encode(images) };
    let alone = |image: &Arc<ImagePatches>| {
        // [merged tokens, hidden]
        features.of(image, || Ok(Tensor::cat(&encode(std::slice::from_ref(image))?, 0)?))
    };
    images.iter().map(alone).collect()
}

impl VisionLanguageModel for QwenVl {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn encode_images(&self, images: &[Arc<ImagePatches>]) -> Result<Vec<Tensor>, ModelError> {
        encode_with(&self.vision, self.features.as_deref(), images)
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
        let features = match &self.features {
            Some(_) => self.features(batch)?,
            None => self.vision.encode_on(&batch.images, tape)?,
        };
        self.decoder.forward_on(batch, features.as_ref(), tape)
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        self.decoder.logits(hidden)
    }

    fn new_cache(&self, rows: usize, capacity: usize) -> Result<KvCache, ModelError> {
        let (kv_heads, head_dim) = self.kv;
        let layers = vec![LayerShape::Attention { kv_heads, head_dim }; self.info.layers];
        KvCache::new(&layers, rows, capacity, &self.device)
    }
}
