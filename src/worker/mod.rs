//! The worker: claims a job, runs it on its own thread, and records what the trainer produces.
//!
//! A worker is a process, so that a crash, an out-of-memory kill or a cancel frees the device without affecting the
//! server. One worker has one device and runs one job at a time. The path of a job: [`run`] claims it, `attempt`
//! resumes from the newest complete checkpoint (`resume`), runs the [`JobRunner`] with a [`sink`](sink::StoreSink),
//! extends the lease, and records how it ended. [`supervisor`] keeps local worker processes alive.

mod attempt;
mod config;
mod device;
mod joblog;
mod main_loop;
mod orphan;
mod patience;
pub mod ranks;
mod resume;
mod runner;
mod shared;
mod sink;
pub mod supervisor;
mod trainer;
mod writer;

pub use config::WorkerConfig;
pub use device::{host_name, is_alive};
pub use joblog::JobLog;
pub use main_loop::{WorkerError, run};
pub use orphan::{follow_parent, stop_signals};
pub use runner::{JobRunner, JobTask, RunEnd, RunnerError};
pub use trainer::TrainRunner;
