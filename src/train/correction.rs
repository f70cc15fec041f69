//! Mismatch between sampler and trainer (another kernel, another number format or stale weights): how large it is, and
//! the truncated importance ratio that corrects it (TIS: Yao et al., "Your efficient RL framework secretly brings you
//! off-policy RL training").

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
    /// Adds a response's log-probs under the trainer and under the sampler (both at the rollout's temperature, without
    /// placeholders, top-p ignored).
    pub(super) fn add(&mut self, trainer: &[f64], sampler: &[f64]) {
        for log in log_ratios(trainer, sampler) {
            let ratio = log.exp();
            self.tokens += 1;
            self.sum += ratio;
            self.largest = self.largest.max(ratio);
            self.kl_sum -= log;
        }
    }

    /// The mean KL from sampler to trainer.
    pub(super) fn kl(&self) -> f64 {
        self.kl_sum / self.tokens.max(1) as f64
    }

    /// Mean and largest ratio, and the KL from sampler to trainer.
    pub(super) fn describe(&self, metrics: &mut Metrics) {
        let tokens = self.tokens.max(1) as f64;
        metrics.set("rollout/ratio_mean", self.sum / tokens);
        metrics.set("rollout/ratio_max", self.largest);
        metrics.set("rollout/kl", self.kl());
    }
}

/// The truncated ratio of each token, a factor of the loss where the job asks for it.
pub(super) fn correction(trainer: &[f64], sampler: &[f64], cap: f64) -> Vec<f64> {
    log_ratios(trainer, sampler).map(|log| log.exp().min(cap)).collect()
}

fn log_ratios(trainer: &[f64], sampler: &[f64]) -> impl Iterator<Item = f64> {
    let logs = trainer.iter().zip(sampler).map(|(trainer, sampler)| trainer - sampler);
    logs.map(|log| log.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_measured_and_truncated() {
        let trainer = [-1.0, -1.0 + 3.0_f64.ln()];
        let truncated = correction(&trainer, &[-1.0, -1.0], 2.0);
        assert!(truncated[0] == 1.0 && truncated[1] == 2.0, "{truncated:?}");
        let mut ratios = RolloutRatios::default();
        ratios.add(&trainer, &[-1.0, -1.0]);
        let mut metrics = Metrics::default();
        ratios.describe(&mut metrics);
        assert!((metrics.get("rollout/ratio_mean") - 2.0).abs() < 1e-12);
        assert!((metrics.get("rollout/ratio_max") - 3.0).abs() < 1e-12);
        assert!((metrics.get("rollout/kl") + 3.0_f64.ln() / 2.0).abs() < 1e-12);
    }
}
