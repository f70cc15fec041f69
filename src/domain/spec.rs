//! A job's settings, fully resolved: every field has a value here. Defaults live in `config::job`, not on these types.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::before;
use super::weights::WeightFormat;

pub use super::alert::{AlertFormat, AlertRules, AlertsSpec};
pub use super::evaluation::{BestSpec, Direction, EarlyStopSpec, EvalSpec};
pub use super::method::{
    CispoSpec, Control, DapoSpec, Estimator, EvaluationSpec, FocusPosition, LossAverage, Method, PapoSpec, PepoSpec,
    PgpoSpec, PolicySpec, RowSplit, SapoSpec, Schedule, SftSpec, Variant, VgpoSpec, VppoSpec,
};
pub use super::reward::{Coordinates, ImageTextPart, ImageTextScore, RewardSpec, WeightedReward};
pub use super::rollout_engine::{EngineKind, EngineSpec, WeightSync};
pub use super::tracker::TrackerKind;

/// The form of [`JobSpec`]. It rises when an older program could not run a stored job as it is meant: a worker claims
/// none of a later form than it knows.
pub const SPEC_VERSION: i64 = 1;

/// Everything a fine-tuning job needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// A display name; by default made from method and data set.
    pub name: String,
    /// The model to start from: a registered name or a checkpoint id. While the job waits for another job to end, it
    /// may also be that job (`job_…`) or its run (`run_…@best`, `run_…@last`), which is then replaced by the
    /// checkpoint.
    pub model: String,
    /// The data set to train on.
    pub dataset: String,
    /// The data set to evaluate on; by default the held-out rows of the data set.
    pub eval_dataset: Option<String>,
    /// Seed of everything random in the job.
    pub seed: u64,
    /// The project this job belongs to.
    pub project: String,
    /// Free tags: names with values.
    pub tags: BTreeMap<String, String>,
    /// The objective and its switches.
    pub method: Method,
    /// How rows become prompts.
    pub data: DataSpec,
    /// How responses are rewarded.
    pub reward: RewardSpec,
    /// How responses are sampled.
    pub rollout: RolloutSpec,
    /// Batch sizes.
    pub batch: BatchSpec,
    /// The optimizer (`AdamW`).
    pub optimizer: OptimizerSpec,
    /// Which parameters are trained, and their number format.
    pub train: TrainSpec,
    /// Optimizer steps (one step = one rollout batch for the RL methods).
    pub steps: u64,
    /// Evaluate before the first step.
    pub eval_before: bool,
    /// Number of steps between evaluations (0: only at the end).
    pub eval_every: u64,
    /// Held-out rows of one evaluation.
    pub eval_rows: u64,
    /// How held-out rows are answered.
    #[serde(default = "before::eval")]
    #[schema(required = true)]
    pub eval: EvalSpec,
    /// What makes a checkpoint the best of the run.
    #[serde(default = "before::best")]
    #[schema(required = true)]
    pub best: BestSpec,
    /// Early stopping: end the run when a metric stops improving; none: run to the last step.
    #[serde(default)]
    pub early_stop: Option<EarlyStopSpec>,
    /// Number of steps between checkpoints (0: only at the end).
    pub checkpoint_every: u64,
    /// Number of newest checkpoints to keep (the best and the last are always kept).
    pub keep_checkpoints: u64,
    /// Number of steps between logged sample rollouts (0: never).
    pub log_samples_every: u64,
    /// Which devices the job may run on.
    pub resources: ResourceSpec,
    /// Higher runs first.
    pub priority: i64,
    /// Maximum number of attempts before the job fails.
    pub max_attempts: u32,
    /// Do not start before this job has succeeded.
    pub after: Option<String>,
    /// Do not start before this time.
    #[serde(default)]
    pub not_before: Option<chrono::DateTime<chrono::Utc>>,
    /// Alerts: what is watched in the run, and who hears of it.
    #[serde(default = "before::alerts")]
    #[schema(required = true)]
    pub alerts: AlertsSpec,
    /// Trackers that get the metrics while the job runs.
    #[serde(default)]
    #[schema(required = true)]
    pub report_to: Vec<TrackerKind>,
    /// Deterministic kernels, so that a resumed run gives bit-identical results.
    pub deterministic: bool,
}

impl JobSpec {
    /// The chunks in which `rows` rows are evaluated, at most `eval_rows` of them.
    pub fn evaluation_chunks(&self, rows: u64) -> u64 {
        self.eval_rows.min(rows).div_ceil(self.batch.prompts_per_step.max(1))
    }
}

/// How rows of a data set become prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// Names of the columns.
    pub columns: Columns,
    /// A system message before every prompt; none: the default of the chat template.
    pub system: Option<String>,
    /// Jinja template of the user's text; `prompt` is the row's prompt. It may contain text, `{{ prompt }}` with
    /// filters, `if` and `for`.
    pub prompt_template: String,
    /// Smallest image area in pixels; none: the model's preprocessor decides.
    pub min_pixels: Option<u64>,
    /// Largest image area in pixels; none: the model's preprocessor decides.
    pub max_pixels: Option<u64>,
    /// Whether the model reasons before it answers, where its chat template has the argument `enable_thinking`; none:
    /// as the template does by default.
    #[serde(default)]
    #[schema(required = true)]
    pub enable_thinking: Option<bool>,
    /// Maximum length of a prompt in tokens, image tokens included.
    pub max_prompt_tokens: u64,
    /// What to do with a row whose prompt is longer.
    pub overlong: Overlong,
    /// Shuffle rows by the job's seed.
    pub shuffle: bool,
}

/// What to do with rows whose prompt is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlong {
    /// The job fails and names the row.
    Error,
    /// The row is left out and counted.
    Drop,
}

/// The columns of a data set by role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// The question.
    pub prompt: String,
    /// The ground truth.
    pub answer: String,
    /// The list of images.
    pub images: String,
    /// A demonstration for supervised training; optional.
    #[serde(default)]
    pub demonstration: Option<String>,
    /// Tags, for accuracy by tag; optional.
    #[serde(default)]
    pub tags: Option<String>,
}

/// How responses are sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutSpec {
    /// Responses per prompt (G).
    pub group_size: u64,
    /// Sampling temperature; log-probs in training divide logits by it.
    pub temperature: f64,
    /// Nucleus sampling threshold.
    pub top_p: f64,
    /// Longest response in tokens.
    pub max_new_tokens: u64,
    /// Truncation limit of the importance correction (ratio of trainer to sampler) of each token; none: no correction.
    #[serde(default)]
    pub correction_cap: Option<f64>,
    /// Dynamic sampling: groups outside the limits are dropped and replaced; none: all groups are kept.
    pub filter: Option<FilterSpec>,
    /// Do truncated responses (those that reached `max_new_tokens`) carry no loss? They still count in the advantages
    /// of their group.
    #[serde(default)]
    #[schema(required = true)]
    pub mask_truncated: bool,
    /// What samples.
    #[serde(default = "before::engine")]
    #[schema(required = true)]
    pub engine: EngineSpec,
}

/// Dynamic sampling (DAPO).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterSpec {
    /// What the limits apply to.
    pub metric: FilterMetric,
    /// A group's mean must be above this.
    pub low: f64,
    /// A group's mean must be below this.
    pub high: f64,
    /// Maximum number of rollout batches per step (1: dropped groups are not replaced).
    pub max_tries: u64,
}

/// The quantity that dynamic sampling filters by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilterMetric {
    /// Share of right answers.
    Accuracy,
    /// The whole reward.
    Reward,
}

/// Batch sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchSpec {
    /// Prompts of one step.
    pub prompts_per_step: u64,
    /// Prompts of one optimizer update.
    pub minibatch_prompts: u64,
    /// Maximum number of tokens of one forward and backward pass; on a CPU there is no padding, and responses share
    /// their prompt.
    pub microbatch_tokens: u64,
    /// Passes over a step's batch.
    pub epochs_per_batch: u64,
}

/// `AdamW` and its schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OptimizerSpec {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Decay rates of the moments.
    pub betas: [f64; 2],
    /// Decoupled weight decay; norms and biases have none.
    pub weight_decay: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    /// The learning rate after the warm-up.
    pub schedule: LearningRateSchedule,
    /// Where linear and cosine end, as a share of the peak.
    #[serde(default = "before::schedule_floor")]
    #[schema(required = true)]
    pub schedule_floor: f64,
    /// Gradients are scaled down to this norm.
    pub max_grad_norm: f64,
    /// Keep moments and 32-bit master weights in main memory, and update there; no effect on a CPU.
    #[serde(default)]
    pub offload: bool,
    /// Each rank keeps moments and 32-bit master weights of its share of every parameter only; no effect on one rank.
    #[serde(default)]
    pub shard: bool,
}

/// The learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LearningRateSchedule {
    /// Stays at its peak.
    Constant,
    /// Falls in a straight line to `schedule_floor` at the last step.
    Linear,
    /// Falls along half a cosine to `schedule_floor` at the last step.
    Cosine,
}

/// What is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainSpec {
    /// Which parameters.
    pub parameters: TrainedParameters,
    /// The adapters, if `parameters` is `lora`.
    #[serde(default)]
    pub lora: Option<LoraSpec>,
    /// Freeze the vision tower and its mergers.
    pub freeze_vision: bool,
    /// Gradient checkpointing: keep only the inputs of blocks, and recompute each block in the backward pass. A third
    /// more work for a fraction of the memory.
    #[serde(default)]
    pub gradient_checkpointing: bool,
    /// Number format of the weights.
    pub dtype: DType,
    /// Format of the frozen weights under adapters: the decoder's linear layers in 8 or 4 bits (arXiv 2305.14314).
    #[serde(default)]
    pub base: WeightFormat,
}

/// Which parameters are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrainedParameters {
    /// All of them.
    Full,
    /// Low-rank adapters on frozen weights.
    Lora,
}

/// Low-rank adapters (LoRA, arXiv 2106.09685).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraSpec {
    /// Rank of the adapters.
    pub rank: u64,
    /// An adapter's output is multiplied by `alpha / rank`.
    pub alpha: f64,
    /// Dropout of adapters; only 0 is supported.
    pub dropout: f64,
    /// Linear layers that get an adapter: name endings (`q_proj`), patterns of whole names with `*`, or `all-linear`.
    pub targets: Vec<String>,
}

/// Number format of the weights while they are trained, and in checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DType {
    /// `f32` on a CPU, `bf16` on a GPU.
    Auto,
    /// 32-bit floats.
    F32,
    /// 16-bit floats with the range of 32-bit ones; the optimizer keeps 32-bit masters.
    Bf16,
}

/// Which devices a job may run on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceSpec {
    /// The kind of device.
    pub device: DeviceClass,
    /// Their number.
    pub devices: u32,
    /// Number of processes that share the job, each with a device of its own: their launcher places them on hosts.
    #[serde(default = "before::ranks")]
    #[schema(required = true)]
    pub ranks: u32,
}

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceClass {
    /// Whatever comes first.
    Any,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// An Apple GPU.
    Metal,
}
