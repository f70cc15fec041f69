//! Defaults and limits of data sets in files.

use super::app::AppSettings;
use super::job;
use super::serving::MAX_IMAGES;
use crate::domain::dataset::{BadRows, DatasetLimits, DatasetSettings, SplitRule};
use crate::domain::kind::{Kind, Span};

/// Bytes of one JSON line: large enough for a few images as data URLs.
const ROW_BYTES: u64 = 64 << 20;
/// Bytes of the pages of a Parquet row group that are in memory at once.
const ROW_GROUP_BYTES: u64 = 256 << 20;
/// Share of the rows that is held out.
pub const EVAL_SHARE: Kind = Kind::Number(Span::ClosedOpen(0.0, 1.0));
/// Rows of one data set; each takes 32 bytes of an index.
const ROWS: u64 = 50_000_000;
/// Bytes that checks leave free on the disk.
const FREE_BYTES: u64 = 512 << 20;

/// How rows are read and split unless the upload says otherwise.
pub fn settings() -> DatasetSettings {
    DatasetSettings {
        columns: job::default_columns(),
        split: SplitRule::Auto,
        split_column: Some("split".to_owned()),
        eval_share: 0.05,
        seed: 0,
        bad_rows: BadRows::Refuse,
    }
}

/// How large data sets may be.
pub fn limits(settings: &AppSettings) -> DatasetLimits {
    let limits = &settings.limits;
    DatasetLimits {
        upload_bytes: limits.dataset_bytes,
        unpacked_bytes: limits.dataset_bytes,
        files: limits.dataset_files,
        image_bytes: limits.image_bytes as u64,
        image_pixels: limits.image_pixels,
        row_bytes: ROW_BYTES,
        row_group_bytes: ROW_GROUP_BYTES,
        row_images: MAX_IMAGES as u64,
        rows: ROWS,
        free_bytes: FREE_BYTES,
    }
}
