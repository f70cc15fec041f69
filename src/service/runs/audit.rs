//! What an audit measured, and what follows from it for visual weights.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::algorithm::forecast::{MAP, forecast};
use crate::domain::forecast::Forecast;
use crate::domain::metric::{AUDIT, of_evaluation};
use crate::service::Result;
use crate::service::runs::Runs;

/// What an audit has measured so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditResult {
    /// The run.
    pub run_id: String,
    /// Its metrics `audit/…` and `eval/…`; empty for a run that is no audit, or has answered nothing yet.
    pub metrics: BTreeMap<String, f64>,
    /// What visual weights are likely to gain; null where nothing was measured.
    pub forecast: Option<Forecast>,
}

impl Runs {
    /// The results of an audit.
    pub async fn audit(&self, run_id: &str) -> Result<AuditResult> {
        let run = self.store.run(run_id).await?;
        let keys = self.store.metric_keys(run_id).await?;
        let measured = keys.iter().any(|key| key.key.starts_with(AUDIT));
        let of_audit = keys.into_iter().filter(|key| measured && of_evaluation(&key.key));
        let metrics: BTreeMap<String, f64> = of_audit.filter_map(|key| Some((key.key, key.last?))).collect();
        let forecast = measured.then(|| forecast(&MAP, &metrics));
        Ok(AuditResult { run_id: run.id, metrics, forecast })
    }
}
