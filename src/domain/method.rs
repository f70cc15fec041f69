//! The training objective of a job and its switches.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::before;

/// The training objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", tag = "type", rename_all = "snake_case")]
pub enum Method {
    /// Visually-Guided Policy Optimization (arXiv 2604.09349).
    Vgpo(VgpoSpec),
    /// Group Relative Policy Optimization.
    Grpo(PolicySpec),
    /// Decoupled Clip and Dynamic Sampling Policy Optimization.
    Dapo(DapoSpec),
    /// Group Sequence Policy Optimization.
    Gspo(PolicySpec),
    /// Clipped importance-sampling weights on plain log-probs.
    Cispo(CispoSpec),
    /// Soft Adaptive Policy Optimization (arXiv 2511.20347).
    Sapo(SapoSpec),
    /// Perception-Aware Policy Optimization (arXiv 2507.06448).
    Papo(PapoSpec),
    /// Visually-Perceptive Policy Optimization (arXiv 2510.09285).
    Vppo(VppoSpec),
    /// Perception-Grounded Policy Optimization (arXiv 2604.01840).
    Pgpo(PgpoSpec),
    /// Perception-Exploration Policy Optimization (arXiv 2603.22847).
    Pepo(PepoSpec),
    /// Supervised fine-tuning on the data set's demonstrations.
    Sft(SftSpec),
    /// No training: evaluates a model on rows.
    Eval(EvaluationSpec),
}

/// The names of all methods, the default first.
pub const NAMES: [&str; 12] =
    ["vgpo", "grpo", "dapo", "gspo", "cispo", "sapo", "papo", "vppo", "pgpo", "pepo", "sft", "eval"];

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// Fields that several methods share are flattened into each, and serde cannot refuse unknown fields next to flattened
/// ones: what a method does not write back, it does not know.
impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Value::deserialize(deserializer)?;
        let method = Self::deserialize(&given).map_err(D::Error::custom)?;
        let known = serde_json::to_value(&method).map_err(D::Error::custom)?;
        let mut names = given.as_object().into_iter().flat_map(Map::keys);
        match names.find(|name| known.get(name.as_str()).is_none()) {
            None => Ok(method),
            Some(name) => Err(D::Error::custom(format!("unknown field `{name}` of method `{}`", method.name()))),
        }
    }
}

impl Method {
    /// The value of `method.type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Vgpo(_) => "vgpo",
            Self::Grpo(_) => "grpo",
            Self::Dapo(_) => "dapo",
            Self::Gspo(_) => "gspo",
            Self::Cispo(_) => "cispo",
            Self::Sapo(_) => "sapo",
            Self::Papo(_) => "papo",
            Self::Vppo(_) => "vppo",
            Self::Pgpo(_) => "pgpo",
            Self::Pepo(_) => "pepo",
            Self::Sft(_) => "sft",
            Self::Eval(_) => "eval",
        }
    }

    /// Does it change the model?
    pub fn trains(&self) -> bool {
        !matches!(self, Self::Eval(_))
    }

    /// Does it learn from groups of sampled responses?
    pub fn is_reinforcement(&self) -> bool {
        !matches!(self, Self::Sft(_) | Self::Eval(_))
    }
}

/// Which version of VGPO to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// The paper's equations.
    Paper,
    /// The formulae of the authors' released code.
    Released,
}

/// How visual attention compensation grows along the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// `beta * progress`.
    Linear,
    /// `beta * progress ^ exponent`.
    Exponential,
    /// `beta` from `step` on.
    Step,
}

/// Which hidden state is used for a token's focus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FocusPosition {
    /// The state that reads the token (the paper).
    Reading,
    /// The state one position earlier, which decides the token.
    Predicting,
}

/// What stands in for the token weights of VGPO in an experiment, to tell what they are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// The same weights, in each response permuted over its tokens at random.
    Shuffled,
    /// Weights from how much each token depends on the image (the KL of its distribution with and without the image)
    /// instead of its focus.
    Oracle,
}

/// How per-token losses are averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossAverage {
    /// Over all response tokens of the mini-batch.
    Token,
    /// Per response, then over responses.
    Sequence,
}

/// How advantages are estimated from a group's rewards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// `(r - mean) / (std + 1e-6)` within the group, sample standard deviation.
    Grpo,
    /// `r - mean` within the group.
    DrGrpo,
    /// Every part of a weighted reward in the deviations of its own group, summed with their weights, over the
    /// deviation of these sums in the step.
    Gdpo,
    /// `r - mean of the others` within the group.
    Rloo,
    /// `(r - mean) / std` over all tokens of the step.
    #[serde(rename = "reinforce++")]
    ReinforcePlusPlus,
}

/// Settings of [`Method::Vgpo`]; names as in the paper's equations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[allow(clippy::struct_excessive_bools, reason = "the switches of the published ablation, each on its own")]
pub struct VgpoSpec {
    /// Paper or released code.
    pub variant: Variant,
    /// Strength of the compensation (Eq. 5).
    pub beta: f64,
    /// Share of the response that counts as its tail, above 0 (released: where the tail starts, from 0).
    pub gamma: f64,
    /// Share of the tail's tokens that pass the gate; in (0, 1].
    pub kappa: f64,
    /// Growth of the compensation.
    pub schedule: Schedule,
    /// Exponent of the exponential schedule.
    pub exponent: f64,
    /// Progress at which the step schedule switches on.
    pub step: f64,
    /// Progress at which the ramp of linear and exponential starts; in [0, 1).
    pub compensation_start: f64,
    /// Use visual attention compensation.
    pub compensation: bool,
    /// Use the gate (off: every token passes).
    pub gate: bool,
    /// Intra-trajectory weights on.
    pub intra: bool,
    /// Inter-trajectory weights on.
    pub inter: bool,
    /// Which state is used for a token's focus.
    pub focus_position: FocusPosition,
    /// A control experiment in place of the published weights: `shuffled` permutes them over the tokens of a response,
    /// `oracle` takes them from each token's dependency on the image, at the price of two more passes; none: VGPO.
    #[serde(default)]
    pub control: Option<Control>,
    /// Limits of `1 + psi`; none for the paper, [0.1, 2.0] for the released code.
    pub psi_clamp: Option<[f64; 2]>,
    /// Limits of `1 + phi`; none for the paper, [0.9, 2.0] for the released code.
    pub phi_clamp: Option<[f64; 2]>,
    /// The policy loss.
    #[serde(flatten)]
    pub policy: PolicySpec,
}

/// The policy loss that the clipped objectives share: all that [`Method::Grpo`] and [`Method::Gspo`] have to be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = GrpoSpec)]
pub struct PolicySpec {
    /// Lower clip range of the ratio.
    pub clip_low: f64,
    /// Upper clip range of the ratio.
    pub clip_high: f64,
    /// Upper bound of the loss for negative advantages (times `-advantage`); none: unbounded.
    pub dual_clip: Option<f64>,
    /// Average of the per-token losses.
    pub loss_average: LossAverage,
    /// Weight of the KL term to the reference model (0: none).
    pub kl_coef: f64,
    /// Weight of the entropy bonus (0: none).
    #[serde(default)]
    pub entropy_coef: f64,
    /// Advantage estimator.
    pub estimator: Estimator,
}

/// Settings of [`Method::Dapo`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DapoSpec {
    /// The policy loss.
    #[serde(flatten)]
    pub policy: PolicySpec,
    /// Length of the interval before `rollout.max_new_tokens` in which the reward is lowered linearly by up to
    /// `overlong_penalty`; none: no penalty.
    pub overlong_buffer: Option<u64>,
    /// Maximum penalty on an overlong response.
    pub overlong_penalty: f64,
}

/// Settings of [`Method::Cispo`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CispoSpec {
    /// The paper bounds the ratio from above only; the released code from both sides.
    pub variant: Variant,
    /// Lower clip range of the ratio; none: no lower bound.
    pub clip_low: Option<f64>,
    /// Upper clip range of the ratio.
    pub clip_high: f64,
    /// Average of the per-token losses.
    pub loss_average: LossAverage,
    /// Weight of the KL term to the reference model (0: none).
    pub kl_coef: f64,
    /// Weight of the entropy bonus (0: none).
    #[serde(default)]
    pub entropy_coef: f64,
    /// Advantage estimator.
    pub estimator: Estimator,
}

/// Settings of [`Method::Sapo`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SapoSpec {
    /// Temperature of the gate where the advantage is positive: the higher, the sooner gradients fade.
    pub temperature_positive: f64,
    /// Temperature of the gate where it is not.
    pub temperature_negative: f64,
    /// Average of the per-token losses.
    pub loss_average: LossAverage,
    /// Weight of the KL term to the reference model (0: none).
    pub kl_coef: f64,
    /// Weight of the entropy bonus (0: none).
    #[serde(default)]
    pub entropy_coef: f64,
    /// Advantage estimator.
    pub estimator: Estimator,
}

/// Settings of [`Method::Papo`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PapoSpec {
    /// The policy loss.
    #[serde(flatten)]
    pub policy: PolicySpec,
    /// Each image patch is hidden with this probability in the masked view; in (0, 1].
    pub mask_ratio: f64,
    /// Weight of the divergence between whole and masked view, which is maximised (the paper's gamma).
    pub perception_coef: f64,
    /// Upper limit of a token's divergence; none: 10.
    pub perception_cap: Option<f64>,
    /// Weight of the entropy penalty under the whole view (eta 1).
    pub entropy_penalty: f64,
    /// Weight of the entropy penalty under the masked view (eta 2).
    pub masked_entropy_penalty: f64,
}

/// Settings of [`Method::Vppo`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VppoSpec {
    /// The policy loss.
    #[serde(flatten)]
    pub policy: PolicySpec,
    /// Each image patch is hidden with this probability in the masked view; in (0, 1].
    pub mask_ratio: f64,
    /// Scale advantages by how much a response depends on the image.
    pub shaping: bool,
    /// The scale of the least dependent response of a step (beta min); the others' follow from a mean of 1.
    pub advantage_min: f64,
    /// Only the most dependent tokens carry a gradient.
    pub filtering: bool,
    /// Share of a response's tokens that do; in (0, 1].
    pub token_share: f64,
    /// Weight of the entropy penalty.
    pub entropy_penalty: f64,
}

/// Settings of [`Method::Pgpo`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PgpoSpec {
    /// The policy loss.
    #[serde(flatten)]
    pub policy: PolicySpec,
    /// Each image patch is hidden with this probability in the masked view; in (0, 1], 1 hides the whole image.
    pub mask_ratio: f64,
    /// Tokens whose dependency, scaled to [0, 1] within the response, is below this lose weight (tau); in [0, 1).
    pub threshold: f64,
    /// How much weight the most dependent token gains before the weights of a response are scaled to a mean of 1
    /// (beta).
    pub boost: f64,
}

/// Settings of [`Method::Pepo`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PepoSpec {
    /// The policy loss.
    #[serde(flatten)]
    pub policy: PolicySpec,
    /// How strongly focus and entropy together scale a token's focus (alpha).
    pub entropy_gate: f64,
    /// Temperature of the softmax that makes weights of the scaled focus: the lower, the more they differ.
    pub weight_temperature: f64,
    /// Let the weights grow from none at the first step to all of their strength at the last.
    pub anneal: bool,
}

/// Settings of [`Method::Sft`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SftSpec {
    /// Average of the per-token losses.
    pub loss_average: LossAverage,
}

/// Settings of [`Method::Eval`]. The job's `eval` and `rollout.max_new_tokens` define how rows are answered,
/// `eval_rows` how many; `batch.prompts_per_step` rows make one chunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSpec {
    /// Which rows of the data set.
    pub split: RowSplit,
    /// Also measure how much every token of the responses depends on the image, and how well its focus tells it.
    #[serde(default)]
    #[schema(required = true)]
    pub audit: bool,
    /// In an audit, a token depends on the image if the KL from its distribution with the image to that without it
    /// reaches this (nats).
    #[serde(default = "before::dependency_threshold")]
    #[schema(required = true)]
    pub dependency_threshold: f64,
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowSplit {
    /// The held-out rows.
    Eval,
    /// The rows to train on.
    Train,
}
