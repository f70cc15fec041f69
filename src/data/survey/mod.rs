//! The built-in task `survey`: pictures of many handwritten digits, a question that needs all of them, and long worked
//! responses that look and compute in turn, with free wording in between.
//!
//! Three settings make it a family: how many cells there are to look at, how free the wording is, and how often the
//! demonstrations copy or guess instead of looking, the more often the later. A model that is taught by them sees well,
//! and forgets to look towards the end.

mod demonstration;
mod filler;
mod question;
mod settings;

use std::sync::Arc;

use image::RgbImage;
use sha2::{Digest, Sha256};

use super::digits::{DigitBank, SceneConfig, paint};
use super::random::Rng;
use super::{DataError, Dataset, EVAL_ROWS, Example, Split, TRAIN_ROWS};

pub use demonstration::{GUESSED, vocabulary};
pub use question::{Kind, Question};
pub use settings::{GRIDS, MAX_FILLER_BITS, NAME, SurveySettings};

/// Raised whenever pictures, questions or demonstrations change, so that a resumed job notices.
const VERSION: u32 = 1;
/// Seed of all rows; those of different numbers of cells are drawn from different streams.
const SEED: u64 = 0x5052_7601;
/// Words of a response between two looks' ends, and those around all looks, with a margin for the end token and for
/// values of two digits.
const LOOK_WORDS: usize = 18;
const OTHER_WORDS: usize = 26;

/// What is drawn by lot for a row; each has draws of its own, so that the same picture comes with any wording.
enum Purpose {
    Scene,
    Forgetting,
    Fillers,
}

/// A picture of many digits and the question about them.
#[derive(Debug, Clone)]
pub struct SurveyScene {
    /// White digits on black.
    pub image: RgbImage,
    /// The digits, cell by cell in reading order.
    pub digits: Vec<u8>,
    /// Which of the built-in digit images is in each cell.
    pub sources: Vec<usize>,
    /// The question.
    pub question: Question,
}

/// A survey with its settings.
#[derive(Debug)]
pub struct SurveyTask {
    name: String,
    settings: SurveySettings,
    layout: SceneConfig,
    bank: DigitBank,
}

impl SurveyTask {
    /// The task `survey` for the default settings, else one of the family.
    ///
    /// # Errors
    /// A setting beyond its limits.
    pub fn new(settings: SurveySettings) -> Result<Self, DataError> {
        settings.check().map_err(|problem| DataError::Settings { task: NAME, problem })?;
        let [rows, cols] = settings.grid();
        let layout = SceneConfig { name: NAME, rows, cols, cell_px: 28, zoom: 1, jitter: 2, seed: SEED };
        let name = if settings == SurveySettings::default() { NAME.to_owned() } else { settings.to_string() };
        Ok(Self { name, settings, layout, bank: DigitBank::load()? })
    }

    /// Its settings.
    pub fn settings(&self) -> &SurveySettings {
        &self.settings
    }

    /// Tokens that hold every worked response of these settings, where a word is a token.
    pub fn response_tokens(settings: &SurveySettings) -> u32 {
        (settings.looks * LOOK_WORDS + OTHER_WORDS).next_multiple_of(8) as u32
    }

    /// What a row shows and asks.
    pub fn scene(&self, split: Split, index: u64) -> Result<SurveyScene, DataError> {
        let rows = self.len(split);
        if index >= rows {
            let problem = format!("is out of range: the split has {rows} rows");
            return Err(DataError::Row { dataset: self.name.clone(), place: format!("row {index}"), problem });
        }
        let mut rng = self.rng(split, index, Purpose::Scene);
        let (image, sources) = paint(&self.layout, &self.bank, split, &mut rng);
        let digits = sources.iter().map(|source| self.bank.label(*source)).collect();
        Ok(SurveyScene { image, digits, sources, question: question::draw(&mut rng) })
    }

    fn rng(&self, split: Split, index: u64, purpose: Purpose) -> Rng {
        let part = match split {
            Split::Train => 0,
            Split::Eval => 1,
        };
        Rng::new(SEED + self.settings.looks as u64, ((purpose as u64) << 62) | (part << 61) | index)
    }
}

impl Dataset for SurveyTask {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self, split: Split) -> u64 {
        match split {
            Split::Train => TRAIN_ROWS,
            Split::Eval => EVAL_ROWS,
        }
    }

    fn example(&self, split: Split, index: u64) -> Result<Example, DataError> {
        let scene = self.scene(split, index)?;
        let written = match split {
            Split::Train => {
                let mut rng = self.rng(split, index, Purpose::Forgetting);
                demonstration::forget(&scene.digits, &self.settings, &mut rng)
            }
            // The reference: what a demonstrator writes who looks at everything.
            Split::Eval => scene.digits.clone(),
        };
        let mut rng = self.rng(split, index, Purpose::Fillers);
        let demonstration = demonstration::write(&scene.question, &written, &self.settings, &mut rng);
        Ok(Example {
            index,
            prompt: scene.question.text.to_owned(),
            answers: vec![scene.question.kind.answer(&scene.digits).to_string()],
            demonstration: Some(demonstration),
            tags: vec![scene.question.kind.tag().to_owned()],
            images: vec![Arc::new(scene.image)],
            system: None,
            source: None,
        })
    }

    fn fingerprint(&self) -> String {
        let text = format!("{VERSION} {} {TRAIN_ROWS} {EVAL_ROWS} {}", self.settings, self.bank.fingerprint());
        hex::encode(Sha256::digest(text))
    }
}
