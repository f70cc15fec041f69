//! What joins the ranks of one job: a few operations that every rank calls in the same order.
//!
//! All of them are made of one, [`Collective::exchange`], in which every rank hands a message to every other. A form
//! only has to carry messages: [`Solo`] is one rank alone and costs nothing, [`threads::join`] joins threads of one
//! process, and `mpi` joins processes of many hosts (feature `mpi`). Ranks that have a GPU each may add tensors up on
//! them: `nccl` (feature `nccl`) is joined by messages, and is no form of its own.
//!
//! A rank that fails tells the others with [`Collective::fail`], so that nobody waits for it. A rank that was killed,
//! stopped or cut off is noticed by its silence, and the error names it.

pub mod error;
pub mod gpus;
pub mod introduction;
pub mod launch;
#[cfg(feature = "mpi")]
pub mod mpi;
#[cfg(feature = "nccl")]
pub mod nccl;
pub mod solo;
pub mod threads;

use std::ops::Range;
use std::sync::Arc;

pub use error::{CollectiveError, Fault};
pub use introduction::{Peer, introduce};
pub use solo::Solo;

/// A message from one rank to another. One message to all ranks is held once.
pub type Part = Arc<Vec<u8>>;

/// The ranks of one job. Every rank calls the same operations in the same order; `what` names an operation in errors.
pub trait Collective: Send + Sync + std::fmt::Debug {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// Hands `parts[r]` to rank `r`, and returns what every rank handed to this one, in rank order.
    ///
    /// # Errors
    /// Ranks that are missing, a rank that failed, or ranks that are at different operations. Nothing works after an
    /// error.
    fn exchange(&self, what: &'static str, parts: &[Part]) -> Result<Vec<Vec<u8>>, CollectiveError>;

    /// Tells all other ranks that this one cannot continue: their next operation returns the fault.
    fn fail(&self, fault: &Fault);

    /// Waits for every rank and ends the connection in an orderly way.
    ///
    /// # Errors
    /// As [`Collective::exchange`].
    fn close(&self) -> Result<(), CollectiveError> {
        self.barrier("the end")
    }

    /// What every rank handed over, in rank order, at every rank.
    ///
    /// # Errors
    /// As [`Collective::exchange`].
    fn gather(&self, what: &'static str, own: Vec<u8>) -> Result<Vec<Vec<u8>>, CollectiveError> {
        let own = Part::new(own);
        self.exchange(what, &vec![own; self.size()])
    }

    /// The message of rank 0, at every rank; what other ranks hand over is not looked at.
    ///
    /// # Errors
    /// As [`Collective::exchange`].
    fn broadcast(&self, what: &'static str, message: Vec<u8>) -> Result<Vec<u8>, CollectiveError> {
        let own = if self.rank() == 0 { message } else { Vec::new() };
        let mut received = self.gather(what, own)?;
        Ok(received.swap_remove(0))
    }

    /// Returns once every rank has called it.
    ///
    /// # Errors
    /// As [`Collective::exchange`].
    fn barrier(&self, what: &'static str) -> Result<(), CollectiveError> {
        self.gather(what, Vec::new()).map(drop)
    }

    /// The sum over all ranks, in place and with the same bits at every rank: each rank adds up a share of the values
    /// in rank order and hands the sums to all, which moves as many bytes as a ring does.
    ///
    /// # Errors
    /// As [`Collective::exchange`], and numbers of values that differ.
    fn all_reduce(&self, what: &'static str, values: &mut [f32]) -> Result<(), CollectiveError> {
        let size = self.size();
        if size == 1 {
            return Ok(());
        }
        let shares: Vec<Range<usize>> = (0..size).map(|rank| share(values.len(), rank, size)).collect();
        let parts: Vec<Part> = shares.iter().map(|share| Arc::new(to_bytes(&values[share.clone()]))).collect();
        let received = self.exchange(what, &parts)?;
        let mut sums = vec![0.0; shares[self.rank()].len()];
        for (rank, part) in received.iter().enumerate() {
            let part = of_length(part, sums.len(), what, rank)?;
            if rank == 0 {
                sums.iter_mut().zip(part).for_each(|(sum, value)| *sum = value);
            } else {
                sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
            }
        }
        for (rank, (sums, share)) in self.gather(what, to_bytes(&sums))?.iter().zip(shares).enumerate() {
            let sums = of_length(sums, share.len(), what, rank)?;
            values[share].iter_mut().zip(sums).for_each(|(value, sum)| *value = sum);
        }
        Ok(())
    }
}

/// The part of `count` values that rank `rank` of `size` has.
pub fn share(count: usize, rank: usize, size: usize) -> Range<usize> {
    count * rank / size..count * (rank + 1) / size
}

/// Values as they travel.
pub fn to_bytes(values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; 4 * values.len()];
    bytes.chunks_exact_mut(4).zip(values).for_each(|(bytes, value)| bytes.copy_from_slice(&value.to_le_bytes()));
    bytes
}

/// The values of a message.
pub fn from_bytes(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// The values of a message from `rank`, which must be this many.
fn of_length<'a>(
    bytes: &'a [u8],
    count: usize,
    what: &'static str,
    rank: usize,
) -> Result<impl Iterator<Item = f32> + 'a, CollectiveError> {
    if bytes.len() == 4 * count {
        return Ok(from_bytes(bytes));
    }
    let problem = format!("sent {} bytes of {what}, not {}", bytes.len(), 4 * count);
    Err(CollectiveError::Different { rank, problem })
}
