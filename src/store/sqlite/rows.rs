//! Rows to records.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::domain::checkpoint::Checkpoint;
use crate::domain::dataset::{DatasetRecord, DatasetState};
use crate::domain::event::Event;
use crate::domain::job::{Job, JobAction, JobState, Lease};
use crate::domain::model::Model;
use crate::domain::run::Run;
use crate::domain::sample::SampleRecord;
use crate::domain::spec::DeviceClass;
use crate::domain::sweep::{Sweep, SweepPoint};
use crate::domain::worker::{WorkerRecord, WorkerState};
use crate::store::error::{Result, StoreError};

/// A value as JSON text.
pub(super) fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| damaged("value", &e))
}

fn damaged(what: &str, problem: &impl ToString) -> StoreError {
    StoreError::Damaged { what: what.to_owned(), problem: problem.to_string() }
}

fn json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T> {
    serde_json::from_str(row.try_get(column)?).map_err(|e| damaged(column, &e))
}

/// A time in milliseconds.
pub(super) fn time_of(millis: i64, column: &str) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_millis(millis).ok_or_else(|| damaged(column, &"no such time"))
}

/// A time column.
pub(super) fn time(row: &SqliteRow, column: &str) -> Result<DateTime<Utc>> {
    time_of(row.try_get(column)?, column)
}

fn time_or_none(row: &SqliteRow, column: &str) -> Result<Option<DateTime<Utc>>> {
    row.try_get::<Option<i64>, _>(column)?.map(|t| time_of(t, column)).transpose()
}

/// A column that counts something.
pub(super) fn count<T: TryFrom<i64>>(row: &SqliteRow, column: &str) -> Result<T> {
    T::try_from(row.try_get(column)?).map_err(|_| damaged(column, &"out of range"))
}

fn count_or_none<T: TryFrom<i64>>(row: &SqliteRow, column: &str) -> Result<Option<T>> {
    let value: Option<i64> = row.try_get(column)?;
    value.map(|v| T::try_from(v).map_err(|_| damaged(column, &"out of range"))).transpose()
}

fn state(row: &SqliteRow) -> Result<JobState> {
    let name: &str = row.try_get("state")?;
    JobState::from_name(name).ok_or_else(|| damaged("state", &name))
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

fn device(row: &SqliteRow, column: &str) -> Result<DeviceClass> {
    let name: &str = row.try_get(column)?;
    [DeviceClass::Any, DeviceClass::Cpu, DeviceClass::Cuda, DeviceClass::Metal]
        .into_iter()
        .find(|d| device_name(*d) == name)
        .ok_or_else(|| damaged(column, &name))
}

fn sweep_point(row: &SqliteRow) -> Result<Option<SweepPoint>> {
    let Some(id) = row.try_get("sweep_id")? else { return Ok(None) };
    Ok(Some(SweepPoint { id, settings: json(row, "sweep_point")? }))
}

/// A row of `sweeps`.
pub(super) fn sweep(row: &SqliteRow) -> Result<Sweep> {
    Ok(Sweep {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        project: row.try_get("project")?,
        created_by: row.try_get("created_by")?,
        job: json(row, "base")?,
        grid: json(row, "grid")?,
        points: count(row, "points")?,
        created_at: time(row, "created_at")?,
    })
}

/// A row of `jobs`.
pub(super) fn job(row: &SqliteRow) -> Result<Job> {
    let lease = match (row.try_get("lease_worker")?, time_or_none(row, "lease_expires_at")?) {
        (Some(worker_id), Some(expires_at)) => Some(Lease { worker_id, expires_at }),
        _ => None,
    };
    Ok(Job {
        id: row.try_get("id")?,
        run_id: row.try_get("run_id")?,
        name: row.try_get("name")?,
        project: row.try_get("project")?,
        created_by: row.try_get("created_by")?,
        tags: json(row, "tags")?,
        state: state(row)?,
        reason: row.try_get("reason")?,
        priority: row.try_get("priority")?,
        spec: json(row, "spec")?,
        origins: json(row, "origins")?,
        attempt: count(row, "attempt")?,
        attempts_used: count(row, "attempts_used")?,
        max_attempts: count(row, "max_attempts")?,
        lease,
        device: device(row, "device")?,
        after: row.try_get("after_job")?,
        not_before: time_or_none(row, "not_before")?,
        asked: row.try_get::<Option<&str>, _>("asked")?.and_then(JobAction::from_name),
        sweep: sweep_point(row)?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        started_at: time_or_none(row, "started_at")?,
        finished_at: time_or_none(row, "finished_at")?,
    })
}

/// A row of `runs` joined with `state`, `started_at` and `finished_at` of its job.
pub(super) fn run(row: &SqliteRow) -> Result<Run> {
    Ok(Run {
        id: row.try_get("id")?,
        job_id: row.try_get("job_id")?,
        name: row.try_get("name")?,
        project: row.try_get("project")?,
        created_by: row.try_get("created_by")?,
        notes: row.try_get("notes")?,
        tags: json(row, "tags")?,
        state: state(row)?,
        model: row.try_get("model")?,
        base_model: row.try_get("base_model")?,
        sweep: sweep_point(row)?,
        dataset: row.try_get("dataset")?,
        method: row.try_get("method")?,
        steps: count(row, "steps")?,
        last_step: count_or_none(row, "last_step")?,
        last_accuracy: row.try_get("last_accuracy")?,
        best_accuracy: row.try_get("best_accuracy")?,
        best_checkpoint: row.try_get("best_checkpoint")?,
        last_checkpoint: row.try_get("last_checkpoint")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "changed_at")?,
        started_at: time_or_none(row, "started_at")?,
        finished_at: time_or_none(row, "finished_at")?,
    })
}

/// A row of `checkpoints` joined with `project` and `created_by` of its run.
pub(super) fn checkpoint(row: &SqliteRow) -> Result<Checkpoint> {
    Ok(Checkpoint {
        id: row.try_get("id")?,
        run_id: row.try_get("run_id")?,
        project: row.try_get("project")?,
        created_by: row.try_get("created_by")?,
        step: count(row, "step")?,
        key: row.try_get("artifact_key")?,
        accuracy: row.try_get("accuracy")?,
        score: row.try_get("score")?,
        last: row.try_get("is_last")?,
        manifest: json(row, "manifest")?,
        promoted_as: row.try_get("promoted_as")?,
        created_at: time(row, "created_at")?,
    })
}

/// A row of `samples`.
pub(super) fn sample(row: &SqliteRow) -> Result<SampleRecord> {
    Ok(SampleRecord {
        id: row.try_get("id")?,
        run_id: row.try_get("run_id")?,
        step: count(row, "step")?,
        created_at: time(row, "created_at")?,
        group: json(row, "data")?,
    })
}

/// A row of `models`.
pub(super) fn model(row: &SqliteRow) -> Result<Model> {
    Ok(Model {
        name: row.try_get("name")?,
        family: row.try_get("family")?,
        parameters: count(row, "parameters")?,
        path: row.try_get("path")?,
        card: json(row, "card")?,
        recommended: json(row, "recommended")?,
        source: row.try_get("source")?,
        project: row.try_get("project")?,
        created_by: row.try_get("created_by")?,
        created_at: time(row, "created_at")?,
    })
}

/// A row of `datasets`.
pub(super) fn dataset(row: &SqliteRow) -> Result<DatasetRecord> {
    let state: &str = row.try_get("state")?;
    Ok(DatasetRecord {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        state: DatasetState::from_name(state).ok_or_else(|| damaged("state", &state))?,
        source: row.try_get("source")?,
        train_rows: count(row, "train_rows")?,
        eval_rows: count(row, "eval_rows")?,
        fingerprint: row.try_get("fingerprint")?,
        card: json(row, "card")?,
        recommended: json(row, "recommended")?,
        project: row.try_get("project")?,
        created_by: row.try_get("created_by")?,
        created_at: time(row, "created_at")?,
    })
}

/// A row of `events`.
pub(super) fn event(row: &SqliteRow) -> Result<Event> {
    Ok(Event {
        seq: row.try_get("seq")?,
        time: time(row, "time")?,
        kind: row.try_get("kind")?,
        job_id: row.try_get("job_id")?,
        run_id: row.try_get("run_id")?,
        data: json(row, "data")?,
    })
}

/// A row of `workers`.
pub(super) fn worker(row: &SqliteRow) -> Result<WorkerRecord> {
    let state: &str = row.try_get("state")?;
    Ok(WorkerRecord {
        id: row.try_get("id")?,
        role: row.try_get("role")?,
        version: row.try_get("version")?,
        host: row.try_get("host")?,
        pid: count(row, "pid")?,
        device_class: device(row, "device_class")?,
        device: row.try_get("device")?,
        memory_bytes: count_or_none(row, "memory_bytes")?,
        state: WorkerState::from_name(state).ok_or_else(|| damaged("state", &state))?,
        job_id: row.try_get("job_id")?,
        started_at: time(row, "started_at")?,
        heartbeat_at: time(row, "heartbeat_at")?,
    })
}
