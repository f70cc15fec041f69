//! A worked example of one group: every intermediate value of VGPO by name, for `vgpo explain` and for tests.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::AlgorithmError;
use super::group::{ScorePrecision, Trajectory, TrajectoryGroup};
use super::objective::{self, BatchTotals, Clipping, ResponseTokens};
use super::{check, vgpo};
use crate::domain::nearest::suggestion;
use crate::domain::spec::{Control, Method, Variant, VgpoSpec};

/// Fields of a case. `name` is a comment; `expected` is ignored, so that a case with its answer can be used as input.
const CASE_FIELDS: [&str; 5] = ["name", "config", "has_image", "responses", "expected"];
/// Fields of a response.
const RESPONSE_FIELDS: [&str; 6] =
    ["similarity", "dependency", "reward", "old_logprobs", "logprobs", "reference_logprobs"];

/// A group and the settings to explain it with.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The resolved settings.
    pub config: VgpoSpec,
    /// Does the prompt show an image?
    pub has_image: bool,
    /// The responses.
    pub responses: Vec<CaseResponse>,
}

/// One response of a [`Case`]; every list has one entry per token.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct CaseResponse {
    /// Cosine of each token's hidden state and the visual prototype.
    pub similarity: Vec<f64>,
    /// How much each token depends on the image; needed under the control `oracle`.
    #[serde(default)]
    pub dependency: Option<Vec<f64>>,
    /// The reward.
    pub reward: f64,
    /// Log-probs before the update.
    pub old_logprobs: Vec<f64>,
    /// Log-probs now.
    pub logprobs: Vec<f64>,
    /// Log-probs under the reference model; needed when `kl_coef` is above 0.
    #[serde(default)]
    pub reference_logprobs: Option<Vec<f64>>,
}

/// All results of VGPO for a [`Case`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// One entry per response, in order.
    pub responses: Vec<ExplainedResponse>,
    /// The loss of the group as one mini-batch.
    pub loss: f64,
}

/// All intermediate values of one response.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedResponse {
    /// Group-relative advantage.
    pub advantage: f64,
    /// Visual focus score of each token.
    pub focus: Vec<f64>,
    /// Position of each token, up to 1.
    pub progress: Vec<f64>,
    /// Compensation of each token, before the gate.
    pub compensation: Vec<f64>,
    /// 1 where a token passes the gate.
    pub gate: Vec<f64>,
    /// Focus after compensation.
    pub compensated_focus: Vec<f64>,
    /// Visual accumulation: the sum of the compensated focus.
    pub visual_accumulation: f64,
    /// Intra-trajectory weights.
    pub psi: Vec<f64>,
    /// Inter-trajectory weight.
    pub phi: f64,
    /// `advantage * (1 + psi) * (1 + phi)`.
    pub shaped_advantage: Vec<f64>,
    /// Loss of each token, before averaging.
    pub token_loss: Vec<f64>,
    /// d loss / d logprob of each token.
    pub grad_logprobs: Vec<f64>,
}

/// Reads a case (JSON) and explains it.
///
/// # Errors
/// As [`Case::parse`] and [`Case::explain`].
pub fn explain(json: &str, defaults: impl Fn(Variant) -> VgpoSpec) -> Result<Explanation, AlgorithmError> {
    Case::parse(json, defaults)?.explain()
}

impl Case {
    /// Reads a case: `{"config": {…}, "has_image": true, "responses": [{"similarity", "reward", "old_logprobs",
    /// "logprobs"}, …]}`. Fields of `config` that are absent come from `defaults` of its variant.
    ///
    /// # Errors
    /// Names the field, and for an unknown one the closest known name.
    pub fn parse(json: &str, defaults: impl Fn(Variant) -> VgpoSpec) -> Result<Self, AlgorithmError> {
        let value: Value = serde_json::from_str(json).map_err(|e| fault(format!("the case is not valid JSON: {e}")))?;
        let Value::Object(mut case) = value else {
            return Err(fault("the case must be a JSON object with `responses`".to_owned()));
        };
        check_names(&case, &CASE_FIELDS, "the case")?;
        let config = match case.remove("config") {
            None => Map::new(),
            Some(Value::Object(config)) => config,
            Some(_) => return Err(fault("config must be an object".to_owned())),
        };
        let has_image = match case.remove("has_image") {
            None => true,
            Some(value) => {
                value.as_bool().ok_or_else(|| fault(format!("has_image is {value}, but must be true or false")))?
            }
        };
        let Some(Value::Array(responses)) = case.remove("responses") else {
            return Err(fault("`responses` is missing; it must be a list of responses".to_owned()));
        };
        if responses.is_empty() {
            return Err(fault("`responses` is empty; a group needs at least one response".to_owned()));
        }
        let responses = responses.into_iter().enumerate().map(|(i, r)| response(i, r)).collect::<Result<_, _>>()?;
        Ok(Self { config: resolve(config, defaults)?, has_image, responses })
    }

    /// Computes all results.
    ///
    /// # Errors
    /// A setting outside its limits, lists of different lengths, invalid numbers.
    pub fn explain(&self) -> Result<Explanation, AlgorithmError> {
        check(&Method::Vgpo(self.config.clone()))?;
        let unknown = self.responses.iter().position(|response| response.dependency.is_none());
        if let (Some(Control::Oracle), true, Some(index)) = (self.config.control, self.has_image, unknown) {
            let missing = format!("responses[{index}].dependency is missing, which the control `oracle` weighs");
            return Err(fault(missing));
        }
        let trajectories = self.responses.iter().map(|r| Trajectory {
            dependency: r.dependency.clone().unwrap_or_default(),
            tokens: r.logprobs.len(),
            similarity: r.similarity.clone(),
            reward: r.reward,
            ..Trajectory::default()
        });
        let group = TrajectoryGroup {
            has_image: self.has_image,
            precision: ScorePrecision::F64,
            trajectories: trajectories.collect(),
            ..TrajectoryGroup::default()
        };
        let weights = vgpo::shape(&group, &self.config)?;
        let tokens: Vec<ResponseTokens<'_>> = self
            .responses
            .iter()
            .zip(&weights.trajectories)
            .map(|(response, weights)| ResponseTokens {
                logprobs: &response.logprobs,
                old_logprobs: &response.old_logprobs,
                advantages: &weights.shaped_advantage,
                reference_logprobs: response.reference_logprobs.as_deref(),
                ..ResponseTokens::default()
            })
            .collect();
        let totals = BatchTotals::of(self.responses.iter().map(|r| r.logprobs.len()));
        let output = objective::clipped_surrogate(
            &tokens,
            totals,
            self.config.policy.loss_average,
            Clipping::of(&self.config.policy),
        )?;
        let responses = weights.trajectories.into_iter().zip(output.responses).map(|(w, l)| ExplainedResponse {
            advantage: w.advantage,
            focus: w.focus,
            progress: w.progress,
            compensation: w.compensation,
            gate: w.gate,
            compensated_focus: w.compensated_focus,
            visual_accumulation: w.visual_accumulation,
            psi: w.psi,
            phi: w.phi,
            shaped_advantage: w.shaped_advantage,
            token_loss: l.token_loss,
            grad_logprobs: l.grad_logprobs,
        });
        Ok(Explanation { responses: responses.collect(), loss: output.loss })
    }
}

/// Applies the given settings on top of the defaults of their variant.
fn resolve(config: Map<String, Value>, defaults: impl Fn(Variant) -> VgpoSpec) -> Result<VgpoSpec, AlgorithmError> {
    let variant = match config.get("variant") {
        None => Variant::Paper,
        Some(value) => Variant::deserialize(value).map_err(|e| fault(format!("config.variant: {e}")))?,
    };
    let resolved = serde_json::to_value(defaults(variant)).map_err(|e| fault(format!("config: {e}")))?;
    let Value::Object(mut resolved) = resolved else {
        return Err(fault("config: the defaults are not an object".to_owned()));
    };
    let names: Vec<String> = resolved.keys().cloned().collect();
    check_names(&config, &names, "config")?;
    resolved.extend(config);
    serde_path_to_error::deserialize(Value::Object(resolved))
        .map_err(|e| fault(format!("config.{}: {}", e.path(), e.inner())))
}

fn response(index: usize, value: Value) -> Result<CaseResponse, AlgorithmError> {
    let place = format!("responses[{index}]");
    match &value {
        Value::Object(fields) => check_names(fields, &RESPONSE_FIELDS, &place)?,
        _ => return Err(fault(format!("{place} must be an object"))),
    }
    serde_path_to_error::deserialize(value).map_err(|e| match e.path().to_string().as_str() {
        "." => fault(format!("{place}: {}", e.inner())),
        path => fault(format!("{place}.{path}: {}", e.inner())),
    })
}

/// Fails on the first unknown field, with the closest known name.
fn check_names(fields: &Map<String, Value>, known: &[impl AsRef<str>], place: &str) -> Result<(), AlgorithmError> {
    let Some(unknown) = fields.keys().find(|name| !known.iter().any(|k| k.as_ref() == name.as_str())) else {
        return Ok(());
    };
    let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    let hint = suggestion(unknown, &known);
    Err(fault(format!("{place} has an unknown field `{unknown}`; {hint}")))
}

fn fault(message: String) -> AlgorithmError {
    AlgorithmError::Case(message)
}
