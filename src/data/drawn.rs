//! Tasks whose pictures the program draws: what they share.
//!
//! A row follows from the task's seed, the split and the row's number alone. Rows to train on and held-out rows never
//! show the same thing: the hash of what a scene shows ([`Subject::identity`]) says on which side it belongs, and
//! scenes are drawn until one belongs on the side that was asked for.

use std::fmt::Debug;
use std::sync::Arc;

use image::RgbImage;
use sha2::{Digest, Sha256};

use super::random::Rng;
use super::{DataError, Dataset, EVAL_ROWS, Example, Split, TRAIN_ROWS};

/// One in this number of different scenes is held out.
const HELD_OUT_OF: u8 = 8;
/// Draws until a scene for the right side must have come; the chance to miss it is below 1e-50.
const MAX_DRAWS: usize = 1_000;
/// How an answer has to look; said at the end of every question.
const INSTRUCTION: &str = "Think step by step, then give the final answer in \\boxed{}.";

/// How hard a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difficulty {
    /// Few things, round numbers.
    Easy,
    /// More of both.
    Hard,
}

impl Difficulty {
    /// Its tag.
    pub fn name(self) -> &'static str {
        match self {
            Self::Easy => "easy",
            Self::Hard => "hard",
        }
    }
}

/// A scene: what is drawn, and what is asked about it.
pub trait Subject: Debug {
    /// What it shows, whatever its colours and places: scenes of equal identity are in the same split.
    fn identity(&self) -> String;
    /// The picture.
    fn paint(&self) -> RgbImage;
    /// The question.
    fn question(&self) -> String;
    /// The right answer.
    fn answer(&self) -> String;
    /// Reads the picture step by step, up to the answer.
    fn thoughts(&self) -> String;
    /// The kind of question, as a tag.
    fn kind(&self) -> &'static str;
    /// How hard it is, as a tag.
    fn difficulty(&self) -> Difficulty;
}

/// A drawn task: a name, a seed, and how a scene is drawn by lot.
pub struct DrawnTask<S> {
    name: &'static str,
    seed: u64,
    /// Raised whenever pictures, questions or demonstrations change, so that a resumed job notices.
    version: u32,
    draw: fn(&mut Rng) -> S,
}

impl<S: Subject> DrawnTask<S> {
    pub(super) const fn new(name: &'static str, seed: u64, version: u32, draw: fn(&mut Rng) -> S) -> Self {
        Self { name, seed, version, draw }
    }

    /// What a row shows and asks.
    pub fn scene(&self, split: Split, index: u64) -> Result<S, DataError> {
        let fault =
            |problem: String| DataError::Row { dataset: self.name.into(), place: format!("row {index}"), problem };
        let rows = self.len(split);
        if index >= rows {
            return Err(fault(format!("is out of range: the split has {rows} rows")));
        }
        let part = match split {
            Split::Train => 0,
            Split::Eval => 1,
        };
        let mut rng = Rng::new(self.seed, (part << 61) | index);
        let mut scenes = std::iter::repeat_with(|| (self.draw)(&mut rng)).take(MAX_DRAWS);
        scenes.find(|scene| side(scene) == split).ok_or_else(|| fault("no scene belongs to its split".to_owned()))
    }
}

/// On which side a scene belongs.
fn side(scene: &impl Subject) -> Split {
    let hash = Sha256::digest(scene.identity());
    if hash[0].is_multiple_of(HELD_OUT_OF) { Split::Eval } else { Split::Train }
}

impl<S: Subject> Dataset for DrawnTask<S> {
    fn name(&self) -> &str {
        self.name
    }

    fn len(&self, split: Split) -> u64 {
        match split {
            Split::Train => TRAIN_ROWS,
            Split::Eval => EVAL_ROWS,
        }
    }

    fn example(&self, split: Split, index: u64) -> Result<Example, DataError> {
        let scene = self.scene(split, index)?;
        let (thoughts, answer) = (scene.thoughts(), scene.answer());
        Ok(Example {
            index,
            prompt: format!("{} {INSTRUCTION}", scene.question()),
            demonstration: Some(format!("<think> {thoughts} </think> \\boxed{{{answer}}}")),
            answers: vec![answer],
            images: vec![Arc::new(scene.paint())],
            tags: vec![scene.kind().to_owned(), scene.difficulty().name().to_owned()],
            system: None,
            source: None,
        })
    }

    fn fingerprint(&self) -> String {
        let text = format!("{} {} {} {TRAIN_ROWS} {EVAL_ROWS} {HELD_OUT_OF}", self.name, self.version, self.seed);
        format!("{:x}", Sha256::digest(text))
    }
}
