//! Which GPU each rank works on: sums on GPUs need one for each.

use serde::{Deserialize, Serialize};

use super::introduction::gather_values;
use super::{Collective, CollectiveError};

/// The GPU of a rank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its host.
    pub host: String,
    /// Its name there, e.g. `cuda:0`.
    pub name: String,
    /// What no other GPU has.
    pub id: String,
}

/// Makes sure that every rank has a GPU of its own: NCCL would wait for ever, or fail without saying why.
///
/// # Errors
/// Two ranks with one GPU, and everything that [`Collective::exchange`] may fail with.
pub fn distinct(ranks: &dyn Collective, own: &Gpu) -> Result<(), CollectiveError> {
    let all = gather_values(ranks, "GPUs", own)?;
    for (rank, gpu) in all.iter().enumerate() {
        if let Some(first) = all[..rank].iter().position(|other| other.id == gpu.id) {
            let Gpu { host, name, id } = gpu.clone();
            return Err(CollectiveError::SameGpu { ranks: [first, rank], gpu: format!("{id}, {name} of host {host}") });
        }
    }
    Ok(())
}
