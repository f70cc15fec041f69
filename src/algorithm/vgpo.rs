//! Visually-Guided Policy Optimization (arXiv 2604.09349): group-relative advantages, redistributed over tokens and
//! responses by their visual focus. Equation numbers are the paper's; `released` follows the authors' code where it
//! differs, but always groups by prompt and excludes padding and other prompts from every range.

use super::error::AlgorithmError;
use super::group::{GroupWeights, ScorePrecision, TrajectoryGroup, TrajectoryWeights, affine_focus};
use super::objective::{self, BatchTotals, Clipping, LossOutput, ResponseTokens};
use super::{Algorithm, MaskedView, Needs, control};
use crate::domain::spec::{Control, Schedule, Variant, VgpoSpec};

/// Guards the counts below: `0.29 * 100` is 28.999999999999996 in binary.
const COUNT_SLACK: f64 = 1e-9;

/// The objective `vgpo`.
#[derive(Debug, Clone)]
pub struct Vgpo(VgpoSpec);

impl Vgpo {
    /// The objective for these settings.
    pub fn new(spec: VgpoSpec) -> Self {
        Self(spec)
    }
}

impl Algorithm for Vgpo {
    fn name(&self) -> &'static str {
        "vgpo"
    }

    fn needs(&self) -> Needs {
        let oracle = self.0.control == Some(Control::Oracle) && (self.0.intra || self.0.inter);
        // Without the image: all of it is hidden.
        let masked_view = oracle.then_some(MaskedView { ratio: 1.0, in_loss: false });
        Needs { visual_focus: true, masked_view, ..Needs::of(self.0.policy.kl_coef, self.0.policy.entropy_coef) }
    }

    fn weigh(&self, group: &TrajectoryGroup) -> Result<GroupWeights, AlgorithmError> {
        shape(group, &self.0)
    }

    fn loss(&self, responses: &[ResponseTokens<'_>], totals: BatchTotals) -> Result<LossOutput, AlgorithmError> {
        objective::clipped_surrogate(responses, totals, self.0.policy.loss_average, Clipping::of(&self.0.policy))
    }
}

/// All quantities of VGPO for one group: focus, gate, compensation, psi, phi and the shaped advantages.
///
/// # Errors
/// Lengths that do not fit together, non-finite numbers, similarities outside [-1, 1].
pub fn shape(group: &TrajectoryGroup, spec: &VgpoSpec) -> Result<GroupWeights, AlgorithmError> {
    let similarities = group.checked_similarities()?;
    let focus = match spec.variant {
        Variant::Paper => similarities.iter().map(|s| s.iter().map(|s| affine_focus(*s)).collect()).collect(),
        Variant::Released => min_max_focus(&similarities, group.precision),
    };
    let advantages = group.advantages(spec.policy.estimator);
    let mut weights = match spec.control {
        Some(Control::Oracle) => return shape_dependency(group, focus, &advantages, spec),
        _ => shape_focus(focus, &advantages, group.has_image, group.precision, spec),
    };
    if spec.control == Some(Control::Shuffled) {
        control::shuffle(&mut weights, group.seed);
    }
    Ok(weights)
}

/// Control `oracle`: each token's dependency on the image takes the place of its focus, which stays in the logs. Where
/// it was not measured, advantages are plain.
fn shape_dependency(
    group: &TrajectoryGroup,
    focus: Vec<Vec<f64>>,
    advantages: &[f64],
    spec: &VgpoSpec,
) -> Result<GroupWeights, AlgorithmError> {
    let Some(dependencies) = control::dependencies(group)? else {
        let plain = VgpoSpec { intra: false, inter: false, ..spec.clone() };
        return Ok(shape_focus(focus, advantages, group.has_image, group.precision, &plain));
    };
    let scores = match spec.variant {
        Variant::Paper => dependencies,
        Variant::Released => min_max_focus(&dependencies, group.precision),
    };
    let mut weights = shape_focus(scores, advantages, group.has_image, group.precision, spec);
    for (trajectory, focus) in weights.trajectories.iter_mut().zip(focus) {
        trajectory.focus = focus;
    }
    Ok(weights)
}

/// [`shape`] from focus scores and advantages that are already known: one list of scores and one advantage per
/// response.
pub fn shape_focus(
    focus: Vec<Vec<f64>>,
    advantages: &[f64],
    has_image: bool,
    precision: ScorePrecision,
    spec: &VgpoSpec,
) -> GroupWeights {
    let mut trajectories: Vec<TrajectoryWeights> =
        focus.into_iter().map(|focus| compensate(focus, spec, precision)).collect();
    if has_image {
        if spec.intra {
            for trajectory in &mut trajectories {
                let centred = centred_min_max(&trajectory.compensated_focus, precision);
                trajectory.psi = centred.into_iter().map(|psi| clamp_weight(psi, spec.psi_clamp)).collect();
            }
        }
        if spec.inter {
            let accumulations: Vec<f64> = trajectories.iter().map(|t| t.visual_accumulation).collect();
            for (trajectory, phi) in trajectories.iter_mut().zip(centred_min_max(&accumulations, precision)) {
                trajectory.phi = clamp_weight(phi, spec.phi_clamp);
            }
        }
    }
    for (trajectory, &advantage) in trajectories.iter_mut().zip(advantages) {
        trajectory.advantage = advantage;
        let response = advantage * (1.0 + trajectory.phi);
        trajectory.shaped_advantage = trajectory.psi.iter().map(|psi| response * (1.0 + psi)).collect();
    }
    GroupWeights { has_image, trajectories }
}

/// Focus -> gate, compensation, compensated focus and visual accumulation of one response (Eq. 5-6, 9); psi is still 0.
fn compensate(focus: Vec<f64>, spec: &VgpoSpec, precision: ScorePrecision) -> TrajectoryWeights {
    let tokens = focus.len();
    let progress = progress(tokens, spec.variant);
    let gate = gate(&focus, spec);
    // The released code skips the compensation when only the inter-trajectory weights are on.
    let compensates = spec.compensation && (spec.variant == Variant::Paper || spec.intra);
    let compensation: Vec<f64> = progress.iter().map(|p| if compensates { strength(*p, spec) } else { 0.0 }).collect();
    let compensated_focus: Vec<f64> =
        focus.iter().zip(&gate).zip(&compensation).map(|((rho, g), c)| rho * (1.0 + g * c)).collect();
    let accumulated: f64 = match spec.variant {
        Variant::Paper => compensated_focus.iter().sum(),
        Variant::Released => min_max(&compensated_focus, precision).iter().sum(),
    };
    // A sum of dependencies, most of which are close to 0, would count how long a response is.
    let mean = spec.control == Some(Control::Oracle);
    let visual_accumulation = if mean { accumulated / tokens.max(1) as f64 } else { accumulated };
    let psi = vec![0.0; tokens];
    TrajectoryWeights {
        focus,
        progress,
        compensation,
        gate,
        compensated_focus,
        visual_accumulation,
        psi,
        ..TrajectoryWeights::default()
    }
}

/// Paper: `t / T` with t = 1..=T. Released: `(t - 1) / (T - 1)` in 32-bit floats, 0 for a single token.
fn progress(tokens: usize, variant: Variant) -> Vec<f64> {
    match variant {
        Variant::Paper => (1..=tokens).map(|t| t as f64 / tokens as f64).collect(),
        Variant::Released => {
            let last = tokens.saturating_sub(1).max(1) as f32;
            (0..tokens).map(|k| f64::from(k as f32 / last)).collect()
        }
    }
}

/// The compensation at one point of the response. `released` compares and multiplies in 32-bit floats.
fn strength(progress: f64, spec: &VgpoSpec) -> f64 {
    if spec.schedule == Schedule::Step {
        let on = match spec.variant {
            Variant::Paper => progress >= spec.step,
            Variant::Released => progress as f32 >= spec.step as f32,
        };
        return if on { spec.beta } else { 0.0 };
    }
    if progress < spec.compensation_start {
        return 0.0;
    }
    let ramp = (progress - spec.compensation_start) / (1.0 - spec.compensation_start);
    let ramp = if spec.schedule == Schedule::Exponential { ramp.powf(spec.exponent) } else { ramp };
    match spec.variant {
        Variant::Paper => spec.beta * ramp,
        Variant::Released => f64::from(spec.beta as f32 * ramp as f32),
    }
}

/// 1 for the top `kappa` share of the tail's scores (ties at the threshold pass), else 0; all 1 when the gate is off.
fn gate(focus: &[f64], spec: &VgpoSpec) -> Vec<f64> {
    let tokens = focus.len();
    if !spec.gate || tokens == 0 {
        return vec![1.0; tokens];
    }
    let start = match spec.variant {
        Variant::Paper => tokens.saturating_sub((spec.gamma * tokens as f64 - COUNT_SLACK).ceil() as usize),
        Variant::Released => (spec.gamma * tokens as f64 + COUNT_SLACK).floor() as usize,
    };
    let tail = &focus[start.min(tokens)..];
    let mut gate = vec![0.0; tokens];
    if tail.is_empty() {
        return gate;
    }
    let passing = ((spec.kappa * tail.len() as f64 + COUNT_SLACK).floor() as usize).clamp(1, tail.len());
    let mut ranked = tail.to_vec();
    ranked.sort_unstable_by(|a, b| b.total_cmp(a));
    let threshold = ranked[passing - 1];
    for (gate, score) in gate[start..].iter_mut().zip(tail) {
        *gate = f64::from(u8::from(*score >= threshold));
    }
    gate
}

/// The released focus: min-max of the similarity over every response token of the group.
fn min_max_focus(similarities: &[Vec<f64>], precision: ScorePrecision) -> Vec<Vec<f64>> {
    let (low, high) = range(similarities.iter().flatten().copied());
    let scale = |s: &f64| if high - low < precision.degenerate_range() { 0.0 } else { (s - low) / (high - low) };
    similarities.iter().map(|s| s.iter().map(scale).collect()).collect()
}

/// Scales values to [0, 1]; all 0 when their range is degenerate.
pub(super) fn min_max(values: &[f64], precision: ScorePrecision) -> Vec<f64> {
    let (low, high) = range(values.iter().copied());
    if high - low < precision.degenerate_range() || values.is_empty() {
        return vec![0.0; values.len()];
    }
    values.iter().map(|v| (v - low) / (high - low)).collect()
}

/// [`min_max`] minus its mean, from which psi and phi are computed (Eq. 8 and 11).
fn centred_min_max(values: &[f64], precision: ScorePrecision) -> Vec<f64> {
    let scaled = min_max(values, precision);
    let mean = scaled.iter().sum::<f64>() / scaled.len().max(1) as f64;
    scaled.into_iter().map(|v| v - mean).collect()
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
}

/// Limits `1 + weight`, and returns the weight.
fn clamp_weight(weight: f64, limits: Option<[f64; 2]>) -> f64 {
    match limits {
        None => weight,
        Some([low, high]) => (1.0 + weight).clamp(low, high) - 1.0,
    }
}
