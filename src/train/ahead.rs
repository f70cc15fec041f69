//! Rollouts that are sampled ahead, on other servers, while updates compute here (`rollout.engine.staleness`).

use std::collections::VecDeque;
use std::thread::JoinHandle;

use super::engine::Stop;
use super::error::TrainError;
use super::group::Sampled;

/// What a run remembers of engines on other servers.
#[derive(Default)]
pub(super) struct Foreign {
    /// Batches that are sampled while updates compute, the next one first.
    pub(super) ahead: VecDeque<Ahead>,
    /// Was a drift between sampler and trainer reported?
    pub(super) drift_reported: bool,
}

/// A batch that is being sampled. Dropping it ends that.
pub(super) struct Ahead {
    /// The position in the row order after its prompts.
    pub(super) cursor: u64,
    pub(super) stop: Stop,
    pub(super) thread: Option<JoinHandle<Result<Vec<Sampled>, TrainError>>>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stop.raise();
        if let Some(thread) = self.thread.take() {
            // Its result is of no use, nor is its panic.
            let _ = thread.join();
        }
    }
}
