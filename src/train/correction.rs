//! Where the sampler's distribution differs from the trainer's (another kernel, number format or stale weights): how much,
//! and the truncated importance ratio that makes up for it (TIS: Yao et al., "Your efficient RL framework secretly brings
//! you off-policy RL training").

use super::learner::TrainRow;
use super::metrics::Metrics;

/// Log-ratios beyond this are cut before `exp`.
const LOG_RATIO_LIMIT: f64 = 20.0;

/// Ratios `p_trainer / p_sampler` of every sampled token of a step.
#[derive(Debug, Default)]
pub(super) struct RolloutRatios {
    tokens: usize,
    sum: f64,
    largest: f64,
    kl_sum: f64,
}

impl RolloutRatios {
    /// Takes a row's log-probs under the trainer and under the sampler (both at the rollout's temperature, without
    /// placeholders, top-p ignored), and truncates its ratios at `cap` where the job asks for it.
    pub(super) fn add(&mut self, row: &mut TrainRow, sampler: &[f64], cap: Option<f64>) {
        let logs = row.old_logprobs.iter().zip(sampler).map(|(trainer, sampler)| trainer - sampler);
        let logs: Vec<f64> = logs.map(|log| log.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)).collect();
        for log in &logs {
            let ratio = log.exp();
            self.tokens += 1;
            self.sum += ratio;
            self.largest = self.largest.max(ratio);
            self.kl_sum -= log;
        }
        row.correction = cap.map(|cap| logs.iter().map(|log| log.exp().min(cap)).collect());
    }

    /// Mean and largest ratio, and the KL from sampler to trainer.
    pub(super) fn describe(&self, metrics: &mut Metrics) {
        let tokens = self.tokens.max(1) as f64;
        metrics.set("rollout/ratio_mean", self.sum / tokens);
        metrics.set("rollout/ratio_max", self.largest);
        metrics.set("rollout/kl", self.kl_sum / tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_measured_and_truncated() {
        let mut row = TrainRow { old_logprobs: vec![-1.0, -1.0 + 3.0_f64.ln()], ..TrainRow::default() };
        let mut ratios = RolloutRatios::default();
        ratios.add(&mut row, &[-1.0, -1.0], Some(2.0));
        assert_eq!(row.correction, Some(vec![1.0, 2.0]));
        let mut metrics = Metrics::default();
        ratios.describe(&mut metrics);
        assert!((metrics.get("rollout/ratio_mean") - 2.0).abs() < 1e-12);
        assert!((metrics.get("rollout/ratio_max") - 3.0).abs() < 1e-12);
        assert!((metrics.get("rollout/kl") + 3.0_f64.ln() / 2.0).abs() < 1e-12);
        ratios.add(&mut row, &[-1.0, -1.0], None);
        assert_eq!(row.correction, None, "nothing is corrected unless asked for");
    }
}
