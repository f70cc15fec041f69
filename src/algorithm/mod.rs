//! The training objectives: pure functions over groups of trajectories, `f64` inside; no model, no I/O.
//!
//! How the trainer uses this room: [`build`] once; per step [`Algorithm::weigh`] for every group (rewards and visual
//! similarity become shaped advantages); per micro-batch [`Algorithm::loss`], whose gradient with respect to the
//! log-probs is exact, so that it can be multiplied into the model's graph. A new algorithm is one file and one line in
//! [`build`].

pub mod advantage;
pub mod audit;
pub mod cispo;
mod control;
pub mod dapo;
pub mod error;
pub mod explain;
pub mod forecast;
pub mod group;
pub mod grpo;
pub mod gspo;
mod loss_stats;
pub mod objective;
pub mod papo;
pub mod pepo;
mod perception;
pub mod pgpo;
pub mod sapo;
pub mod sft;
pub mod signals;
pub mod vgpo;
pub mod vppo;

pub use error::AlgorithmError;
pub use group::{
    DependencyRange, GroupWeights, ScorePrecision, Trajectory, TrajectoryGroup, TrajectoryWeights, affine_focus,
};
pub use loss_stats::LossStats;
pub use objective::{BatchTotals, LossOutput, ResponseTokens};

use crate::domain::job_field::{MethodFault, method_fault};
use crate::domain::method::Method;

/// A second forward pass over the images of a step, with patches masked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaskedView {
    /// Each patch is masked with this probability.
    pub ratio: f64,
    /// Does [`Algorithm::loss`] need the log-probs of this view, with a gradient through it? Otherwise
    /// [`Algorithm::weigh`] needs each token's visual dependency, under the policy before the update.
    pub in_loss: bool,
}

/// What an objective needs besides the log-probs of the current policy and rewards.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "wants that are independent of each other")]
pub struct Needs {
    /// Does [`Algorithm::weigh`] need `similarity` for prompts with images? (Others only use it for the logs.)
    pub visual_focus: bool,
    /// Does [`Algorithm::loss`] need the log-probs of the policy before the update?
    pub old_logprobs: bool,
    /// Does [`Algorithm::loss`] need the log-probs of the reference model?
    pub reference: bool,
    /// Weight of the entropy bonus: the trainer subtracts `entropy_coef * mean entropy` from the loss.
    pub entropy_coef: f64,
    /// Does [`Algorithm::weigh`] need each token's entropy under the policy before the update?
    pub token_entropy: bool,
    /// The images with patches hidden, where the objective looks at those too.
    pub masked_view: Option<MaskedView>,
}

impl Default for Needs {
    /// What a policy gradient needs.
    fn default() -> Self {
        Self {
            visual_focus: false,
            old_logprobs: true,
            reference: false,
            entropy_coef: 0.0,
            token_entropy: false,
            masked_view: None,
        }
    }
}

impl Needs {
    /// What these weights of the KL term and of the entropy bonus ask for.
    fn of(kl_coef: f64, entropy_coef: f64) -> Self {
        Self { reference: kl_coef > 0.0, entropy_coef, ..Self::default() }
    }
}

/// A training objective.
pub trait Algorithm: Send + Sync + std::fmt::Debug {
    /// The value of `method.type`.
    fn name(&self) -> &'static str;

    /// What the trainer has to give it besides log-probs and rewards.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Turns the rewards and the visual similarity of ONE prompt's responses into per-token advantages.
    ///
    /// # Errors
    /// Lengths that do not fit together, non-finite numbers, similarities outside [-1, 1].
    fn weigh(&self, group: &TrajectoryGroup) -> Result<GroupWeights, AlgorithmError>;

    /// The loss of a micro-batch of whole responses and its gradient with respect to every log-prob. `totals` counts
    /// the whole mini-batch, so that the outputs of any micro-batching add up to the same loss and gradient.
    ///
    /// # Errors
    /// Lengths that do not fit together, non-finite numbers, a missing reference.
    fn loss(&self, responses: &[ResponseTokens<'_>], totals: BatchTotals) -> Result<LossOutput, AlgorithmError>;
}

/// Holds every setting of a method against the table of fields.
///
/// # Errors
/// Names the first setting outside its limits.
pub fn check(method: &Method) -> Result<(), AlgorithmError> {
    method_fault(method)
        .map_or(Ok(()), |MethodFault { field, value, allowed }| Err(AlgorithmError::Setting { field, value, allowed }))
}

/// The objective that `method` describes.
///
/// # Errors
/// A setting outside its limits; the message names it. A method that trains nothing.
pub fn build(method: &Method) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    check(method)?;
    Ok(match method {
        Method::Vgpo(spec) => Box::new(vgpo::Vgpo::new(spec.clone())),
        Method::Grpo(spec) => Box::new(grpo::Grpo::new(spec.clone())),
        Method::Dapo(spec) => Box::new(dapo::Dapo::new(spec.clone())),
        Method::Gspo(spec) => Box::new(gspo::Gspo::new(spec.clone())),
        Method::Cispo(spec) => Box::new(cispo::Cispo::new(spec.clone())),
        Method::Sapo(spec) => Box::new(sapo::Sapo::new(spec.clone())),
        Method::Papo(spec) => Box::new(papo::Papo::new(spec.clone())),
        Method::Vppo(spec) => Box::new(vppo::Vppo::new(spec.clone())),
        Method::Pgpo(spec) => Box::new(pgpo::Pgpo::new(spec.clone())),
        Method::Pepo(spec) => Box::new(pepo::Pepo::new(spec.clone())),
        Method::Sft(spec) => Box::new(sft::Sft::new(spec.clone())),
        Method::Eval(_) => return Err(AlgorithmError::NoObjective(method.name())),
    })
}
