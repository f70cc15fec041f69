//! The reward `webhook`: a server of yours judges.
//!
//! One request a batch: `{version, run, step, items: [{id, prompt, response, ground_truth, row}]}`; the answer is
//! `{items: [{id, reward, parts}]}`. A response that the answer leaves out has no verdict.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Reward, RewardBatch, RewardError, RewardInput, Verdict};

/// Version of the protocol.
const VERSION: u32 = 1;
/// Seconds to wait when the job names none.
const DEFAULT_TIMEOUT: f64 = 30.0;
/// Repeats when the job names none.
const DEFAULT_RETRIES: u32 = 3;
/// Most parts of one verdict that are kept.
const MAX_PARTS: usize = 32;
/// Longest name of a part.
const MAX_NAME: usize = 64;
/// A reward from here on counts as a right answer, unless a part `accuracy` says otherwise.
const RIGHT: f64 = 0.5;

/// Sends a request and brings back the answer: the HTTP side, which this room knows nothing of.
pub trait WebhookClient: Send + Sync {
    /// May this address be called?
    ///
    /// # Errors
    /// Says why not.
    fn check(&self, url: &str) -> Result<(), RewardError>;

    /// Asks.
    ///
    /// # Errors
    /// The host is not allowed; the answer never came or is an error.
    fn ask(&self, question: &Question<'_>) -> Result<Vec<u8>, RewardError>;
}

/// A request to a webhook.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Where to.
    pub url: &'a str,
    /// Names the batch; repeats carry the same name.
    pub batch: &'a str,
    /// JSON.
    pub body: &'a [u8],
    /// How long one try may take.
    pub timeout: Duration,
    /// Repeats after failures that may pass.
    pub retries: u32,
}

/// A webhook.
pub struct Webhook {
    url: String,
    timeout: Duration,
    retries: u32,
    client: Arc<dyn WebhookClient>,
}

#[derive(Serialize)]
struct Request<'a> {
    version: u32,
    batch: &'a str,
    run: &'a str,
    step: u64,
    items: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    id: &'a str,
    prompt: &'a str,
    response: &'a str,
    ground_truth: &'a str,
    row: u64,
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<AnswerItem>,
}

#[derive(Deserialize)]
struct AnswerItem {
    id: String,
    /// Null: the server could not judge this response.
    reward: Option<f64>,
    #[serde(default)]
    parts: BTreeMap<String, f64>,
}

impl<'a> Item<'a> {
    fn of(input: &RewardInput<'a>) -> Self {
        let RewardInput { id, prompt, response, ground_truth, row, .. } = *input;
        Self { id, prompt, response, ground_truth, row }
    }
}

impl Webhook {
    /// # Errors
    /// The client may not ask this address.
    pub fn new(
        url: &str,
        timeout_seconds: Option<f64>,
        retries: Option<u32>,
        client: Arc<dyn WebhookClient>,
    ) -> Result<Self, RewardError> {
        client.check(url)?;
        Ok(Self {
            url: url.to_owned(),
            timeout: Duration::from_secs_f64(timeout_seconds.unwrap_or(DEFAULT_TIMEOUT)),
            retries: retries.unwrap_or(DEFAULT_RETRIES),
            client,
        })
    }
}

impl Reward for Webhook {
    /// Without a verdict the reward is 0; [`Reward::judge_all`] tells the two apart.
    fn judge(&self, input: RewardInput<'_>) -> Verdict {
        let batch = RewardBatch { run: "", step: 0, id: input.id, inputs: &[input] };
        self.judge_all(&batch).ok().and_then(|mut all| all.pop().flatten()).unwrap_or_default()
    }

    fn judge_all(&self, batch: &RewardBatch<'_>) -> Result<Vec<Option<Verdict>>, RewardError> {
        let items = batch.inputs.iter().map(Item::of).collect();
        let request = Request { version: VERSION, batch: batch.id, run: batch.run, step: batch.step, items };
        let body = serde_json::to_vec(&request).map_err(|error| RewardError::Webhook(error.to_string()))?;
        let question =
            Question { url: &self.url, batch: batch.id, body: &body, timeout: self.timeout, retries: self.retries };
        let answer = self.client.ask(&question)?;
        let answer: Answer = serde_json::from_slice(&answer).map_err(|error| {
            RewardError::Webhook(format!(
                "{} did not answer {{\"items\": [{{\"id\", \"reward\"}}]}}: {error}",
                self.url
            ))
        })?;
        let mut verdicts: BTreeMap<String, Verdict> =
            answer.items.into_iter().filter_map(|item| Some((item.id.clone(), verdict(item)?))).collect();
        Ok(batch.inputs.iter().map(|input| verdicts.remove(input.id)).collect())
    }
}

/// None where the server gave no finite reward.
fn verdict(item: AnswerItem) -> Option<Verdict> {
    let reward = item.reward.filter(|reward| reward.is_finite())?;
    let fits = |(name, value): &(String, f64)| value.is_finite() && !name.is_empty() && name.len() <= MAX_NAME;
    let mut parts: BTreeMap<String, f64> = item.parts.into_iter().filter(fits).take(MAX_PARTS).collect();
    let accuracy = parts.get("accuracy").copied().or(Some(if reward >= RIGHT { 1.0 } else { 0.0 }));
    parts.insert("webhook".to_owned(), reward);
    Some(Verdict { reward, accuracy, parts, ..Verdict::default() })
}
