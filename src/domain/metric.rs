//! Metric points and the catalogue of metric names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Everything measured at one step of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Optimizer step, from 1; 0 is the state before training.
    pub step: u64,
    /// Responses since the beginning of the run.
    pub samples: u64,
    /// Response tokens since the beginning of the run.
    pub tokens: u64,
    /// Value by key; non-finite values are kept as they are and stored as null.
    pub values: BTreeMap<String, f64>,
}

/// Whether a higher or lower metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// Neither.
    Neutral,
}

/// What a metric key means.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct MetricInfo {
    /// The key; a `*` matches one name (of a reward part, of a phase).
    pub key: &'static str,
    /// Unit (`1` for plain numbers, `s`, `tokens`, `tokens/s`, `share`).
    pub unit: &'static str,
    /// A summary in one line.
    pub description: &'static str,
    /// Whether higher or lower is better.
    pub better: Better,
    /// The short name of a headline metric, which lists, logs and progress lines show. Null for all
    /// others.
    pub headline: Option<&'static str>,
}

const fn info(key: &'static str, unit: &'static str, better: Better, description: &'static str) -> MetricInfo {
    MetricInfo { key, unit, description, better, headline: None }
}

impl MetricInfo {
    const fn headline(self, name: &'static str) -> Self {
        Self { headline: Some(name), ..self }
    }
}

use Better::{Higher, Lower, Neutral};

/// The key by which checkpoints and runs are compared.
pub const EVAL_ACCURACY: &str = "eval/accuracy";
/// How much held-out responses depend on the image.
pub const EVAL_IMAGE_DEPENDENCE: &str = "eval/image_dependence";
/// How the keys of audits begin.
pub const AUDIT: &str = "audit/";

/// Seconds of a whole step; only steps that train have it.
pub const STEP_SECONDS: &str = "time/step";
/// Response tokens per second of a whole step.
pub const TOKENS_PER_SECOND: &str = "throughput/tokens_per_second";

/// Every metric the trainer writes. Headlines are shown in this order.
pub const CATALOGUE: &[MetricInfo] = &[
    info(EVAL_ACCURACY, "share", Higher, "Accuracy on held-out rows, the mean over each row's samples")
        .headline("held-out"),
    info("reward/mean", "1", Higher, "Mean reward of the step's responses").headline("reward"),
    info("reward/std", "1", Neutral, "Standard deviation of the step's rewards"),
    info("reward/*/mean", "1", Higher, "Mean of one part of the reward"),
    info("reward/*/std", "1", Neutral, "Standard deviation of one part of the reward"),
    info("reward/unjudged", "responses", Lower, "Responses on which the reward gave no verdict"),
    info("eval/unjudged", "responses", Lower, "Held-out answers on which the reward gave no verdict"),
    info("accuracy", "share", Higher, "Share of right answers among the step's responses").headline("accuracy"),
    info("response_length/mean", "tokens", Neutral, "Mean response length, end token included"),
    info("response_length/min", "tokens", Neutral, "Shortest response"),
    info("response_length/max", "tokens", Neutral, "Longest response"),
    info("response_length/cut_off", "share", Lower, "Share of responses that the length limit cut off"),
    info("batch/padding_share", "share", Lower, "Share of the update's tokens that is padding of shorter rows"),
    info(
        "batch/masked_share",
        "share",
        Lower,
        "Share of the responses without a loss because they were truncated (`rollout.mask_truncated`)",
    ),
    info("groups/kept", "groups", Higher, "Groups that trained"),
    info("groups/dropped", "groups", Lower, "Groups that dynamic sampling left out"),
    info("advantage/mean", "1", Neutral, "Mean advantage over responses"),
    info("advantage/std", "1", Neutral, "Standard deviation of the advantages"),
    info("loss/policy", "1", Neutral, "Policy term of the loss (for sft: mean negative log-likelihood)")
        .headline("loss"),
    info("loss/total", "1", Neutral, "Loss with every term but the entropy bonus"),
    info("policy/kl", "1", Neutral, "Approximate KL from the old to the new policy"),
    info("policy/clip_fraction_low", "share", Neutral, "Share of tokens held by the lower clip limit"),
    info("policy/clip_fraction_high", "share", Neutral, "Share of tokens held by the upper clip limit"),
    info("policy/dual_clip_fraction", "share", Neutral, "Share of tokens whose loss the dual clip bounds"),
    info(
        "policy/perception_kl",
        "1",
        Higher,
        "Low-variance KL from the policy with to the policy without most of the image",
    ),
    info(
        "policy/masked_surprise",
        "nat",
        Neutral,
        "Mean negative log-prob of the responses when most of the image is hidden",
    ),
    info("policy/reference_kl", "1", Neutral, "Low-variance KL from the policy to the reference model"),
    info(
        "rollout/ratio_mean",
        "1",
        Neutral,
        "Mean ratio of the trainer's to the sampler's probability of sampled tokens",
    ),
    info("rollout/ratio_max", "1", Neutral, "Largest ratio of the trainer's to the sampler's probability"),
    info("rollout/kl", "1", Lower, "KL from the sampler to the trainer on sampled tokens"),
    info("policy/entropy", "nat", Neutral, "Mean entropy of the next-token distribution"),
    info("optimizer/grad_norm", "1", Neutral, "Gradient norm before clipping"),
    info("optimizer/learning_rate", "1", Neutral, "Learning rate of the step"),
    info(TOKENS_PER_SECOND, "tokens/s", Higher, "Response tokens per second of the whole step"),
    info(STEP_SECONDS, "s", Lower, "Seconds of the whole step"),
    info("rollout/version_lag", "steps", Lower, "Steps between the weights that sampled and those that were trained"),
    info("time/rollout_wait", "s", Lower, "Seconds for which no server that samples answered"),
    info("time/publish", "s", Lower, "Seconds of handing weights to the servers that sample"),
    info("time/*", "s", Lower, "Seconds of one phase: rollout, reward, logprob, update, checkpoint, evaluation"),
    info("visual/focus_mean", "1", Neutral, "Mean visual focus score of response tokens"),
    info("visual/focus_early", "1", Neutral, "Mean focus of the first third of the responses"),
    info("visual/focus_late", "1", Neutral, "Mean focus of the last third of the responses"),
    info("visual/late_early_ratio", "1", Higher, "Late over early focus: how little the model forgets to look")
        .headline("focus late/early"),
    info(
        "visual/dependency_min",
        "nat",
        Neutral,
        "Visual dependency of the least dependent response (mean over its tokens)",
    ),
    info("visual/dependency_mean", "nat", Neutral, "Mean visual dependency over responses"),
    info("visual/dependency_max", "nat", Neutral, "Visual dependency of the most dependent response"),
    info("visual/gate_rate", "share", Neutral, "Share of tokens that pass the gate"),
    info("visual/compensation_mean", "1", Neutral, "Mean visual attention compensation"),
    info("visual/token_weight_std", "1", Neutral, "Spread of the token weights 1 + psi"),
    info("visual/token_weight_min", "1", Neutral, "Smallest token weight 1 + psi"),
    info("visual/token_weight_max", "1", Neutral, "Largest token weight 1 + psi"),
    info("visual/trajectory_weight_min", "1", Neutral, "Smallest trajectory weight 1 + phi"),
    info("visual/trajectory_weight_max", "1", Neutral, "Largest trajectory weight 1 + phi"),
    info("attention/image", "share", Neutral, "Attention to image tokens while generating"),
    info("attention/query", "share", Neutral, "Attention to the other prompt tokens while generating"),
    info("attention/generated", "share", Neutral, "Attention to the response's own tokens"),
    info("attention/query_*", "share", Neutral, "Attention to the rest of the prompt in the first or last third"),
    info("attention/generated_*", "share", Neutral, "Attention to the response itself in the first or last third"),
    info("attention/image_early", "share", Neutral, "Attention to the image in the first third of the responses"),
    info("attention/image_late", "share", Higher, "Attention to the image in the last third of the responses"),
    info("eval/accuracy_low", "share", Higher, "Lower end of the accuracy's 95% interval, rows taken as units"),
    info("eval/accuracy_high", "share", Higher, "Upper end of the accuracy's 95% interval, rows taken as units"),
    info("eval/accuracy/*", "share", Higher, "Accuracy on the held-out rows with one tag"),
    info(
        "eval/pass_at_*",
        "share",
        Higher,
        "Probability that at least one of this number of samples of a row is correct (unbiased)",
    ),
    info("eval/rows", "rows", Neutral, "Held-out rows of the evaluation"),
    info("eval/rows/*", "rows", Neutral, "Held-out rows with one tag"),
    info("eval/reward", "1", Higher, "Mean reward in the evaluation"),
    info("eval/response_length", "tokens", Neutral, "Mean response length in the evaluation"),
    info("eval/cut_off", "share", Lower, "Share of the evaluation's responses that the length limit cut off"),
    info("eval/format", "share", Higher, "Share of well-formed responses in the evaluation"),
    info(
        "eval/focus_*",
        "1",
        Neutral,
        "Visual focus in the evaluation (mean, early, late; all, right or wrong answers)",
    ),
    info("eval/late_early_ratio", "1", Higher, "Late over early focus in the evaluation"),
    info("eval/late_early_ratio_right", "1", Higher, "The same over right answers"),
    info("eval/late_early_ratio_wrong", "1", Higher, "The same over wrong answers"),
    info(
        "eval/attention_image_*",
        "share",
        Neutral,
        "Attention to the image in the evaluation (mean, early, late; all, right or wrong answers)",
    ),
    info(
        EVAL_IMAGE_DEPENDENCE,
        "nat",
        Neutral,
        "Dependence of held-out responses on the image, mean over their tokens (eval.image_dependence)",
    ),
    info("eval/image_dependence_*", "nat", Neutral, "The same of early or late tokens, of right or wrong answers"),
    info("audit/*_right", "1", Neutral, "The same over right answers"),
    info("audit/*_wrong", "1", Neutral, "The same over wrong answers"),
    info("audit/responses", "responses", Neutral, "Responses of the audit"),
    info("audit/spearman", "1", Higher, "Rank correlation of focus with dependency on the image, mean over responses"),
    info("audit/spearman_predicting", "1", Higher, "The same with the focus of the state that predicts a token"),
    info(
        "audit/auc",
        "share",
        Higher,
        "Chance that a token that depends on the image has more focus than one that does not",
    ),
    info("audit/auc_predicting", "share", Higher, "The same with the focus of the state that predicts a token"),
    info("audit/auc_early", "share", Higher, "The same chance within the first third of the responses"),
    info("audit/auc_middle", "share", Higher, "The same chance between the first and the last third"),
    info("audit/auc_late", "share", Higher, "The same chance within the last third of the responses"),
    info("audit/dependency_*", "nat", Neutral, "Dependency of tokens on the image (mean, early, late)"),
    info("audit/dependent_*", "share", Neutral, "Share of tokens that depend on the image (mean, early, late)"),
    info(
        "audit/independent_gradient",
        "share",
        Lower,
        "Share of the gradient's variance at the logits on tokens that do not depend on the image",
    ),
    info(
        "ranks/seconds",
        "s",
        Lower,
        "Seconds in which rank 0 waited for the other ranks of its job, or exchanged with them",
    ),
    info("ranks/sent_bytes", "bytes", Neutral, "What rank 0 sent to the other ranks of its job"),
    info("memory/peak_bytes", "bytes", Lower, "Largest resident memory of the worker so far"),
];

/// Whether evaluations and audits measure it.
pub fn of_evaluation(key: &str) -> bool {
    key.starts_with("eval/") || key.starts_with(AUDIT)
}

/// Key and short name of every headline, in the order in which they are shown.
pub fn headlines() -> impl Iterator<Item = (&'static str, &'static str)> {
    CATALOGUE.iter().filter_map(|info| Some((info.key, info.headline?)))
}

/// What `key` means, if the catalogue knows it.
pub fn describe(key: &str) -> Option<&'static MetricInfo> {
    let fits = |pattern: &str| match pattern.split_once('*') {
        None => pattern == key,
        Some((head, tail)) => key.len() > head.len() + tail.len() && key.starts_with(head) && key.ends_with(tail),
    };
    CATALOGUE.iter().find(|i| i.key == key).or_else(|| CATALOGUE.iter().find(|i| fits(i.key)))
}

/// One metric key of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricKey {
    /// The key.
    pub key: String,
    /// The newest step with a value.
    pub last_step: u64,
    /// The value at this step; null if it is not finite.
    pub last: Option<f64>,
    /// Smallest finite value.
    pub min: Option<f64>,
    /// Largest finite value.
    pub max: Option<f64>,
}

/// Which part of a series is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesQuery {
    /// First step.
    pub from_step: Option<u64>,
    /// Last step.
    pub to_step: Option<u64>,
    /// More points than this are put into that many buckets of equal width in steps (none: every point).
    pub max_points: Option<u32>,
}

/// One point of a series, or one bucket of adjacent points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricPoint {
    /// The last step of the bucket.
    pub step: u64,
    /// When that step was measured.
    pub time: chrono::DateTime<chrono::Utc>,
    /// Responses trained on so far.
    pub samples: u64,
    /// Response tokens trained on so far.
    pub tokens: u64,
    /// Mean of the finite values; null when there is none.
    pub mean: Option<f64>,
    /// Smallest finite value.
    pub min: Option<f64>,
    /// Largest finite value.
    pub max: Option<f64>,
    /// Number of points in the bucket.
    pub count: u64,
    /// `nan`, `inf` or `-inf` when a point of the bucket is not finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonfinite: Option<String>,
}

/// Metrics of one step with the time at which they were measured.
#[derive(Debug, Clone, PartialEq)]
pub struct TimedMetrics {
    /// When they were measured.
    pub time: chrono::DateTime<chrono::Utc>,
    /// The metrics.
    pub metrics: StepMetrics,
}
