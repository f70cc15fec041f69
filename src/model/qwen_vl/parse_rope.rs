//! The decoder's rotary settings.

use super::config::{RopeScaling, Yarn};
use crate::model::error::ModelError;
use crate::model::settings::reader::Reader;

/// Settings of rotary frequencies.
const ROPE: [&str; 16] = [
    "type",
    "rope_type",
    "rope_theta",
    "mrope_section",
    "mrope_interleaved",
    "factor",
    "original_max_position_embeddings",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "truncate",
    "mscale",
    "mscale_all_dim",
    "partial_rotary_factor",
    "finetuned",
    "axes_dim",
];

/// What a family takes for granted about rotary positions, and its defaults.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) struct RopeRules {
    /// Are the frequencies of time, height and width interleaved?
    pub(in crate::model) interleaved: bool,
    /// Default share of a head that is rotated; none: always the whole head.
    pub(in crate::model) share: Option<f64>,
    /// Default base of the frequencies.
    pub(in crate::model) theta: f64,
    /// Default numbers of frequencies that follow time, height and width.
    pub(in crate::model) section: [usize; 3],
}

/// What the rotary settings say.
pub(in crate::model) struct Rope {
    pub(in crate::model) theta: f64,
    pub(in crate::model) section: [usize; 3],
    pub(in crate::model) scaling: RopeScaling,
    /// Share of a head that is rotated.
    pub(in crate::model) share: f64,
}

/// Reads the rotary settings of the decoder.
pub(in crate::model) fn parse(text: &Reader<'_>, rules: RopeRules, max_positions: usize) -> Result<Rope, ModelError> {
    let rope = object(text)?;
    check(&rope, text, rules)?;
    let section = match rope.list("mrope_section")? {
        None => rules.section,
        Some(list) => <[usize; 3]>::try_from(list)
            .map_err(|list| rope.error(format!("`mrope_section` is {list:?}, but must be three numbers")))?,
    };
    let theta = match rope.positive("rope_theta")? {
        Some(theta) => theta,
        None => text.positive("rope_theta")?.unwrap_or(rules.theta),
    };
    Ok(Rope { theta, section, scaling: scaling(&rope, text, max_positions)?, share: share(&rope, text, rules)? })
}

/// The share of a head that is rotated; tools write it among the rotary settings, next to them, or in both places.
fn share(rope: &Reader<'_>, text: &Reader<'_>, rules: RopeRules) -> Result<f64, ModelError> {
    const FIELD: &str = "partial_rotary_factor";
    let Some(default) = rules.share else { return Ok(1.0) };
    let (inner, outer) = (rope.positive(FIELD)?, text.positive(FIELD)?);
    match (inner, outer) {
        (Some(inner), Some(outer)) if inner.total_cmp(&outer).is_ne() => Err(text
            .error(format!("has {} {outer}, but {inner} in the rotary settings: keep one of them", text.full(FIELD)))),
        _ => match (inner.or(outer), rope.find(FIELD).or(text.find(FIELD))) {
            (Some(share), Some(value)) if share > 1.0 => Err(rope.wrong(FIELD, value, "at most 1")),
            (share, _) => Ok(share.unwrap_or(default)),
        },
    }
}

/// The object with the rotary settings, under its older or its newer name.
fn object<'a>(text: &Reader<'a>) -> Result<Reader<'a>, ModelError> {
    let (older, newer) = (text.find("rope_scaling"), text.find("rope_parameters"));
    if let (Some(older), Some(newer)) = (older, newer)
        && older != newer
    {
        return Err(text.error("has both `rope_scaling` and `rope_parameters`, and they differ: keep one".to_owned()));
    }
    match older.or(newer) {
        Some(value) if !value.is_object() => Err(text.wrong("rope_scaling", value, "an object")),
        found => Ok(text.nested(found, "rope_scaling.")),
    }
}

/// All of these settings change the computation: none may be ignored.
fn check(rope: &Reader<'_>, text: &Reader<'_>, rules: RopeRules) -> Result<(), ModelError> {
    if let Some((name, value)) = rope.fields().find(|(name, value)| !value.is_null() && !ROPE.contains(name)) {
        return Err(rope.wrong(name, value, "left out of the rotary settings (it is not supported)"));
    }
    if let (Some(share), Some(value)) = (rope.number("partial_rotary_factor")?, rope.find("partial_rotary_factor"))
        && share != 1.0
        && rules.share.is_none()
    {
        return Err(rope.wrong("partial_rotary_factor", value, "1"));
    }
    if let (Some(interleaved), Some(value)) = (rope.flag("mrope_interleaved")?, rope.find("mrope_interleaved"))
        && interleaved != rules.interleaved
    {
        return Err(rope.wrong("mrope_interleaved", value, "as in the family"));
    }
    let (inner, outer) = (rope.positive("rope_theta")?, text.positive("rope_theta")?);
    match (inner, outer) {
        (Some(inner), Some(outer)) if inner.total_cmp(&outer).is_ne() => Err(text.error(format!(
            "has {} {outer}, but {inner} in the rotary settings: keep one of them",
            text.full("rope_theta")
        ))),
        _ => Ok(()),
    }
}

fn scaling(rope: &Reader<'_>, text: &Reader<'_>, max_positions: usize) -> Result<RopeScaling, ModelError> {
    let (newer, older) = (rope.text("rope_type")?, rope.text("type")?);
    let kind = newer.or(older).unwrap_or("default");
    if let (Some(newer), Some(older)) = (newer, older)
        && newer != older
        && !(newer == "default" && older == "mrope")
    {
        return Err(
            rope.error(format!("has the rotary types \"{newer}\" (`rope_type`) and \"{older}\" (`type`): keep one"))
        );
    }
    match kind {
        "default" | "mrope" => match rope.number("factor")? {
            Some(factor) if factor != 1.0 => Err(rope.error(format!(
                "has the rotary `factor` {factor}, which the type \"{kind}\" does not use: name the type that is meant, e.g. \"yarn\""
            ))),
            _ => Ok(RopeScaling::Default),
        },
        "linear" => {
            let factor = rope.positive("factor")?;
            factor.map(RopeScaling::Linear).ok_or_else(|| rope.error("has rotary type \"linear\" without a `factor`".to_owned()))
        }
        "yarn" => yarn(rope, text, max_positions).map(RopeScaling::Yarn),
        other => Err(rope.error(format!(
            "has the rotary type \"{}\" (`rope_scaling`), which is not supported; default, linear and yarn are",
            other.chars().take(80).collect::<String>()
        ))),
    }
}

fn yarn(rope: &Reader<'_>, text: &Reader<'_>, max_positions: usize) -> Result<Yarn, ModelError> {
    const FIELD: &str = "original_max_position_embeddings";
    let outer = text.positive(FIELD)?;
    let original_length = outer.or(rope.positive(FIELD)?).unwrap_or(max_positions as f64);
    let factor = rope.positive("factor")?.unwrap_or(max_positions as f64 / original_length);
    let scale = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
    let weights = (rope.number("mscale")?, rope.number("mscale_all_dim")?);
    let attention_factor = match (rope.positive("attention_factor")?, weights) {
        (Some(given), _) => given,
        (None, (Some(one), Some(all))) if one != 0.0 && all != 0.0 => scale(one) / scale(all),
        (None, _) => scale(1.0),
    };
    Ok(Yarn {
        factor,
        original_length,
        beta_fast: rope.positive("beta_fast")?.unwrap_or(32.0),
        beta_slow: rope.positive("beta_slow")?.unwrap_or(1.0),
        truncate: rope.flag("truncate")?.unwrap_or(true),
        attention_factor,
    })
}
