//! Figures of the queue and of running jobs, for monitoring.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::job::JobState;

/// What the database knows about work that waits and work that is under way.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figures {
    /// Jobs in each state that any is in.
    pub jobs: BTreeMap<JobState, u64>,
    /// Since when the job waits that has waited longest of those that a worker could claim now.
    pub waiting_since: Option<DateTime<Utc>>,
    /// Claims ever made of the jobs that are still known.
    pub claims: u64,
    /// Leases lost, ever, by the way they were lost.
    pub lost_leases: BTreeMap<LeaseLoss, u64>,
    /// What runs at the moment.
    pub runs: Vec<RunFigures>,
}

/// How a worker lost its hold on a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeaseLoss {
    /// Nothing was heard of it until the lease ran out.
    Expired,
    /// Its process was seen to die.
    WorkerDied,
}

impl LeaseLoss {
    /// Every way.
    pub const ALL: [Self; 2] = [Self::Expired, Self::WorkerDied];

    /// The name used in the database and in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::WorkerDied => "worker_died",
        }
    }
}

/// How far a run is that a worker holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunFigures {
    /// The run.
    pub run_id: String,
    /// Its job.
    pub job_id: String,
    /// Its last finished step.
    pub step: u64,
    /// Responses seen since it began.
    pub samples: u64,
    /// Response tokens seen since it began.
    pub tokens: u64,
    /// Seconds that each phase of its last step took, e.g. `rollout`.
    pub phases: BTreeMap<String, f64>,
}
