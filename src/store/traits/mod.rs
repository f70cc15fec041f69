//! What the rest of the house asks of a database, as two faces: [`Store`], what people ask, which is narrowed to one
//! caller by a [view](crate::store::view()); and [`WorkStore`], what the program's own processes write, which no
//! caller gets.
//!
//! Every method is one transaction; none spans any work outside it. Errors:
//! [`StoreError::NotFound`](crate::store::StoreError) for unknown ids, `LeaseLost` for every write with an outdated
//! [`LeaseToken`](crate::domain::job::LeaseToken), `Database` when the database fails; others are named at the method.

mod callers;
mod work;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::domain::alert::Alert;
use crate::domain::checkpoint::{Checkpoint, CheckpointFilter};
use crate::domain::dataset::{DatasetRecord, NewDataset};
use crate::domain::engine::EngineRecord;
use crate::domain::event::{Event, EventFilter, EventSpan, NewEvent};
use crate::domain::figures::Figures;
use crate::domain::job::{Job, JobAction, JobFilter, JobUpdate, NewJob};
use crate::domain::metric::{MetricKey, MetricPoint, SeriesQuery};
use crate::domain::model::{Model, NewModel};
use crate::domain::page::{Listing, Page};
use crate::domain::run::{Continuation, Run, RunFilter, RunUpdate};
use crate::domain::sample::{SampleRecord, SampleStep};
use crate::domain::sweep::{NewSweep, Sweep, SweepFilter, SweepSettings};
use crate::domain::tracker::Tracking;
use crate::domain::worker::WorkerRecord;
use crate::store::error::Result;

pub use callers::{AccessStore, IdempotencyRequest, IdempotencyState, IdempotencyStore, Once, QuotaStore};
pub use work::{
    AttemptStore, ClaimRequest, DatasetHolder, DoorStore, Failure, HeardJob, PresenceStore, QueueStore, RetentionStore,
    ServerStore, TrackStore, WatchStore,
};

/// Jobs as people see them.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Inserts job, run and the first event in one transaction. `Conflict` when `after` names a job that cannot
    /// succeed any more, `NotFound` when it names none.
    async fn submit(&self, job: NewJob) -> Result<(Job, Run)> {
        self.submit_once(job, None).await
    }
    /// The same, for a request with an idempotency key.
    async fn submit_once(&self, job: NewJob, once: Once<'_>) -> Result<(Job, Run)>;
    /// One job.
    async fn job(&self, id: &str) -> Result<Job>;
    /// Jobs, newest first.
    async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Listing<Job>>;
    /// Applies an action of a user to a job. A repeat that changes nothing succeeds without an event. A job that ends
    /// in `cancelled` here cancels the queued jobs that wait for it. `IllegalAction` where the state forbids it,
    /// `Conflict` for a retry of a job whose run is continued by another job.
    async fn ask(&self, id: &str, action: JobAction, reason: &str) -> Result<Job>;
    /// Changes priority and labels, with an event; `Conflict` when the job has ended and the priority would change.
    async fn update_job(&self, id: &str, update: &JobUpdate) -> Result<Job>;
    /// Jobs that wait in the queue, whether or not a worker could claim them now.
    async fn queue_depth(&self) -> Result<u64>;
}

/// Runs.
#[async_trait]
pub trait RunStore: Send + Sync {
    /// One run.
    async fn run(&self, id: &str) -> Result<Run>;
    /// Runs, newest first.
    async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Listing<Run>>;
    /// Changes the fields that users may change.
    async fn update_run(&self, id: &str, update: &RunUpdate) -> Result<Run>;
    /// Inserts a job that continues a run from its newest checkpoint: the run now belongs to that job. `Conflict`
    /// when its present job has not ended, or when there is no checkpoint to continue from.
    async fn continue_run(&self, id: &str, continuation: &Continuation) -> Result<Job> {
        self.continue_run_once(id, continuation, None).await
    }
    /// The same, for a request with an idempotency key.
    async fn continue_run_once(&self, id: &str, continuation: &Continuation, once: Once<'_>) -> Result<Job>;
    /// The jobs of a run, oldest first: more than one where it was continued.
    async fn run_jobs(&self, id: &str) -> Result<Vec<String>>;
    /// Forgets a run with its jobs, metrics, samples and checkpoints, which are returned so that their files can
    /// follow. `Conflict` when its job has not ended, `Held` with the holders when a checkpoint of it is promoted,
    /// or an unfinished job starts from one or waits for a job of the run.
    async fn delete_run(&self, id: &str) -> Result<Vec<Checkpoint>>;
}

/// Sweeps.
#[async_trait]
pub trait SweepStore: Send + Sync {
    /// Inserts a sweep and all its jobs, each with its settings, in one transaction. Errors are those of
    /// [`submit`](JobStore::submit).
    async fn submit_sweep(&self, sweep: NewSweep, jobs: Vec<(NewJob, SweepSettings)>) -> Result<(Sweep, Vec<Job>)> {
        self.submit_sweep_once(sweep, jobs, None).await
    }
    /// The same, for a request with an idempotency key.
    async fn submit_sweep_once(
        &self,
        sweep: NewSweep,
        jobs: Vec<(NewJob, SweepSettings)>,
        once: Once<'_>,
    ) -> Result<(Sweep, Vec<Job>)>;
    /// One sweep.
    async fn sweep(&self, id: &str) -> Result<Sweep>;
    /// Sweeps, newest first.
    async fn sweeps(&self, filter: &SweepFilter, page: &Page) -> Result<Listing<Sweep>>;
    /// Forgets a sweep. Jobs that it still has belong to none from then on.
    async fn delete_sweep(&self, id: &str) -> Result<()>;
    /// The runs of a sweep, in the order of submission.
    async fn sweep_runs(&self, id: &str) -> Result<Vec<Run>>;
}

/// Metrics.
#[async_trait]
pub trait MetricStore: Send + Sync {
    /// The run's keys in alphabetical order.
    async fn metric_keys(&self, run_id: &str) -> Result<Vec<MetricKey>>;
    /// One series in the order of steps; empty for a key that the run does not have.
    async fn metric_series(&self, run_id: &str, key: &str, query: &SeriesQuery) -> Result<Vec<MetricPoint>>;
}

/// Sample rollouts.
#[async_trait]
pub trait SampleStore: Send + Sync {
    /// One sample of a run.
    async fn sample(&self, run_id: &str, id: &str) -> Result<SampleRecord>;
    /// Samples of a run in the order of steps, oldest first; of one step only if given.
    async fn samples(&self, run_id: &str, step: Option<u64>, page: &Page) -> Result<Listing<SampleRecord>>;
    /// The steps of a run that have samples.
    async fn sample_steps(&self, run_id: &str) -> Result<Vec<SampleStep>>;
}

/// Checkpoints.
#[async_trait]
pub trait CheckpointStore: Send + Sync {
    /// One checkpoint.
    async fn checkpoint(&self, id: &str) -> Result<Checkpoint>;
    /// Checkpoints, newest first.
    async fn checkpoints(&self, filter: &CheckpointFilter, page: &Page) -> Result<Listing<Checkpoint>>;
    /// Checkpoints of a run, newest step first.
    async fn run_checkpoints(&self, run_id: &str) -> Result<Vec<Checkpoint>>;
    /// Makes `name` serve this checkpoint; a checkpoint that had the name before loses it. `Conflict` when a
    /// registered model has that name.
    async fn promote(&self, id: &str, name: &str) -> Result<Checkpoint> {
        self.promote_within(id, name, None).await
    }
    /// The same; `Conflict` as well when a checkpoint of another project than `project` has the name.
    async fn promote_within(&self, id: &str, name: &str, project: Option<&str>) -> Result<Checkpoint>;
    /// Takes its served name from a checkpoint; one without a name stays as it is.
    async fn demote(&self, id: &str) -> Result<Checkpoint>;
    /// Every checkpoint that is served under a name, by name.
    async fn promotions(&self) -> Result<Vec<Checkpoint>>;
    /// The checkpoint that is served under `name`.
    async fn promoted(&self, name: &str) -> Result<Option<Checkpoint>>;
    /// Forgets a checkpoint; its files may go afterwards. `Held` with the holders when it is promoted, the best or
    /// last of its run, or what an unfinished job starts from.
    async fn delete_checkpoint(&self, id: &str, reason: &str) -> Result<Checkpoint>;
}

/// What a registration does where the name has a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Present<'a> {
    /// `Conflict`.
    Refuse,
    /// Bring it up to date; `Conflict` when it belongs to another project than `within`, if that is given.
    Update {
        /// The only project whose model may be replaced.
        within: Option<&'a str>,
    },
}

impl<'a> Present<'a> {
    /// For a statement: may it be brought up to date, and in which project?
    pub(super) fn parts(self) -> (bool, Option<&'a str>) {
        match self {
            Present::Refuse => (false, None),
            Present::Update { within } => (true, within),
        }
    }
}

/// Registered models and data sets.
#[async_trait]
pub trait ModelStore: Send + Sync {
    /// Registers a model under a new name. `Conflict` when a model or a promoted checkpoint has that name.
    async fn create_model(&self, model: NewModel) -> Result<Model> {
        self.put_model(model, Present::Refuse).await
    }
    /// Registers a model or brings it up to date; its creation time stays. `Conflict` when a promoted checkpoint
    /// has that name.
    async fn upsert_model(&self, model: NewModel) -> Result<Model> {
        self.put_model(model, Present::Update { within: None }).await
    }
    /// Registers a model; `present` says what becomes of one that has the name.
    async fn put_model(&self, model: NewModel, present: Present<'_>) -> Result<Model>;
    /// One model.
    async fn model(&self, name: &str) -> Result<Model>;
    /// Every model, by name.
    async fn models(&self) -> Result<Vec<Model>>;
    /// Forgets a model. `Held` with the unfinished jobs that start from it, and the checkpoints that grew from it.
    async fn delete_model(&self, name: &str) -> Result<Model>;
    /// Registers a data set or brings it up to date; id and creation time stay.
    async fn upsert_dataset(&self, dataset: NewDataset) -> Result<DatasetRecord>;
    /// Registers a data set under a new name; an invalid one of that name makes room. `Conflict` when the name is
    /// taken.
    async fn create_dataset(&self, id: &str, dataset: NewDataset) -> Result<DatasetRecord> {
        self.create_dataset_once(id, dataset, None).await
    }
    /// The same, for a request with an idempotency key, which is free again when the data set becomes invalid or goes.
    async fn create_dataset_once(&self, id: &str, dataset: NewDataset, once: Once<'_>) -> Result<DatasetRecord>;
    /// Brings the data set with this id, which is on its way in, up to date; name, project and creation stay.
    /// `Conflict` when it is ready or invalid by now: what it became in the meantime stays.
    async fn update_dataset(&self, id: &str, dataset: &NewDataset) -> Result<DatasetRecord>;
    /// Forgets a data set; its files may go afterwards. `Held` with the unfinished jobs that use it.
    async fn delete_dataset(&self, id: &str) -> Result<DatasetRecord>;
    /// One data set, by name or id.
    async fn dataset(&self, name_or_id: &str) -> Result<DatasetRecord>;
    /// Every data set, by name.
    async fn datasets(&self) -> Result<Vec<DatasetRecord>>;
}

/// Events: the history of jobs and the feed of live streams.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Writes an event that no lease guards.
    async fn append_event(&self, event: NewEvent) -> Result<Event>;
    /// Events with a greater sequence number, oldest first. No event ever appears later with a smaller number than
    /// one that was already seen.
    async fn events_after(&self, seq: i64, filter: &EventFilter, limit: u32) -> Result<Vec<Event>>;
    /// Which events are still there.
    async fn event_span(&self) -> Result<EventSpan>;
}

/// Alerts of runs.
#[async_trait]
pub trait AlertStore: Send + Sync {
    /// The alerts of a run with their delivery, newest first.
    async fn alerts(&self, run_id: &str, page: &Page) -> Result<Listing<Alert>>;
}

/// Runs at trackers.
#[async_trait]
pub trait TrackerStore: Send + Sync {
    /// How far each tracker that the run reports to has its metrics.
    async fn trackers(&self, run_id: &str) -> Result<Vec<Tracking>>;
}

/// Workers.
#[async_trait]
pub trait WorkerStore: Send + Sync {
    /// One worker.
    async fn worker(&self, id: &str) -> Result<WorkerRecord>;
    /// Every worker heard of since `since`, newest first.
    async fn workers(&self, since: DateTime<Utc>) -> Result<Vec<WorkerRecord>>;
}

/// Engines that serve other servers.
#[async_trait]
pub trait EngineStore: Send + Sync {
    /// Every engine heard of since `since`, the oldest first.
    async fn engines(&self, since: DateTime<Utc>) -> Result<Vec<EngineRecord>>;
}

/// Figures for monitoring.
#[async_trait]
pub trait FigureStore: Send + Sync {
    /// The queue and what runs, as they are now.
    async fn figures(&self) -> Result<Figures>;
}

/// What people ask.
pub trait Store:
    JobStore
    + RunStore
    + SweepStore
    + MetricStore
    + SampleStore
    + CheckpointStore
    + ModelStore
    + EventStore
    + AlertStore
    + TrackerStore
    + WorkerStore
    + EngineStore
    + FigureStore
    + IdempotencyStore
    + AccessStore
    + QuotaStore
{
}

/// What the program's own processes write.
pub trait WorkStore:
    QueueStore + AttemptStore + PresenceStore + DoorStore + ServerStore + WatchStore + TrackStore + RetentionStore
{
}

/// An open database: everything that it does for this program.
#[async_trait]
pub trait Database: Store + WorkStore {
    /// Does the database answer, can it write, and has it the schema of this program?
    async fn check(&self) -> Result<()>;
    /// Finishes what is under way and closes the connections.
    async fn close(&self);
}
