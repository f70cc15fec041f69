//! Tests of `worker`: jobs in this process, and worker processes that die.

pub mod fixture;
mod lifecycle;
mod processes;
mod real_job;
