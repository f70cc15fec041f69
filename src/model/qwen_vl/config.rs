//! `config.json` of the Qwen-VL families, in the flat form of the published checkpoints and the nested one of newer tools.

use std::path::Path;

use serde_json::Value;

use crate::model::ModelInfo;
use crate::model::error::ModelError;

/// The families, by what sets them apart.
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
}

/// Looks fields up in a JSON object and in a nested one, and remembers the file for errors.
struct Reader<'a> {
    path: &'a Path,
    objects: Vec<&'a Value>,
}

impl<'a> Reader<'a> {
    fn find(&self, names: &[&str]) -> Option<&'a Value> {
        let found = names.iter().flat_map(|name| self.objects.iter().filter_map(move |o| o.get(name)));
        found.into_iter().find(|v| !v.is_null())
    }

    fn error(&self, problem: String) -> ModelError {
        ModelError::Config { path: self.path.display().to_string(), problem }
    }

    fn size(&self, names: &[&str]) -> Result<usize, ModelError> {
        let value = self.find(names).ok_or_else(|| self.error(format!("has no `{}`", names[0])))?;
        value
            .as_u64()
            .filter(|n| (1..=1 << 32).contains(n))
            .map(|n| n as usize)
            .ok_or_else(|| self.error(format!("`{}` is {value}, but must be a positive whole number", names[0])))
    }

    fn size_or(&self, names: &[&str], default: usize) -> Result<usize, ModelError> {
        if self.find(names).is_some() { self.size(names) } else { Ok(default) }
    }

    fn number_or(&self, names: &[&str], default: f64) -> f64 {
        self.find(names).and_then(Value::as_f64).unwrap_or(default)
    }

    fn token(&self, names: &[&str]) -> Result<u32, ModelError> {
        self.find(names)
            .and_then(Value::as_u64)
            .map(|id| id as u32)
            .ok_or_else(|| self.error(format!("has no token id `{}`", names[0])))
    }

    fn list(&self, name: &str) -> Option<Vec<usize>> {
        let values = self.find(&[name])?.as_array()?;
        values.iter().map(|v| v.as_u64().map(|n| n as usize)).collect()
    }
}

fn token_list(value: Option<&Value>) -> Vec<u32> {
    match value {
        Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_u64).map(|id| id as u32).collect(),
        Some(id) => id.as_u64().map(|id| id as u32).into_iter().collect(),
        None => Vec::new(),
    }
}

impl Config {
    /// Reads `json` (of the file `path`); `generation` is `generation_config.json`, where there is one.
    pub fn parse(path: &Path, json: &Value, generation: Option<&Value>) -> Result<Self, ModelError> {
        let model_type = json.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let family = Generation::ALL.into_iter().find(|g| g.model_type() == model_type);
        let family = family.ok_or_else(|| ModelError::Config {
            path: path.display().to_string(),
            problem: format!("`model_type` is \"{model_type}\", which is no Qwen-VL family"),
        })?;
        let text_object = json.get("text_config").unwrap_or(json);
        let text = Reader { path, objects: vec![text_object, json] };
        let vision_object = json.get("vision_config").unwrap_or(&Value::Null);
        let vision = Reader { path, objects: vec![vision_object] };
        let mut eos_token_ids = token_list(text.find(&["eos_token_id"]));
        for id in token_list(generation.and_then(|g| g.get("eos_token_id"))) {
            if !eos_token_ids.contains(&id) {
                eos_token_ids.push(id);
            }
        }
        let pad = text.find(&["pad_token_id"]).or_else(|| text.find(&["bos_token_id"])).and_then(Value::as_u64);
        let pad_token_id = pad.map_or_else(|| eos_token_ids.first().copied().unwrap_or(0), |id| id as u32);
        let config = Self {
            generation: family,
            text: parse_text(&text, json, family)?,
            vision: parse_vision(&vision, family)?,
            image_token_id: text.token(&["image_token_id"])?,
            video_token_id: text.token(&["video_token_id"])?,
            eos_token_ids,
            pad_token_id,
        };
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ModelError> {
        let (text, vision) = (&self.text, &self.vision);
        let problem = if !text.heads.is_multiple_of(text.kv_heads) {
            format!("`num_attention_heads` {} is no multiple of `num_key_value_heads` {}", text.heads, text.kv_heads)
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
            image_token_id: self.image_token_id,
            video_token_id: self.video_token_id,
            eos_token_ids: self.eos_token_ids.clone(),
            pad_token_id: self.pad_token_id,
            patch_size: self.vision.patch_size,
            merge_size: self.vision.merge_size,
            temporal_patch_size: self.vision.temporal_patch_size,
            parameters,
        }
    }
}

fn parse_text(text: &Reader<'_>, json: &Value, family: Generation) -> Result<TextConfig, ModelError> {
    if text.find(&["use_sliding_window"]).and_then(Value::as_bool) == Some(true) {
        return Err(text.error("`use_sliding_window` is true, which is not supported; set it to false".to_owned()));
    }
    let hidden_size = text.size(&["hidden_size"])?;
    let heads = text.size(&["num_attention_heads"])?;
    let rope = text.find(&["rope_parameters", "rope_scaling"]).unwrap_or(&Value::Null);
    let rope = Reader { path: text.path, objects: vec![rope, text.objects[0], json] };
    let section = rope.list("mrope_section").and_then(|s| <[usize; 3]>::try_from(s).ok());
    let mrope_section = section.ok_or_else(|| rope.error("has no `mrope_section` of three numbers".to_owned()))?;
    let tied = json.get("tie_word_embeddings").or_else(|| text.find(&["tie_word_embeddings"]));
    Ok(TextConfig {
        vocab_size: text.size(&["vocab_size"])?,
        hidden_size,
        intermediate_size: text.size(&["intermediate_size"])?,
        layers: text.size(&["num_hidden_layers"])?,
        heads,
        kv_heads: text.size_or(&["num_key_value_heads"], heads)?,
        head_dim: text.size_or(&["head_dim"], hidden_size / heads)?,
        rms_norm_eps: text.number_or(&["rms_norm_eps"], 1e-6),
        rope_theta: rope.number_or(&["rope_theta"], 1e6),
        mrope_section,
        mrope_interleaved: family == Generation::Qwen3,
        qkv_bias: family != Generation::Qwen3,
        qk_norm: family == Generation::Qwen3,
        tied: tied.and_then(Value::as_bool).unwrap_or(false),
        max_positions: text.size_or(&["max_position_embeddings"], 32_768)?,
    })
}

fn parse_vision(vision: &Reader<'_>, family: Generation) -> Result<VisionConfig, ModelError> {
    let depth = vision.size(&["depth"])?;
    // Qwen2-VL calls the tower's width `embed_dim`; its `hidden_size` is the decoder's.
    let hidden_size = vision.size(if family == Generation::Qwen2 { &["embed_dim"] } else { &["hidden_size"] })?;
    let intermediate_size = match family {
        Generation::Qwen2 => hidden_size * vision.size_or(&["mlp_ratio"], 4)?,
        Generation::Qwen2_5 | Generation::Qwen3 => vision.size(&["intermediate_size"])?,
    };
    let windowed = family == Generation::Qwen2_5;
    let full = vision.list("fullatt_block_indexes").filter(|_| windowed);
    Ok(VisionConfig {
        depth,
        hidden_size,
        intermediate_size,
        heads: vision.size(&["num_heads"])?,
        channels: vision.size_or(&["in_chans", "in_channels"], 3)?,
        patch_size: vision.size_or(&["patch_size", "spatial_patch_size"], 14)?,
        merge_size: vision.size_or(&["spatial_merge_size"], 2)?,
        temporal_patch_size: vision.size_or(&["temporal_patch_size"], 2)?,
        norm: if windowed { VisionNorm::RootMeanSquare } else { VisionNorm::Layer },
        mlp: match family {
            Generation::Qwen2 => VisionMlp::QuickGelu,
            Generation::Qwen2_5 => VisionMlp::GatedSilu,
            Generation::Qwen3 => VisionMlp::TanhGelu,
        },
        position_side: if family == Generation::Qwen3 { Some(position_side(vision)?) } else { None },
        deepstack: vision.list("deepstack_visual_indexes").filter(|_| family == Generation::Qwen3).unwrap_or_default(),
        window_size: if windowed { Some(vision.size_or(&["window_size"], 112)?) } else { None },
        full_attention_blocks: full.unwrap_or_else(|| (0..depth).collect()),
    })
}

fn position_side(vision: &Reader<'_>) -> Result<usize, ModelError> {
    let count = vision.size_or(&["num_position_embeddings"], 2304)?;
    let side = count.isqrt();
    if side * side == count {
        return Ok(side);
    }
    Err(vision.error(format!("`num_position_embeddings` is {count}, but must be a square number")))
}
