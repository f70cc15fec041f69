//! From audited responses to the `audit/…` metrics, over all answers and over right and wrong ones alone.

use crate::domain::eval_row::{EvalResponse, ResponseAudit, Thirds};

use super::metrics::{Metrics, ThirdsSum, mean};

/// Sums over audited responses.
#[derive(Debug, Default)]
pub(super) struct AuditMetrics {
    all: AuditSums,
    right: AuditSums,
    wrong: AuditSums,
}

impl AuditMetrics {
    pub(super) fn add(&mut self, response: &EvalResponse) {
        let Some(audit) = &response.audit else { return };
        let tokens = response.tokens as usize;
        self.all.add(audit, tokens);
        match response.correct {
            Some(true) => self.right.add(audit, tokens),
            Some(false) => self.wrong.add(audit, tokens),
            None => {}
        }
    }

    /// Every `audit/…` metric; those without a measurement are left out.
    pub(super) fn metrics(&self, metrics: &mut Metrics) {
        for (sums, suffix) in [(&self.all, ""), (&self.right, "_right"), (&self.wrong, "_wrong")] {
            sums.metrics(suffix, metrics);
        }
    }
}

/// Correlations and areas are means over responses, everything else over tokens.
#[derive(Debug, Default)]
struct AuditSums {
    responses: u64,
    spearman: Vec<f64>,
    spearman_predicting: Vec<f64>,
    auc: Vec<f64>,
    auc_predicting: Vec<f64>,
    auc_early: Vec<f64>,
    auc_middle: Vec<f64>,
    auc_late: Vec<f64>,
    dependency: ThirdsSum,
    dependent: ThirdsSum,
    gradient: f64,
    gradient_independent: f64,
}

impl AuditSums {
    fn add(&mut self, audit: &ResponseAudit, tokens: usize) {
        self.responses += 1;
        self.spearman.extend(audit.spearman);
        self.spearman_predicting.extend(audit.spearman_predicting);
        self.auc.extend(audit.auc);
        self.auc_predicting.extend(audit.auc_predicting);
        self.auc_early.extend(audit.auc_early);
        self.auc_middle.extend(audit.auc_middle);
        self.auc_late.extend(audit.auc_late);
        self.dependency.add(Some(audit.dependency), tokens);
        self.dependent.add(Some(audit.dependent), tokens);
        self.gradient += audit.gradient;
        self.gradient_independent += audit.gradient_independent;
    }

    fn metrics(&self, suffix: &str, metrics: &mut Metrics) {
        if self.responses == 0 {
            return;
        }
        metrics.set(format!("audit/responses{suffix}"), self.responses as f64);
        let means = [
            ("spearman", &self.spearman),
            ("spearman_predicting", &self.spearman_predicting),
            ("auc", &self.auc),
            ("auc_predicting", &self.auc_predicting),
            ("auc_early", &self.auc_early),
            ("auc_middle", &self.auc_middle),
            ("auc_late", &self.auc_late),
        ];
        for (name, values) in means.into_iter().filter(|(_, values)| !values.is_empty()) {
            metrics.set(format!("audit/{name}{suffix}"), mean(values));
        }
        for (name, sum) in [("dependency", &self.dependency), ("dependent", &self.dependent)] {
            let Some(Thirds { mean, early, late }) = sum.mean() else { continue };
            for (part, value) in [("mean", mean), ("early", early), ("late", late)] {
                metrics.set(format!("audit/{name}_{part}{suffix}"), value);
            }
        }
        if self.gradient > 0.0 {
            metrics.set(format!("audit/independent_gradient{suffix}"), self.gradient_independent / self.gradient);
        }
    }
}
