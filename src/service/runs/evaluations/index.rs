//! What is kept of an evaluation's rows in memory: where each is, and what it is filtered, sorted and compared by.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::domain::eval_row::{Along, EvalResponse, EvalRow, Thirds};
use crate::service::core::pool::Stop;
use crate::service::{Result, ServiceError};

/// Most rows of an evaluation that are looked at; longer ones are downloaded and compared elsewhere.
const MAX_ROWS: usize = 500_000;

/// Whether a row was answered rightly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// More than half of its responses are right.
    Right,
    /// At most half of them are.
    Wrong,
}

/// What rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RowOrder {
    /// Their number in the data set.
    #[default]
    Row,
    /// Mean visual focus.
    Focus,
    /// Mean reward.
    Reward,
    /// Focus of the last third over that of the first.
    LateEarly,
}

impl Verdict {
    /// Every verdict with its name.
    pub const NAMES: [(&'static str, Self); 2] = [("right", Self::Right), ("wrong", Self::Wrong)];
}

impl RowOrder {
    /// Every order with its name.
    pub const NAMES: [(&'static str, Self); 4] =
        [("row", Self::Row), ("focus", Self::Focus), ("reward", Self::Reward), ("late_early", Self::LateEarly)];
}

/// The files of an evaluation, and a line for each of its rows in the order of the data set.
#[derive(Debug, Default)]
pub(super) struct RowIndex {
    files: Vec<PathBuf>,
    pub(super) rows: Vec<RowFacts>,
    /// The tags that rows refer to by number.
    pub(super) tags: Vec<String>,
    /// Most responses of a row.
    pub(super) samples: usize,
    /// Focus by position: of all responses, of the right and of the wrong ones.
    pub(super) along: [Along; 3],
    /// Numbers of rows in an order that was asked for.
    orders: Mutex<HashMap<(RowOrder, bool), Places>>,
}

/// Rows of an index, in an order.
type Places = Arc<Vec<usize>>;

/// A row without its texts. Numbers are means over its responses; none where no response has one.
#[derive(Debug)]
pub(super) struct RowFacts {
    pub(super) row: u64,
    file: usize,
    offset: u64,
    bytes: usize,
    /// Tells the row's question and ground truth from others.
    pub(super) content: u64,
    pub(super) accuracy: Option<f64>,
    pub(super) reward: Option<f64>,
    pub(super) focus: Option<Thirds>,
    pub(super) attention_image: Option<Thirds>,
    pub(super) image_dependence: Option<Thirds>,
    pub(super) tags: Vec<u32>,
}

impl RowFacts {
    /// Right where more than half of its responses are; none without a verdict.
    pub(super) fn right(&self) -> Option<bool> {
        self.accuracy.map(|accuracy| accuracy > 0.5)
    }

    /// Late focus over early focus.
    pub(super) fn late_early(&self) -> Option<f64> {
        self.focus.filter(|focus| focus.early > 0.0).map(|focus| focus.late / focus.early)
    }

    /// What rows are ordered by.
    fn value(&self, order: RowOrder) -> Option<f64> {
        match order {
            RowOrder::Row => None,
            RowOrder::Focus => self.focus.map(|focus| focus.mean),
            RowOrder::Reward => self.reward,
            RowOrder::LateEarly => self.late_early(),
        }
    }

    /// Rows without the value come last, equal ones in the order of the data set.
    fn compare(&self, other: &Self, order: RowOrder, descending: bool) -> Ordering {
        let values = match (self.value(order), other.value(order)) {
            (Some(one), Some(two)) if descending => two.total_cmp(&one),
            (Some(one), Some(two)) => one.total_cmp(&two),
            (one, two) => one.is_none().cmp(&two.is_none()),
        };
        let by_row = self.row.cmp(&other.row);
        values.then(if order == RowOrder::Row && descending { by_row.reverse() } else { by_row })
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

fn mean_thirds(values: &[Thirds]) -> Option<Thirds> {
    let of = |part: fn(&Thirds) -> f64| mean(values.iter().map(part));
    Some(Thirds { mean: of(|t| t.mean)?, early: of(|t| t.early)?, late: of(|t| t.late)? })
}

fn content(row: &EvalRow) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&row.prompt, &row.answer).hash(&mut hasher);
    hasher.finish()
}

impl RowIndex {
    /// Reads files of rows, one after the other.
    pub(super) fn read(files: Vec<PathBuf>, stop: &Stop) -> Result<Self> {
        let mut index = Self::default();
        let mut numbers = HashMap::new();
        for (number, path) in files.iter().enumerate() {
            let mut lines = BufReader::new(File::open(path).map_err(|error| unreadable(path, &error))?);
            let (mut offset, mut line) = (0, Vec::new());
            loop {
                stop.check()?;
                line.clear();
                let bytes = lines.read_until(b'\n', &mut line).map_err(|error| unreadable(path, &error))?;
                if bytes == 0 {
                    break;
                }
                let row: EvalRow = serde_json::from_slice(&line).map_err(|error| unreadable(path, &error))?;
                index.add(&row, &mut numbers, (number, offset, bytes));
                offset += bytes as u64;
                if index.rows.len() > MAX_ROWS {
                    let detail =
                        format!("the evaluation has more than {MAX_ROWS} rows; read them with `vgpo runs rows`");
                    return Err(ServiceError::Conflict(detail));
                }
            }
        }
        index.rows.sort_by_key(|row| row.row);
        index.files = files;
        Ok(index)
    }

    fn add(&mut self, row: &EvalRow, numbers: &mut HashMap<String, u32>, place: (usize, u64, usize)) {
        let tags = row.tags.iter().map(|tag| {
            *numbers.entry(tag.clone()).or_insert_with(|| {
                self.tags.push(tag.clone());
                self.tags.len() as u32 - 1
            })
        });
        let tags = tags.collect();
        for response in &row.responses {
            let Some(means) = &response.focus_along else { continue };
            let verdict = response.correct.map(|correct| if correct { 1 } else { 2 });
            for part in std::iter::once(0).chain(verdict) {
                self.along[part].add_means(means, response.tokens);
            }
        }
        self.samples = self.samples.max(row.responses.len());
        let (file, offset, bytes) = place;
        let of = |thirds: fn(&EvalResponse) -> Option<Thirds>| {
            mean_thirds(&row.responses.iter().filter_map(thirds).collect::<Vec<_>>())
        };
        self.rows.push(RowFacts {
            row: row.row,
            file,
            offset,
            bytes,
            content: content(row),
            accuracy: mean(row.responses.iter().filter_map(|response| response.accuracy)),
            reward: mean(row.responses.iter().map(|response| response.reward)),
            focus: of(|response| response.focus),
            attention_image: of(|response| response.attention_image),
            image_dependence: of(EvalResponse::dependence),
            tags,
        });
    }

    /// The place of a row; none for a row that was not answered.
    pub(super) fn find(&self, row: u64) -> Option<usize> {
        self.rows.binary_search_by_key(&row, |facts| facts.row).ok()
    }

    /// The number of a tag; none for a tag that no row has.
    pub(super) fn tag(&self, tag: &str) -> Option<u32> {
        self.tags.iter().position(|known| known == tag).map(|number| number as u32)
    }

    /// At most `count` places of rows after the row `after` that `wanted` lets through, in an order.
    pub(super) fn after(
        &self,
        (order, descending): (RowOrder, bool),
        after: Option<usize>,
        count: usize,
        wanted: impl Fn(&RowFacts) -> bool,
    ) -> Vec<usize> {
        let places = self.order(order, descending);
        let start = after.map_or(0, |after| {
            let last = &self.rows[after];
            places.partition_point(|place| self.rows[*place].compare(last, order, descending) != Ordering::Greater)
        });
        places[start..].iter().copied().filter(|place| wanted(&self.rows[*place])).take(count).collect()
    }

    fn order(&self, order: RowOrder, descending: bool) -> Places {
        let mut orders = self.orders.lock();
        let sorted = orders.entry((order, descending)).or_insert_with(|| {
            let mut places: Vec<usize> = (0..self.rows.len()).collect();
            places.sort_by(|a, b| self.rows[*a].compare(&self.rows[*b], order, descending));
            Arc::new(places)
        });
        Arc::clone(sorted)
    }

    /// Rows as they were stored.
    pub(super) fn load(&self, places: &[usize]) -> Result<Vec<EvalRow>> {
        let mut open: HashMap<usize, File> = HashMap::new();
        places.iter().map(|place| self.load_one(&self.rows[*place], &mut open)).collect()
    }

    fn load_one(&self, facts: &RowFacts, open: &mut HashMap<usize, File>) -> Result<EvalRow> {
        let path = &self.files[facts.file];
        let fault = |error: std::io::Error| unreadable(path, &error);
        let file = match open.entry(facts.file) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(File::open(path).map_err(fault)?),
        };
        let mut line = vec![0; facts.bytes];
        file.seek(SeekFrom::Start(facts.offset)).and_then(|_| file.read_exact(&mut line)).map_err(fault)?;
        serde_json::from_slice(&line).map_err(|error| unreadable(path, &error))
    }
}

/// Does a row have the verdict that is asked for?
pub(super) fn has_verdict(facts: &RowFacts, wanted: Option<Verdict>) -> bool {
    wanted.is_none_or(|wanted| facts.right() == Some(wanted == Verdict::Right))
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> ServiceError {
    ServiceError::Internal(format!("the rows in {} cannot be read: {error}", path.display()))
}
