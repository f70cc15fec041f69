//! Statistics of a loss, for metrics.

/// Sums over tokens; add up micro-batches with [`LossStats::merge`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LossStats {
    /// Tokens counted.
    pub tokens: usize,
    /// Sum of `old - new` log-probs.
    pub approx_kl_sum: f64,
    /// Sum of the low-variance KL to the reference.
    pub reference_kl_sum: f64,
    /// Tokens with a masked view.
    pub masked_tokens: usize,
    /// Sum of their low-variance KL from the whole to the masked view.
    pub perception_kl_sum: f64,
    /// Sum of their negative log-probs under the masked view.
    pub masked_surprise_sum: f64,
    /// Tokens whose gradient the lower clip limit stopped.
    pub clipped_low: usize,
    /// Tokens whose gradient the upper clip limit stopped.
    pub clipped_high: usize,
    /// Tokens whose loss the dual clip bounded.
    pub dual_clipped: usize,
}

impl LossStats {
    /// Adds another micro-batch.
    pub fn merge(&mut self, other: &Self) {
        self.tokens += other.tokens;
        self.approx_kl_sum += other.approx_kl_sum;
        self.reference_kl_sum += other.reference_kl_sum;
        self.masked_tokens += other.masked_tokens;
        self.perception_kl_sum += other.perception_kl_sum;
        self.masked_surprise_sum += other.masked_surprise_sum;
        self.clipped_low += other.clipped_low;
        self.clipped_high += other.clipped_high;
        self.dual_clipped += other.dual_clipped;
    }

    /// Approximate KL from the old to the new policy: the mean of `old - new`.
    pub fn approx_kl(&self) -> f64 {
        self.mean(self.approx_kl_sum)
    }

    /// Low-variance KL to the reference, per token.
    pub fn reference_kl(&self) -> f64 {
        self.mean(self.reference_kl_sum)
    }

    /// Share of tokens clipped at the lower limit.
    pub fn clip_fraction_low(&self) -> f64 {
        self.mean(self.clipped_low as f64)
    }

    /// Share of tokens clipped at the upper limit.
    pub fn clip_fraction_high(&self) -> f64 {
        self.mean(self.clipped_high as f64)
    }

    /// Share of tokens whose loss the dual clip bounded.
    pub fn dual_clip_fraction(&self) -> f64 {
        self.mean(self.dual_clipped as f64)
    }

    /// Low-variance KL from the whole to the masked view, per token that has one.
    pub fn perception_kl(&self) -> f64 {
        self.perception_kl_sum / self.masked_tokens.max(1) as f64
    }

    /// Mean negative log-prob under the masked view, per token that has one.
    pub fn masked_surprise(&self) -> f64 {
        self.masked_surprise_sum / self.masked_tokens.max(1) as f64
    }

    fn mean(&self, sum: f64) -> f64 {
        if self.tokens == 0 { 0.0 } else { sum / self.tokens as f64 }
    }
}
