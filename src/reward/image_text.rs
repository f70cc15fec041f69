//! The reward `image_text`: how alike are the row's picture and the response, by a CLIP or SigLIP checkpoint?

use std::sync::Arc;

use image::RgbImage;

use super::{Reward, RewardBatch, RewardError, RewardInput, Verdict, answer_text, single};
use crate::domain::spec::{ImageTextPart, ImageTextScore};

/// Opens checkpoints: the side that knows models, which this room does not.
pub trait ImageTextModels: Send + Sync {
    /// The checkpoint in a folder.
    ///
    /// # Errors
    /// Says what is missing in the folder or not supported.
    fn open(&self, folder: &str) -> Result<Arc<dyn ImageTextModel>, RewardError>;
}

/// A checkpoint that says how alike pictures and texts are.
pub trait ImageTextModel: Send + Sync {
    /// Does it have scores of this kind?
    ///
    /// # Errors
    /// Says why not.
    fn check(&self, score: ImageTextScore) -> Result<(), RewardError>;

    /// One score per pair, in order: the mean over its pictures.
    ///
    /// # Errors
    /// The checkpoint cannot be read; a picture that it cannot take.
    fn scores(&self, pairs: &[ImageText<'_>], score: ImageTextScore) -> Result<Vec<f64>, RewardError>;
}

/// Pictures and a text.
#[derive(Debug, Clone, Copy)]
pub struct ImageText<'a> {
    /// The pictures, at least one.
    pub images: &'a [Arc<RgbImage>],
    /// The text.
    pub text: &'a str,
}

/// A similarity, as it is or mapped to 0 to 1.
pub(super) struct Similarity {
    model: Arc<dyn ImageTextModel>,
    score: ImageTextScore,
    text: ImageTextPart,
    /// What becomes 0, and what becomes 1.
    range: Option<(f64, f64)>,
}

impl Similarity {
    /// # Errors
    /// A range with one end, or without extent; a kind of score that the checkpoint does not have.
    pub(super) fn new(
        model: Arc<dyn ImageTextModel>,
        score: Option<ImageTextScore>,
        text: Option<ImageTextPart>,
        (low, high): (Option<f64>, Option<f64>),
    ) -> Result<Self, RewardError> {
        let score = score.unwrap_or(ImageTextScore::Cosine);
        model.check(score)?;
        let refused = |field, value: f64, allowed: &str| {
            Err(RewardError::Setting { field, value: value.to_string(), allowed: allowed.to_owned() })
        };
        let range = match (low, high) {
            (None, None) => None,
            (Some(low), None) => return refused("low", low, "given together with `high`"),
            (None, Some(high)) => return refused("high", high, "given together with `low`"),
            (Some(low), Some(high)) if low.is_finite() && high.is_finite() && low < high => Some((low, high)),
            (Some(low), Some(high)) => return refused("low", low, &format!("less than `high` ({high})")),
        };
        Ok(Self { model, score, text: text.unwrap_or(ImageTextPart::Response), range })
    }

    fn pair<'a>(&self, input: &RewardInput<'a>) -> ImageText<'a> {
        let text = match self.text {
            ImageTextPart::Response => input.response,
            ImageTextPart::Answer => answer_text::answer(input.response),
        };
        ImageText { images: input.images, text }
    }

    fn verdict(&self, score: f64) -> Option<Verdict> {
        let value = match self.range {
            Some((low, high)) => ((score - low) / (high - low)).clamp(0.0, 1.0),
            None => score,
        };
        value.is_finite().then(|| Verdict { accuracy: None, ..single("image_text", value, None) })
    }
}

impl Reward for Similarity {
    /// Without a verdict the reward is 0; [`Reward::judge_all`] tells the two apart.
    fn judge(&self, input: RewardInput<'_>) -> Verdict {
        let batch = RewardBatch { run: "", step: 0, id: input.id, inputs: &[input] };
        self.judge_all(&batch).ok().and_then(|mut all| all.pop().flatten()).unwrap_or_default()
    }

    /// A response to a row without a picture has no verdict.
    fn judge_all(&self, batch: &RewardBatch<'_>) -> Result<Vec<Option<Verdict>>, RewardError> {
        let seen: Vec<ImageText<'_>> = batch.inputs.iter().map(|input| self.pair(input)).collect();
        let with_pictures: Vec<ImageText<'_>> = seen.iter().filter(|pair| !pair.images.is_empty()).copied().collect();
        if with_pictures.is_empty() {
            return Ok(vec![None; seen.len()]);
        }
        let mut scores = self.model.scores(&with_pictures, self.score)?.into_iter();
        let verdict = |pair: &ImageText<'_>| if pair.images.is_empty() { None } else { self.verdict(scores.next()?) };
        Ok(seen.iter().map(verdict).collect())
    }

    fn judges_answers(&self) -> bool {
        false
    }

    fn needs_images(&self) -> bool {
        true
    }
}
