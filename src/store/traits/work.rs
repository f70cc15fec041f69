//! What the program's own processes write and ask: workers, servers and engines. No caller gets at any of it.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::domain::access::{ApiKey, NewTicket, ProjectQuota, StoredKey, TicketKind};
use crate::domain::alert::{Alert, Delivered, DueAlert, NewAlert};
use crate::domain::checkpoint::{Checkpoint, NewCheckpoint};
use crate::domain::engine::{EngineBeat, EngineRecord, NewEngine};
use crate::domain::event::Event;
use crate::domain::job::{Job, LeaseToken, LeasedJob, Wanted};
use crate::domain::metric::TimedMetrics;
use crate::domain::sample::SampleGroup;
use crate::domain::spec::DeviceClass;
use crate::domain::tracker::Tracking;
use crate::domain::worker::{NewWorker, WorkerRecord, WorkerState};
use crate::store::error::Result;

/// What a worker that looks for a job offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// The worker.
    pub worker_id: String,
    /// Its device: jobs for this class and for any are considered.
    pub device: DeviceClass,
    /// How many ranks it can start: jobs of more are left to others.
    pub ranks: u32,
    /// How long the lease holds without a heartbeat.
    pub ttl: Duration,
}

/// How an attempt ended badly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened, for people.
    pub message: String,
    /// Try again after this pause while attempts are left; none: the job has failed for good.
    pub retry_after: Option<Duration>,
}

/// The queue as workers see it.
#[async_trait]
pub trait QueueStore: Send + Sync {
    /// Could [`claim`](Self::claim) find something (a queued job of at most this many ranks, or a lease that ran out)?
    /// Cheap reads for polling.
    async fn has_work(&self, device: DeviceClass, ranks: u32) -> Result<bool>;
    /// Takes the next job: highest priority, then first submitted, among those that fit the device, whose `after`
    /// succeeded and whose `not_before` has passed. Leases that the last look found overdue are ended first.
    async fn claim(&self, request: &ClaimRequest) -> Result<Option<LeasedJob>>;
    /// Extends the lease and tells what is wanted of the worker.
    async fn heartbeat(&self, token: &LeaseToken, ttl: Duration) -> Result<Wanted>;
    /// The trainer is done, with its last step or because the settings end it earlier, which `reason` tells people.
    async fn complete(&self, token: &LeaseToken, reason: &str) -> Result<Job>;
    /// The attempt failed: queued again with a pause, or failed for good.
    async fn fail(&self, token: &LeaseToken, failure: &Failure) -> Result<Job>;
    /// The worker lets go in an orderly way (drain, pause, cancel): running -> queued, pausing -> paused,
    /// cancelling -> cancelled. The attempt is given back: an operator's drain is not the job's fault.
    async fn release(&self, token: &LeaseToken, reason: &str) -> Result<Job>;
    /// Ends every lease that was not extended for its whole time, by the stopwatch of this process and as far as it has
    /// looked, here or in [`has_work`](Self::has_work): the job is queued again, or fails when its attempts are used up
    /// (a pausing one is paused, a cancelling one cancelled). Returns the jobs it touched.
    async fn expire_leases(&self) -> Result<Vec<Job>>;
    /// The worker is known to be dead: its leases end now instead of running out.
    async fn release_worker(&self, worker_id: &str, reason: &str) -> Result<Vec<Job>>;
}

/// What an attempt writes about its job and run while it holds the lease.
#[async_trait]
pub trait AttemptStore: Send + Sync {
    /// Stores points, and one `metrics` event for each entry, in one transaction. A key's later value at the same
    /// step replaces the earlier one.
    async fn append_metrics(&self, token: &LeaseToken, batch: &[TimedMetrics]) -> Result<()>;
    /// Stores the groups of one step and a `samples` event.
    async fn append_samples(&self, token: &LeaseToken, step: u64, groups: &[SampleGroup]) -> Result<()>;
    /// Records a checkpoint whose files are stored, and writes its event. A repeat with the same id changes nothing.
    async fn add_checkpoint(&self, token: &LeaseToken, checkpoint: NewCheckpoint) -> Result<Checkpoint>;
    /// Writes an event of a worker about its job and run.
    async fn append_job_event(&self, token: &LeaseToken, kind: &str, data: serde_json::Value) -> Result<Event>;
    /// A resumed attempt starts after step `to_step` (none: from the beginning): points, samples and checkpoints of
    /// later steps go (promoted checkpoints stay) and a `rewind` event is written, in one transaction. No event when
    /// there is nothing later. Returns the checkpoints that are gone, so that their files can follow.
    async fn rewind(&self, token: &LeaseToken, to_step: Option<u64>) -> Result<Vec<Checkpoint>>;
}

/// Signs of life of workers, engines and servers.
#[async_trait]
pub trait PresenceStore: Send + Sync {
    /// A worker introduces itself.
    async fn register_worker(&self, worker: NewWorker) -> Result<WorkerRecord>;
    /// A worker is alive and tells what it does.
    async fn worker_heartbeat(&self, id: &str, state: WorkerState, job_id: Option<&str>) -> Result<()>;
    /// How many workers of this class of device were heard of since `since` and wait for a job.
    async fn idle_workers(&self, device: DeviceClass, since: DateTime<Utc>) -> Result<u64>;
    /// An engine introduces itself; one that is known already under its id tells its address anew.
    async fn register_engine(&self, engine: NewEngine) -> Result<EngineRecord>;
    /// An engine is alive. `NotFound` when it was forgotten: it registers again.
    async fn engine_heartbeat(&self, id: &str, beat: &EngineBeat) -> Result<()>;
    /// An engine leaves; one that is not known has left already.
    async fn remove_engine(&self, id: &str) -> Result<()>;
    /// Forgets engines that were not heard of since `before`; returns how many.
    async fn forget_engines(&self, before: DateTime<Utc>) -> Result<u64>;
    /// A server is alive; the first beat introduces it. Servers that were silent for a month are forgotten.
    async fn server_heartbeat(&self, id: &str, host: &str) -> Result<()>;
}

/// Who comes in: asked before there is a caller.
#[async_trait]
pub trait DoorStore: Send + Sync {
    /// The key whose secret begins with this public part; a revoked one too.
    async fn key_by_prefix(&self, prefix: &str) -> Result<Option<StoredKey>>;
    /// The key is in use. Writes only when that was last written `every` ago or earlier.
    async fn touch_key(&self, id: &str, every: Duration) -> Result<()>;
    /// Is there a key that is not revoked?
    async fn has_keys(&self) -> Result<bool>;
    /// Was there ever a key? Revoked ones count.
    async fn had_keys(&self) -> Result<bool>;
    /// Is this a key that is not revoked?
    async fn is_open_key(&self, id: &str) -> Result<bool>;
    /// Stores what a key was exchanged for; what has run out goes.
    async fn issue_ticket(&self, ticket: NewTicket) -> Result<()>;
    /// The key of a ticket that has not expired; none when the key is revoked.
    async fn ticket(&self, kind: TicketKind, hash: &str) -> Result<Option<ApiKey>>;
    /// The same, and the ticket is gone: of several that ask at once, one gets it.
    async fn take_ticket(&self, kind: TicketKind, hash: &str) -> Result<Option<ApiKey>>;
}

/// A data set on its way in, and the server that works on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetHolder {
    /// The data set.
    pub dataset_id: String,
    /// The server; none for a program that did not say.
    pub server_id: Option<String>,
    /// When the server was last heard of, if it is known.
    pub heard_at: Option<DateTime<Utc>>,
}

/// What a server does for its database: its identity, its limits, and the files that belong to it.
#[async_trait]
pub trait ServerStore: Send + Sync {
    /// The id of this database, which is made with the first call and never changes.
    async fn database_id(&self) -> Result<String>;
    /// Puts these limits of projects in place of all others: a claim passes over the jobs of a project that has as
    /// many as it may. The project `*` means every project that is not named.
    async fn set_quotas(&self, quotas: &[ProjectQuota]) -> Result<()>;
    /// A server takes a data set on its way in.
    async fn hold_dataset(&self, id: &str, server_id: &str) -> Result<()>;
    /// Every data set on its way in.
    async fn dataset_holders(&self) -> Result<Vec<DatasetHolder>>;
    /// Artifacts whose records are gone, oldest first; each stays noted until [`removed`](Self::removed).
    async fn removals(&self) -> Result<Vec<String>>;
    /// The files of an artifact are gone.
    async fn removed(&self, key: &str) -> Result<()>;
    /// Puts `found`, the artifacts that no record names, in place of those that were found before. Returns those that
    /// were first found at least `age` ago, and so are found for the second time at least.
    async fn note_orphans(&self, keys: &[String], age: Duration) -> Result<Vec<String>>;
}

/// A job that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeardJob {
    /// The job.
    pub job_id: String,
    /// When it last reported something; none where old events are gone.
    pub heard_at: Option<DateTime<Utc>>,
}

/// What servers note while they watch runs, and alerts on their way.
#[async_trait]
pub trait WatchStore: Send + Sync {
    /// Records an alert with its event; none where the job has one of this rule and occasion already, or is gone.
    async fn raise_alert(&self, alert: &NewAlert) -> Result<Option<Alert>>;
    /// At most `most` alerts whose time has come. No other server gets them for the time `hold`, in which this one
    /// sends them.
    async fn take_alerts(&self, most: u32, hold: Duration) -> Result<Vec<DueAlert>>;
    /// How a try to send an alert ended; an event where it is given up.
    async fn settle_alert(&self, id: &str, outcome: &Delivered) -> Result<()>;
    /// The jobs that run, and when each was last heard of.
    async fn heard_jobs(&self) -> Result<Vec<HeardJob>>;
    /// The number of the last event that was watched; none: no server has watched any.
    async fn events_watched(&self) -> Result<Option<i64>>;
    /// Every event up to this number was watched. A number below the noted one changes nothing.
    async fn watched_events(&self, seq: i64) -> Result<()>;
}

/// What servers note while they send runs to trackers.
#[async_trait]
pub trait TrackStore: Send + Sync {
    /// At most `most` runs that a tracker is to hear more of now. No other server gets them for the time `hold`, in
    /// which this one sends them.
    async fn take_tracking(&self, most: u32, hold: Duration) -> Result<Vec<Tracking>>;
    /// How far a tracker has a run now. An event number below the noted one does not take it back.
    async fn settle_tracking(&self, tracking: &Tracking) -> Result<()>;
}

/// Old results, in batches of at most `most`; each call returns how many went.
#[async_trait]
pub trait RetentionStore: Send + Sync {
    /// Deletes the oldest of the events before the first one that is not older than `before`.
    async fn prune_events(&self, before: DateTime<Utc>, most: u32) -> Result<u64>;
    /// Deletes samples of runs whose job ended before that time; runs with the label `keep` are left alone.
    async fn prune_samples(&self, ended_before: DateTime<Utc>, most: u32) -> Result<u64>;
    /// Deletes points of such runs; last, smallest and largest values of their keys stay.
    async fn prune_points(&self, ended_before: DateTime<Utc>, most: u32) -> Result<u64>;
    /// Checkpoints of such runs, in the order of their ids after `after`, that are neither best nor last nor served.
    async fn prunable_checkpoints(&self, ended_before: DateTime<Utc>, after: &str, most: u32) -> Result<Vec<String>>;
}
