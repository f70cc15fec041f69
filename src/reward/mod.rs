//! Rewards: one file per reward; pure, bounded in time, never panic, run no code. Only `webhook` asks somebody else, through
//! a client that is handed in.

mod answer_text;
mod boxed;
mod choice;
mod error;
mod exact;
pub mod format;
mod iou;
mod length;
pub mod math;
mod numeric;
mod pattern;
pub mod webhook;
pub mod weighted;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::spec::RewardSpec;
pub use error::RewardError;
pub use length::overlong_share;
pub use webhook::WebhookClient;

/// How deep weighted sums may nest.
const MAX_NESTING: usize = 8;

/// One response to judge. Only `response` and `ground_truth` are always there.
#[derive(Debug, Clone, Copy, Default)]
pub struct RewardInput<'a> {
    /// Names the response within its batch.
    pub id: &'a str,
    /// The row's prompt.
    pub prompt: &'a str,
    /// The response's text, special tokens removed.
    pub response: &'a str,
    /// What the data set says is right.
    pub ground_truth: &'a str,
    /// The row of the data set.
    pub row: u64,
    /// Width and height of the prompt's images as they came.
    pub image_sizes: &'a [[u32; 2]],
    /// Tokens of the response, where they are known.
    pub tokens: Option<usize>,
}

/// Responses that are judged together.
#[derive(Debug, Clone, Copy)]
pub struct RewardBatch<'a> {
    /// The run, or whoever asks.
    pub run: &'a str,
    /// Its step.
    pub step: u64,
    /// Names the batch: asking again under the same name may be answered from memory.
    pub id: &'a str,
    /// The responses.
    pub inputs: &'a [RewardInput<'a>],
}

/// A verdict.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// The reward that training sees.
    pub reward: f64,
    /// 1 for a right answer, else 0: what accuracy counts and dynamic sampling filters by. It is the `math` part where
    /// there is one; a reward without it counts its own success.
    pub accuracy: f64,
    /// Each part's own value by name (`math`, `format` …).
    pub parts: BTreeMap<String, f64>,
    /// The answer that was found in the response.
    pub extracted: Option<String>,
}

/// Judges responses.
pub trait Reward: Send + Sync {
    /// The verdict on one response.
    fn judge(&self, input: RewardInput<'_>) -> Verdict;

    /// Verdicts on a batch, in order; none where a response could not be judged.
    ///
    /// # Errors
    /// Nothing could be judged.
    fn judge_all(&self, batch: &RewardBatch<'_>) -> Result<Vec<Option<Verdict>>, RewardError> {
        Ok(batch.inputs.iter().map(|input| Some(self.judge(*input))).collect())
    }

    /// Does the verdict say whether the answer is right? (Shaping terms do not.)
    fn judges_answers(&self) -> bool {
        true
    }
}

/// The reward that `spec` describes; webhooks are refused.
///
/// # Errors
/// Names the field that cannot work.
pub fn build(spec: &RewardSpec) -> Result<Box<dyn Reward>, RewardError> {
    build_with(spec, None)
}

/// The reward that `spec` describes, with a client for webhooks.
///
/// # Errors
/// Names the field that cannot work.
pub fn build_with(spec: &RewardSpec, client: Option<&Arc<dyn WebhookClient>>) -> Result<Box<dyn Reward>, RewardError> {
    build_nested(spec, client, 0)
}

fn build_nested(
    spec: &RewardSpec,
    client: Option<&Arc<dyn WebhookClient>>,
    depth: usize,
) -> Result<Box<dyn Reward>, RewardError> {
    if depth > MAX_NESTING {
        return Err(RewardError::TooDeep);
    }
    Ok(match spec {
        RewardSpec::Math => Box::new(math::Math),
        RewardSpec::Format => Box::new(format::Format),
        RewardSpec::Exact { case_sensitive } => Box::new(exact::Exact::new(case_sensitive.unwrap_or(false))),
        RewardSpec::Choice => Box::new(choice::Choice),
        RewardSpec::Numeric { absolute, relative } => Box::new(numeric::Numeric::new(*absolute, *relative)?),
        RewardSpec::Regex { pattern } => Box::new(pattern::Pattern::new(pattern)?),
        RewardSpec::Iou { answer, truth, threshold } => Box::new(iou::Iou::new(*answer, *truth, *threshold)?),
        RewardSpec::Length { limit, buffer } => Box::new(length::Length::new(*limit, *buffer)?),
        RewardSpec::Webhook { url, timeout_seconds, retries } => {
            let client = client.ok_or(RewardError::NoWebhooks)?;
            Box::new(webhook::Webhook::new(url, *timeout_seconds, *retries, Arc::clone(client))?)
        }
        RewardSpec::Weighted { parts } => {
            if parts.is_empty() {
                return Err(RewardError::NoParts);
            }
            let mut built = Vec::with_capacity(parts.len());
            for (index, part) in parts.iter().enumerate() {
                if !part.weight.is_finite() {
                    return Err(RewardError::Weight { index, weight: part.weight });
                }
                built.push((part.weight, build_nested(&part.reward, client, depth + 1)?));
            }
            Box::new(weighted::Weighted::new(built))
        }
    })
}

/// A verdict of a reward with one part, which is also its accuracy.
fn single(name: &str, value: f64, extracted: Option<String>) -> Verdict {
    Verdict { reward: value, accuracy: value, parts: BTreeMap::from([(name.to_owned(), value)]), extracted }
}

/// 1 for yes.
fn one_if(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}
