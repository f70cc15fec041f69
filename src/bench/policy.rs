//! The job settings that determine the cost of an update.

use serde::Serialize;
use serde_json::{Value, json};

use super::BenchError;
use super::shape::BatchShape;
use crate::config::job;
use crate::domain::spec::{DType, JobSpec};

/// The settings of a job under `train`, and those of its optimizer and micro-batches that cost memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PolicySettings {
    /// `train.lora.rank`; none: all parameters are trained.
    pub lora_rank: Option<u64>,
    /// `train.dtype`.
    pub dtype: DType,
    /// `train.freeze_vision`.
    pub freeze_vision: bool,
    /// `train.gradient_checkpointing`.
    pub checkpointing: bool,
    /// `optimizer.offload`.
    pub offload: bool,
    /// `batch.microbatch_tokens`.
    pub microbatch_tokens: u64,
}

impl PolicySettings {
    /// A job that trains on batches of this shape with `method`; everything else has its default.
    ///
    /// # Errors
    /// Settings that are invalid for a job.
    pub fn spec(&self, method: &str, batch: &BatchShape) -> Result<JobSpec, BenchError> {
        let mut request = json!({
            "model": "bench", "dataset": "bench", "method": { "type": method },
            // Jobs may not have groups of one, but updates of distinct prompts should be measurable.
            "rollout": { "group_size": batch.group_size.max(2), "max_new_tokens": batch.response_tokens },
            "batch": {
                "prompts_per_step": batch.groups, "minibatch_prompts": batch.groups,
                "microbatch_tokens": self.microbatch_tokens,
            },
            "optimizer": { "offload": self.offload },
            "train": {
                "freeze_vision": self.freeze_vision, "gradient_checkpointing": self.checkpointing,
                "dtype": self.dtype,
            },
        });
        if let (Some(rank), Some(train)) = (self.lora_rank, request["train"].as_object_mut()) {
            train.insert("parameters".to_owned(), Value::from("lora"));
            train.insert("lora".to_owned(), json!({ "rank": rank, "targets": ["all-linear"] }));
        }
        let mut spec = job::resolve(&request, &[])?.spec;
        spec.rollout.group_size = batch.group_size as u64;
        Ok(spec)
    }
}
