//! `config.json` of Qwen3.5, with its vision tower or, flat, without.

use std::path::Path;

use crate::model::ModelInfo;
use crate::model::cache::LayerShape;
use crate::model::error::ModelError;
use crate::model::input::in_time_height_width;
use crate::model::kernels::DeltaHeads;
use crate::model::qwen_vl::config::{Rotary, VisionConfig};

/// What mixes the positions of a decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// A gated delta net: a state of fixed size.
    Linear,
    /// Attention with an output gate.
    Full,
}

/// The decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct TextConfig {
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Width.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// The layers.
    pub layers: Vec<LayerKind>,
    /// Query heads of full attention.
    pub heads: usize,
    /// Key and value heads of full attention.
    pub kv_heads: usize,
    /// Width of one of these heads.
    pub head_dim: usize,
    /// Heads of the delta nets.
    pub delta: DeltaHeads,
    /// Inputs of the delta nets' convolution.
    pub kernel: usize,
    /// Epsilon of the norms.
    pub rms_norm_eps: f64,
    /// Rotary positions of full attention.
    pub rotary: Rotary,
    /// Is the output head the embedding itself?
    pub tied: bool,
    /// Longest sequence.
    pub max_positions: usize,
}

impl TextConfig {
    /// Columns of the delta nets' convolution: queries, keys and values.
    pub fn channels(&self) -> usize {
        2 * self.delta.key_heads * self.delta.key_dim + self.values()
    }

    /// Values of all heads of a delta net.
    pub fn values(&self) -> usize {
        self.delta.value_heads * self.delta.value_dim
    }

    /// What each layer keeps of earlier positions: full attention its keys and values; a delta net the last inputs of
    /// its convolution and its state.
    pub fn cached(&self) -> Vec<LayerShape> {
        let DeltaHeads { value_heads, key_dim, value_dim, .. } = self.delta;
        let recurrent = || vec![vec![self.kernel - 1, self.channels()], vec![value_heads, key_dim, value_dim]];
        let shape = |kind: &LayerKind| match kind {
            LayerKind::Full => LayerShape::Attention { kv_heads: self.kv_heads, head_dim: self.head_dim },
            LayerKind::Linear => LayerShape::Recurrent(recurrent()),
        };
        self.layers.iter().map(shape).collect()
    }

    /// Layers of a kind, in ascending order.
    pub fn layers_of(&self, kind: LayerKind) -> Vec<usize> {
        (0..self.layers.len()).filter(|layer| self.layers[*layer] == kind).collect()
    }
}

/// The vision tower, and the tokens that images have in a sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageConfig {
    /// The tower.
    pub tower: VisionConfig,
    /// Placeholder of an image.
    pub image_token_id: u32,
    /// Placeholder of a video.
    pub video_token_id: u32,
}

/// A whole model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `model_type`.
    pub family: String,
    /// The decoder.
    pub text: TextConfig,
    /// How it sees images; none: it reads text alone.
    pub vision: Option<ImageConfig>,
    /// Tokens that end a response.
    pub eos_token_ids: Vec<u32>,
    /// Filler of padded columns.
    pub pad_token_id: u32,
    /// Notes for the user who registers the model.
    pub notes: Vec<String>,
}

impl Config {
    pub(super) fn check(&self, path: &Path) -> Result<(), ModelError> {
        let (text, delta) = (&self.text, &self.text.delta);
        let vision = self.vision.as_ref();
        let problem = if !text.heads.is_multiple_of(text.kv_heads) {
            format!(
                "`num_attention_heads` {} must be a multiple of `num_key_value_heads` {}",
                text.heads, text.kv_heads
            )
        } else if !delta.value_heads.is_multiple_of(delta.key_heads) {
            format!(
                "`linear_num_value_heads` {} must be a multiple of `linear_num_key_heads` {}",
                delta.value_heads, delta.key_heads
            )
        } else if text.layers_of(LayerKind::Full).is_empty() {
            "`layer_types` must name \"full_attention\" for at least one layer".to_owned()
        } else if text.kernel < 2 {
            format!("`linear_conv_kernel_dim` is {}, but must be at least 2", text.kernel)
        } else if text.rotary.section.iter().sum::<usize>() * 2 != text.rotary.dim {
            format!(
                "`mrope_section` {:?} must sum to half of the {} rotated dimensions (`head_dim` times \
                 `partial_rotary_factor`)",
                text.rotary.section, text.rotary.dim
            )
        } else if let Some(vision) = vision.filter(|v| !v.tower.hidden_size.is_multiple_of(v.tower.heads * 4)) {
            let (width, heads) = (vision.tower.hidden_size, vision.tower.heads);
            format!("vision width {width} does not divide into {heads} heads of multiples of 4")
        } else if let Some(vision) = vision.filter(|v| v.image_token_id as usize >= text.vocab_size) {
            format!("`image_token_id` {} is outside the vocabulary of {}", vision.image_token_id, text.vocab_size)
        } else {
            return Ok(());
        };
        Err(ModelError::Config { path: path.display().to_string(), problem })
    }

    /// The facts that the rest of the program needs.
    pub fn info(&self, parameters: usize) -> ModelInfo {
        let vision = self.vision.as_ref();
        ModelInfo {
            family: self.family.clone(),
            vocab_size: self.text.vocab_size,
            hidden_size: self.text.hidden_size,
            layers: self.text.layers.len(),
            heads: self.text.heads,
            max_positions: self.text.max_positions,
            attention_layers: self.text.layers_of(LayerKind::Full),
            image: vision.map(|vision| vision.tower.input(vision.image_token_id)),
            placeholders: vision.map_or_else(Vec::new, |vision| vec![vision.image_token_id, vision.video_token_id]),
            positions: in_time_height_width,
            eos_token_ids: self.eos_token_ids.clone(),
            pad_token_id: self.pad_token_id,
            parameters,
            notes: self.notes.clone(),
        }
    }
}
