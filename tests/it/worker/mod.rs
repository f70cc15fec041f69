//! Tests of `worker`: jobs in this process, and worker processes that die.

mod fixture;
mod lifecycle;
mod processes;
mod real_job;
