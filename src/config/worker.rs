//! Times of workers: polling, heartbeats, retries, stopping.

use std::time::Duration;

use crate::domain::job::LONGEST_RETRY_PAUSE;

/// Times of the worker and of its supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerTimings {
    /// An idle worker polls for a job this often while few others wait.
    pub poll: Duration,
    /// It does so at least this often, however many wait.
    pub poll_most: Duration,
    /// A lease expires this long after its last heartbeat.
    pub lease_ttl: Duration,
    /// Interval of heartbeats, by which a busy worker extends its lease and learns of a cancel or a pause.
    pub heartbeat: Duration,
    /// A worker reports that it is alive this often.
    pub presence: Duration,
    /// Metrics wait at most this long to be written together.
    pub flush: Duration,
    /// Pause before the second attempt after a temporary error; doubles with every further one.
    pub retry_first: Duration,
    /// Longest such pause.
    pub retry_most: Duration,
    /// Pause before a worker process that died is started again; doubles while it keeps dying.
    pub restart_first: Duration,
    /// Longest such pause; a process that lived this long begins with the first pause again.
    pub restart_most: Duration,
    /// A worker that was asked to stop has this long to save its job; then it returns the job to the queue as it is.
    pub stop_grace: Duration,
    /// A worker that lost its parent process has this long to return its job to the queue.
    pub orphan_grace: Duration,
}

/// The default of [`WorkerTimings::stop_grace`].
pub const GRACE: Duration = Duration::from_mins(2);
/// This number of idle workers polls at full pace; more of them share that pace.
const POLLERS: u64 = 4;
/// A supervised worker that has not ended this long after its grace is killed.
const KILL_AFTER: Duration = Duration::from_secs(5);

impl WorkerTimings {
    /// The default times with another grace.
    pub fn with_grace(seconds: u64) -> Self {
        Self { stop_grace: Duration::from_secs(seconds), ..Self::default() }
    }

    /// The pause between two polls of a worker when this number of workers waits, itself included: the more they
    /// are, the less often each of them looks, so that a job is found as soon by some worker and a thousand of them do
    /// not wear out the database.
    pub fn poll_among(&self, idle: u64) -> Duration {
        let slower = idle.div_ceil(POLLERS).max(1);
        self.poll.saturating_mul(u32::try_from(slower).unwrap_or(u32::MAX)).min(self.poll_most.max(self.poll))
    }

    /// How long a supervisor waits for a worker that it asked to stop.
    pub fn kill_after(&self) -> Duration {
        self.stop_grace + KILL_AFTER
    }
}

impl Default for WorkerTimings {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(50),
            poll_most: Duration::from_secs(5),
            lease_ttl: Duration::from_secs(30),
            heartbeat: Duration::from_secs(1),
            presence: Duration::from_secs(5),
            flush: Duration::from_millis(100),
            retry_first: Duration::from_secs(5),
            retry_most: LONGEST_RETRY_PAUSE,
            restart_first: Duration::from_millis(500),
            restart_most: Duration::from_secs(30),
            stop_grace: GRACE,
            orphan_grace: Duration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_idle_workers_share_the_pace_of_a_few() {
        let timings = WorkerTimings::default();
        let pauses = [0, 1, 4, 5, 50, 400, 1_000, u64::MAX].map(|idle| timings.poll_among(idle).as_millis());
        assert_eq!(pauses, [50, 50, 50, 100, 650, 5_000, 5_000, 5_000]);
        let slow = WorkerTimings { poll: Duration::from_secs(9), ..timings };
        assert_eq!(slow.poll_among(1_000), Duration::from_secs(9), "a longer pause of one's own holds");
    }
}
