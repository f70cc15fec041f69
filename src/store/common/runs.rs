//! Runs.

use async_trait::async_trait;
use sqlx::{Executor, QueryBuilder};
use tracing::instrument;

use crate::clock::new_id;
use crate::domain::checkpoint::Checkpoint;
use crate::domain::job::Job;
use crate::domain::metric::EVAL_ACCURACY;
use crate::domain::page::{Listing, Page};
use crate::domain::run::{Continuation, Run, RunFilter, RunUpdate};
use crate::store::change::{run_artifacts, run_deleted_event};
use crate::store::error::{Result, StoreError};
use crate::store::filter::{push_equal, push_page, push_states, push_tag};
use crate::store::json::to_json;
use crate::store::lineage::continued;
use crate::store::lock::Lock;
use crate::store::rows;
use crate::store::traits::{Once, RunStore};

use super::jobs::Ids;
use super::{
    Db, EACH_LABEL, SqlStore, Write, checkpoints, events, existing, idempotency, ids, jobs, locks, servers, transition,
};

const SELECT: &str = include_str!("../sql/run_select.sql");
const SELECT_ONE: &str = concat!(include_str!("../sql/run_select.sql"), " WHERE runs.id = $1");
const UPDATE: &str = include_str!("../sql/run_update.sql");
const REFRESH_METRICS: &str = include_str!("../sql/run_refresh_metrics.sql");
const REFRESH_CHECKPOINTS: &str = include_str!("../sql/run_refresh_checkpoints.sql");
const NEWEST: &str = "SELECT step FROM checkpoints WHERE run_id = $1 ORDER BY step DESC LIMIT 1";
const BELONG: &str = "UPDATE runs SET job_id = $1, steps = $2, updated_at = $3 WHERE id = $4";
const NOT_LAST: &str = "UPDATE checkpoints SET is_last = false WHERE run_id = $1";
const SAME_WEBHOOK: &str =
    "UPDATE jobs SET alert_webhook = (SELECT alert_webhook FROM jobs WHERE id = $2) WHERE id = $1";
const JOBS: &str = "SELECT id FROM jobs WHERE run_id = $1 ORDER BY id";
const HOLDERS: &str = include_str!("../sql/run_jobs.sql");
const FREE_FOLLOWERS: &str =
    "UPDATE jobs SET after_job = NULL WHERE after_job IN (SELECT id FROM jobs AS own WHERE own.run_id = $1)";
const DELETE: &str = "DELETE FROM runs WHERE id = $1";

#[async_trait]
impl RunStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(run = id))]
    async fn run(&self, id: &str) -> Result<Run> {
        self.patiently(|| load(self.reads(), id)).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Listing<Run>> {
        let list = || {
            let mut query = QueryBuilder::<Db>::new(SELECT);
            query.push(" WHERE true");
            push_states(&mut query, "jobs.state", &filter.states);
            push_equal(&mut query, "runs.project", filter.project.as_deref());
            push_equal(&mut query, "runs.model", filter.model.as_deref());
            push_equal(&mut query, "runs.dataset", filter.dataset.as_deref());
            push_equal(&mut query, "jobs.sweep_id", filter.sweep.as_deref());
            push_tag(&mut query, EACH_LABEL, "runs.tags", filter.tag.as_ref());
            push_page(&mut query, "runs.id", page);
            query
        };
        let runs = self.listed(list).await?.iter().map(rows::run).collect::<Result<Vec<_>>>()?;
        Ok(Listing::from_overfull(runs, page.limit, |r| r.id.clone()))
    }

    #[instrument(level = "debug", skip_all, fields(run = id))]
    async fn update_run(&self, id: &str, update: &RunUpdate) -> Result<Run> {
        let tags = update.tags.as_ref().map(to_json).transpose()?;
        let mut tx = self.write().await?;
        sqlx::query(UPDATE)
            .bind(id)
            .bind(&update.name)
            .bind(&update.notes)
            .bind(tags)
            .bind(self.now())
            .execute(&mut tx)
            .await?;
        let run = load(&mut tx, id).await?;
        tx.commit().await?;
        Ok(run)
    }

    #[instrument(level = "debug", skip_all, fields(run = id))]
    async fn continue_run_once(&self, id: &str, continuation: &Continuation, once: Once<'_>) -> Result<Job> {
        let now = self.now();
        let mut tx = self.write().await?;
        let job_id = load(&mut tx, id).await?.job_id;
        let before = transition::load(&mut tx, &job_id).await?;
        locks::take(&mut tx, Lock::Run(id)).await?;
        let run = load(&mut tx, id).await?;
        if run.job_id != before.id {
            return Err(StoreError::Conflict(format!("run `{id}` is continued by job `{}` already", run.job_id)));
        }
        if !before.state.is_final() {
            let problem =
                format!("run `{id}` is {}: it can be continued with more steps once its job has ended", run.state);
            return Err(StoreError::Conflict(problem));
        }
        let Some(row) = sqlx::query(NEWEST).bind(id).fetch_optional(&mut tx).await? else {
            let problem = format!("run `{id}` has no checkpoint to continue from; retry job `{}` instead", run.job_id);
            return Err(StoreError::Conflict(problem));
        };
        let step: u64 = rows::count(&row, "step")?;
        let new = continued(&before, step.saturating_add(continuation.steps), continuation, run.base_model)?;
        let ids = Ids { job: &new_id("job"), run: id };
        let reason = format!("continues {} from step {step}", before.id);
        let job = jobs::insert(&mut tx, now, &ids, &new, before.sweep.as_ref(), &reason).await?;
        sqlx::query(SAME_WEBHOOK).bind(&job.id).bind(&before.id).execute(&mut tx).await?;
        sqlx::query(BELONG).bind(&job.id).bind(new.spec.steps as i64).bind(now).bind(id).execute(&mut tx).await?;
        sqlx::query(NOT_LAST).bind(id).execute(&mut tx).await?;
        idempotency::note(&mut tx, self.now(), once, &job.id).await?;
        tx.commit().await?;
        Ok(job)
    }

    #[instrument(level = "debug", skip_all, fields(run = id))]
    async fn run_jobs(&self, id: &str) -> Result<Vec<String>> {
        ids(&self.all(|| sqlx::query(JOBS).bind(id)).await?)
    }

    #[instrument(level = "debug", skip_all, fields(run = id))]
    async fn delete_run(&self, id: &str) -> Result<Vec<Checkpoint>> {
        let now = self.now();
        let mut tx = self.write().await?;
        locks::take(&mut tx, Lock::JobsOfRun(id)).await?;
        locks::take(&mut tx, Lock::Run(id)).await?;
        let run = load(&mut tx, id).await?;
        if !run.state.is_final() {
            let problem = format!("run `{id}` is {}: cancel job `{}` first", run.state, run.job_id);
            return Err(StoreError::Conflict(problem));
        }
        let checkpoints = checkpoints::of_run(&mut tx, id).await?;
        let served = checkpoints.iter().filter_map(|c| Some(format!("the served model `{}`", c.promoted_as.as_ref()?)));
        let mut holders: Vec<String> = served.collect();
        holders.extend(ids(&sqlx::query(HOLDERS).bind(id).fetch_all(&mut tx).await?)?);
        if !holders.is_empty() {
            return Err(StoreError::Held { kind: "run", id: id.to_owned(), holders });
        }
        for sql in [FREE_FOLLOWERS, DELETE] {
            sqlx::query(sql).bind(id).execute(&mut tx).await?;
        }
        for key in run_artifacts(id, &checkpoints) {
            servers::note_removal(&mut tx, now, &key).await?;
        }
        events::insert(&mut tx, now, &run_deleted_event(run, &checkpoints)?).await?;
        tx.commit().await?;
        Ok(checkpoints)
    }
}

/// A job whose run is continued by another one must stay as it ended: both would write to the same run.
pub(super) async fn refuse_continued(tx: &mut Write, job: &Job) -> Result<()> {
    let run = load(&mut *tx, &job.run_id).await?;
    if run.job_id == job.id {
        return Ok(());
    }
    let problem = format!("run `{}` of job `{}` is continued by job `{}`: retry that one", run.id, job.id, run.job_id);
    Err(StoreError::Conflict(problem))
}

/// Reads a run.
pub(super) async fn load(executor: impl Executor<'_, Database = Db>, id: &str) -> Result<Run> {
    let row = sqlx::query(SELECT_ONE).bind(id).fetch_optional(executor).await?;
    rows::run(&existing(row, "run", id)?)
}

/// Brings last step and accuracy up to date.
pub(super) async fn refresh_metrics(tx: &mut Write, run_id: &str, now: i64) -> Result<()> {
    sqlx::query(REFRESH_METRICS).bind(run_id).bind(EVAL_ACCURACY).bind(now).execute(&mut *tx).await?;
    Ok(())
}

/// Brings best and last checkpoint of a locked run up to date.
pub(super) async fn refresh_checkpoints(tx: &mut Write, run_id: &str, now: i64) -> Result<()> {
    sqlx::query(REFRESH_CHECKPOINTS).bind(run_id).bind(now).execute(&mut *tx).await?;
    Ok(())
}
