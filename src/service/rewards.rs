//! Trying a reward on given responses before a job spends hours on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::clock;
use crate::config::job;
use crate::domain::field_error::FieldError;
use crate::domain::spec::RewardSpec;
use crate::reward::{self, RewardBatch, RewardInput, Verdict};
use crate::service::{Result, Service, ServiceError};

/// Most responses of one request.
const MAX_ITEMS: usize = 1000;
/// Longest text of one item in bytes.
const MAX_TEXT: usize = 1 << 20;

/// Body of `POST /v1/rewards/evaluate`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluateRewards {
    /// The reward, as in a job.
    #[schema(value_type = RewardSpec)]
    pub reward: Value,
    /// The responses to judge.
    pub items: Vec<RewardItem>,
}

/// A response to judge.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RewardItem {
    /// The response.
    pub response: String,
    /// What is right.
    pub ground_truth: String,
    /// The question, for webhooks.
    #[serde(default)]
    pub prompt: String,
    /// Tokens of the response, for `length`; words are counted without it.
    #[serde(default)]
    pub tokens: Option<usize>,
    /// Width and height of the prompt's images, for `iou` in thousandths.
    #[serde(default)]
    pub image_sizes: Vec<[u32; 2]>,
}

/// Answer of `POST /v1/rewards/evaluate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvaluatedRewards {
    /// One entry per item; null where the reward could not judge it.
    pub data: Vec<Option<JudgedItem>>,
}

/// The verdict on one response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JudgedItem {
    /// What training would see.
    pub reward: f64,
    /// 1 for a right answer, else 0.
    pub accuracy: f64,
    /// Each part's own value by name.
    pub parts: BTreeMap<String, f64>,
    /// The answer that was found in the response.
    pub extracted: Option<String>,
}

impl From<Verdict> for JudgedItem {
    fn from(verdict: Verdict) -> Self {
        let Verdict { reward, accuracy, parts, extracted } = verdict;
        Self { reward, accuracy, parts, extracted }
    }
}

impl Service {
    /// Judges responses.
    pub async fn evaluate_rewards(&self, request: EvaluateRewards) -> Result<EvaluatedRewards> {
        let spec = job::reward(&request.reward).map_err(ServiceError::invalid)?;
        check(&request.items)?;
        let reward = reward::build_with(&spec, self.webhooks.as_ref())
            .map_err(|error| ServiceError::field("/reward", error.to_string()))?;
        let judged = tokio::task::spawn_blocking(move || {
            let ids: Vec<String> = (0..request.items.len()).map(|index| index.to_string()).collect();
            let inputs: Vec<RewardInput<'_>> =
                request.items.iter().zip(&ids).map(|(item, id)| item.input(id)).collect();
            reward.judge_all(&RewardBatch { run: "", step: 0, id: &clock::new_id("evaluate"), inputs: &inputs })
        });
        let verdicts = judged.await.map_err(|error| ServiceError::Internal(error.to_string()))?;
        let verdicts = verdicts.map_err(|error| {
            if error.may_pass() {
                ServiceError::Unavailable(error.to_string())
            } else {
                ServiceError::field("/reward", error.to_string())
            }
        })?;
        Ok(EvaluatedRewards { data: verdicts.into_iter().map(|verdict| verdict.map(JudgedItem::from)).collect() })
    }
}

impl RewardItem {
    fn input<'a>(&'a self, id: &'a str) -> RewardInput<'a> {
        RewardInput {
            id,
            prompt: &self.prompt,
            response: &self.response,
            ground_truth: &self.ground_truth,
            row: 0,
            image_sizes: &self.image_sizes,
            tokens: self.tokens,
        }
    }
}

fn check(items: &[RewardItem]) -> Result<()> {
    if items.is_empty() || items.len() > MAX_ITEMS {
        let detail = format!("`items` has {} entries; send 1 to {MAX_ITEMS}", items.len());
        return Err(ServiceError::field("/items", detail));
    }
    let long = |(index, item): (usize, &RewardItem)| {
        let texts = [("response", &item.response), ("ground_truth", &item.ground_truth), ("prompt", &item.prompt)];
        let found = texts.into_iter().find(|(_, text)| text.len() > MAX_TEXT);
        found.map(|(name, text)| {
            let detail = format!("`{name}` has {} bytes; the limit is {MAX_TEXT}", text.len());
            FieldError::new(format!("/items/{index}/{name}"), detail)
        })
    };
    let faults: Vec<FieldError> = items.iter().enumerate().filter_map(long).collect();
    if faults.is_empty() { Ok(()) } else { Err(ServiceError::invalid(faults)) }
}
