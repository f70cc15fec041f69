//! Registered data sets.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::spec::Columns;

/// A data set that jobs may name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DatasetRecord {
    /// `ds_…`.
    pub id: String,
    /// Its name, e.g. `digits`.
    pub name: String,
    /// Can it be used?
    pub state: DatasetState,
    /// Where its rows come from, e.g. `builtin`.
    pub source: String,
    /// Training rows.
    pub train_rows: u64,
    /// Held-out rows.
    pub eval_rows: u64,
    /// Changes whenever any row changes.
    pub fingerprint: String,
    /// For display.
    #[schema(value_type = Object)]
    pub card: Value,
    /// Job settings that suit the data set.
    #[schema(value_type = Object)]
    pub recommended: Value,
    /// The project it belongs to.
    pub project: String,
    /// Who registered it.
    pub created_by: Option<String>,
    /// When it was first registered.
    pub created_at: DateTime<Utc>,
}

/// Can a data set be used?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatasetState {
    /// Bytes are still arriving.
    Uploading,
    /// Rows are being checked.
    Validating,
    /// It can be used.
    Ready,
    /// Its rows cannot be used.
    Invalid,
}

impl DatasetState {
    /// The name used in JSON and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uploading => "uploading",
            Self::Validating => "validating",
            Self::Ready => "ready",
            Self::Invalid => "invalid",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Uploading, Self::Validating, Self::Ready, Self::Invalid].into_iter().find(|s| s.name() == name)
    }
}

/// A data set to be registered or brought up to date.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDataset {
    /// Its name.
    pub name: String,
    /// Can it be used?
    pub state: DatasetState,
    /// Where its rows come from.
    pub source: String,
    /// Training rows.
    pub train_rows: u64,
    /// Held-out rows.
    pub eval_rows: u64,
    /// Changes whenever any row changes.
    pub fingerprint: String,
    /// For display.
    pub card: Value,
    /// Job settings that suit the data set.
    pub recommended: Value,
    /// The project it belongs to.
    pub project: String,
    /// Who registers it.
    pub created_by: Option<String>,
}

/// How the rows of uploaded files are read and split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DatasetSettings {
    /// Names of the columns.
    pub columns: Columns,
    /// How training and held-out rows are distinguished.
    pub split: SplitRule,
    /// The column with a row's split for `auto`; optional.
    pub split_column: Option<String>,
    /// Share of the rows that is held out if neither column nor file name defines the split.
    pub eval_share: f64,
    /// Seed that selects the held-out rows.
    pub seed: u64,
    /// What becomes of rows that cannot be used.
    #[serde(default)]
    #[schema(required = true)]
    pub bad_rows: BadRows,
}

/// What becomes of rows that cannot be used. A file that is damaged, or that nothing can be read of, always makes the
/// data set invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BadRows {
    /// A single one makes the data set invalid.
    #[default]
    Refuse,
    /// They are left out; the report counts them and lists the first ones.
    LeaveOut,
}

/// How training and held-out rows are distinguished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitRule {
    /// By the split column, else by file names (`train`; `test`, `validation`, `eval`); where nothing is held out that
    /// way, a share of the rows is.
    Auto,
    /// Every row is to train on.
    Train,
    /// Every row is held out.
    Eval,
    /// A share of all rows is held out, whatever columns and file names say.
    HeldOut,
}

/// How large data sets and their parts may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetLimits {
    /// Bytes of one upload.
    pub upload_bytes: u64,
    /// Bytes of everything a zip file unpacks to.
    pub unpacked_bytes: u64,
    /// Files of one data set.
    pub files: u64,
    /// Bytes of one encoded image.
    pub image_bytes: u64,
    /// Pixels of one image, read from its header.
    pub image_pixels: u64,
    /// Bytes of one JSON line.
    pub row_bytes: u64,
    /// Bytes of the pages of a Parquet row group that are read at once.
    pub row_group_bytes: u64,
    /// Images of one row; their pixels together have the limit of one image.
    #[serde(default = "row_images")]
    pub row_images: u64,
    /// Rows of one data set.
    #[serde(default = "rows")]
    pub rows: u64,
    /// Bytes of the disk that are left free.
    #[serde(default)]
    pub free_bytes: u64,
}

/// What data sets were checked with before it was a limit.
fn row_images() -> u64 {
    64
}

/// What data sets were checked with before it was a limit.
fn rows() -> u64 {
    u64::MAX
}

/// Report of the check of all rows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct DatasetReport {
    /// Number of rows.
    pub rows: u64,
    /// Invalid rows; a single one makes the data set invalid, unless they are left out (`bad_rows`: `leave_out`).
    pub bad_rows: u64,
    /// Invalid rows that were left out.
    #[serde(default)]
    #[schema(required = true)]
    pub left_out: u64,
    /// The first of them, up to 200, and problems with whole files.
    pub errors: Vec<RowFault>,
    /// Data files.
    pub files: u64,
    /// Number of images in all rows.
    pub images: u64,
    /// Rows without an image.
    pub rows_without_image: u64,
    /// Widths of the images in pixels.
    pub image_width: Option<Spread>,
    /// Heights of the images in pixels.
    pub image_height: Option<Spread>,
    /// Characters of the prompts.
    pub prompt_chars: Option<Spread>,
    /// Characters of the ground truths.
    pub answer_chars: Option<Spread>,
    /// Rows with a demonstration.
    pub demonstrations: u64,
    /// Rows by tag, for the first hundred tags.
    pub tags: BTreeMap<String, u64>,
    /// Prompt lengths in tokens of a model.
    pub tokens: Option<TokenReport>,
    /// Training and held-out rows without a ground truth; their accuracy is 0.
    #[serde(default)]
    pub rows_without_answer: PartCount,
    /// Rows with an image of an extreme aspect ratio, which models reject.
    #[serde(default)]
    pub rows_with_thin_image: RowCount,
    /// The column used for each role, by name.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    /// Names of all columns: the first two hundred.
    #[serde(default)]
    pub column_names: Vec<String>,
}

/// Number of rows in each split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct PartCount {
    /// For training.
    pub train: u64,
    /// Held out.
    pub eval: u64,
}

/// Number of such rows, and the first of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct RowCount {
    /// Number of rows.
    pub rows: u64,
    /// The first, and its problem.
    pub first: Option<RowFault>,
}

impl RowCount {
    /// Counts a row.
    pub fn add(&mut self, fault: impl FnOnce() -> RowFault) {
        self.rows += 1;
        self.first.get_or_insert_with(fault);
    }
}

/// Prompt lengths in tokens of a model, image tokens included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenReport {
    /// The model whose tokenizer and image processor counted.
    pub model: String,
    /// Rows that were counted, which fit the model.
    pub rows: u64,
    /// Their lengths.
    pub tokens: Spread,
    /// Lengths of prompts with their demonstrations.
    #[serde(default)]
    pub with_demonstration: Option<Spread>,
    /// The model's context in tokens.
    #[serde(default)]
    pub context: u64,
    /// Rows that do not fit the model.
    #[serde(default)]
    pub refused: RowCount,
}

/// A problem with a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RowFault {
    /// Path of the file inside the data set; empty if the problem is not in a file.
    pub file: String,
    /// Line (JSONL) or row (Parquet) of the file, from 1; none: the file as a whole.
    pub row: Option<u64>,
    /// The problem and its solution.
    pub problem: String,
}

/// Minimum, median and maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Spread {
    /// Smallest.
    pub min: u64,
    /// Median, at most 2% too small.
    pub median: u64,
    /// Largest.
    pub max: u64,
}

impl DatasetRecord {
    /// Where the artifact store keeps its files and index.
    pub fn artifact_key(&self) -> String {
        artifact_key(&self.id)
    }
}

/// Where the artifact store keeps files and index of the data set `id`.
pub fn artifact_key(id: &str) -> String {
    format!("{ARTIFACTS}/{id}")
}

/// The part of the artifact store that holds data sets.
pub const ARTIFACTS: &str = "datasets";
