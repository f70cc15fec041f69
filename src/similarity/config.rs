//! `config.json` of a CLIP or SigLIP checkpoint: every value that affects the computation is read, and unsupported
//! values are rejected.

use std::path::Path;

use candle_nn::Activation;
use candle_transformers::models::clip::ClipConfig;
use candle_transformers::models::clip::text_model::{Activation as ClipActivation, ClipTextConfig};
use candle_transformers::models::clip::vision_model::ClipVisionConfig;
use candle_transformers::models::siglip;
use serde_json::Value;

use super::error::SimilarityError;
use super::folder;

/// Limits far above those of real checkpoints, so that a wrong number cannot exhaust the memory.
const MOST_WIDTH: u64 = 1 << 16;
const MOST_LAYERS: u64 = 1 << 10;
const MOST_TOKENS: u64 = 1 << 24;
const MOST_CONTEXT: u64 = 1 << 14;
const MOST_SIDE: u64 = 1 << 12;

/// A checkpoint's architecture and sizes.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) architecture: Architecture,
    /// Width and height of its input images.
    pub(super) image_side: usize,
    /// Longest text in tokens.
    pub(super) context: usize,
    /// Rows of the token embedding.
    pub(super) vocabulary: usize,
    /// The end token, if the text's embedding is taken at it.
    pub(super) end: Option<u32>,
}

/// The configuration for candle's model.
#[derive(Debug, Clone)]
pub(super) enum Architecture {
    Clip(Box<ClipConfig>),
    Siglip(Box<siglip::Config>),
}

/// One object of the file, and its name.
struct Section<'a> {
    path: &'a Path,
    name: &'static str,
    fields: Option<&'a Value>,
}

/// Sizes of one tower.
struct Tower {
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
}

impl Config {
    /// Reads `config.json` of a folder.
    pub(super) fn read(dir: &Path) -> Result<Self, SimilarityError> {
        let path = dir.join("config.json");
        let json = folder::json(&path)?;
        match json.get("model_type").and_then(Value::as_str) {
            Some("clip") => clip(&path, &json),
            Some("siglip") => siglip(&path, &json),
            other => {
                let name = other.map_or_else(|| "missing".to_owned(), |name| format!("`{}`", short(name)));
                let problem =
                    format!("`model_type` is {name}; the reward `image_text` supports clip and siglip checkpoints");
                Err(SimilarityError::content(&path, problem))
            }
        }
    }
}

fn clip(path: &Path, json: &Value) -> Result<Config, SimilarityError> {
    let whole = Section { path, name: "", fields: Some(json) };
    for name in ["text_config_dict", "vision_config_dict"] {
        whole.agrees(name)?;
    }
    let text = Section { path, name: "text_config.", fields: json.get("text_config") };
    let vision = Section { path, name: "vision_config.", fields: json.get("vision_config") };
    for section in [&text, &vision] {
        section.activation("quick_gelu", &["quick_gelu"])?;
        section.epsilon(1e-5)?;
    }
    let projection_dim = whole.size("projection_dim", 512, MOST_WIDTH)?;
    let words = text.tower(&Tower { hidden: 512, intermediate: 2048, layers: 12, heads: 8 })?;
    let eyes = vision.tower(&Tower { hidden: 768, intermediate: 3072, layers: 12, heads: 12 })?;
    let (image_size, patch_size) = vision.picture(224, 32)?;
    let text_config = ClipTextConfig {
        vocab_size: text.size("vocab_size", 49_408, MOST_TOKENS)?,
        embed_dim: words.hidden,
        activation: ClipActivation::QuickGelu,
        intermediate_size: words.intermediate,
        max_position_embeddings: text.size("max_position_embeddings", 77, MOST_CONTEXT)?,
        pad_with: None,
        num_hidden_layers: words.layers,
        num_attention_heads: words.heads,
        projection_dim,
    };
    let vision_config = ClipVisionConfig {
        embed_dim: eyes.hidden,
        activation: ClipActivation::QuickGelu,
        intermediate_size: eyes.intermediate,
        num_hidden_layers: eyes.layers,
        num_attention_heads: eyes.heads,
        projection_dim,
        num_channels: 3,
        image_size,
        patch_size,
    };
    Ok(Config {
        image_side: image_size,
        context: text_config.max_position_embeddings,
        vocabulary: text_config.vocab_size,
        end: Some(text.size("eos_token_id", 49_407, MOST_TOKENS)? as u32),
        architecture: Architecture::Clip(Box::new(ClipConfig {
            text_config,
            vision_config,
            logit_scale_init_value: 2.6592,
            image_size,
        })),
    })
}

fn siglip(path: &Path, json: &Value) -> Result<Config, SimilarityError> {
    let text = Section { path, name: "text_config.", fields: json.get("text_config") };
    let vision = Section { path, name: "vision_config.", fields: json.get("vision_config") };
    let words = text.tower(&Tower { hidden: 768, intermediate: 3072, layers: 12, heads: 12 })?;
    let eyes = vision.tower(&Tower { hidden: 768, intermediate: 3072, layers: 12, heads: 12 })?;
    let projection = text.size("projection_size", words.hidden as u64, MOST_WIDTH)?;
    if projection != words.hidden || words.hidden != eyes.hidden {
        let problem = format!(
            "texts become vectors of {projection} numbers from states of {}, pictures of {}: only checkpoints where \
             all three are equal are supported",
            words.hidden, eyes.hidden
        );
        return Err(SimilarityError::content(path, problem));
    }
    if vision.field("vision_use_head").is_some_and(|head| *head != Value::Bool(true)) {
        return Err(vision.fault("vision_use_head", "must be true: without its head the tower has no embedding"));
    }
    let known = &["gelu_pytorch_tanh", "gelu"];
    let activation = |section: &Section<'_>| {
        let name = section.activation("gelu_pytorch_tanh", known)?;
        Ok::<_, SimilarityError>(if name == "gelu" { Activation::Gelu } else { Activation::GeluPytorchTanh })
    };
    let (image_size, patch_size) = vision.picture(224, 16)?;
    let text_config = siglip::TextConfig {
        vocab_size: text.size("vocab_size", 32_000, MOST_TOKENS)?,
        hidden_size: words.hidden,
        intermediate_size: words.intermediate,
        num_hidden_layers: words.layers,
        num_attention_heads: words.heads,
        max_position_embeddings: text.size("max_position_embeddings", 64, MOST_CONTEXT)?,
        hidden_act: activation(&text)?,
        layer_norm_eps: text.number("layer_norm_eps", 1e-6)?,
        // Not used by the model: texts already have their end and padding tokens.
        pad_token_id: 0,
        bos_token_id: 0,
        eos_token_id: 0,
    };
    let vision_config = siglip::VisionConfig {
        hidden_size: eyes.hidden,
        intermediate_size: eyes.intermediate,
        num_hidden_layers: eyes.layers,
        num_attention_heads: eyes.heads,
        num_channels: 3,
        image_size,
        patch_size,
        hidden_act: activation(&vision)?,
        layer_norm_eps: vision.number("layer_norm_eps", 1e-6)?,
    };
    Ok(Config {
        image_side: image_size,
        context: text_config.max_position_embeddings,
        vocabulary: text_config.vocab_size,
        end: None,
        architecture: Architecture::Siglip(Box::new(siglip::Config { text_config, vision_config })),
    })
}

impl Section<'_> {
    fn field(&self, name: &str) -> Option<&Value> {
        self.fields?.get(name).filter(|value| !value.is_null())
    }

    fn fault(&self, name: &str, problem: &str) -> SimilarityError {
        let value = self.field(name).map(|value| format!(" is {},", short(&value.to_string()))).unwrap_or_default();
        SimilarityError::content(self.path, format!("`{}{name}`{value} but {problem}", self.name))
    }

    /// A positive whole number.
    fn size(&self, name: &str, default: u64, most: u64) -> Result<usize, SimilarityError> {
        let Some(value) = self.field(name) else { return Ok(default as usize) };
        let fits = value.as_u64().filter(|number| (1..=most).contains(number));
        let size = fits.ok_or_else(|| self.fault(name, &format!("must be a whole number from 1 to {most}")))?;
        Ok(size as usize)
    }

    fn number(&self, name: &str, default: f64) -> Result<f64, SimilarityError> {
        let Some(value) = self.field(name) else { return Ok(default) };
        let fits = value.as_f64().filter(|number| *number > 0.0 && *number < 1.0);
        fits.ok_or_else(|| self.fault(name, "must be a number between 0 and 1"))
    }

    /// The normalisation's epsilon, if only one value is supported.
    fn epsilon(&self, only: f64) -> Result<(), SimilarityError> {
        let epsilon = self.number("layer_norm_eps", only)?;
        if (epsilon - only).abs() > only * 1e-6 {
            return Err(self.fault("layer_norm_eps", &format!("only {only} is supported for this family")));
        }
        Ok(())
    }

    fn activation(&self, default: &'static str, known: &[&'static str]) -> Result<&'static str, SimilarityError> {
        let Some(value) = self.field("hidden_act") else { return Ok(default) };
        let activation = known.iter().find(|name| value == **name);
        activation
            .copied()
            .ok_or_else(|| self.fault("hidden_act", &format!("only {} is supported", known.join(" and "))))
    }

    fn tower(&self, default: &Tower) -> Result<Tower, SimilarityError> {
        let tower = Tower {
            hidden: self.size("hidden_size", default.hidden as u64, MOST_WIDTH)?,
            intermediate: self.size("intermediate_size", default.intermediate as u64, MOST_WIDTH)?,
            layers: self.size("num_hidden_layers", default.layers as u64, MOST_LAYERS)?,
            heads: self.size("num_attention_heads", default.heads as u64, MOST_WIDTH)?,
        };
        if !tower.hidden.is_multiple_of(tower.heads) {
            return Err(self.fault("num_attention_heads", &format!("must divide hidden_size, {}", tower.hidden)));
        }
        Ok(tower)
    }

    /// Sides of the picture and of a patch in pixels.
    fn picture(&self, image: u64, patch: u64) -> Result<(usize, usize), SimilarityError> {
        if self.size("num_channels", 3, MOST_WIDTH)? != 3 {
            return Err(self.fault("num_channels", "must be 3: red, green and blue"));
        }
        let image = self.size("image_size", image, MOST_SIDE)?;
        Ok((image, self.size("patch_size", patch, image as u64)?))
    }

    /// Old files contain the towers' settings twice; transformers uses the second, so a difference is an error here.
    fn agrees(&self, dict: &'static str) -> Result<(), SimilarityError> {
        let first = dict.trim_end_matches("_dict");
        let Some(second) = self.field(dict).and_then(Value::as_object) else { return Ok(()) };
        for (name, value) in second {
            if self.field(first).and_then(|fields| fields.get(name)) != Some(value) {
                let problem = format!("it disagrees with `{first}` about `{}`; keep one of the two", short(name));
                return Err(SimilarityError::content(self.path, format!("`{dict}`: {problem}")));
            }
        }
        Ok(())
    }
}

/// The beginning of a value, for messages.
pub(super) fn short(text: &str) -> String {
    text.chars().take(80).collect()
}
