//! Trying a reward on given responses before a job spends hours on it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use image::RgbImage;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::clock;
use crate::config::job;
use crate::domain::field_error::{FieldError, MOST_ERRORS};
use crate::domain::spec::{RewardSpec, WeightedReward};
use crate::domain::tree;
use crate::images::{ImageError, ImageLimits, count_pixels, data_url, decode_image};
use crate::prompt::usual_sizes;
use crate::reward::{Reward, RewardBatch, RewardInput, Verdict};
use crate::service::core::images::Place;
use crate::service::core::pool::Stop;
use crate::service::jobs::Jobs;
use crate::service::{Result, ServiceError};

/// Webhooks of a reward that is tried.
const MAX_WEBHOOKS: usize = 4;
/// Seconds that one of them may take.
const WEBHOOK_SECONDS: f64 = 10.0;
/// Seconds that a trial may take.
const MAX_SECONDS: f64 = 30.0;
/// Items that are judged between two looks at the time, and at whether the client has disconnected.
const PIECE: usize = 16;
/// Most responses of one request.
const MAX_ITEMS: usize = 1000;
/// Longest text of one item in bytes.
const MAX_TEXT: usize = 1 << 20;
/// Most images of one item.
const MAX_IMAGES: usize = 64;

/// Body of `POST /v1/rewards/evaluate`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluateRewards {
    /// The reward, as in a job.
    #[schema(value_type = RewardSpec)]
    #[serde(deserialize_with = "tree::value")]
    pub reward: Value,
    /// The responses to score.
    pub items: Vec<RewardItem>,
}

/// A response to score.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RewardItem {
    /// The response.
    pub response: String,
    /// The correct value.
    pub ground_truth: String,
    /// The question, for webhooks.
    #[serde(default)]
    pub prompt: String,
    /// Tokens of the response, for `length`; by default words are counted.
    #[serde(default)]
    pub tokens: Option<usize>,
    /// Width and height of the prompt's images, for `iou` in thousandths; by default those of `images`.
    #[serde(default)]
    pub image_sizes: Vec<[u32; 2]>,
    /// The sizes after the model's resizing, for `iou` in pixels of the resized image; by default those of
    /// `Qwen2.5-VL`.
    #[serde(default)]
    pub resized_sizes: Vec<[u32; 2]>,
    /// The prompt's images, for `image_text`: `data:` URLs, or URLs of hosts that the server may fetch from. Duplicates
    /// count once against the limit on pixels.
    #[serde(default)]
    pub images: Vec<String>,
}

/// Answer of `POST /v1/rewards/evaluate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvaluatedRewards {
    /// One entry per item; null if the reward gave no verdict.
    pub data: Vec<Option<JudgedItem>>,
}

/// The verdict on one response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JudgedItem {
    /// What training would see.
    pub reward: f64,
    /// 1 for a correct answer, else 0; null if the reward does not judge answers.
    pub accuracy: Option<f64>,
    /// Each part's own value by name.
    pub parts: BTreeMap<String, f64>,
    /// The answer that was extracted from the response.
    pub extracted: Option<String>,
}

impl From<Verdict> for JudgedItem {
    fn from(verdict: Verdict) -> Self {
        let Verdict { reward, accuracy, parts, extracted, .. } = verdict;
        Self { reward, accuracy, parts, extracted }
    }
}

impl Jobs {
    /// Judges responses.
    pub async fn evaluate_rewards(&self, request: EvaluateRewards) -> Result<EvaluatedRewards> {
        let EvaluateRewards { reward, mut items } = request;
        let spec = job::reward(&reward).map_err(ServiceError::invalid)?;
        check(&items)?;
        let (mut spec, webhooks) = trial(spec);
        if webhooks > MAX_WEBHOOKS {
            let detail = format!("the reward uses {webhooks} webhooks; a trial may use {MAX_WEBHOOKS}");
            return Err(ServiceError::field("/reward", detail));
        }
        let reward = self.open_reward(&mut spec).await?;
        check_images(reward.as_ref(), &items)?;
        self.fetch_at(images_of(&mut items)).await?;
        let limits = self.settings.limits;
        let limits = ImageLimits { max_bytes: limits.image_bytes, max_pixels: limits.image_pixels };
        // A webhook judges a batch as a whole; all other work is looked after from piece to piece.
        let piece = if webhooks == 0 { PIECE } else { MAX_ITEMS };
        let judged = self.trials.run(move |stop| judge(reward.as_ref(), &items, &limits, piece, stop)).await?;
        Ok(EvaluatedRewards { data: judged.into_iter().map(|verdict| verdict.map(JudgedItem::from)).collect() })
    }
}

/// A reward for a trial: a user waits, so webhooks are called once and with a short limit. Returns their number.
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

/// Judges items in pieces, until the client has disconnected or the time is over.
fn judge(
    reward: &dyn Reward,
    items: &[RewardItem],
    limits: &ImageLimits,
    piece: usize,
    stop: &Stop,
) -> Result<Vec<Option<Verdict>>> {
    let ids: Vec<String> = (0..items.len()).map(|index| index.to_string()).collect();
    let images = decode(items, limits)?;
    let shown: Vec<Shown> = items.iter().zip(images).map(|(item, images)| item.shown(images)).collect();
    let with_images = items.iter().zip(&ids).zip(&shown);
    let inputs: Vec<RewardInput<'_>> = with_images.map(|((item, id), shown)| item.input(id, shown)).collect();
    let (watch, batch) = (clock::Stopwatch::start(), clock::new_id("evaluate"));
    let mut verdicts = Vec::with_capacity(items.len());
    for inputs in inputs.chunks(piece) {
        stop.check()?;
        if watch.seconds() > MAX_SECONDS {
            let detail =
                format!("scoring the first {} took more than {MAX_SECONDS} seconds; send fewer", verdicts.len());
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

/// The images' places and addresses.
fn images_of(items: &mut [RewardItem]) -> Vec<Place<'_>> {
    let mut places = Vec::new();
    for (index, item) in items.iter_mut().enumerate() {
        places.extend(item.images.iter_mut().enumerate().map(|(at, url)| (place(index, at), url)));
    }
    places
}

fn place(index: usize, at: usize) -> String {
    format!("/items/{index}/images/{at}")
}

/// The pixels of every item's images. Equal addresses are one image, and all headers are judged before the first pixel
/// is decoded: many pictures that are small as files may together be gigabytes.
fn decode(items: &[RewardItem], limits: &ImageLimits) -> Result<Vec<Vec<Arc<RgbImage>>>> {
    let mut files: HashMap<&str, Vec<u8>> = HashMap::new();
    let mut total = 0;
    for (index, item) in items.iter().enumerate() {
        for (at, url) in item.images.iter().enumerate() {
            if files.contains_key(url.as_str()) {
                continue;
            }
            let fault = |error: ImageError| ServiceError::field(place(index, at), error.to_string());
            let bytes = data_url(url).map_err(fault)?;
            total += count_pixels(&bytes, limits).map_err(fault)?;
            if total > limits.max_pixels {
                let detail = format!(
                    "the images up to this one have {total} pixels together, the limit (max_image_pixels) is {}: send \
                     smaller or fewer images",
                    limits.max_pixels
                );
                return Err(ServiceError::field(place(index, at), detail));
            }
            files.insert(url, bytes);
        }
    }
    let mut known: HashMap<&str, Arc<RgbImage>> = HashMap::new();
    let mut all = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let mut images = Vec::with_capacity(item.images.len());
        for (at, url) in item.images.iter().enumerate() {
            if let Some(bytes) = files.remove(url.as_str()) {
                let image = decode_image(&bytes, limits);
                let image = image.map_err(|error| ServiceError::field(place(index, at), error.to_string()))?;
                known.insert(url, Arc::new(image));
            }
            images.extend(known.get(url.as_str()).cloned());
        }
        all.push(images);
    }
    Ok(all)
}

/// The images of an item and their sizes.
struct Shown {
    images: Vec<Arc<RgbImage>>,
    sizes: Vec<[u32; 2]>,
    resized: Vec<[u32; 2]>,
}

impl RewardItem {
    fn shown(&self, images: Vec<Arc<RgbImage>>) -> Shown {
        let [sizes, resized] = usual_sizes(&images, &self.image_sizes, &self.resized_sizes);
        Shown { images, sizes, resized }
    }

    fn input<'a>(&'a self, id: &'a str, shown: &'a Shown) -> RewardInput<'a> {
        RewardInput {
            id,
            prompt: &self.prompt,
            response: &self.response,
            ground_truth: &self.ground_truth,
            row: 0,
            image_sizes: &shown.sizes,
            resized_sizes: &shown.resized,
            images: &shown.images,
            tokens: self.tokens,
        }
    }
}

/// A reward that looks at images needs some in every item.
fn check_images(reward: &dyn Reward, items: &[RewardItem]) -> Result<()> {
    let detail = "the reward needs images, but the item has none: give those of the row as `data:` URLs";
    let missing = items.iter().enumerate().filter(|(_, item)| reward.needs_images() && item.images.is_empty());
    let faults: Vec<FieldError> =
        missing.map(|(index, _)| FieldError::new(format!("/items/{index}/images"), detail)).collect();
    if faults.is_empty() { Ok(()) } else { Err(ServiceError::invalid(faults)) }
}

fn check(items: &[RewardItem]) -> Result<()> {
    if items.is_empty() || items.len() > MAX_ITEMS {
        let detail = format!("`items` has {} entries; send 1 to {MAX_ITEMS}", items.len());
        return Err(ServiceError::field("/items", detail));
    }
    let long = |(index, item): (usize, &RewardItem)| {
        if item.images.len() > MAX_IMAGES {
            let detail = format!("has {} images; the limit is {MAX_IMAGES}", item.images.len());
            return Some(FieldError::new(format!("/items/{index}/images"), detail));
        }
        let texts = [("response", &item.response), ("ground_truth", &item.ground_truth), ("prompt", &item.prompt)];
        let too_long = texts.into_iter().find(|(_, text)| text.len() > MAX_TEXT);
        too_long.map(|(name, text)| {
            let detail = format!("`{name}` has {} bytes; the limit is {MAX_TEXT}", text.len());
            FieldError::new(format!("/items/{index}/{name}"), detail)
        })
    };
    let faults: Vec<FieldError> = items.iter().enumerate().filter_map(long).take(MOST_ERRORS).collect();
    if faults.is_empty() { Ok(()) } else { Err(ServiceError::invalid(faults)) }
}
