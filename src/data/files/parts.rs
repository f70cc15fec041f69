//! Which rows are to train on and which are held out.

use super::cell::Cell;
use super::index::Entry;
use crate::data::Split;
use crate::data::random::Dice;
use crate::domain::dataset::{DatasetSettings, SplitRule};

const TRAIN_NAMES: [&str; 2] = ["train", "training"];
const EVAL_NAMES: [&str; 6] = ["test", "validation", "valid", "val", "eval", "dev"];
/// Where the part of a row stands in the first number of its entry until rows are parted.
const TAG_SHIFT: u32 = 48;

fn by_name(name: &str) -> Option<Split> {
    let name = name.to_ascii_lowercase();
    if TRAIN_NAMES.contains(&name.as_str()) {
        return Some(Split::Train);
    }
    EVAL_NAMES.contains(&name.as_str()).then_some(Split::Eval)
}

/// The part that a data file's name tells, else that of the nearest folder that tells one.
pub(super) fn by_file_name(path: &str) -> Option<Split> {
    let mut pieces = path.rsplit(['/', '\\']);
    pieces.find_map(|piece| piece.split(|c: char| !c.is_ascii_alphanumeric()).find_map(by_name))
}

/// The part that a split column's value tells.
pub(super) fn by_column(column: &str, cell: &Cell) -> Result<Split, String> {
    let name = match cell {
        Cell::Text(text) => text.clone(),
        Cell::Bytes(bytes) => String::from_utf8_lossy(bytes.data()).into_owned(),
        other => other.kind().to_owned(),
    };
    by_name(name.trim()).ok_or_else(|| {
        let shown: String = name.chars().take(60).collect();
        format!(
            "column `{column}` is `{shown}`; it must be train, test, validation or eval. If it means something else, set \
             `split_column` to an empty text"
        )
    })
}

/// An entry that remembers the part its row was given.
pub(super) fn tagged(entry: Entry, part: Option<Split>) -> Entry {
    let tag: u64 = match part {
        None => 0,
        Some(Split::Train) => 1,
        Some(Split::Eval) => 2,
    };
    Entry { file: entry.file | tag << TAG_SHIFT, ..entry }
}

/// The reverse of [`tagged`].
pub(super) fn untagged(entry: Entry) -> (Entry, Option<Split>) {
    let part = match entry.file >> TAG_SHIFT {
        1 => Some(Split::Train),
        2 => Some(Split::Eval),
        _ => None,
    };
    (Entry { file: entry.file & ((1 << TAG_SHIFT) - 1), ..entry }, part)
}

/// Parts rows, asked in their order.
pub(super) struct Rule {
    split: SplitRule,
    by_name: bool,
    dice: Dice,
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
            dice: Dice::new(settings.seed, 0),
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
        let chosen = (self.dice.below(self.rows.max(1) as usize) as u64) < self.wanted;
        self.rows = self.rows.saturating_sub(1);
        self.wanted -= u64::from(chosen);
        if chosen { Split::Eval } else { Split::Train }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::Columns;

    fn settings(split: SplitRule, eval_share: f64, seed: u64) -> DatasetSettings {
        let columns =
            Columns { prompt: "p".into(), answer: "a".into(), images: "i".into(), demonstration: None, tags: None };
        DatasetSettings { columns, split, split_column: None, eval_share, seed }
    }

    #[test]
    fn names_tell_the_part() {
        for (path, part) in [
            ("data/train-00000-of-00002.parquet", Some(Split::Train)),
            ("validation-00000-of-00001.parquet", Some(Split::Eval)),
            ("test/rows.jsonl", Some(Split::Eval)),
            ("test/train.jsonl", Some(Split::Train)),
            ("contest.jsonl", None),
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
            assert_eq!(untagged(tagged(entry, part)), (entry, part));
        }
    }
}
