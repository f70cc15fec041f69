//! The tasks that a starter can be taught.

use std::sync::Arc;

use image::RgbImage;

use crate::data::digits::DigitsTask;
use crate::data::survey::{self, SurveySettings, SurveyTask};
use crate::data::{DataError, Dataset, Example, Split};

use super::family::Picture;

/// Rows that the vocabulary is collected from; every word of `digits` occurs many times in them.
const VOCABULARY_ROWS: u64 = 4000;

/// A task with demonstrations that forget to look.
#[derive(Debug, Clone)]
pub(super) enum Lesson {
    /// Four digits, short responses.
    Digits(Arc<DigitsTask>),
    /// Many digits, long responses.
    Survey(Arc<SurveyTask>),
}

impl Lesson {
    /// The survey of these settings; without any, `digits`.
    pub(super) fn open(survey: Option<SurveySettings>) -> Result<Self, DataError> {
        Ok(match survey {
            None => Self::Digits(Arc::new(DigitsTask::two_by_two()?)),
            Some(settings) => Self::Survey(Arc::new(SurveyTask::new(settings)?)),
        })
    }

    /// Texts in which every word of the task occurs.
    pub(super) fn texts(&self) -> Result<Vec<String>, DataError> {
        let mut texts = Vec::new();
        if let Self::Survey(_) = self {
            // Fillers of no entropy leave words out, which other settings of the family have.
            texts.extend(survey::vocabulary().iter().map(|word| format!(" {word}")));
        }
        let demonstrations = self.demonstrations();
        for row in 0..VOCABULARY_ROWS {
            let example = demonstrations.example(Split::Train, row)?;
            texts.push(example.prompt);
            texts.extend(example.demonstration);
        }
        Ok(texts)
    }

    /// How its pictures are cut into image tokens.
    pub(super) fn picture(&self) -> Picture {
        match self {
            Self::Digits(_) => Picture::DIGITS,
            Self::Survey(_) => Picture::SURVEY,
        }
    }

    /// Does vision pre-training also name the place of each cell? A question about four digits needs no help to find
    /// them; among up to sixteen, places that the tower already tells are found in a fraction of the time.
    pub(super) fn names_places(&self) -> bool {
        matches!(self, Self::Survey(_))
    }

    /// Rows and columns of cells.
    pub(super) fn grid(&self) -> [usize; 2] {
        match self {
            Self::Digits(task) => [task.config().rows, task.config().cols],
            Self::Survey(task) => task.settings().grid(),
        }
    }

    /// A row's picture, and the digits in it by cell.
    pub(super) fn cells(&self, split: Split, row: u64) -> Result<(RgbImage, Vec<u8>), DataError> {
        Ok(match self {
            Self::Digits(task) => task.scene(split, row).map(|scene| (scene.image, scene.digits))?,
            Self::Survey(task) => task.scene(split, row).map(|scene| (scene.image, scene.digits))?,
        })
    }

    /// What is learned from: training rows whose demonstrations forget, and held-out rows to measure with.
    pub(super) fn demonstrations(&self) -> Arc<dyn Dataset> {
        match self {
            Self::Digits(task) => Arc::new(ForgetfulDigits(Arc::clone(task))),
            Self::Survey(task) => Arc::clone(task) as Arc<dyn Dataset>,
        }
    }
}

/// `digits` with the forgetful demonstrator's responses to train on; its held-out rows are the task's own.
struct ForgetfulDigits(Arc<DigitsTask>);

impl Dataset for ForgetfulDigits {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn len(&self, split: Split) -> u64 {
        self.0.len(split)
    }

    fn example(&self, split: Split, index: u64) -> Result<Example, DataError> {
        match split {
            Split::Train => self.0.forgetful(index),
            Split::Eval => self.0.example(split, index),
        }
    }

    fn fingerprint(&self) -> String {
        format!("{} with forgetful demonstrations", self.0.fingerprint())
    }
}
