//! Benchmarks of the program's parts: one file per kind of work, each run in its own process, because allocators keep
//! memory of earlier work. `vgpo bench` prints the results.

pub mod device;
pub mod generate;
pub mod policy;
pub mod reference;
pub mod rollout;
pub mod shape;
pub mod shapes;
pub mod step;
pub mod update;
pub mod weights;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::field_error::FieldError;
use crate::model::ModelError;
use crate::serving::ServingError;
use crate::train::{TrainError, process_memory};

/// Why a benchmark failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Settings that are invalid for a job.
    #[error("{0}")]
    Settings(String),
    /// A file of the generated model cannot be written.
    #[error("cannot write {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// From the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// From the trainer.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// From the serving engine.
    #[error(transparent)]
    Serving(#[from] ServingError),
}

impl From<String> for BenchError {
    fn from(problem: String) -> Self {
        Self::Settings(problem)
    }
}

impl From<Vec<FieldError>> for BenchError {
    fn from(faults: Vec<FieldError>) -> Self {
        Self::Settings(faults.into_iter().map(|fault| fault.detail).collect::<Vec<_>>().join("\n"))
    }
}

/// Seconds of repeated runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seconds {
    /// The median.
    pub median: f64,
    /// The shortest.
    pub minimum: f64,
    /// All, in the order of the runs.
    pub all: Vec<f64>,
}

impl Seconds {
    /// Of at least one run.
    pub fn of(all: Vec<f64>) -> Self {
        let mut sorted = all.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        };
        Self { median, minimum: sorted.first().copied().unwrap_or(f64::NAN), all }
    }
}

/// Seconds by phase, summed over the timed runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Phases(BTreeMap<&'static str, f64>);

impl Phases {
    fn add(&mut self, phase: &'static str, seconds: f64) {
        *self.0.entry(phase).or_default() += seconds;
    }

    /// Each phase's share of all of them.
    fn shares(&self) -> BTreeMap<&'static str, f64> {
        let all: f64 = self.0.values().sum();
        self.0.iter().map(|(phase, seconds)| (*phase, seconds / all.max(f64::MIN_POSITIVE))).collect()
    }
}

/// Resident memory of this process, if the system reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Before the model was opened.
    pub before_bytes: Option<u64>,
    /// The peak since then.
    pub peak_bytes: Option<u64>,
}

/// Watches memory from now on.
pub(crate) struct Watch(Option<u64>);

impl Watch {
    fn start() -> Self {
        process_memory::reset_peak();
        Self(process_memory::resident_bytes())
    }

    fn end(self) -> Memory {
        // The peak may have been reset by other code in this process, so the start counts as well.
        Memory { before_bytes: self.0, peak_bytes: process_memory::peak_bytes().max(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let odd = Seconds::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((odd.median, odd.minimum), (2.0, 1.0));
        assert_eq!(Seconds::of(vec![4.0, 1.0]).median, 2.5);
    }

    #[test]
    fn shares_sum_to_one() {
        let mut phases = Phases::default();
        phases.add("a", 1.0);
        phases.add("b", 2.0);
        phases.add("a", 1.0);
        assert_eq!(phases.shares(), BTreeMap::from([("a", 0.5), ("b", 0.5)]));
    }
}
