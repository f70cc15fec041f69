//! Data sets: readers and the built-in generated tasks.

pub mod chart;
pub mod digits;
mod draw;
pub mod drawn;
pub mod files;
pub mod geometry;
pub mod objects;
mod random;
mod registry;
pub mod survey;

use std::sync::Arc;

use image::RgbImage;

pub use files::FileDataset;
pub use registry::{BuiltIn, built_in, open, recommended};

/// Rows to train on of a generated task: more than anyone needs.
pub const TRAIN_ROWS: u64 = 1_000_000;
/// Held-out rows of a generated task.
pub const EVAL_ROWS: u64 = 2_000;

/// One row of a data set.
#[derive(Debug, Clone)]
pub struct Example {
    /// Its position in the data set.
    pub index: u64,
    /// The question; `<image>` marks the place of each image (without marks, images come first).
    pub prompt: String,
    /// The ground truths, of which any is right; none where the data set has none.
    pub answers: Vec<String>,
    /// The images, in order.
    pub images: Vec<Arc<RgbImage>>,
    /// A worked response for supervised training, where the data set has one.
    pub demonstration: Option<String>,
    /// Tags, for accuracy by tag; empty where the data set has none.
    pub tags: Vec<String>,
    /// What is said before the question, where the row itself says so.
    pub system: Option<String>,
    /// Where the row is; none where it is generated.
    pub source: Option<RowSource>,
}

/// Where a row of a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowSource {
    /// Path of the file inside the data set.
    pub file: String,
    /// Line (JSON lines, tables) or row (Parquet, arrays) of the file, from 1.
    pub row: u64,
}

impl std::fmt::Display for RowSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "row {} of `{}`", self.row, self.file)
    }
}

impl Example {
    /// The ground truth as people read it: a JSON list where there are several.
    pub fn answer(&self) -> String {
        match &self.answers[..] {
            [] => String::new(),
            [one] => one.clone(),
            several => serde_json::Value::from(several).to_string(),
        }
    }

    /// Where the row is, in words.
    pub fn place(&self, split: Split) -> String {
        let part = if split == Split::Train { "to train on" } else { "held out" };
        let generated = || format!("row {} ({part}, from 0)", self.index);
        self.source.as_ref().map_or_else(generated, ToString::to_string)
    }
}

/// Which part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Training rows.
    Train,
    /// Held-out rows.
    Eval,
}

/// A data set with random access; the same index always gives the same row.
pub trait Dataset: Send + Sync {
    /// Its name, e.g. `digits`.
    fn name(&self) -> &str;
    /// Number of rows of a split.
    fn len(&self, split: Split) -> u64;
    /// One row.
    fn example(&self, split: Split, index: u64) -> Result<Example, DataError>;
    /// Changes whenever any row changes; a resumed job compares it.
    fn fingerprint(&self) -> String;
}

/// An error of the data room.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No data set of that name.
    #[error("no data set `{name}`; there are: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A task's name with settings that it does not have, or that are beyond their limits.
    #[error("data set `{task}`: {problem}")]
    Settings {
        /// The task.
        task: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A row that cannot be used.
    #[error("data set `{dataset}`: {place}: {problem}")]
    Row {
        /// The data set.
        dataset: String,
        /// The row, in words.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A stop was requested.
    #[error("stopped before every row was read")]
    Stopped,
    /// An archive that cannot be used.
    #[error("{file}: {problem}")]
    Archive {
        /// The archive.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// A file is no longer what it was when its rows were checked.
    #[error(
        "the files of data set `{dataset}` have changed since it was registered: {file}: {problem}; restore the file, \
        or delete the data set and register it again"
    )]
    Changed {
        /// The data set.
        dataset: String,
        /// The first file that differs.
        file: String,
        /// How it differs.
        problem: String,
    },
    /// Files that ship with the program, or that it keeps, are damaged.
    #[error("{name}: {problem}")]
    Asset {
        /// The asset.
        name: String,
        /// What is wrong.
        problem: String,
    },
}
