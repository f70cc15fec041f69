//! Jobs of several ranks: the worker starts them by a launcher, and stays what it is for every other job.
//!
//! It claims the job, extends the lease, and stores results; its trainer is a launcher's command instead of a thread.
//! Rank 0 hands everything over through its standard output, which launchers pass on from any host, and is answered
//! through its standard input. When that closes, the worker is gone, and the ranks end.

mod dataset;
mod launcher;
mod messages;
mod rank;

pub use dataset::DatasetSource;
pub use launcher::{LaunchError, Launcher};
pub use messages::RankPlan;
pub use rank::run as run_rank;
