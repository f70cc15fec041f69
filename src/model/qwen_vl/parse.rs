//! From `config.json` to a [`Config`]. Defaults are those of transformers' classes.

use std::path::Path;

use serde_json::{Map, Value};

use super::config::{Config, Generation, TextConfig, VisionConfig, VisionMlp, VisionNorm};
use super::fields;
use super::parse_rope::{self, RopeRules};
use super::rope::VISION_THETA;
use crate::model::error::ModelError;
use crate::model::settings::fields::{check, notes};
use crate::model::settings::reader::{Reader, shown};

/// The entry of `layer_types` for full attention.
const FULL_ATTENTION: &str = "full_attention";
/// Defaults of transformers for absent settings.
struct Defaults {
    kv_heads: usize,
    head_dim: Option<usize>,
    rms_norm_eps: f64,
    rope_theta: f64,
    mrope_section: [usize; 3],
    max_positions: usize,
    patch_size: usize,
    vision_act: &'static str,
}

fn defaults(family: Generation) -> Defaults {
    match family {
        Generation::Qwen2 | Generation::Qwen2_5 => Defaults {
            kv_heads: 8,
            head_dim: None,
            rms_norm_eps: 1e-5,
            rope_theta: 1e6,
            mrope_section: [16, 24, 24],
            max_positions: 32_768,
            patch_size: 14,
            vision_act: if family == Generation::Qwen2 { "quick_gelu" } else { "silu" },
        },
        Generation::Qwen3 => Defaults {
            kv_heads: 32,
            head_dim: Some(128),
            rms_norm_eps: 1e-6,
            rope_theta: 5e5,
            mrope_section: [24, 20, 20],
            max_positions: 128_000,
            patch_size: 16,
            vision_act: "gelu_pytorch_tanh",
        },
    }
}

impl Config {
    /// Reads `json` (of the file `path`); `generation` is `generation_config.json`, where there is one.
    pub fn parse(path: &Path, json: &Value, generation: Option<&Value>) -> Result<Self, ModelError> {
        let top = Reader::of(path, json, None)?;
        let model_type = top.text("model_type")?.unwrap_or_default();
        let family = Generation::ALL.into_iter().find(|g| g.model_type() == model_type);
        let family = family
            .ok_or_else(|| top.error(format!("`model_type` is \"{model_type}\", which is not a Qwen-VL family")))?;
        let nested = Reader::of(path, json, Some(("text_config", "text_config.")))?;
        let vision = Reader::of(path, json, Some(("vision_config", "vision_config.")))?;
        let mut unknown = Vec::new();
        let text = if nested.is_there() {
            check(&top, &[&fields::TOP, &fields::TEXT], &mut unknown)?;
            check(&nested, &[&fields::TEXT], &mut unknown)?;
            nested
        } else {
            check(&top, &[&fields::TOP, &fields::TEXT], &mut unknown)?;
            top
        };
        check(&vision, &[&fields::VISION], &mut unknown)?;
        check_kinds(family.model_type(), &nested, &vision)?;
        let (eos_token_ids, pad_token_id) = special_tokens(path, &top, &text, generation)?;
        let needed = |name: &str| top.token(name)?.ok_or_else(|| top.error(format!("has no token id `{name}`")));
        let text_config = parse_text(&top, &text, family)?;
        if text.full("") != top.full("") {
            check_outside(&top, &text, &text_config, family)?;
        }
        let config = Self {
            generation: family,
            vision: parse_vision(&vision, family, text_config.hidden_size)?,
            text: text_config,
            image_token_id: needed("image_token_id")?,
            video_token_id: needed("video_token_id")?,
            eos_token_ids,
            pad_token_id,
            notes: notes(&unknown),
        };
        config.check(path)?;
        Ok(config)
    }
}

/// The parts may name their own `model_type`, which must be that of the family.
pub(in crate::model) fn check_kinds(own: &str, text: &Reader<'_>, vision: &Reader<'_>) -> Result<(), ModelError> {
    for (part, end) in [(text, "_text"), (vision, "_vision")] {
        let Some(kind) = part.text("model_type")? else { continue };
        if kind != own && kind != format!("{own}{end}") {
            return Err(part.wrong("model_type", &Value::from(kind), &format!("\"{own}{end}\"")));
        }
    }
    Ok(())
}

/// Tokens that end a response, and the filler.
pub(in crate::model) fn special_tokens(
    path: &Path,
    top: &Reader<'_>,
    text: &Reader<'_>,
    generation: Option<&Value>,
) -> Result<(Vec<u32>, u32), ModelError> {
    let generation_path = path.with_file_name("generation_config.json");
    let empty = Value::Object(Map::new());
    let generation = Reader::of(&generation_path, generation.unwrap_or(&empty), None)?;
    let mut ends = Vec::new();
    for reader in [text, top, &generation] {
        for id in reader.tokens("eos_token_id")? {
            if !ends.contains(&id) {
                ends.push(id);
            }
        }
    }
    let mut pad = None;
    for (reader, name) in [(text, "pad_token_id"), (top, "pad_token_id"), (text, "bos_token_id"), (top, "bos_token_id")]
    {
        pad = pad.or(reader.token(name)?);
    }
    let pad = pad.or(ends.first().copied()).unwrap_or(0);
    Ok((ends, pad))
}

fn parse_text(top: &Reader<'_>, text: &Reader<'_>, family: Generation) -> Result<TextConfig, ModelError> {
    let defaults = defaults(family);
    let hidden_size = text.size("hidden_size")?;
    let heads = text.size("num_attention_heads")?;
    let layers = text.size("num_hidden_layers")?;
    check_layers(text, layers)?;
    let whole_heads = hidden_size / heads;
    let head_dim = text.size_or("head_dim", defaults.head_dim.unwrap_or(whole_heads))?;
    if family != Generation::Qwen3 && head_dim != whole_heads {
        let problem = format!("{} is {head_dim}, but must be hidden_size / num_attention_heads", text.full("head_dim"));
        return Err(text.error(problem));
    }
    let biased = family != Generation::Qwen3;
    if let (Some(bias), Some(value)) = (text.flag("attention_bias")?, text.find("attention_bias"))
        && bias != biased
    {
        return Err(text.wrong("attention_bias", value, &format!("{biased} in this family")));
    }
    let max_positions = text.size_or("max_position_embeddings", defaults.max_positions)?;
    let interleaved = family == Generation::Qwen3;
    let rules = RopeRules { interleaved, share: None, theta: defaults.rope_theta, section: defaults.mrope_section };
    let rope = parse_rope::parse(text, rules, max_positions)?;
    Ok(TextConfig {
        vocab_size: text.size("vocab_size")?,
        hidden_size,
        intermediate_size: text.size("intermediate_size")?,
        layers,
        heads,
        kv_heads: kv_heads(text, heads, &defaults)?,
        head_dim,
        rms_norm_eps: text.positive("rms_norm_eps")?.unwrap_or(defaults.rms_norm_eps),
        rope_theta: rope.theta,
        rope_scaling: rope.scaling,
        mrope_section: rope.section,
        mrope_interleaved: interleaved,
        qkv_bias: biased,
        qk_norm: family == Generation::Qwen3,
        tied: is_tied(top, text, family)?,
        max_positions,
    })
}

/// If the decoder has its own object, transformers reads its settings only there: a different value outside would have
/// no effect.
fn check_outside(
    top: &Reader<'_>,
    text: &Reader<'_>,
    config: &TextConfig,
    family: Generation,
) -> Result<(), ModelError> {
    const ROPE: [&str; 2] = ["rope_scaling", "rope_parameters"];
    let named = ["model_type", "tie_word_embeddings", "quantization_config"];
    let names = fields::read_by_decoder().iter().filter(|name| !named.contains(name));
    let outside: Vec<(&str, &Value)> = names.filter_map(|name| Some((*name, top.find(name)?))).collect();
    let Some((name, value)) = outside.iter().find(|(name, value)| text.find(name) != Some(*value)) else {
        return Ok(());
    };
    // Only what they mean counts: the same settings have older and newer forms.
    let mut merged: Map<String, Value> = text.fields().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    if outside.iter().any(|(name, _)| ROPE.contains(name)) {
        let theta = ROPE.iter().find_map(|name| merged.shift_remove(*name)?.get("rope_theta").cloned());
        theta.and_then(|theta| merged.insert("rope_theta".to_owned(), theta));
    }
    merged.extend(outside.iter().map(|(name, value)| ((*name).to_owned(), (*value).clone())));
    let merged = Value::Object(merged);
    let other = parse_text(top, &top.nested(Some(&merged), ""), family)?;
    if (TextConfig { tied: config.tied, ..other }) == *config {
        return Ok(());
    }
    Err(top.error(format!(
        "{} is {}, but only `text_config` counts for the decoder, where it has another value: set {} to the intended one",
        top.full(name),
        shown(value),
        text.full(name)
    )))
}

/// An explicit null means as many as query heads.
fn kv_heads(text: &Reader<'_>, heads: usize, defaults: &Defaults) -> Result<usize, ModelError> {
    let is_null = text.fields().any(|(name, value)| name == "num_key_value_heads" && value.is_null());
    text.size_or("num_key_value_heads", if is_null { heads } else { defaults.kv_heads })
}

fn check_layers(text: &Reader<'_>, layers: usize) -> Result<(), ModelError> {
    let Some(value) = text.find("layer_types") else { return Ok(()) };
    let full = value.as_array().is_some_and(|all| all.len() == layers && all.iter().all(|one| one == FULL_ATTENTION));
    if full {
        return Ok(());
    }
    let must = format!("\"{FULL_ATTENTION}\" for each of the {layers} layers (other attention is not supported)");
    Err(text.wrong("layer_types", value, &must))
}

/// Versions of transformers have looked for the switch in different places: two that contradict each other are an
/// error.
fn is_tied(top: &Reader<'_>, text: &Reader<'_>, family: Generation) -> Result<bool, ModelError> {
    let (outer, inner) = (top.flag("tie_word_embeddings")?, text.flag("tie_word_embeddings")?);
    match (outer, inner) {
        (Some(true), Some(false)) => {}
        (Some(false), Some(true)) if family == Generation::Qwen3 => {}
        _ => return Ok(outer == Some(true) || inner == Some(true)),
    }
    Err(top
        .error("has `tie_word_embeddings` at the top and the opposite in `text_config`: keep the right one".to_owned()))
}

pub(in crate::model) fn parse_vision(
    vision: &Reader<'_>,
    family: Generation,
    text_width: usize,
) -> Result<VisionConfig, ModelError> {
    let defaults = defaults(family);
    let depth = vision.size("depth")?;
    // Qwen2-VL calls the tower's width `embed_dim`; its `hidden_size` is the decoder's.
    let hidden_size = vision.size(if family == Generation::Qwen2 { "embed_dim" } else { "hidden_size" })?;
    let out = if family == Generation::Qwen2 { "hidden_size" } else { "out_hidden_size" };
    let heads = vision.size_or("num_heads", 16)?;
    let patch_size = vision.size_or("patch_size", defaults.patch_size)?;
    // Other names for the same, which must agree.
    for (name, same) in [
        (out, text_width),
        ("spatial_patch_size", patch_size),
        ("num_attention_heads", heads),
        ("num_hidden_layers", depth),
        ("head_dim", hidden_size / heads),
    ] {
        if let (Some(size), Some(value)) = (vision.optional_size(name)?, vision.find(name))
            && size != same
        {
            return Err(vision.wrong(name, value, &same.to_string()));
        }
    }
    check_vision_kind(vision, defaults.vision_act)?;
    let intermediate_size = match family {
        Generation::Qwen2 => hidden_size * vision.size_or("mlp_ratio", 4)?,
        Generation::Qwen2_5 | Generation::Qwen3 => vision.size("intermediate_size")?,
    };
    let windowed = family == Generation::Qwen2_5;
    let listed =
        |name: &str, default: &[usize]| Ok::<_, ModelError>(vision.list(name)?.unwrap_or_else(|| default.to_vec()));
    Ok(VisionConfig {
        depth,
        hidden_size,
        intermediate_size,
        heads,
        channels: 3,
        patch_size,
        merge_size: vision.size_or("spatial_merge_size", 2)?,
        temporal_patch_size: vision.size_or("temporal_patch_size", 2)?,
        norm: if windowed { VisionNorm::RootMeanSquare } else { VisionNorm::Layer },
        mlp: match family {
            Generation::Qwen2 => VisionMlp::QuickGelu,
            Generation::Qwen2_5 => VisionMlp::GatedSilu,
            Generation::Qwen3 => VisionMlp::TanhGelu,
        },
        position_side: if family == Generation::Qwen3 { Some(position_side(vision)?) } else { None },
        deepstack: match family {
            Generation::Qwen3 => listed("deepstack_visual_indexes", &[8, 16, 24])?,
            Generation::Qwen2 | Generation::Qwen2_5 => Vec::new(),
        },
        window_size: if windowed { Some(vision.size_or("window_size", 112)?) } else { None },
        full_attention_blocks: match family {
            Generation::Qwen2_5 => listed("fullatt_block_indexes", &[7, 15, 23, 31])?,
            Generation::Qwen2 | Generation::Qwen3 => (0..depth).collect(),
        },
    })
}

/// Activation and rotary settings of the tower, which have one form each.
fn check_vision_kind(vision: &Reader<'_>, act: &str) -> Result<(), ModelError> {
    if let (Some(given), Some(value)) = (vision.text("hidden_act")?, vision.find("hidden_act"))
        && given != act
    {
        return Err(vision.wrong("hidden_act", value, &format!("\"{act}\" in this family")));
    }
    let Some(rope) = vision.find("rope_parameters") else { return Ok(()) };
    let rope = vision.nested(Some(rope), "");
    let fits = rope.fields().all(|(name, value)| match name {
        "rope_theta" => value.as_f64() == Some(VISION_THETA),
        "rope_type" | "type" => value == "axial" || value == "default",
        _ => value.is_null(),
    });
    match vision.find("rope_parameters") {
        Some(value) if !fits => {
            Err(vision.wrong("rope_parameters", value, &format!("the type \"axial\" with the base {VISION_THETA}")))
        }
        _ => Ok(()),
    }
}

fn position_side(vision: &Reader<'_>) -> Result<usize, ModelError> {
    let count = vision.size_or("num_position_embeddings", 2304)?;
    let side = count.isqrt();
    if side * side == count {
        return Ok(side);
    }
    Err(vision.error(format!("`num_position_embeddings` is {count}, but must be a square number")))
}
