//! How this process was started: alone, or by a launcher as one of several ranks.

use std::sync::Arc;
use std::time::Duration;

use super::{Collective, CollectiveError, Solo};

/// Variables by which launchers tell a process how many ranks there are: Open MPI, MPICH and its relatives, Slurm.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];

/// Was this program built with MPI?
pub fn is_built_in() -> bool {
    cfg!(feature = "mpi")
}

/// Says how to get a program that can start ranks.
pub const NOT_BUILT_IN: &str =
    "this program was built without MPI; build it with `cargo build --release --features mpi` (docs/scale.md)";

/// The number of ranks that a launcher has started; 1 where none has.
pub fn launched() -> usize {
    let told = SIZES.iter().find_map(|name| std::env::var(name).ok()?.parse().ok());
    told.unwrap_or(1).max(1)
}

/// Joins the ranks that a launcher has started; a process that none has started is alone. A rank that is not heard of
/// for `silence` counts as lost.
///
/// # Errors
/// A launcher has started several ranks, and they cannot be joined.
pub fn join(silence: Duration) -> Result<Arc<dyn Collective>, CollectiveError> {
    match launched() {
        1 => Ok(Arc::new(Solo)),
        ranks => many(ranks, silence),
    }
}

#[cfg(feature = "mpi")]
fn many(_: usize, silence: Duration) -> Result<Arc<dyn Collective>, CollectiveError> {
    Ok(Arc::new(super::mpi::MpiRank::join(silence)?))
}

#[cfg(not(feature = "mpi"))]
fn many(ranks: usize, _: Duration) -> Result<Arc<dyn Collective>, CollectiveError> {
    Err(CollectiveError::Unavailable(format!("this process is one of {ranks} ranks, but {NOT_BUILT_IN}")))
}
