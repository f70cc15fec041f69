//! Trying a reward on given responses before a job spends hours on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::clock;
use crate::config::job;
use crate::domain::field_error::{FieldError, MOST_ERRORS};
use crate::domain::spec::{RewardSpec, WeightedReward};
use crate::domain::tree;
use crate::reward::{self, Reward, RewardBatch, RewardInput, Verdict};
use crate::service::pool::Stop;
use crate::service::{Result, Service, ServiceError};

/// Rewards that are tried at the same time.
pub(super) const AT_ONCE: usize = 2;
/// Those that wait.
pub(super) const QUEUED: usize = 16;
/// Webhooks of a reward that is tried.
const MAX_WEBHOOKS: usize = 4;
/// Seconds that one of them may take.
const WEBHOOK_SECONDS: f64 = 10.0;
/// Seconds that a trial may take.
const MAX_SECONDS: f64 = 30.0;
/// Items that are judged between two looks at the time, and at whether the client is gone.
const PIECE: usize = 16;
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
    #[serde(deserialize_with = "tree::value")]
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
        let (spec, webhooks) = trial(spec);
        if webhooks > MAX_WEBHOOKS {
            let detail = format!("the reward asks {webhooks} webhooks; trying one may ask {MAX_WEBHOOKS}");
            return Err(ServiceError::field("/reward", detail));
        }
        let reward = reward::build_with(&spec, self.webhooks.as_ref())
            .map_err(|error| ServiceError::field("/reward", error.to_string()))?;
        // A webhook judges a batch as a whole; all other work is looked after from piece to piece.
        let piece = if webhooks == 0 { PIECE } else { MAX_ITEMS };
        let judged = self.rewards.run(move |stop| judge(reward.as_ref(), &request.items, piece, stop)).await?;
        Ok(EvaluatedRewards { data: judged.into_iter().map(|verdict| verdict.map(JudgedItem::from)).collect() })
    }
}

/// A reward as it is tried: a person waits, so its webhooks are asked once and not for long. Tells how many there are.
fn trial(spec: RewardSpec) -> (RewardSpec, usize) {
    match spec {
        RewardSpec::Webhook { url, timeout_seconds, .. } => {
            let timeout_seconds = Some(timeout_seconds.map_or(WEBHOOK_SECONDS, |seconds| seconds.min(WEBHOOK_SECONDS)));
            (RewardSpec::Webhook { url, timeout_seconds, retries: Some(0) }, 1)
        }
        RewardSpec::Weighted { parts } => {
            let mut webhooks = 0;
            let tried = parts.into_iter().map(|part| {
                let (reward, asked) = trial(part.reward);
                webhooks += asked;
                WeightedReward { reward, ..part }
            });
            (RewardSpec::Weighted { parts: tried.collect() }, webhooks)
        }
        other => (other, 0),
    }
}

/// Judges items in pieces, until the client is gone or the time is over.
fn judge(reward: &dyn Reward, items: &[RewardItem], piece: usize, stop: &Stop) -> Result<Vec<Option<Verdict>>> {
    let ids: Vec<String> = (0..items.len()).map(|index| index.to_string()).collect();
    let inputs: Vec<RewardInput<'_>> = items.iter().zip(&ids).map(|(item, id)| item.input(id)).collect();
    let (watch, batch) = (clock::Stopwatch::start(), clock::new_id("evaluate"));
    let mut verdicts = Vec::with_capacity(items.len());
    for inputs in inputs.chunks(piece) {
        stop.check()?;
        if watch.seconds() > MAX_SECONDS {
            let detail =
                format!("judging the first {} took more than {MAX_SECONDS} seconds; send fewer", verdicts.len());
            return Err(ServiceError::field("/items", detail));
        }
        let judged = reward.judge_all(&RewardBatch { run: "", step: 0, id: &batch, inputs });
        verdicts.extend(judged.map_err(|error| {
            if error.may_pass() {
                ServiceError::Unavailable(error.to_string())
            } else {
                ServiceError::field("/reward", error.to_string())
            }
        })?);
    }
    Ok(verdicts)
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
    let faults: Vec<FieldError> = items.iter().enumerate().filter_map(long).take(MOST_ERRORS).collect();
    if faults.is_empty() { Ok(()) } else { Err(ServiceError::invalid(faults)) }
}
