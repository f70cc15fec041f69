//! The group: one prompt and all its responses. It is a type, so that batching cannot mix responses of different
//! prompts.

use super::advantage::{self, RewardPart, RewardStatistics};
use super::error::{AlgorithmError, check_finite, check_length};
use crate::domain::spec::Estimator;

/// How far a similarity may exceed [-1, 1] because of rounding.
const COSINE_SLACK: f64 = 1e-3;

/// All responses to one prompt.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrajectoryGroup {
    /// Does the prompt show an image? Text-only prompts keep the weight 1 (psi = phi = 0).
    pub has_image: bool,
    /// Number format in which the similarities were computed.
    pub precision: ScorePrecision,
    /// Rewards of the whole step, for estimators that compare beyond the group; none: only those of the group.
    pub step: Option<RewardStatistics>,
    /// Range of visual dependency over the step's responses, for objectives that use it; none: only that of the group.
    pub dependency: Option<DependencyRange>,
    /// Deviation of the decoupled rewards over the step's responses, for `gdpo`; none: only that of the group.
    pub decoupled_deviation: Option<f64>,
    /// Share of the run's steps that are done; none: all of them.
    pub progress: Option<f64>,
    /// Seed of what an objective draws at random for this group.
    pub seed: u64,
    /// The responses.
    pub trajectories: Vec<Trajectory>,
}

/// One response.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trajectory {
    /// Response tokens, the end token included (`T_i`).
    pub tokens: usize,
    /// Cosine of each token's hidden state and the visual prototype, one per token, in [-1, 1]. May be empty for a
    /// text-only prompt, and for algorithms without visual focus (then the focus is not logged).
    pub similarity: Vec<f64>,
    /// Visual dependency of each token: KL from its distribution with the image to that with the masked image, in nats.
    /// Empty if it was not measured.
    pub dependency: Vec<f64>,
    /// Entropy of each token's distribution under the policy before the update, in nats. Empty if it was not measured.
    pub entropy: Vec<f64>,
    /// The reward.
    pub reward: f64,
    /// The parts of a weighted reward; empty: it is one.
    pub parts: Vec<RewardPart>,
}

/// Mean visual dependencies of many responses: their range and mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DependencyRange {
    /// The least.
    pub low: f64,
    /// The largest.
    pub high: f64,
    /// The mean over responses.
    pub mean: f64,
}

impl DependencyRange {
    /// Over the responses whose dependency is known; none if there are none.
    pub fn of<'a>(trajectories: impl Iterator<Item = &'a Trajectory>) -> Option<Self> {
        let means: Vec<f64> = trajectories
            .filter(|t| !t.dependency.is_empty())
            .map(|t| t.dependency.iter().sum::<f64>() / t.dependency.len() as f64)
            .collect();
        let (low, high) =
            means.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), m| (low.min(*m), high.max(*m)));
        (!means.is_empty()).then(|| Self { low, high, mean: means.iter().sum::<f64>() / means.len() as f64 })
    }
}

/// Number format of the similarities. It determines below which range min-max scaling would only amplify rounding
/// noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScorePrecision {
    /// 32-bit floats, as models compute them.
    #[default]
    F32,
    /// 64-bit floats.
    F64,
}

impl ScorePrecision {
    /// Ranges below this count as degenerate.
    pub fn degenerate_range(self) -> f64 {
        match self {
            Self::F32 => 1e-6,
            Self::F64 => 1e-12,
        }
    }
}

/// The results of an algorithm for a group: one entry per trajectory, in the group's order.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupWeights {
    /// Does the prompt show an image?
    pub has_image: bool,
    /// The intermediate values of every response.
    pub trajectories: Vec<TrajectoryWeights>,
}

/// The intermediate values of one response; per-token lists have `T_i` entries, or none if the algorithm has no such
/// step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrajectoryWeights {
    /// `A_i`: the group-relative advantage.
    pub advantage: f64,
    /// `rho`: visual focus score of each token, in [0, 1].
    pub focus: Vec<f64>,
    /// `t / T_i`.
    pub progress: Vec<f64>,
    /// Strength of the compensation at each token, before the gate.
    pub compensation: Vec<f64>,
    /// `G`: 1 where the token passes the gate, else 0.
    pub gate: Vec<f64>,
    /// `w`: focus after visual attention compensation (Eq. 5-6).
    pub compensated_focus: Vec<f64>,
    /// `s_i`: visual accumulation, the sum of the compensated focus.
    pub visual_accumulation: f64,
    /// Intra-trajectory weight; `1 + psi` multiplies the advantage (Eq. 7-8).
    pub psi: Vec<f64>,
    /// Inter-trajectory weight; `1 + phi` multiplies the advantage (Eq. 9-11).
    pub phi: f64,
    /// `A^V`: the advantage that the objective uses.
    pub shaped_advantage: Vec<f64>,
}

impl TrajectoryGroup {
    /// Statistics of the step's rewards, or of the group's if there are none.
    pub fn statistics(&self) -> RewardStatistics {
        self.step.unwrap_or_else(|| RewardStatistics::of(self.trajectories.iter().map(|t| (t.tokens, t.reward))))
    }

    /// Every reward, in order.
    pub fn rewards(&self) -> Vec<f64> {
        self.trajectories.iter().map(|t| t.reward).collect()
    }

    /// The advantage that `estimator` gives every response, in order.
    pub(crate) fn advantages(&self, estimator: Estimator) -> Vec<f64> {
        match estimator {
            Estimator::Gdpo => advantage::of_decoupled(&self.decoupled_rewards(), self.decoupled_deviation),
            _ => advantage::estimate(estimator, &self.rewards(), self.statistics()),
        }
    }

    /// The reward of every response in the deviations of its parts (`gdpo`), before it is scaled.
    pub fn decoupled_rewards(&self) -> Vec<f64> {
        let whole = |trajectory: &Trajectory| vec![RewardPart { weight: 1.0, value: trajectory.reward }];
        let parts = |trajectory: &Trajectory| match trajectory.parts.as_slice() {
            [] => whole(trajectory),
            parts => parts.to_vec(),
        };
        advantage::decoupled(&self.trajectories.iter().map(parts).collect::<Vec<_>>())
    }

    /// Checks rewards and similarities, and returns the similarities clamped to [-1, 1]: a list per response, zeros
    /// where a text-only prompt has none.
    ///
    /// # Errors
    /// A list of the wrong length, a non-finite number, a similarity outside [-1, 1].
    pub(crate) fn checked_similarities(&self) -> Result<Vec<Vec<f64>>, AlgorithmError> {
        self.check_rewards()?;
        let mut similarities = Vec::with_capacity(self.trajectories.len());
        for (i, trajectory) in self.trajectories.iter().enumerate() {
            if trajectory.similarity.is_empty() && !self.has_image {
                similarities.push(vec![0.0; trajectory.tokens]);
                continue;
            }
            check_length("similarity", i, trajectory.similarity.len(), trajectory.tokens)?;
            if let Some(index) = trajectory.similarity.iter().position(|s| s.is_nan() || s.abs() > 1.0 + COSINE_SLACK) {
                let value = trajectory.similarity[index];
                let allowed = "a cosine in [-1, 1]";
                return Err(AlgorithmError::Value { name: "similarity", response: i, index, value, allowed });
            }
            similarities.push(trajectory.similarity.iter().map(|s| s.clamp(-1.0, 1.0)).collect());
        }
        Ok(similarities)
    }

    /// # Errors
    /// A reward that is not finite.
    pub(crate) fn check_rewards(&self) -> Result<(), AlgorithmError> {
        self.trajectories.iter().enumerate().try_for_each(|(i, t)| {
            let parts: Vec<f64> = t.parts.iter().map(|part| part.value).collect();
            check_finite("reward", i, &[t.reward]).and_then(|()| check_finite("parts", i, &parts))
        })
    }
}

impl GroupWeights {
    /// [`Self::unweighted`] with the advantages that `estimator` makes of the group's rewards.
    ///
    /// # Errors
    /// As [`TrajectoryGroup::checked_similarities`].
    pub(crate) fn estimated(group: &TrajectoryGroup, estimator: Estimator) -> Result<Self, AlgorithmError> {
        group.check_rewards()?;
        Self::unweighted(group, &group.advantages(estimator))
    }

    /// Advantages without visual weights: psi = phi = 0, and the paper's focus where similarities are known (for the
    /// logs).
    ///
    /// # Errors
    /// As [`TrajectoryGroup::checked_similarities`].
    pub(crate) fn unweighted(group: &TrajectoryGroup, advantages: &[f64]) -> Result<Self, AlgorithmError> {
        group.check_rewards()?;
        let known = group.has_image && group.trajectories.iter().all(|t| t.similarity.len() == t.tokens);
        let similarities = if known { group.checked_similarities()? } else { vec![Vec::new(); advantages.len()] };
        let trajectories = group
            .trajectories
            .iter()
            .zip(similarities)
            .zip(advantages)
            .map(|((trajectory, similarity), &advantage)| TrajectoryWeights {
                advantage,
                focus: similarity.iter().map(|s| affine_focus(*s)).collect(),
                visual_accumulation: similarity.iter().map(|s| affine_focus(*s)).sum(),
                psi: vec![0.0; trajectory.tokens],
                shaped_advantage: vec![advantage; trajectory.tokens],
                ..TrajectoryWeights::default()
            })
            .collect();
        Ok(Self { has_image: group.has_image, trajectories })
    }
}

impl TrajectoryWeights {
    /// Weighs the advantage of each token.
    pub(crate) fn weigh_tokens(&mut self, weights: &[f64]) {
        self.psi = weights.iter().map(|weight| weight - 1.0).collect();
        self.shaped_advantage = weights.iter().map(|weight| self.advantage * weight).collect();
    }
}

/// The paper's focus: `0.5 * (S + 1)`.
pub fn affine_focus(similarity: f64) -> f64 {
    0.5 * (similarity + 1.0)
}
