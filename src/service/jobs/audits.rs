//! Audits: jobs of method `eval` that also measure what responses depend on the image for.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::submit::SubmittedJob;
use crate::config::audit;
use crate::domain::spec::RowSplit;
use crate::service::jobs::Jobs;
use crate::service::{Result, ServiceError};

/// Body of `POST /v1/audits`: a partial job without a method. Only `model` and `dataset` are required; unknown fields
/// are errors.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"model": "starter", "dataset": "digits"}))]
#[allow(dead_code, reason = "describes the body; its fields are checked one by one in config::job")]
pub struct AuditRequest {
    /// The model: a registered name, `ckpt_…`, `run_…@best` or `run_…@last`.
    pub model: String,
    /// The data set, whose rows have images.
    pub dataset: String,
    /// Which rows of the data set (eval).
    pub split: Option<RowSplit>,
    /// The dependency in nats from which on a token counts as dependent on the image (0.1).
    pub dependency_threshold: Option<f64>,
    /// Any other field of `JobSpec` that an evaluation reads: `eval_rows` (128), `eval` (2 samples at temperature 1).
    #[serde(flatten)]
    pub settings: BTreeMap<String, Value>,
}

impl Jobs {
    /// Submits an audit.
    pub async fn submit_audit(&self, request: &Value, created_by: Option<String>) -> Result<SubmittedJob> {
        let job = audit::job(request).map_err(ServiceError::invalid)?;
        self.submit(&job, created_by).await
    }
}
