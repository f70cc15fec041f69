//! Visual statistics for the logs: focus on the image, early and late in responses, and the spread of the weights.

use super::group::{GroupWeights, TrajectoryWeights};

/// Collects responses to prompts with images; text-only prompts are excluded because they would dilute every number.
#[derive(Debug, Clone, Default)]
pub struct VisualSignals {
    focus: Sum,
    early: Sum,
    late: Sum,
    gate: Sum,
    compensation: Sum,
    token_weight: Sum,
    trajectory_weight: Sum,
}

/// Summary of [`VisualSignals`]. A value is `None` if there is no data for it (e.g. `gate_rate` under GRPO).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct VisualSummary {
    /// Mean visual focus score over tokens.
    pub focus_mean: Option<f64>,
    /// Mean focus of the first third of each response.
    pub focus_early: Option<f64>,
    /// Mean focus of the last third of each response.
    pub focus_late: Option<f64>,
    /// Late over early focus: the paper's measure of forgetting.
    pub late_early_ratio: Option<f64>,
    /// Share of tokens that pass the gate.
    pub gate_rate: Option<f64>,
    /// Mean compensation over tokens, before the gate.
    pub compensation_mean: Option<f64>,
    /// Standard deviation of `1 + psi` over tokens.
    pub token_weight_std: Option<f64>,
    /// Smallest `1 + psi`.
    pub token_weight_min: Option<f64>,
    /// Largest `1 + psi`.
    pub token_weight_max: Option<f64>,
    /// Smallest `1 + phi`.
    pub trajectory_weight_min: Option<f64>,
    /// Largest `1 + phi`.
    pub trajectory_weight_max: Option<f64>,
}

impl VisualSignals {
    /// The summary of whole groups.
    pub fn of<'a>(groups: impl IntoIterator<Item = &'a GroupWeights>) -> VisualSummary {
        let mut signals = Self::default();
        for group in groups.into_iter().filter(|g| g.has_image) {
            for trajectory in &group.trajectories {
                signals.add(trajectory);
            }
        }
        signals.summary()
    }

    /// Adds one response of a prompt with an image.
    pub fn add(&mut self, trajectory: &TrajectoryWeights) {
        self.add_focus(&trajectory.focus);
        for g in &trajectory.gate {
            self.gate.add(*g);
        }
        for c in &trajectory.compensation {
            self.compensation.add(*c);
        }
        for psi in &trajectory.psi {
            self.token_weight.add(1.0 + psi);
        }
        self.trajectory_weight.add(1.0 + trajectory.phi);
    }

    /// Adds focus scores alone, for evaluations. A third has at least one token, so the thirds of very short responses
    /// overlap.
    pub fn add_focus(&mut self, focus: &[f64]) {
        let third = (focus.len() / 3).max(1).min(focus.len());
        for f in focus {
            self.focus.add(*f);
        }
        for f in &focus[..third] {
            self.early.add(*f);
        }
        for f in &focus[focus.len() - third..] {
            self.late.add(*f);
        }
    }

    /// The numbers so far.
    pub fn summary(&self) -> VisualSummary {
        let (early, late) = (self.early.mean(), self.late.mean());
        VisualSummary {
            focus_mean: self.focus.mean(),
            focus_early: early,
            focus_late: late,
            late_early_ratio: early.zip(late).and_then(|(early, late)| (early > 0.0).then(|| late / early)),
            gate_rate: self.gate.mean(),
            compensation_mean: self.compensation.mean(),
            token_weight_std: self.token_weight.std(),
            token_weight_min: self.token_weight.min(),
            token_weight_max: self.token_weight.max(),
            trajectory_weight_min: self.trajectory_weight.min(),
            trajectory_weight_max: self.trajectory_weight.max(),
        }
    }
}

impl VisualSummary {
    /// Every known value under its metric key (`visual/…`).
    pub fn metrics(&self) -> Vec<(&'static str, f64)> {
        [
            ("visual/focus_mean", self.focus_mean),
            ("visual/focus_early", self.focus_early),
            ("visual/focus_late", self.focus_late),
            ("visual/late_early_ratio", self.late_early_ratio),
            ("visual/gate_rate", self.gate_rate),
            ("visual/compensation_mean", self.compensation_mean),
            ("visual/token_weight_std", self.token_weight_std),
            ("visual/token_weight_min", self.token_weight_min),
            ("visual/token_weight_max", self.token_weight_max),
            ("visual/trajectory_weight_min", self.trajectory_weight_min),
            ("visual/trajectory_weight_max", self.trajectory_weight_max),
        ]
        .into_iter()
        .filter_map(|(key, value)| value.map(|value| (key, value)))
        .collect()
    }
}

/// Count, mean, spread and limits of a stream of numbers (Welford's update, so the spread does not cancel).
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: usize,
    mean: f64,
    squares: f64,
    low: f64,
    high: f64,
}

impl Sum {
    fn add(&mut self, value: f64) {
        (self.low, self.high) =
            if self.count == 0 { (value, value) } else { (self.low.min(value), self.high.max(value)) };
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
    }

    fn some(self, value: f64) -> Option<f64> {
        (self.count > 0).then_some(value)
    }

    fn mean(&self) -> Option<f64> {
        self.some(self.mean)
    }

    fn std(&self) -> Option<f64> {
        self.some((self.squares / self.count.max(1) as f64).max(0.0).sqrt())
    }

    fn min(&self) -> Option<f64> {
        self.some(self.low)
    }

    fn max(&self) -> Option<f64> {
        self.some(self.high)
    }
}
