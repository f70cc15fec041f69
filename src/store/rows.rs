//! Rows to records, the same for every database: columns have the same names, times are milliseconds since 1970 (UTC).

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;

use crate::domain::access::{ApiKey, AuditEntry, ProjectLoad, Role};
use crate::domain::checkpoint::Checkpoint;
use crate::domain::dataset::{DatasetRecord, DatasetState};
use crate::domain::engine::EngineRecord;
use crate::domain::event::Event;
use crate::domain::job::{Job, JobAction, JobState, Lease};
use crate::domain::model::Model;
use crate::domain::run::Run;
use crate::domain::sample::SampleRecord;
use crate::domain::spec::DeviceClass;
use crate::domain::sweep::{Sweep, SweepPoint};
use crate::domain::worker::{WorkerRecord, WorkerState};
use crate::store::error::{Result, StoreError};
use crate::store::traits::DatasetHolder;

/// A row of any database.
pub(super) trait Record {
    /// A text column.
    fn text_or_none(&self, column: &str) -> Result<Option<&str>>;
    /// A column of whole numbers.
    fn int_or_none(&self, column: &str) -> Result<Option<i64>>;
    /// A column of floating-point numbers.
    fn real_or_none(&self, column: &str) -> Result<Option<f64>>;
    /// A column of truth values.
    fn flag(&self, column: &str) -> Result<bool>;
    /// The text of a JSON column.
    fn json(&self, column: &str) -> Result<&str>;
}

pub(super) fn damaged(what: &str, problem: &impl ToString) -> StoreError {
    StoreError::Damaged { what: what.to_owned(), problem: problem.to_string() }
}

fn absent(column: &str) -> StoreError {
    damaged(column, &"it is null")
}

/// A text column that is never null.
pub(super) fn text(row: &impl Record, column: &str) -> Result<String> {
    row.text_or_none(column)?.map(str::to_owned).ok_or_else(|| absent(column))
}

/// A text column.
pub(super) fn text_or_none(row: &impl Record, column: &str) -> Result<Option<String>> {
    Ok(row.text_or_none(column)?.map(str::to_owned))
}

/// A column of whole numbers that is never null.
pub(super) fn int(row: &impl Record, column: &str) -> Result<i64> {
    row.int_or_none(column)?.ok_or_else(|| absent(column))
}

/// A JSON column.
pub(super) fn json<T: DeserializeOwned>(row: &impl Record, column: &str) -> Result<T> {
    serde_json::from_str(row.json(column)?).map_err(|e| damaged(column, &e))
}

/// A time in milliseconds.
pub(super) fn time_of(millis: i64, column: &str) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_millis(millis).ok_or_else(|| damaged(column, &"no such time"))
}

/// A time column.
pub(super) fn time(row: &impl Record, column: &str) -> Result<DateTime<Utc>> {
    time_of(int(row, column)?, column)
}

pub(super) fn time_or_none(row: &impl Record, column: &str) -> Result<Option<DateTime<Utc>>> {
    row.int_or_none(column)?.map(|t| time_of(t, column)).transpose()
}

/// A column that counts something.
pub(super) fn count<T: TryFrom<i64>>(row: &impl Record, column: &str) -> Result<T> {
    T::try_from(int(row, column)?).map_err(|_| damaged(column, &"out of range"))
}

fn count_or_none<T: TryFrom<i64>>(row: &impl Record, column: &str) -> Result<Option<T>> {
    row.int_or_none(column)?.map(|v| T::try_from(v).map_err(|_| damaged(column, &"out of range"))).transpose()
}

/// The state of a job.
pub(super) fn state(row: &impl Record) -> Result<JobState> {
    let name = text(row, "state")?;
    JobState::from_name(&name).ok_or_else(|| damaged("state", &name))
}

/// The name of a device class in the database.
pub(super) fn device_name(device: DeviceClass) -> &'static str {
    match device {
        DeviceClass::Any => "any",
        DeviceClass::Cpu => "cpu",
        DeviceClass::Cuda => "cuda",
        DeviceClass::Metal => "metal",
    }
}

fn device(row: &impl Record, column: &str) -> Result<DeviceClass> {
    let name = text(row, column)?;
    [DeviceClass::Any, DeviceClass::Cpu, DeviceClass::Cuda, DeviceClass::Metal]
        .into_iter()
        .find(|d| device_name(*d) == name)
        .ok_or_else(|| damaged(column, &name))
}

fn sweep_point(row: &impl Record) -> Result<Option<SweepPoint>> {
    let Some(id) = text_or_none(row, "sweep_id")? else { return Ok(None) };
    Ok(Some(SweepPoint { id, settings: json(row, "sweep_point")? }))
}

/// The running jobs and GPUs of a project, and their limits.
pub(super) fn project_load(row: &impl Record) -> Result<ProjectLoad> {
    Ok(ProjectLoad {
        running: count(row, "running")?,
        most: count_or_none(row, "most")?,
        gpus: count(row, "gpus")?,
        most_gpus: count_or_none(row, "most_gpus")?,
    })
}

/// A row of `sweeps`.
pub(super) fn sweep(row: &impl Record) -> Result<Sweep> {
    Ok(Sweep {
        id: text(row, "id")?,
        name: text(row, "name")?,
        project: text(row, "project")?,
        created_by: text_or_none(row, "created_by")?,
        job: json(row, "base")?,
        grid: json(row, "grid")?,
        points: count(row, "points")?,
        created_at: time(row, "created_at")?,
    })
}

/// A row of `jobs`.
pub(super) fn job(row: &impl Record) -> Result<Job> {
    Ok(Job {
        id: text(row, "id")?,
        run_id: text(row, "run_id")?,
        name: text(row, "name")?,
        project: text(row, "project")?,
        created_by: text_or_none(row, "created_by")?,
        tags: json(row, "tags")?,
        state: state(row)?,
        reason: text_or_none(row, "reason")?,
        priority: count(row, "priority")?,
        spec: json(row, "spec")?,
        origins: json(row, "origins")?,
        attempt: count(row, "attempt")?,
        attempts_used: count(row, "attempts_used")?,
        max_attempts: count(row, "max_attempts")?,
        lease: lease(row)?,
        device: device(row, "device")?,
        after: text_or_none(row, "after_job")?,
        not_before: time_or_none(row, "not_before")?,
        asked: asked(row)?,
        sweep: sweep_point(row)?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        started_at: time_or_none(row, "started_at")?,
        finished_at: time_or_none(row, "finished_at")?,
    })
}

/// `job` after a transition: `row` holds the columns that one may change, and not the settings, whose reading takes
/// longest.
pub(super) fn job_after(job: &Job, row: &impl Record) -> Result<Job> {
    Ok(Job {
        state: state(row)?,
        reason: text_or_none(row, "reason")?,
        attempt: count(row, "attempt")?,
        attempts_used: count(row, "attempts_used")?,
        lease: lease(row)?,
        not_before: time_or_none(row, "not_before")?,
        asked: asked(row)?,
        updated_at: time(row, "updated_at")?,
        started_at: time_or_none(row, "started_at")?,
        finished_at: time_or_none(row, "finished_at")?,
        ..job.clone()
    })
}

fn lease(row: &impl Record) -> Result<Option<Lease>> {
    Ok(match (text_or_none(row, "lease_worker")?, time_or_none(row, "lease_expires_at")?) {
        (Some(worker_id), Some(expires_at)) => Some(Lease { worker_id, expires_at }),
        _ => None,
    })
}

fn asked(row: &impl Record) -> Result<Option<JobAction>> {
    Ok(row.text_or_none("asked")?.and_then(JobAction::from_name))
}

/// A row of `runs` joined with `state`, `started_at` and `finished_at` of its job.
pub(super) fn run(row: &impl Record) -> Result<Run> {
    Ok(Run {
        id: text(row, "id")?,
        job_id: text(row, "job_id")?,
        name: text(row, "name")?,
        project: text(row, "project")?,
        created_by: text_or_none(row, "created_by")?,
        notes: text_or_none(row, "notes")?,
        tags: json(row, "tags")?,
        state: state(row)?,
        model: text(row, "model")?,
        base_model: text_or_none(row, "base_model")?,
        sweep: sweep_point(row)?,
        dataset: text(row, "dataset")?,
        method: text(row, "method")?,
        steps: count(row, "steps")?,
        last_step: count_or_none(row, "last_step")?,
        last_accuracy: row.real_or_none("last_accuracy")?,
        best_accuracy: row.real_or_none("best_accuracy")?,
        best_checkpoint: text_or_none(row, "best_checkpoint")?,
        last_checkpoint: text_or_none(row, "last_checkpoint")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "changed_at")?,
        started_at: time_or_none(row, "started_at")?,
        finished_at: time_or_none(row, "finished_at")?,
    })
}

/// A row of `checkpoints` joined with `project`, `created_by` and the best checkpoint of its run.
pub(super) fn checkpoint(row: &impl Record) -> Result<Checkpoint> {
    Ok(Checkpoint {
        id: text(row, "id")?,
        run_id: text(row, "run_id")?,
        project: text(row, "project")?,
        created_by: text_or_none(row, "created_by")?,
        step: count(row, "step")?,
        key: text(row, "artifact_key")?,
        accuracy: row.real_or_none("accuracy")?,
        score: row.real_or_none("score")?,
        last: row.flag("is_last")?,
        best: row.flag("is_best")?,
        manifest: json(row, "manifest")?,
        promoted_as: text_or_none(row, "promoted_as")?,
        created_at: time(row, "created_at")?,
    })
}

/// A row of `samples`.
pub(super) fn sample(row: &impl Record) -> Result<SampleRecord> {
    Ok(SampleRecord {
        id: text(row, "id")?,
        run_id: text(row, "run_id")?,
        step: count(row, "step")?,
        created_at: time(row, "created_at")?,
        group: json(row, "data")?,
    })
}

/// A row of `models`.
pub(super) fn model(row: &impl Record) -> Result<Model> {
    Ok(Model {
        name: text(row, "name")?,
        family: text(row, "family")?,
        parameters: count(row, "parameters")?,
        path: text(row, "path")?,
        card: json(row, "card")?,
        recommended: json(row, "recommended")?,
        source: text(row, "source")?,
        project: text(row, "project")?,
        created_by: text_or_none(row, "created_by")?,
        created_at: time(row, "created_at")?,
    })
}

/// A row of `datasets`.
pub(super) fn dataset(row: &impl Record) -> Result<DatasetRecord> {
    let state = text(row, "state")?;
    Ok(DatasetRecord {
        id: text(row, "id")?,
        name: text(row, "name")?,
        state: DatasetState::from_name(&state).ok_or_else(|| damaged("state", &state))?,
        source: text(row, "source")?,
        train_rows: count(row, "train_rows")?,
        eval_rows: count(row, "eval_rows")?,
        fingerprint: text(row, "fingerprint")?,
        card: json(row, "card")?,
        recommended: json(row, "recommended")?,
        project: text(row, "project")?,
        created_by: text_or_none(row, "created_by")?,
        created_at: time(row, "created_at")?,
    })
}

/// A row of `events`.
pub(super) fn event(row: &impl Record) -> Result<Event> {
    Ok(Event {
        seq: int(row, "seq")?,
        time: time(row, "time")?,
        kind: text(row, "kind")?,
        job_id: text_or_none(row, "job_id")?,
        run_id: text_or_none(row, "run_id")?,
        data: json(row, "data")?,
    })
}

/// A row of `workers`.
pub(super) fn worker(row: &impl Record) -> Result<WorkerRecord> {
    let state = text(row, "state")?;
    Ok(WorkerRecord {
        id: text(row, "id")?,
        role: text(row, "role")?,
        version: text(row, "version")?,
        host: text(row, "host")?,
        pid: count(row, "pid")?,
        device_class: device(row, "device_class")?,
        device: text(row, "device")?,
        memory_bytes: count_or_none(row, "memory_bytes")?,
        ranks: count(row, "ranks")?,
        state: WorkerState::from_name(&state).ok_or_else(|| damaged("state", &state))?,
        job_id: text_or_none(row, "job_id")?,
        started_at: time(row, "started_at")?,
        heartbeat_at: time(row, "heartbeat_at")?,
    })
}

/// A data set that is being uploaded or checked, with its server.
pub(super) fn dataset_holder(row: &impl Record) -> Result<DatasetHolder> {
    Ok(DatasetHolder {
        dataset_id: text(row, "dataset_id")?,
        server_id: text_or_none(row, "server_id")?,
        heard_at: time_or_none(row, "heard_at")?,
    })
}

/// A row of `engines`.
pub(super) fn engine(row: &impl Record) -> Result<EngineRecord> {
    Ok(EngineRecord {
        id: text(row, "id")?,
        address: text(row, "address")?,
        version: text(row, "version")?,
        host: text(row, "host")?,
        device: text(row, "device")?,
        models: json(row, "models")?,
        load: count(row, "load")?,
        started_at: time(row, "started_at")?,
        heartbeat_at: time(row, "heartbeat_at")?,
    })
}

/// A row of `api_keys`.
pub(super) fn api_key(row: &impl Record) -> Result<ApiKey> {
    let role = text(row, "role")?;
    Ok(ApiKey {
        id: text(row, "id")?,
        name: text(row, "name")?,
        role: Role::from_name(&role).ok_or_else(|| damaged("role", &role))?,
        project: text(row, "project")?,
        prefix: text(row, "prefix")?,
        created_by: text_or_none(row, "created_by")?,
        created_at: time(row, "created_at")?,
        last_used_at: time_or_none(row, "last_used_at")?,
        revoked_at: time_or_none(row, "revoked_at")?,
    })
}

/// A row of `audit`.
pub(super) fn audit_entry(row: &impl Record) -> Result<AuditEntry> {
    Ok(AuditEntry {
        seq: int(row, "seq")?,
        time: time(row, "time")?,
        key_id: text_or_none(row, "key_id")?,
        project: text(row, "project")?,
        action: text(row, "action")?,
        target: text(row, "target")?,
        detail: text_or_none(row, "detail")?,
    })
}
