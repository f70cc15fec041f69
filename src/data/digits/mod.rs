//! The built-in task `digits`: pictures of a few handwritten digits and questions about all or one of them.
//!
//! Every row is generated from its split and index alone. Rows to train on and held-out rows are drawn from different
//! digit images, so accuracy on held-out rows is about handwriting that was never trained on.

mod bank;
mod demonstration;
mod layout;
mod question;
mod scene;

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::random::Rng;
use super::{DataError, Dataset, EVAL_ROWS, Example, Split, TRAIN_ROWS};

pub use demonstration::{FORGETTING, vocabulary};
pub use layout::SceneConfig;
pub use question::{Kind, Question};
pub use scene::Scene;

pub(super) use bank::DigitBank;
pub(super) use scene::paint;

/// Raised whenever pictures, questions or demonstrations change, so that a resumed job notices.
const VERSION: u32 = 1;

/// A generated task over pictures of handwritten digits.
#[derive(Debug)]
pub struct DigitsTask {
    config: SceneConfig,
    bank: DigitBank,
}

impl DigitsTask {
    /// The task `digits`: 2 x 2 cells of 28 pixels.
    pub fn two_by_two() -> Result<Self, DataError> {
        Self::new(SceneConfig { name: "digits", rows: 2, cols: 2, cell_px: 28, zoom: 1, jitter: 2, seed: 0x0d16_1750 })
    }

    /// The harder task `digits-6`: 2 rows of 3 cells of 28 pixels.
    pub fn two_by_three() -> Result<Self, DataError> {
        Self::new(SceneConfig {
            name: "digits-6",
            rows: 2,
            cols: 3,
            cell_px: 28,
            zoom: 1,
            jitter: 2,
            seed: 0x0d16_1756,
        })
    }

    /// A task over scenes of another layout.
    pub fn new(config: SceneConfig) -> Result<Self, DataError> {
        config.check()?;
        Ok(Self { config, bank: DigitBank::load()? })
    }

    /// How its pictures are laid out.
    pub fn config(&self) -> &SceneConfig {
        &self.config
    }

    /// A row's picture with the digits in it and the question about it; for teaching the vision tower and for tests.
    pub fn scene(&self, split: Split, index: u64) -> Result<Scene, DataError> {
        let rows = self.len(split);
        if index >= rows {
            let problem = format!("is out of range: the split has {rows} rows");
            return Err(DataError::Row { dataset: self.config.name.into(), place: format!("row {index}"), problem });
        }
        Ok(scene::generate(&self.config, &self.bank, split, &mut self.rng(split, index, 0)))
    }

    /// A training row whose demonstration forgets to look: see [`FORGETTING`].
    pub fn forgetful(&self, index: u64) -> Result<Example, DataError> {
        let scene = self.scene(Split::Train, index)?;
        let written = demonstration::forget(&scene, &mut self.rng(Split::Train, index, 1));
        Ok(example(index, scene, |scene| demonstration::write(scene, &written)))
    }

    /// Draws of one row; `purpose` keeps what is drawn for a demonstration apart from what makes the scene.
    fn rng(&self, split: Split, index: u64, purpose: u64) -> Rng {
        let part = match split {
            Split::Train => 0,
            Split::Eval => 1,
        };
        Rng::new(self.config.seed, (purpose << 62) | (part << 61) | index)
    }
}

impl Dataset for DigitsTask {
    fn name(&self) -> &str {
        self.config.name
    }

    fn len(&self, split: Split) -> u64 {
        match split {
            Split::Train => TRAIN_ROWS,
            Split::Eval => EVAL_ROWS,
        }
    }

    fn example(&self, split: Split, index: u64) -> Result<Example, DataError> {
        let scene = self.scene(split, index)?;
        Ok(example(index, scene, |scene| demonstration::write(scene, &scene.digits)))
    }

    fn fingerprint(&self) -> String {
        let text = format!("{VERSION} {:?} {TRAIN_ROWS} {EVAL_ROWS} {}", self.config, self.bank.fingerprint());
        hex::encode(Sha256::digest(text))
    }
}

fn example(index: u64, scene: Scene, demonstrate: impl Fn(&Scene) -> String) -> Example {
    Example {
        index,
        prompt: scene.question.text.clone(),
        answers: vec![scene.question.answer(&scene.digits).to_string()],
        demonstration: Some(demonstrate(&scene)),
        images: vec![Arc::new(scene.image)],
        tags: Vec::new(),
        system: None,
        source: None,
    }
}
