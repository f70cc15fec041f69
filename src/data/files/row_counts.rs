//! Counts over all rows, in fixed memory.

use std::collections::{BTreeMap, BTreeSet};

use super::spread::SpreadCounter;
use crate::data::Example;
use crate::domain::columns::Role;
use crate::domain::dataset::{BadRows, DatasetReport, PartCount, RowCount, RowFault};
use crate::domain::spec::Columns;

/// Most faults that are listed one by one.
const MAX_FAULTS: usize = 200;
/// Tags that are counted.
const TAGS: usize = 100;
/// Image processors reject an image whose longer side is more than this number of times the shorter one.
const MAX_RATIO: u32 = 200;

/// Counts over all rows.
#[derive(Debug, Default)]
pub(super) struct RowCounts {
    /// Number of rows.
    pub(super) rows: u64,
    bad_rows: u64,
    errors: Vec<RowFault>,
    /// Is there a fault that leaving rows out does not mend?
    damaged: bool,
    images: u64,
    without_image: u64,
    demonstrations: u64,
    widths: SpreadCounter,
    heights: SpreadCounter,
    prompts: SpreadCounter,
    answers: SpreadCounter,
    tags: BTreeMap<String, u64>,
    thin: RowCount,
    /// Roles whose column some row has.
    seen: [bool; Role::ALL.len()],
}

impl RowCounts {
    /// Notes which roles a row has columns for.
    pub(super) fn note_columns(&mut self, columns: &Columns, has: impl Fn(&str) -> bool) {
        for (seen, role) in self.seen.iter_mut().zip(Role::ALL) {
            *seen = *seen || columns.get(role).is_some_and(&has);
        }
    }

    /// Notes what is wrong with a row or, without one, with a whole file.
    pub(super) fn fault(&mut self, file: &str, row: Option<u64>, problem: String) {
        self.bad_rows += u64::from(row.is_some());
        if row.is_none() {
            self.damage();
            // It decides, whatever rows came before.
            self.errors.truncate(MAX_FAULTS - 1);
        }
        if self.errors.len() < MAX_FAULTS {
            self.errors.push(RowFault { file: file.to_owned(), row, problem });
        }
    }

    /// Notes that more is lost than the rows that were named.
    pub(super) fn damage(&mut self) {
        self.damaged = true;
    }

    /// Counts a good row.
    pub(super) fn add(&mut self, example: &Example) {
        self.images += example.images.len() as u64;
        self.without_image += u64::from(example.images.is_empty());
        self.demonstrations += u64::from(example.demonstration.is_some());
        let sizes = || example.images.iter().map(|image| image.dimensions());
        if let Some((width, height)) = sizes().find(|(width, height)| is_thin(*width, *height)) {
            self.thin.add(|| {
                let source = example.source.as_ref();
                let problem = format!(
                    "an image is {width} x {height} pixels: one side may be at most {MAX_RATIO} times the other; crop \
                    or pad it"
                );
                RowFault {
                    file: source.map(|source| source.file.clone()).unwrap_or_default(),
                    row: source.map(|source| source.row),
                    problem,
                }
            });
        }
        for image in &example.images {
            self.widths.add(u64::from(image.width()));
            self.heights.add(u64::from(image.height()));
        }
        self.prompts.add(example.prompt.chars().count() as u64);
        self.answers.add(example.answer().chars().count() as u64);
        for tag in &example.tags {
            if let Some(count) = self.tags.get_mut(tag) {
                *count += 1;
            } else if self.tags.len() < TAGS {
                self.tags.insert(tag.clone(), 1);
            }
        }
    }

    /// Everything so far, and whether the data set can be used.
    pub(super) fn report(
        mut self,
        data_files: &[String],
        columns: &Columns,
        names: &BTreeSet<String>,
        bad_rows: BadRows,
    ) -> (DatasetReport, bool) {
        if self.rows == 0 && self.errors.is_empty() {
            let problem = if data_files.is_empty() {
                "there is no data file: send .jsonl, .parquet, .tsv, .csv or .json (an array of objects), or a zip of \
                them"
            } else {
                "the data files hold no rows"
            };
            self.fault("", None, problem.to_owned());
        }
        let mut taken = BTreeMap::new();
        for (role, seen) in Role::ALL.into_iter().zip(self.seen) {
            let Some(column) = columns.get(role) else { continue };
            if seen {
                taken.insert(role.name().to_owned(), column.to_owned());
            } else if columns.is_chosen(role) && self.rows > 0 {
                let known: Vec<&str> = names.iter().take(20).map(String::as_str).collect();
                let problem = format!(
                    "no row has the column `{column}` that `{}` is mapped to; there are: {}",
                    role.name(),
                    known.join(", ")
                );
                self.fault("", None, problem);
            }
        }
        let leaves_out = bad_rows == BadRows::LeaveOut;
        if leaves_out && !self.damaged && self.rows > 0 && self.bad_rows == self.rows {
            self.fault("", None, "every row is bad, so none is left; the first faults are listed".to_owned());
        }
        let valid = if leaves_out { !self.damaged } else { self.errors.is_empty() };
        let report = DatasetReport {
            rows: self.rows,
            bad_rows: self.bad_rows,
            left_out: if leaves_out && valid { self.bad_rows } else { 0 },
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
            rows_without_answer: PartCount::default(),
            rows_with_thin_image: self.thin,
            columns: taken,
            column_names: names.iter().cloned().collect(),
        };
        (report, valid)
    }
}

fn is_thin(width: u32, height: u32) -> bool {
    u64::from(width.max(height)) > u64::from(width.min(height)) * u64::from(MAX_RATIO)
}
