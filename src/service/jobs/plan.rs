//! The plan of a job, before it is submitted.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::memory_check::MemoryEstimate;
use super::preview::{Preview, PromptPreview};
use super::submit::CheckedJob;
use super::warning::JobWarning;
use crate::config::job::Origin;
use crate::domain::spec::JobSpec;
use crate::service::Result;
use crate::service::jobs::Jobs;

/// The answer of a dry run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobPlan {
    /// The resolved settings.
    pub spec: JobSpec,
    /// Origin of each value, by JSON pointer.
    pub origins: BTreeMap<String, Origin>,
    /// Warnings about settings that may be unintended.
    pub warnings: Vec<JobWarning>,
    /// One prompt as the model would read it.
    pub prompt: PromptPreview,
    /// Estimated memory of the training process.
    pub memory: MemoryEstimate,
    /// The amount of work.
    pub work: PlannedWork,
}

/// The work of a whole job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedWork {
    /// Optimizer steps (one step = one rollout batch).
    pub steps: u64,
    /// Optimizer updates, with every mini-batch and epoch.
    pub updates: u64,
    /// Number of prompts, if dynamic sampling replaces none.
    pub prompts: u64,
    /// Number of responses, if dynamic sampling replaces none.
    pub responses: u64,
    /// Prompt tokens, if every prompt is as long as the one shown.
    pub prompt_tokens: u64,
    /// Maximum number of response tokens.
    pub max_response_tokens: u64,
}

impl AddAssign for PlannedWork {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.updates += other.updates;
        self.prompts += other.prompts;
        self.responses += other.responses;
        self.prompt_tokens += other.prompt_tokens;
        self.max_response_tokens += other.max_response_tokens;
    }
}

impl Jobs {
    /// What a job would be and do; nothing is stored.
    pub async fn plan(&self, request: &serde_json::Value) -> Result<JobPlan> {
        let CheckedJob { resolved, mut warnings, preview, memory, .. } = self.check(request).await?;
        warnings.extend(memory.warning());
        let memory = memory.estimate;
        let work = work(&resolved.spec, &preview);
        Ok(JobPlan { spec: resolved.spec, origins: resolved.origins, warnings, prompt: preview.prompt, memory, work })
    }
}

fn group_size(spec: &JobSpec) -> u64 {
    if spec.method.is_reinforcement() { spec.rollout.group_size } else { 1 }
}

pub(in crate::service) fn work(spec: &JobSpec, preview: &Preview) -> PlannedWork {
    let trains = spec.method.trains();
    let prompts = if trains { spec.steps * spec.batch.prompts_per_step } else { spec.eval_rows.min(preview.rows) };
    let responses = prompts * if trains { group_size(spec) } else { spec.eval.samples };
    let epochs = if spec.method.is_reinforcement() { spec.batch.epochs_per_batch } else { u64::from(trains) };
    let updates_per_step = spec.batch.prompts_per_step / spec.batch.minibatch_prompts.max(1) * epochs;
    PlannedWork {
        steps: spec.steps,
        updates: spec.steps * updates_per_step,
        prompts,
        responses,
        prompt_tokens: prompts * preview.prompt.tokens,
        max_response_tokens: responses * spec.rollout.max_new_tokens,
    }
}
