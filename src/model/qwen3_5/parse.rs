//! From `config.json` to a [`Config`]. Defaults are those of transformers' classes.

use std::path::Path;

use serde_json::Value;

use super::config::{Config, ImageConfig, LayerKind, TextConfig};
use super::fields::{TEXT, TOP};
use crate::model::error::ModelError;
use crate::model::family::Folder;
use crate::model::files::Inventory;
use crate::model::kernels::DeltaHeads;
use crate::model::qwen_vl::config::{Generation, Rotary};
use crate::model::qwen_vl::fields::VISION;
use crate::model::qwen_vl::parse::{check_kinds, parse_vision, special_tokens};
use crate::model::qwen_vl::parse_rope::{self, RopeRules};
use crate::model::settings::fields::{check, notes};
use crate::model::settings::reader::Reader;

/// The `model_type` of a model with a vision tower; parts and text-only models add an ending.
const FAMILY: &str = "qwen3_5";
/// Names of layers.
const KINDS: [(&str, LayerKind); 2] = [("linear_attention", LayerKind::Linear), ("full_attention", LayerKind::Full)];
/// The output head in files.
const HEAD: &str = "lm_head.weight";

impl Config {
    /// The configuration of a folder. Without a head among the files the head is the embedding.
    pub(super) fn of(folder: &Folder<'_>) -> Result<Self, ModelError> {
        let mut config = Self::parse(folder.config_path, folder.config, folder.generation)?;
        // Files that cannot be read are an error where weights are planned, and may not be there yet.
        if !config.text.tied
            && let Ok(inventory) = Inventory::read(folder.dir())
        {
            config.text.tied = !inventory.tensors.is_empty() && !inventory.tensors.contains_key(HEAD);
        }
        Ok(config)
    }

    /// Reads `json` (of the file `path`); `generation` is `generation_config.json`, where there is one.
    pub fn parse(path: &Path, json: &Value, generation: Option<&Value>) -> Result<Self, ModelError> {
        let top = Reader::of(path, json, None)?;
        let family = top.text("model_type")?.unwrap_or_default();
        let sees = family == FAMILY;
        if !sees && family != format!("{FAMILY}_text") {
            return Err(top.error(format!("`model_type` is \"{family}\", which is not {FAMILY} or {FAMILY}_text")));
        }
        let nested = Reader::of(path, json, Some(("text_config", "text_config.")))?;
        let vision = Reader::of(path, json, Some(("vision_config", "vision_config.")))?;
        if sees && !nested.is_there() {
            return Err(top.error("has no `text_config`".to_owned()));
        }
        let mut unknown = Vec::new();
        let text = if sees {
            check(&top, &[&TOP], &mut unknown)?;
            check(&nested, &[&TEXT], &mut unknown)?;
            nested
        } else {
            check(&top, &[&TOP, &TEXT], &mut unknown)?;
            top
        };
        check(&vision, &[&VISION], &mut unknown)?;
        if sees {
            check_kinds(FAMILY, &nested, &vision)?;
        }
        let (eos_token_ids, pad_token_id) = special_tokens(path, &top, &text, generation)?;
        let text = parse_text(&top, &text)?;
        let mut notes = notes(&unknown);
        if generation.is_none() {
            notes.push(
                "generation_config.json is missing: its `eos_token_id` names the token that ends a turn, which \
                 config.json does not"
                    .to_owned(),
            );
        }
        let vision = if sees { Some(parse_images(&top, &vision, text.hidden_size)?) } else { None };
        let config = Self { family: family.to_owned(), text, vision, eos_token_ids, pad_token_id, notes };
        config.check(path)?;
        Ok(config)
    }
}

fn parse_text(top: &Reader<'_>, text: &Reader<'_>) -> Result<TextConfig, ModelError> {
    let head_dim = text.size_or("head_dim", 256)?;
    let max_positions = text.size_or("max_position_embeddings", 32_768)?;
    let rules = RopeRules { interleaved: true, share: Some(0.25), theta: 1e7, section: [11, 11, 10] };
    let rope = parse_rope::parse(text, rules, max_positions)?;
    Ok(TextConfig {
        vocab_size: text.size("vocab_size")?,
        hidden_size: text.size("hidden_size")?,
        intermediate_size: text.size("intermediate_size")?,
        layers: parse_layers(text)?,
        heads: text.size("num_attention_heads")?,
        kv_heads: text.size_or("num_key_value_heads", 4)?,
        head_dim,
        delta: DeltaHeads {
            key_heads: text.size_or("linear_num_key_heads", 16)?,
            value_heads: text.size_or("linear_num_value_heads", 32)?,
            key_dim: text.size_or("linear_key_head_dim", 128)?,
            value_dim: text.size_or("linear_value_head_dim", 128)?,
        },
        kernel: text.size_or("linear_conv_kernel_dim", 4)?,
        rms_norm_eps: text.positive("rms_norm_eps")?.unwrap_or(1e-6),
        rotary: Rotary {
            dim: (head_dim as f64 * rope.share) as usize,
            theta: rope.theta,
            scaling: rope.scaling,
            section: rope.section,
            interleaved: true,
        },
        // As in transformers, the switch of the whole model counts.
        tied: top.flag("tie_word_embeddings")? == Some(true),
        max_positions,
    })
}

/// The kind of every layer: as listed, or full attention at every interval.
fn parse_layers(text: &Reader<'_>) -> Result<Vec<LayerKind>, ModelError> {
    let count = text.size("num_hidden_layers")?;
    let interval = text.size_or("full_attention_interval", 4)?;
    let Some(value) = text.find("layer_types") else {
        let kind =
            |layer: usize| if (layer + 1).is_multiple_of(interval) { LayerKind::Full } else { LayerKind::Linear };
        return Ok((0..count).map(kind).collect());
    };
    let kind = |name: &Value| KINDS.iter().find(|(known, _)| name == known).map(|(_, kind)| *kind);
    let kinds = value.as_array().and_then(|all| all.iter().map(kind).collect::<Option<Vec<_>>>());
    kinds.filter(|kinds| kinds.len() == count).ok_or_else(|| {
        let must = format!("\"{}\" or \"{}\" for each of the {count} layers", KINDS[0].0, KINDS[1].0);
        text.wrong("layer_types", value, &must)
    })
}

/// Qwen3-VL's tower, whose features enter the decoder at its beginning alone.
fn parse_images(top: &Reader<'_>, vision: &Reader<'_>, width: usize) -> Result<ImageConfig, ModelError> {
    const DEEP: &str = "deepstack_visual_indexes";
    let mut tower = parse_vision(vision, Generation::Qwen3, width)?;
    if let (Some(deep), Some(value)) = (vision.list(DEEP)?, vision.find(DEEP))
        && !deep.is_empty()
    {
        return Err(vision.wrong(DEEP, value, "empty in this family"));
    }
    tower.deepstack.clear();
    let needed = |name: &str| top.token(name)?.ok_or_else(|| top.error(format!("has no token id `{name}`")));
    Ok(ImageConfig { tower, image_token_id: needed("image_token_id")?, video_token_id: needed("video_token_id")? })
}
