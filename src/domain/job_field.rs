//! What each job setting may hold: one line a field. Every check of a job's settings and of an objective's, the API's
//! document and docs/settings.md read this table. Defaults are in `config`.

use serde_json::Value;

use super::kind::{Kind, Span, shown};
use super::method::{self, Method, Variant};
use super::tracker::{self, TrackerKind};

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// JSON pointer of the field.
    pub pointer: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// May it be null?
    pub nullable: bool,
}

const fn field(pointer: &'static str, kind: Kind) -> Field {
    Field { pointer, kind, nullable: false }
}

const fn optional(pointer: &'static str, kind: Kind) -> Field {
    Field { pointer, kind, nullable: true }
}

/// What pointers of a method's settings begin with.
const METHOD: &str = "/method/";

const ANY_COUNT: Kind = Kind::Whole { min: 0, max: 1_000_000_000 };
const COUNT: Kind = Kind::Whole { min: 1, max: 1_000_000_000 };
const NOT_NEGATIVE: Kind = Kind::Number(Span::AtLeast(0.0));
const POSITIVE: Kind = Kind::Number(Span::Above(0.0));
const SHARE: Kind = Kind::Number(Span::OpenClosed(0.0, 1.0));
const UNIT: Kind = Kind::Number(Span::Closed(0.0, 1.0));
const DIRECTION: Kind = Kind::Choice { allowed: &["higher", "lower"], later: &[] };
const ESTIMATORS: [&str; 5] = ["grpo", "dr_grpo", "gdpo", "rloo", "reinforce++"];
const UNIT_OPEN: Kind = Kind::Number(Span::ClosedOpen(0.0, 1.0));

/// Every setting of a job; for those of `/method`, [`applies`] says which methods have them.
pub const FIELDS: &[Field] = &[
    field("/name", Kind::Name { max: 200 }),
    field("/model", Kind::Text { max: 500 }),
    field("/dataset", Kind::Text { max: 500 }),
    optional("/eval_dataset", Kind::Text { max: 500 }),
    field("/seed", Kind::Whole { min: 0, max: (1 << 53) - 1 }),
    field("/project", Kind::Name { max: 100 }),
    field("/tags", Kind::Labels),
    field("/method", Kind::Section),
    field("/method/type", Kind::Choice { allowed: &method::NAMES, later: &[] }),
    field("/method/variant", Kind::Choice { allowed: &["paper", "released"], later: &[] }),
    field("/method/beta", NOT_NEGATIVE),
    field("/method/gamma", UNIT),
    field("/method/kappa", SHARE),
    field("/method/schedule", Kind::Choice { allowed: &["linear", "exponential", "step"], later: &[] }),
    field("/method/exponent", POSITIVE),
    field("/method/step", UNIT),
    field("/method/compensation_start", UNIT_OPEN),
    field("/method/compensation", Kind::Flag),
    field("/method/gate", Kind::Flag),
    field("/method/intra", Kind::Flag),
    field("/method/inter", Kind::Flag),
    field("/method/focus_position", Kind::Choice { allowed: &["reading", "predicting"], later: &[] }),
    optional("/method/control", Kind::Choice { allowed: &["shuffled", "oracle"], later: &[] }),
    optional("/method/psi_clamp", Kind::Pair { span: Span::AtLeast(0.0), ordered: true }),
    optional("/method/phi_clamp", Kind::Pair { span: Span::AtLeast(0.0), ordered: true }),
    optional("/method/clip_low", UNIT),
    field("/method/clip_high", NOT_NEGATIVE),
    optional("/method/dual_clip", Kind::Number(Span::Above(1.0))),
    field("/method/temperature_positive", POSITIVE),
    field("/method/temperature_negative", POSITIVE),
    field("/method/loss_average", Kind::Choice { allowed: &["token", "sequence"], later: &[] }),
    field("/method/kl_coef", NOT_NEGATIVE),
    field("/method/entropy_coef", NOT_NEGATIVE),
    optional("/method/overlong_buffer", COUNT),
    field("/method/overlong_penalty", NOT_NEGATIVE),
    field("/method/split", Kind::Choice { allowed: &["eval", "train"], later: &[] }),
    field("/method/audit", Kind::Flag),
    field("/method/dependency_threshold", POSITIVE),
    field("/method/mask_ratio", SHARE),
    field("/method/perception_coef", NOT_NEGATIVE),
    optional("/method/perception_cap", POSITIVE),
    field("/method/entropy_penalty", NOT_NEGATIVE),
    field("/method/masked_entropy_penalty", NOT_NEGATIVE),
    field("/method/shaping", Kind::Flag),
    field("/method/advantage_min", UNIT),
    field("/method/filtering", Kind::Flag),
    field("/method/token_share", SHARE),
    field("/method/threshold", UNIT_OPEN),
    field("/method/boost", NOT_NEGATIVE),
    field("/method/entropy_gate", NOT_NEGATIVE),
    field("/method/weight_temperature", POSITIVE),
    field("/method/anneal", Kind::Flag),
    field("/method/estimator", Kind::Choice { allowed: &ESTIMATORS, later: &[] }),
    field("/data", Kind::Section),
    field("/data/columns", Kind::Section),
    field("/data/columns/prompt", Kind::Text { max: 200 }),
    field("/data/columns/answer", Kind::Text { max: 200 }),
    field("/data/columns/images", Kind::Text { max: 200 }),
    optional("/data/columns/demonstration", Kind::Text { max: 200 }),
    optional("/data/columns/tags", Kind::Text { max: 200 }),
    optional("/data/system", Kind::Text { max: 100_000 }),
    field("/data/prompt_template", Kind::Text { max: 100_000 }),
    optional("/data/min_pixels", COUNT),
    optional("/data/max_pixels", COUNT),
    optional("/data/enable_thinking", Kind::Flag),
    field("/data/max_prompt_tokens", COUNT),
    field("/data/overlong", Kind::Choice { allowed: &["error", "drop"], later: &[] }),
    field("/data/shuffle", Kind::Flag),
    field("/reward", Kind::Reward),
    field("/rollout", Kind::Section),
    field("/rollout/group_size", Kind::Whole { min: 1, max: 4096 }),
    field("/rollout/temperature", POSITIVE),
    field("/rollout/top_p", SHARE),
    field("/rollout/max_new_tokens", Kind::Whole { min: 1, max: 1_000_000 }),
    optional("/rollout/correction_cap", POSITIVE),
    optional("/rollout/filter", Kind::Section),
    field("/rollout/filter/metric", Kind::Choice { allowed: &["accuracy", "reward"], later: &[] }),
    field("/rollout/filter/low", Kind::Number(Span::Any)),
    field("/rollout/filter/high", Kind::Number(Span::Any)),
    field("/rollout/filter/max_tries", Kind::Whole { min: 1, max: 1000 }),
    field("/rollout/mask_truncated", Kind::Flag),
    field("/rollout/engine", Kind::Section),
    field("/rollout/engine/type", Kind::Choice { allowed: &["local", "vllm", "sglang"], later: &[] }),
    optional("/rollout/engine/urls", Kind::Names { max: 500 }),
    optional("/rollout/engine/model", Kind::Text { max: 500 }),
    field("/rollout/engine/sync", Kind::Choice { allowed: &["auto", "adapter", "weights"], later: &[] }),
    optional("/rollout/engine/shared_dir", Kind::Text { max: 500 }),
    field("/rollout/engine/staleness", Kind::Whole { min: 0, max: 8 }),
    field("/rollout/engine/timeout_seconds", Kind::Number(Span::OpenClosed(0.0, 86_400.0))),
    field("/rollout/engine/patience_seconds", Kind::Number(Span::Closed(0.0, 604_800.0))),
    field("/batch", Kind::Section),
    field("/batch/prompts_per_step", Kind::Whole { min: 1, max: 1_000_000 }),
    field("/batch/minibatch_prompts", Kind::Whole { min: 1, max: 1_000_000 }),
    field("/batch/microbatch_tokens", COUNT),
    field("/batch/epochs_per_batch", Kind::Whole { min: 1, max: 1000 }),
    field("/optimizer", Kind::Section),
    field("/optimizer/learning_rate", NOT_NEGATIVE),
    field("/optimizer/betas", Kind::Pair { span: Span::ClosedOpen(0.0, 1.0), ordered: false }),
    field("/optimizer/weight_decay", NOT_NEGATIVE),
    field("/optimizer/warmup_steps", ANY_COUNT),
    field("/optimizer/schedule", Kind::Choice { allowed: &["constant", "linear", "cosine"], later: &[] }),
    field("/optimizer/schedule_floor", UNIT),
    field("/optimizer/max_grad_norm", POSITIVE),
    field("/optimizer/offload", Kind::Flag),
    field("/optimizer/shard", Kind::Flag),
    field("/train", Kind::Section),
    field("/train/parameters", Kind::Choice { allowed: &["full", "lora"], later: &[] }),
    optional("/train/lora", Kind::Section),
    field("/train/lora/rank", Kind::Whole { min: 1, max: 4096 }),
    field("/train/lora/alpha", POSITIVE),
    field("/train/lora/dropout", UNIT_OPEN),
    field("/train/lora/targets", Kind::Names { max: 200 }),
    field("/train/freeze_vision", Kind::Flag),
    field("/train/gradient_checkpointing", Kind::Flag),
    field("/train/dtype", Kind::Choice { allowed: &["auto", "f32", "bf16"], later: &[] }),
    field("/train/base", Kind::Choice { allowed: &["native", "q8_0", "q4_0"], later: &[] }),
    field("/steps", Kind::Whole { min: 1, max: 1_000_000_000 }),
    field("/eval_before", Kind::Flag),
    field("/eval_every", ANY_COUNT),
    field("/eval_rows", COUNT),
    field("/eval", Kind::Section),
    field("/eval/samples", Kind::Whole { min: 1, max: 1024 }),
    field("/eval/temperature", NOT_NEGATIVE),
    field("/eval/top_p", SHARE),
    field("/eval/image_dependence", Kind::Flag),
    field("/best", Kind::Section),
    field("/best/metric", Kind::Metric),
    field("/best/better", DIRECTION),
    optional("/early_stop", Kind::Section),
    field("/early_stop/metric", Kind::Metric),
    field("/early_stop/better", DIRECTION),
    field("/early_stop/patience", Kind::Whole { min: 1, max: 1_000_000 }),
    field("/early_stop/min_delta", NOT_NEGATIVE),
    field("/checkpoint_every", ANY_COUNT),
    field("/keep_checkpoints", Kind::Whole { min: 1, max: 1_000_000 }),
    field("/log_samples_every", ANY_COUNT),
    field("/resources", Kind::Section),
    field("/resources/device", Kind::Choice { allowed: &["any", "cpu", "cuda", "metal"], later: &[] }),
    field("/resources/devices", Kind::Whole { min: 1, max: 1024 }),
    field("/resources/ranks", Kind::Whole { min: 1, max: 4096 }),
    field("/priority", Kind::Signed { min: -1_000_000, max: 1_000_000 }),
    field("/max_attempts", Kind::Whole { min: 1, max: 1000 }),
    optional("/after", Kind::Text { max: 200 }),
    optional("/not_before", Kind::Time),
    field("/alerts", Kind::Section),
    optional("/alerts/webhook", Kind::Text { max: 2000 }),
    field("/alerts/format", Kind::Choice { allowed: &["json", "slack"], later: &[] }),
    field("/alerts/rules", Kind::Section),
    field("/alerts/rules/nan", Kind::Flag),
    optional("/alerts/rules/reward_constant", Kind::Whole { min: 2, max: 1000 }),
    optional("/alerts/rules/reward_collapse", SHARE),
    optional("/alerts/rules/kl_above", POSITIVE),
    optional("/alerts/rules/entropy_below", POSITIVE),
    optional("/alerts/rules/entropy_above", POSITIVE),
    optional("/alerts/rules/stalled_seconds", Kind::Whole { min: 1, max: 2_592_000 }),
    field("/alerts/rules/finished", Kind::Flag),
    field("/alerts/rules/failed", Kind::Flag),
    field("/report_to", Kind::Choices { allowed: &TrackerKind::NAMES, elsewhere: &tracker::ELSEWHERE }),
    field("/deterministic", Kind::Flag),
];

/// The setting at `pointer`.
pub fn find(pointer: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.pointer == pointer)
}

/// Names of the settings directly below `section` that exist for the method whose defaults are `method`.
pub fn names(section: &str, method: &Value) -> Vec<&'static str> {
    FIELDS
        .iter()
        .filter(|field| applies(field.pointer, method))
        .filter_map(|field| field.pointer.strip_prefix(section)?.strip_prefix('/'))
        .filter(|name| !name.contains('/'))
        .collect()
}

/// Does the setting at `pointer` exist for the method whose defaults are `method`?
pub fn applies(pointer: &str, method: &Value) -> bool {
    pointer.strip_prefix(METHOD).is_none_or(|name| method.get(name).is_some())
}

/// A setting of a method that is outside its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodFault {
    /// The field of the method.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

/// The first setting of a method that is outside its limits, alone or together with another one.
pub fn method_fault(method: &Method) -> Option<MethodFault> {
    let settings = serde_json::to_value(method).unwrap_or_default();
    let outside = |field: &'static Field| {
        let name = field.pointer.strip_prefix(METHOD)?;
        // A number that is not finite becomes null.
        let value = settings.get(name).filter(|value| !(value.is_null() && field.nullable))?;
        field.kind.complaint(value)?;
        Some(MethodFault { field: name, value: shown(value), allowed: field.kind.describe() })
    };
    FIELDS.iter().find_map(outside).or_else(|| empty_tail(method))
}

/// The paper's `gamma` is a share of the response, which cannot be nothing; in the released code it is where the tail
/// starts.
fn empty_tail(method: &Method) -> Option<MethodFault> {
    match method {
        Method::Vgpo(spec) if spec.variant == Variant::Paper && spec.gamma <= 0.0 => {
            let allowed = SHARE.describe() + " where `variant` is \"paper\"";
            Some(MethodFault { field: "gamma", value: spec.gamma.to_string(), allowed })
        }
        _ => None,
    }
}
