//! The recipe of the starter: what was chosen, and the job of its supervised part.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::family::StarterFamily;
use crate::config::job;
use crate::data::survey::{self, SurveySettings, SurveyTask};
use crate::domain::spec::JobSpec;
use crate::train::TrainError;

/// Tokens of the longest response to `digits`, and more.
const DIGITS_TOKENS: u32 = 48;

/// Settings of the recipe; the defaults made the model that ships.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What the model is made of.
    #[serde(default)]
    pub family: StarterFamily,
    /// The survey that it is taught; none: `digits`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survey: Option<SurveySettings>,
    /// Seed of everything random.
    pub seed: u64,
    /// Steps of vision pre-training.
    pub vision_steps: u64,
    /// Scenes of one vision step.
    pub vision_batch: u64,
    /// Peak learning rate of vision pre-training.
    pub vision_learning_rate: f64,
    /// Steps over which the vision learning rate would fall; training stops before its end.
    pub vision_schedule_steps: u64,
    /// Steps of supervised training.
    pub sft_steps: u64,
    /// Demonstrations of one supervised step.
    pub sft_batch: u64,
    /// Peak learning rate of supervised training.
    pub sft_learning_rate: f64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            family: StarterFamily::default(),
            survey: None,
            seed: 7,
            vision_steps: 300,
            vision_batch: 64,
            vision_learning_rate: 2e-3,
            vision_schedule_steps: 600,
            sft_steps: 600,
            sft_batch: 32,
            sft_learning_rate: 1.5e-3,
        }
    }
}

impl Recipe {
    /// The recipe for a survey: more looks at the pictures before the first word, longer supervised training.
    pub fn survey(settings: SurveySettings) -> Self {
        Self {
            survey: Some(settings),
            vision_steps: 500,
            vision_schedule_steps: 600,
            sft_steps: 1000,
            ..Self::default()
        }
    }

    /// Tokens of the longest response.
    pub(super) fn response_tokens(&self) -> u32 {
        self.survey.as_ref().map_or(DIGITS_TOKENS, SurveyTask::response_tokens)
    }

    /// The job of supervised training.
    pub(super) fn job(&self) -> Result<JobSpec, TrainError> {
        let request = json!({
            "model": "blank", "dataset": self.survey.map_or("digits", |_| survey::NAME),
            "method": { "type": "sft" }, "seed": self.seed,
            "steps": self.sft_steps, "eval_before": false, "eval_every": 100, "checkpoint_every": 0,
            "log_samples_every": 0, "reward": { "type": "math" },
            "rollout": { "max_new_tokens": self.response_tokens() },
            "batch": { "prompts_per_step": self.sft_batch, "minibatch_prompts": self.sft_batch,
                "microbatch_tokens": if self.survey.is_some() { 2048 } else { 1024 } },
            "optimizer": {
                "learning_rate": self.sft_learning_rate, "betas": [0.9, 0.98], "weight_decay": 0.01,
                "warmup_steps": 50, "schedule": "cosine", "max_grad_norm": 1.0,
            },
        });
        let resolved = job::resolve(&request, &[]).map_err(|errors| TrainError::Setting {
            field: "recipe",
            problem: errors
                .iter()
                .map(|error| format!("{}: {}", error.pointer, error.detail))
                .collect::<Vec<_>>()
                .join("; "),
        })?;
        Ok(resolved.spec)
    }
}
