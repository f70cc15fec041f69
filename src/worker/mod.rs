//! The worker: claims a job, runs it on a thread of its own, and puts on record what the trainer produces.
//!
//! A worker is a process: a crash, an out-of-memory kill or a cancel frees the device and cannot take the server
//! along. One worker has one device and runs one job at a time. The walk of a job: [`run`] claims it, `attempt` gives
//! it the newest complete checkpoint (`resume`), runs the [`JobRunner`] with a [`sink`](sink::StoreSink), beats the
//! lease, and tells the store how it ended. [`supervisor`] keeps local worker processes alive.

mod attempt;
mod device;
mod joblog;
mod main_loop;
mod orphan;
mod patience;
mod resume;
mod runner;
mod shared;
mod sink;
pub mod supervisor;
mod trainer;
mod writer;

pub use device::{host_name, is_alive};
pub use joblog::JobLog;
pub use main_loop::{WorkerConfig, WorkerError, run};
pub use orphan::{follow_parent, stop_signals};
pub use runner::{JobRunner, JobTask, RunEnd, RunnerError};
pub use trainer::TrainRunner;
