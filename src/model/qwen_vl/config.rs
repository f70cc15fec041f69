//! `config.json` of the Qwen-VL families, in the flat form of the published checkpoints and the nested one of newer tools.

use std::path::Path;

use crate::model::error::ModelError;
use crate::model::input::in_time_height_width;
use crate::model::{ImageInput, ModelInfo};

/// Equivalent image processors.
const PROCESSORS: [&str; 3] = ["Qwen2VLImageProcessor", "Qwen2_5_VLImageProcessor", "Qwen3VLImageProcessor"];

/// The model families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// `qwen2_vl`: layer norms and quick-GELU in the tower.
    Qwen2,
    /// `qwen2_5_vl`: windowed tower with gated MLPs.
    Qwen2_5,
    /// `qwen3_vl`: learned vision positions, deepstack, interleaved rotary positions, normalised queries and keys.
    Qwen3,
}

impl Generation {
    /// Every family.
    pub const ALL: [Self; 3] = [Self::Qwen2, Self::Qwen2_5, Self::Qwen3];

    /// `model_type` of the configuration.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Qwen2 => "qwen2_vl",
            Self::Qwen2_5 => "qwen2_5_vl",
            Self::Qwen3 => "qwen3_vl",
        }
    }
}

/// The decoder.
#[allow(clippy::struct_excessive_bools, reason = "each is an independent switch of the published configuration")]
#[derive(Debug, Clone, PartialEq)]
pub struct TextConfig {
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Width.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Epsilon of the norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How they are stretched for longer sequences.
    pub rope_scaling: RopeScaling,
    /// Rotary frequencies that follow time, height and width.
    pub mrope_section: [usize; 3],
    /// Are the three interleaved (Qwen3-VL), or one section after the other?
    pub mrope_interleaved: bool,
    /// Have query, key and value projections a bias?
    pub qkv_bias: bool,
    /// Are queries and keys normalised per head before the rotation?
    pub qk_norm: bool,
    /// Is the output head the embedding itself?
    pub tied: bool,
    /// Longest sequence.
    pub max_positions: usize,
}

impl TextConfig {
    /// Its rotary positions.
    pub fn rotary(&self) -> Rotary {
        Rotary {
            dim: self.head_dim,
            theta: self.rope_theta,
            scaling: self.rope_scaling,
            section: self.mrope_section,
            interleaved: self.mrope_interleaved,
        }
    }
}

/// Rotary positions in time, height and width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rotary {
    /// Values of a head that are rotated: its first ones.
    pub dim: usize,
    /// Base of the frequencies.
    pub theta: f64,
    /// How they are stretched for longer sequences.
    pub scaling: RopeScaling,
    /// Frequencies that follow time, height and width.
    pub section: [usize; 3],
    /// Are the three interleaved, or one section after the other?
    pub interleaved: bool,
}

/// How rotary frequencies are stretched beyond the length that a model was trained with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// All by the same factor.
    Linear(f64),
    /// By how often they turn within that length (`YaRN`).
    Yarn(Yarn),
}

/// The settings of `YaRN` (<https://arxiv.org/abs/2309.00071>), as transformers reads them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    /// Times longer.
    pub factor: f64,
    /// The length that the model was trained with.
    pub original_length: f64,
    /// Frequencies that turn more often stay as they are.
    pub beta_fast: f64,
    /// Those that turn more rarely are stretched in full.
    pub beta_slow: f64,
    /// Are the bounds between them whole numbers?
    pub truncate: bool,
    /// What cosines and sines are multiplied with.
    pub attention_factor: f64,
}

/// The vision tower.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    /// Blocks.
    pub depth: usize,
    /// Width.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Heads.
    pub heads: usize,
    /// Colour channels.
    pub channels: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Patches per side of one image token.
    pub merge_size: usize,
    /// Frames per patch.
    pub temporal_patch_size: usize,
    /// Norm of the blocks and mergers.
    pub norm: VisionNorm,
    /// MLP of the blocks; with it go the names of the weights.
    pub mlp: VisionMlp,
    /// Side of the square grid of learned positions; none: rotary positions only.
    pub position_side: Option<usize>,
    /// Blocks whose output reaches the first decoder layers through mergers of their own.
    pub deepstack: Vec<usize>,
    /// Side of an attention window in pixels; none: every block attends to the whole image.
    pub window_size: Option<usize>,
    /// Blocks that attend to the whole image.
    pub full_attention_blocks: Vec<usize>,
}

impl VisionConfig {
    /// How its images enter a model in which `token_id` stands for an image token.
    pub fn input(&self, token_id: u32) -> ImageInput {
        ImageInput {
            token_id,
            patch_size: self.patch_size,
            merge_size: self.merge_size,
            temporal_patch_size: self.temporal_patch_size,
            processors: &PROCESSORS,
        }
    }
}

/// The norm of a vision tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VisionNorm {
    /// Mean and variance, with a bias.
    Layer,
    /// Root mean square, without a bias.
    RootMeanSquare,
}

/// The MLP of a vision tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VisionMlp {
    /// Gated, with `SiLU` (Qwen2.5-VL).
    GatedSilu,
    /// Two layers with quick-GELU (Qwen2-VL).
    QuickGelu,
    /// Two layers with the tanh form of GELU (Qwen3-VL).
    TanhGelu,
}

/// A whole model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Which of the families.
    pub generation: Generation,
    /// The decoder.
    pub text: TextConfig,
    /// The vision tower.
    pub vision: VisionConfig,
    /// Placeholder of an image.
    pub image_token_id: u32,
    /// Placeholder of a video.
    pub video_token_id: u32,
    /// Tokens that end a response.
    pub eos_token_ids: Vec<u32>,
    /// Filler of padded columns.
    pub pad_token_id: u32,
    /// Notes on unused settings, for the user who registers the model.
    pub notes: Vec<String>,
}

impl Config {
    pub(super) fn check(&self, path: &Path) -> Result<(), ModelError> {
        let (text, vision) = (&self.text, &self.vision);
        let problem = if !text.heads.is_multiple_of(text.kv_heads) {
            format!(
                "`num_attention_heads` {} must be a multiple of `num_key_value_heads` {}",
                text.heads, text.kv_heads
            )
        } else if text.mrope_section.iter().sum::<usize>() * 2 != text.head_dim {
            format!("`mrope_section` {:?} must sum to half the head width {}", text.mrope_section, text.head_dim)
        } else if !vision.hidden_size.is_multiple_of(vision.heads * 4) {
            format!("vision width {} does not divide into {} heads of multiples of 4", vision.hidden_size, vision.heads)
        } else if let Some(window) = vision.window_size.filter(|w| *w < vision.merge_size * vision.patch_size) {
            format!("`window_size` {window} is smaller than one merged token")
        } else if let Some(block) = vision.deepstack.iter().find(|block| **block >= vision.depth) {
            format!("`deepstack_visual_indexes` names block {block}, but `depth` is {}", vision.depth)
        } else if vision.deepstack.len() > text.layers {
            format!("{} deepstack features need as many decoder layers, not {}", vision.deepstack.len(), text.layers)
        } else if self.image_token_id as usize >= text.vocab_size {
            format!("`image_token_id` {} is outside the vocabulary of {}", self.image_token_id, text.vocab_size)
        } else if let Some(block) = vision.full_attention_blocks.iter().find(|block| **block >= vision.depth) {
            format!("`fullatt_block_indexes` names block {block}, but `depth` is {}", vision.depth)
        } else {
            return Ok(());
        };
        Err(ModelError::Config { path: path.display().to_string(), problem })
    }

    /// The facts that the rest of the program needs.
    pub fn info(&self, parameters: usize) -> ModelInfo {
        ModelInfo {
            family: self.generation.model_type().to_owned(),
            vocab_size: self.text.vocab_size,
            hidden_size: self.text.hidden_size,
            layers: self.text.layers,
            heads: self.text.heads,
            max_positions: self.text.max_positions,
            attention_layers: (0..self.text.layers).collect(),
            image: Some(self.vision.input(self.image_token_id)),
            placeholders: vec![self.image_token_id, self.video_token_id],
            positions: in_time_height_width,
            eos_token_ids: self.eos_token_ids.clone(),
            pad_token_id: self.pad_token_id,
            parameters,
            notes: self.notes.clone(),
        }
    }
}
