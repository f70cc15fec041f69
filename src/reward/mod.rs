//! Rewards: one file per reward; pure, bounded in time, never panic, run no code. Only `webhook` and `image_text` ask
//! another server, through what is handed in: [`Backends`].

mod answer_text;
mod boxed;
mod boxes;
mod error;
mod exact;
pub mod format;
mod image_text;
mod iou;
mod length;
pub mod math;
mod multiple_choice;
mod numeric;
mod pattern;
mod truth;
pub mod webhook;
pub mod weighted;

use std::collections::BTreeMap;
use std::sync::Arc;

use image::RgbImage;

use crate::domain::kind::shown;
use crate::domain::reward_kind::{self, MAX_NESTING};
use crate::domain::spec::{FilterMetric, FilterSpec, RewardSpec};
pub use error::RewardError;
pub use image_text::{ImageText, ImageTextModel, ImageTextModels};
pub use length::overlong_share;
pub use truth::blind_to;
pub use webhook::WebhookClient;

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
    /// The same after the model's image processor has resized them, where that is known.
    pub resized_sizes: &'a [[u32; 2]],
    /// The prompt's images.
    pub images: &'a [Arc<RgbImage>],
    /// Tokens of the response, where they are known.
    pub tokens: Option<usize>,
}

/// Responses that are judged together.
#[derive(Debug, Clone, Copy)]
pub struct RewardBatch<'a> {
    /// The run, or another caller.
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
    /// there is one; a reward without it counts its own success. None for a reward that says nothing about answers.
    pub accuracy: Option<f64>,
    /// Each part's own value by name (`math`, `format` …).
    pub parts: BTreeMap<String, f64>,
    /// Weight and value of every summand of a reward that is a sum; empty: it is none.
    pub terms: Vec<(f64, f64)>,
    /// The answer that was extracted from the response.
    pub extracted: Option<String>,
}

impl Verdict {
    /// Adds a summand of weight 1.
    pub fn add(&mut self, name: &str, value: f64) {
        if self.terms.is_empty() {
            self.terms.push((1.0, self.reward));
        }
        self.terms.push((1.0, value));
        self.reward += value;
        self.parts.insert(name.to_owned(), value);
    }
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

    /// Does it look at the row's images? Then a response to a row without any has no verdict.
    fn needs_images(&self) -> bool {
        false
    }
}

/// External services and models that rewards use. By default there are none, and rewards that need one are rejected.
#[derive(Clone, Default)]
pub struct Backends {
    /// Asks webhooks, where the settings allow any host.
    pub webhooks: Option<Arc<dyn WebhookClient>>,
    /// Opens the checkpoints of `image_text`.
    pub image_text: Option<Arc<dyn ImageTextModels>>,
}

/// The reward that `spec` describes, if it needs no backend.
///
/// # Errors
/// Names the field that cannot work.
pub fn build(spec: &RewardSpec) -> Result<Box<dyn Reward>, RewardError> {
    build_with(spec, &Backends::default())
}

/// The reward that `spec` describes.
///
/// # Errors
/// Names the field that cannot work.
pub fn build_with(spec: &RewardSpec, backends: &Backends) -> Result<Box<dyn Reward>, RewardError> {
    build_nested(spec, backends, 0)
}

fn build_nested(spec: &RewardSpec, backends: &Backends, depth: usize) -> Result<Box<dyn Reward>, RewardError> {
    check_settings(spec)?;
    Ok(match spec {
        RewardSpec::Math => Box::new(math::Math),
        RewardSpec::Format => Box::new(format::Format),
        RewardSpec::Exact { case_sensitive } => Box::new(exact::Exact::new(case_sensitive.unwrap_or(false))),
        RewardSpec::Choice => Box::new(multiple_choice::Choice),
        RewardSpec::Numeric { absolute, relative } => Box::new(numeric::Numeric::new(*absolute, *relative)),
        RewardSpec::Regex { pattern } => Box::new(pattern::Pattern::new(pattern)?),
        RewardSpec::Iou { answer, truth, threshold } => Box::new(iou::Iou::new(*answer, *truth, *threshold)),
        RewardSpec::Length { limit, buffer } => Box::new(length::Length::new(*limit, *buffer)?),
        RewardSpec::Webhook { url, timeout_seconds, retries } => {
            let client = backends.webhooks.as_ref().ok_or(RewardError::NoWebhooks)?;
            Box::new(webhook::Webhook::new(url, *timeout_seconds, *retries, Arc::clone(client))?)
        }
        RewardSpec::ImageText { model, score, text, low, high } => {
            let models = backends.image_text.as_ref().ok_or(RewardError::NoImageText)?;
            Box::new(image_text::Similarity::new(models.open(model)?, *score, *text, (*low, *high))?)
        }
        RewardSpec::Weighted { parts } => {
            if depth >= MAX_NESTING {
                return Err(RewardError::TooDeep);
            }
            if parts.is_empty() {
                return Err(RewardError::NoParts);
            }
            let mut built = Vec::with_capacity(parts.len());
            for (index, part) in parts.iter().enumerate() {
                if !part.weight.is_finite() {
                    return Err(RewardError::Weight { index, weight: part.weight });
                }
                built.push((part.weight, build_nested(&part.reward, backends, depth + 1)?));
            }
            Box::new(weighted::Weighted::new(built))
        }
    })
}

/// Holds every setting of a reward against the table of rewards.
fn check_settings(spec: &RewardSpec) -> Result<(), RewardError> {
    let given = serde_json::to_value(spec).map_err(|error| RewardError::Unreadable(error.to_string()))?;
    let settings = reward_kind::settings(given["type"].as_str().unwrap_or_default()).iter();
    // A setting that is left out is not written; null is what became of a number that is not finite.
    let given = settings.filter_map(|setting| Some((setting, given.get(setting.name)?)));
    match given.into_iter().find(|(setting, value)| setting.kind.complaint(value).is_some()) {
        None => Ok(()),
        Some((setting, value)) => {
            Err(RewardError::Setting { field: setting.name, value: shown(value), allowed: setting.kind.describe() })
        }
    }
}

/// A verdict of a reward with one part, which is also its accuracy.
fn single(name: &str, value: f64, extracted: Option<String>) -> Verdict {
    let parts = BTreeMap::from([(name.to_owned(), value)]);
    Verdict { reward: value, accuracy: Some(value), parts, extracted, ..Verdict::default() }
}

/// Can dynamic sampling filter by what this reward decides?
///
/// # Errors
/// It filters by accuracy, and there is none.
pub fn check_filter(reward: &dyn Reward, filter: Option<&FilterSpec>) -> Result<(), RewardError> {
    let by_accuracy = filter.is_some_and(|filter| filter.metric == FilterMetric::Accuracy);
    if by_accuracy && !reward.judges_answers() { Err(RewardError::NoAccuracy) } else { Ok(()) }
}

/// 1 for yes.
fn one_if(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}
