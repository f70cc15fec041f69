//! Every type of reward: its settings with what they may hold, and what one begins with. Checks at every door, the
//! API's document and the dashboard read this table.

use serde_json::{Value, json};

use super::kind::{Kind, Span};

/// How deep weighted rewards may nest.
pub const MAX_NESTING: usize = 4;
/// Parts of a weighted reward, with those of the rewards in it.
pub const MAX_PARTS: usize = 32;

/// A type of reward.
#[derive(Debug, Clone, Copy)]
pub struct RewardKind {
    /// The value of `type`.
    pub name: &'static str,
    /// Its settings; the parts of `weighted` are checked as rewards of their own.
    pub settings: &'static [RewardSetting],
    /// What one begins with in a form; none where `type` is enough.
    pub start: Option<fn() -> Value>,
}

/// A setting of a reward.
#[derive(Debug, Clone, Copy)]
pub struct RewardSetting {
    /// Its name.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// Must it be there?
    pub required: bool,
}

const fn plain(name: &'static str) -> RewardKind {
    RewardKind { name, settings: &[], start: None }
}

const fn required(name: &'static str, kind: Kind) -> RewardSetting {
    RewardSetting { name, kind, required: true }
}

const fn optional(name: &'static str, kind: Kind) -> RewardSetting {
    RewardSetting { name, kind, required: false }
}

const TOLERANCE: Kind = Kind::Number(Span::AtLeast(0.0));
const TOKENS: Kind = Kind::Whole { min: 1, max: 1_000_000_000 };
const COORDINATES: Kind = Kind::Choice { allowed: &["pixel", "thousand", "resized"], later: &[] };

/// Every type of reward.
pub const REWARDS: [RewardKind; 11] = [
    plain("math"),
    plain("format"),
    RewardKind { settings: &[optional("case_sensitive", Kind::Flag)], ..plain("exact") },
    plain("choice"),
    RewardKind { settings: &[optional("absolute", TOLERANCE), optional("relative", TOLERANCE)], ..plain("numeric") },
    RewardKind {
        settings: &[required("pattern", Kind::Text { max: 10_000 })],
        start: Some(|| json!({"type": "regex", "pattern": "\\d+"})),
        ..plain("regex")
    },
    RewardKind {
        settings: &[
            optional("answer", COORDINATES),
            optional("truth", COORDINATES),
            optional("threshold", Kind::Number(Span::OpenClosed(0.0, 1.0))),
        ],
        ..plain("iou")
    },
    RewardKind {
        settings: &[required("limit", TOKENS), required("buffer", TOKENS)],
        start: Some(|| json!({"type": "length", "limit": 512, "buffer": 128})),
        ..plain("length")
    },
    RewardKind {
        settings: &[
            required("url", Kind::Text { max: 2000 }),
            optional("timeout_seconds", Kind::Number(Span::OpenClosed(0.0, 3600.0))),
            optional("retries", Kind::Whole { min: 0, max: 20 }),
        ],
        start: Some(|| json!({"type": "webhook", "url": "http://localhost:9000/"})),
        ..plain("webhook")
    },
    RewardKind {
        settings: &[
            required("model", Kind::Text { max: 4096 }),
            optional("score", Kind::Choice { allowed: &["cosine", "probability"], later: &[] }),
            optional("text", Kind::Choice { allowed: &["response", "answer"], later: &[] }),
            optional("low", Kind::Number(Span::Any)),
            optional("high", Kind::Number(Span::Any)),
        ],
        start: Some(|| json!({"type": "image_text", "model": "/models/siglip-base-patch16-224", "score": "cosine"})),
        ..plain("image_text")
    },
    RewardKind {
        start: Some(|| {
            let part = |weight: f64, name: &str| json!({"weight": weight, "reward": {"type": name}});
            json!({"type": WEIGHTED, "parts": [part(0.9, "math"), part(0.1, "format")]})
        }),
        ..plain(WEIGHTED)
    },
];

/// The reward that is a sum of others.
pub const WEIGHTED: &str = "weighted";

/// The names of all types.
pub const NAMES: [&str; REWARDS.len()] = {
    let mut names = [""; REWARDS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = REWARDS[at].name;
        at += 1;
    }
    names
};

/// The settings of the type `name`.
pub fn settings(name: &str) -> &'static [RewardSetting] {
    REWARDS.iter().find(|kind| kind.name == name).map_or(&[], |kind| kind.settings)
}
