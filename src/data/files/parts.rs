//! Which rows are to train on and which are held out.

use super::cell::Cell;
use super::index::Entry;
use crate::data::Split;
use crate::data::random::Rng;
use crate::domain::dataset::{DatasetSettings, SplitRule};

const TRAIN_NAMES: [&str; 2] = ["training", "train"];
const EVAL_NAMES: [&str; 8] = ["testing", "test", "validation", "valid", "val", "evaluation", "eval", "dev"];
/// What may follow a name in the same word, as in `testmini` and `trainval`.
const TAILS: [&str; 28] = [
    "mini", "std", "dev", "set", "sets", "full", "small", "large", "tiny", "hard", "easy", "sub", "subset", "seen",
    "unseen", "public", "private", "only", "data", "split", "part", "new", "val", "test", "clean", "other", "sample",
    "samples",
];
/// Words that a folder's name may have in addition to the split's name.
const FILLERS: [&str; 8] = ["data", "set", "split", "part", "files", "rows", "images", "v"];
/// Where the tag of a row is in the first number of its entry until rows are parted.
const TAG_SHIFT: u32 = 48;

/// The split that a word names: a known name, alone or followed by a number or a common ending.
fn by_name(word: &str) -> Option<Split> {
    let word = word.to_ascii_lowercase();
    let begins = |name: &&str| word.strip_prefix(*name).is_some_and(is_tail);
    if TRAIN_NAMES.iter().any(begins) {
        return Some(Split::Train);
    }
    EVAL_NAMES.iter().any(begins).then_some(Split::Eval)
}

fn is_tail(tail: &str) -> bool {
    let letters = tail.trim_end_matches(|c: char| c.is_ascii_digit());
    letters.len() <= 1 || TAILS.contains(&letters)
}

fn words(name: &str) -> impl DoubleEndedIterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

/// The part of a data file by the last word of its name that is one, else that of the nearest folder whose whole
/// name is one.
pub(super) fn by_file_name(path: &str) -> Option<Split> {
    let mut pieces = path.rsplit(['/', '\\']);
    let file = pieces.next().unwrap_or_default();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    words(stem).rev().find_map(by_name).or_else(|| pieces.find_map(by_folder))
}

fn by_folder(name: &str) -> Option<Split> {
    let part = words(name).find_map(by_name)?;
    let alone = words(name).all(|word| by_name(word) == Some(part) || is_beside(word));
    alone.then_some(part)
}

fn is_beside(word: &str) -> bool {
    let letters = word.trim_end_matches(|c: char| c.is_ascii_digit()).to_ascii_lowercase();
    letters.is_empty() || FILLERS.contains(&letters.as_str())
}

/// The part that the value of a split column names.
pub(super) fn by_column(column: &str, cell: &Cell) -> Result<Split, String> {
    let name = match cell {
        Cell::Text(text) => text.clone(),
        Cell::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => other.kind().to_owned(),
    };
    by_name(name.trim()).ok_or_else(|| {
        let shown: String = name.chars().take(60).collect();
        format!(
            "column `{column}` is `{shown}`; it must be train, test, validation or eval. If it means something else, \
             set `split_column` to an empty text"
        )
    })
}

/// What is known of a row until rows are parted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) part: Option<Split>,
    pub(super) without_answer: bool,
}

/// An entry that remembers its tag.
pub(super) fn tagged(entry: Entry, tag: Tag) -> Entry {
    let part: u64 = match tag.part {
        None => 0,
        Some(Split::Train) => 1,
        Some(Split::Eval) => 2,
    };
    let bits = part | u64::from(tag.without_answer) << 2;
    Entry { file: entry.file | bits << TAG_SHIFT, ..entry }
}

/// The reverse of [`tagged`].
pub(super) fn untagged(entry: Entry) -> (Entry, Tag) {
    let bits = entry.file >> TAG_SHIFT;
    let part = match bits & 3 {
        1 => Some(Split::Train),
        2 => Some(Split::Eval),
        _ => None,
    };
    let tag = Tag { part, without_answer: bits & 4 != 0 };
    (Entry { file: entry.file & ((1 << TAG_SHIFT) - 1), ..entry }, tag)
}

/// Parts rows, asked in their order.
pub(super) struct Rule {
    split: SplitRule,
    by_name: bool,
    rng: Rng,
    /// Rows that are still to come, and how many of them are to be held out.
    rows: u64,
    wanted: u64,
}

impl Rule {
    /// A rule for `rows` rows, of which names hold out `named_eval`.
    pub(super) fn new(settings: &DatasetSettings, rows: u64, named_eval: u64) -> Self {
        let share = (settings.eval_share * rows as f64).round() as u64;
        // At least one row on each side, where there are two.
        let wanted = if settings.eval_share > 0.0 { share.clamp(1, rows.saturating_sub(1).max(1)) } else { 0 };
        let by_name = settings.split == SplitRule::Auto && named_eval > 0;
        Self {
            split: settings.split,
            by_name,
            rng: Rng::new(settings.seed, 0),
            rows,
            wanted: if rows < 2 { 0 } else { wanted },
        }
    }

    /// The part of the next row.
    pub(super) fn next(&mut self, named: Option<Split>) -> Split {
        match self.split {
            SplitRule::Train => return Split::Train,
            SplitRule::Eval => return Split::Eval,
            SplitRule::Auto if self.by_name => return named.unwrap_or(Split::Train),
            SplitRule::Auto | SplitRule::HeldOut => {}
        }
        // Selection sampling (Knuth, 3.4.2, algorithm S): exactly `wanted` rows, each set of rows equally likely.
        let chosen = (self.rng.below(self.rows.max(1) as usize) as u64) < self.wanted;
        self.rows = self.rows.saturating_sub(1);
        self.wanted -= u64::from(chosen);
        if chosen { Split::Eval } else { Split::Train }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dataset::BadRows;
    use crate::domain::spec::Columns;

    fn settings(split: SplitRule, eval_share: f64, seed: u64) -> DatasetSettings {
        let columns =
            Columns { prompt: "p".into(), answer: "a".into(), images: "i".into(), demonstration: None, tags: None };
        DatasetSettings { columns, split, split_column: None, eval_share, seed, bad_rows: BadRows::Refuse }
    }

    #[test]
    fn names_tell_the_part() {
        for (path, part) in [
            ("data/train-00000-of-00002.parquet", Some(Split::Train)),
            ("validation-00000-of-00001.parquet", Some(Split::Eval)),
            ("test/rows.jsonl", Some(Split::Eval)),
            ("test/train.jsonl", Some(Split::Train)),
            ("contest.jsonl", None),
            ("data/testmini-00000-of-00001.parquet", Some(Split::Eval)),
            ("val2017.jsonl", Some(Split::Eval)),
            ("testA.jsonl", Some(Split::Eval)),
            ("test-dev.jsonl", Some(Split::Eval)),
            ("trainval.jsonl", Some(Split::Train)),
            ("math-eval-train.jsonl", Some(Split::Train)),
            ("my-test-run/part-0.jsonl", None),
            ("test_data/part-0.jsonl", Some(Split::Eval)),
            ("values.jsonl", None),
            ("devices/trainer.jsonl", None),
            ("evaluation/testimony.jsonl", Some(Split::Eval)),
            ("rows.jsonl", None),
        ] {
            assert_eq!(by_file_name(path), part, "{path}");
        }
    }

    #[test]
    fn exactly_the_share_is_held_out_and_the_seed_says_which() {
        let held_out = |rows: u64, share: f64, seed: u64| {
            let mut rule = Rule::new(&settings(SplitRule::HeldOut, share, seed), rows, 0);
            (0..rows).filter(|_| rule.next(None) == Split::Eval).collect::<Vec<_>>()
        };
        assert_eq!(held_out(1000, 0.05, 1).len(), 50);
        assert_eq!(held_out(1000, 0.05, 1), held_out(1000, 0.05, 1));
        assert_ne!(held_out(1000, 0.05, 1), held_out(1000, 0.05, 2));
        assert_eq!((held_out(2, 0.01, 0).len(), held_out(2, 1.0, 0).len(), held_out(1, 0.5, 0).len()), (1, 1, 0));
        assert_eq!(held_out(10, 0.0, 0).len(), 0);
    }

    #[test]
    fn names_win_under_auto_only() {
        let of = |split, named_eval| Rule::new(&settings(split, 0.5, 0), 100, named_eval);
        assert_eq!(of(SplitRule::Auto, 1).next(Some(Split::Eval)), Split::Eval);
        assert_eq!(of(SplitRule::Auto, 1).next(None), Split::Train);
        assert_eq!(of(SplitRule::Train, 1).next(Some(Split::Eval)), Split::Train);
        assert_eq!(of(SplitRule::Eval, 0).next(None), Split::Eval);
    }

    #[test]
    fn tags_come_off_again() {
        let entry = Entry { file: 7, row: 1, at: 2, len: 3 };
        for part in [None, Some(Split::Train), Some(Split::Eval)] {
            for without_answer in [false, true] {
                let tag = Tag { part, without_answer };
                assert_eq!(untagged(tagged(entry, tag)), (entry, tag));
            }
        }
    }
}
