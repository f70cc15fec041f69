//! Runs: list, get, change, delete; their metrics, samples, attention maps and reports; sweeps, which are grids of
//! runs.

pub(super) mod alerts;
pub mod audit;
pub mod compare;
mod eval_rows;
pub mod evaluations;
pub mod maps;
mod metric_names;
pub mod metrics;
mod records;
mod report;
pub mod sweeps;
mod tokens;
mod trackers;

use std::ops::Deref;
use std::sync::Arc;

use crate::service::core::Core;

pub use records::{Include, RunEntry, Sparkline};

/// Runs and sweeps. A handle that is cheap to make: everything it works with is shared.
#[derive(Clone)]
pub struct Runs(Arc<Core>);

impl Deref for Runs {
    type Target = Arc<Core>;

    fn deref(&self) -> &Arc<Core> {
        &self.0
    }
}

impl Core {
    pub(in crate::service) fn runs(self: &Arc<Self>) -> Runs {
        Runs(Arc::clone(self))
    }
}
