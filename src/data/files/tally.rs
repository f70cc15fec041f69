//! Counts over all rows, in fixed memory.

use std::collections::BTreeMap;

use super::spread::SpreadCounter;
use crate::data::Example;
use crate::domain::dataset::{DatasetReport, RowFault};

/// Faults that are told one by one.
const TOLD: usize = 20;
/// Tags that are counted.
const TAGS: usize = 100;

/// Counts over all rows.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Rows seen.
    pub(super) rows: u64,
    bad_rows: u64,
    errors: Vec<RowFault>,
    images: u64,
    without_image: u64,
    demonstrations: u64,
    widths: SpreadCounter,
    heights: SpreadCounter,
    prompts: SpreadCounter,
    answers: SpreadCounter,
    tags: BTreeMap<String, u64>,
}

impl Tally {
    /// Notes what is wrong with a row or, without one, with a whole file.
    pub(super) fn fault(&mut self, file: &str, row: Option<u64>, problem: String) {
        self.bad_rows += u64::from(row.is_some());
        if self.errors.len() < TOLD {
            self.errors.push(RowFault { file: file.to_owned(), row, problem });
        }
    }

    /// Counts a good row.
    pub(super) fn add(&mut self, example: &Example) {
        self.images += example.images.len() as u64;
        self.without_image += u64::from(example.images.is_empty());
        self.demonstrations += u64::from(example.demonstration.is_some());
        for image in &example.images {
            self.widths.add(u64::from(image.width()));
            self.heights.add(u64::from(image.height()));
        }
        self.prompts.add(example.prompt.chars().count() as u64);
        self.answers.add(example.answer.chars().count() as u64);
        for tag in &example.tags {
            if let Some(count) = self.tags.get_mut(tag) {
                *count += 1;
            } else if self.tags.len() < TAGS {
                self.tags.insert(tag.clone(), 1);
            }
        }
    }

    /// Everything so far.
    pub(super) fn report(mut self, data_files: &[String]) -> DatasetReport {
        if self.rows == 0 && self.errors.is_empty() {
            let problem = if data_files.is_empty() {
                "there is no data file: send .jsonl or .parquet files, or a zip of them"
            } else {
                "the data files hold no rows"
            };
            self.fault("", None, problem.to_owned());
        }
        DatasetReport {
            rows: self.rows,
            bad_rows: self.bad_rows,
            errors: self.errors,
            files: data_files.len() as u64,
            images: self.images,
            rows_without_image: self.without_image,
            image_width: self.widths.spread(),
            image_height: self.heights.spread(),
            prompt_chars: self.prompts.spread(),
            answer_chars: self.answers.spread(),
            demonstrations: self.demonstrations,
            tags: self.tags,
            tokens: None,
        }
    }
}
