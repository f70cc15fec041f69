//! Vision-language models: families, differentiable operations, weights, sampling. Knows no trainer, HTTP or SQL.
//!
//! A family is a folder (`qwen3_5/`) that implements [`VisionLanguageModel`], with a [`Family`] that tells the rest
//! of the program what it needs to know of it, and one line in [`load`].

mod blank;
mod blueprint;
pub mod cache;
pub mod capture;
pub mod constant;
mod describe;
pub mod device;
pub mod error;
pub mod family;
pub mod features;
pub mod files;
pub mod focus;
pub mod footprint;
pub mod generate;
mod graphs;
pub mod hide;
pub mod holding;
pub mod input;
pub mod kernels;
pub mod linear;
pub mod load;
pub mod logprob;
pub mod lora;
mod outgoing;
pub mod quantized;
pub mod qwen3_5;
pub mod qwen_vl;
mod random;
pub mod sampler;
mod seed;
mod settings;
pub mod shards;
pub mod tape;
pub mod transfers;
pub mod weight;
pub mod weights;

use std::sync::Arc;

use candle_core::{Device, Tensor};

pub use blank::write_blank;
pub use cache::KvCache;
pub use capture::Capture;
pub use describe::{check_settings, describe, linear_layers, size};
pub use error::ModelError;
pub use family::Family;
pub use graphs::{LARGE, graphs_at_once};
pub use holding::{Frozen, Holding};
pub use input::{Batch, Grid, ImageInput, ImagePatches, PositionRule, Sequence, Tree};
pub use linear::is_vision;
pub use load::{ModelFolder, families};
pub use random::write_random;
pub use seed::seeded;
pub use tape::Tape;
pub use weights::{Parameters, View};

/// Facts about a model that the rest of the program needs.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    /// `model_type` of the configuration, e.g. `qwen2_5_vl`.
    pub family: String,
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Width of the decoder.
    pub hidden_size: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads of a decoder layer.
    pub heads: usize,
    /// Longest sequence the model was made for.
    pub max_positions: usize,
    /// Decoder layers with attention, in ascending order: only they have maps and shares.
    pub attention_layers: Vec<usize>,
    /// How images enter the model; none: it reads text alone.
    pub image: Option<ImageInput>,
    /// Tokens that stand for images and videos in a sequence; never sampled.
    pub placeholders: Vec<u32>,
    /// Position ids of a sequence.
    pub positions: PositionRule,
    /// Tokens that end a response.
    pub eos_token_ids: Vec<u32>,
    /// Filler for padded positions.
    pub pad_token_id: u32,
    /// Number of parameters.
    pub parameters: usize,
    /// Notes for the user who registers the model: settings and tensors that the model does not use.
    pub notes: Vec<String>,
}

impl ModelInfo {
    /// How images enter the model.
    ///
    /// # Errors
    /// A model that reads text alone.
    pub fn image_input(&self) -> Result<&ImageInput, ModelError> {
        self.image.as_ref().ok_or_else(|| {
            ModelError::Input(format!("a model of the family {} reads text alone: leave the images out", self.family))
        })
    }
}

/// A vision-language model, trainable and servable: the same code runs over tracked and over detached weights.
pub trait VisionLanguageModel: Send + Sync {
    /// Facts about the model.
    fn info(&self) -> &ModelInfo;

    /// Where its weights live.
    fn device(&self) -> &Device;

    /// Image features for the decoder, one `[merged tokens, hidden]` tensor per image, in order.
    fn encode_images(&self, images: &[Arc<ImagePatches>]) -> Result<Vec<Tensor>, ModelError>;

    /// Features of a batch's distinct images, concatenated (`[merged tokens, hidden]`); none for text-only batches.
    fn features(&self, batch: &Batch) -> Result<Option<Tensor>, ModelError> {
        if batch.images.is_empty() {
            return Ok(None);
        }
        // [merged tokens, hidden]
        Ok(Some(Tensor::cat(&self.encode_images(&batch.images)?, 0)?))
    }

    /// Final hidden states (after the last norm) `[batch, seq_len, hidden]` of a padded batch.
    ///
    /// `features` holds what [`Self::features`] gives for this batch. With a `cache`, the batch continues the cached positions
    /// and is appended to it; gradients do not flow through a cache.
    fn forward(
        &self,
        batch: &Batch,
        features: Option<&Tensor>,
        cache: Option<&mut KvCache>,
        capture: &mut Capture,
    ) -> Result<Tensor, ModelError>;

    /// The same states of a whole batch with its images, block by block on a tape that can recompute each block
    /// (gradient checkpointing).
    fn forward_on<'m>(&'m self, batch: &'m Batch, tape: &mut Tape<'m>) -> Result<Tensor, ModelError>;

    /// Logits `[n, vocab]` of hidden states `[n, hidden]`.
    fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError>;

    /// An empty cache for `rows` rows and at most `capacity` positions.
    fn new_cache(&self, rows: usize, capacity: usize) -> Result<KvCache, ModelError>;
}
