//! Tests of `worker`: jobs in this process, and worker processes that die.

pub mod fixture;
mod lifecycle;
mod processes;
#[cfg(feature = "mpi")]
mod ranks;
mod real_job;
