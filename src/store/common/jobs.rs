//! Jobs as people see them.

use async_trait::async_trait;
use sqlx::{QueryBuilder, Row as _};
use tracing::instrument;

use crate::clock::new_id;
use crate::domain::job::{Job, JobAction, JobFilter, JobUpdate, NewJob, Transition};
use crate::domain::page::{Listing, Page};
use crate::domain::run::Run;
use crate::domain::spec::SPEC_VERSION;
use crate::domain::sweep::SweepPoint;
use crate::store::change::{Change, first_event, updated_event};
use crate::store::error::{Result, StoreError};
use crate::store::filter::{push_equal, push_page, push_states, push_tag};
use crate::store::json::to_json;
use crate::store::rows;
use crate::store::traits::{JobStore, Once};

use super::{Db, EACH_LABEL, SqlStore, Write, events, existing, idempotency, locks, runs, trackers, transition};

const SELECT_ONE: &str = include_str!("../sql/job_by_id.sql");
const INSERT_JOB: &str = include_str!("../sql/job_insert.sql");
const INSERT_RUN: &str = include_str!("../sql/run_insert.sql");
const UPDATE: &str = include_str!("../sql/job_update.sql");
const DEPTH: &str = "SELECT count(*) AS n FROM jobs WHERE state = 'queued'";
const SUBMITTED: &str = "submitted";

#[async_trait]
impl JobStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(project = new.spec.project))]
    async fn submit_once(&self, new: NewJob, once: Once<'_>) -> Result<(Job, Run)> {
        let now = self.now();
        let mut tx = self.write().await?;
        let submitted = insert_with_run(&mut tx, now, &new, None).await?;
        idempotency::note(&mut tx, self.now(), once, &submitted.0.id).await?;
        tx.commit().await?;
        Ok(submitted)
    }

    #[instrument(level = "debug", skip_all, fields(job = id))]
    async fn job(&self, id: &str) -> Result<Job> {
        let row = self.optional(|| sqlx::query(SELECT_ONE).bind(id)).await?;
        rows::job(&existing(row, "job", id)?)
    }

    #[instrument(level = "debug", skip_all)]
    async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Listing<Job>> {
        let list = || {
            let mut query = QueryBuilder::<Db>::new("SELECT * FROM jobs WHERE true");
            push_states(&mut query, "state", &filter.states);
            push_equal(&mut query, "project", filter.project.as_deref());
            push_equal(&mut query, "model", filter.model.as_deref());
            push_equal(&mut query, "sweep_id", filter.sweep.as_deref());
            push_tag(&mut query, EACH_LABEL, "tags", filter.tag.as_ref());
            push_page(&mut query, "id", page);
            query
        };
        let jobs = self.listed(list).await?.iter().map(rows::job).collect::<Result<Vec<_>>>()?;
        Ok(Listing::from_overfull(jobs, page.limit, |j| j.id.clone()))
    }

    #[instrument(level = "debug", skip_all, fields(job = id))]
    async fn ask(&self, id: &str, action: JobAction, reason: &str) -> Result<Job> {
        let now = self.now();
        let mut tx = self.write().await?;
        let job = transition::load(&mut tx, id).await?;
        let unchanged = job.state.can(Transition::Asked(action)) == Some(job.state);
        if unchanged || (job.asked == Some(action) && job.state.repeats(action)) {
            return Ok(job);
        }
        if action == JobAction::Retry {
            if let Some(after) = &job.after {
                refuse_hopeless(&mut tx, after).await?;
            }
            runs::refuse_continued(&mut tx, &job).await?;
        }
        let mut change = Change::new(Transition::Asked(action), reason);
        if action == JobAction::Retry {
            change.attempts_used = Some(0);
        }
        let job = transition::apply(&mut tx, now, &job, &change).await?;
        if action == JobAction::Retry {
            trackers::wake(&mut tx, now, &job.run_id).await?;
        }
        tx.commit().await?;
        Ok(job)
    }

    #[instrument(level = "debug", skip_all, fields(job = id))]
    async fn update_job(&self, id: &str, update: &JobUpdate) -> Result<Job> {
        let tags = update.tags.as_ref().map(to_json).transpose()?;
        let now = self.now();
        let mut tx = self.write().await?;
        let before = transition::load(&mut tx, id).await?;
        if before.state.is_final() && update.priority.is_some_and(|priority| priority != before.priority) {
            let problem = format!("job `{id}` is {}: its priority does not matter any more", before.state);
            return Err(StoreError::Conflict(problem));
        }
        let row = sqlx::query(UPDATE).bind(id).bind(update.priority).bind(tags).bind(now).fetch_one(&mut tx).await?;
        let job = rows::job(&row)?;
        if (job.priority, &job.tags) == (before.priority, &before.tags) {
            return Ok(before);
        }
        events::insert(&mut tx, now, &updated_event(&job)?).await?;
        tx.commit().await?;
        Ok(job)
    }

    #[instrument(level = "debug", skip_all)]
    async fn queue_depth(&self) -> Result<u64> {
        rows::count(&self.one(|| sqlx::query(DEPTH)).await?, "n")
    }
}

/// Inserts a job with a run of its own and its first event.
pub(super) async fn insert_with_run(
    tx: &mut Write,
    now: i64,
    new: &NewJob,
    sweep: Option<&SweepPoint>,
) -> Result<(Job, Run)> {
    if let Some(after) = &new.spec.after {
        refuse_hopeless(tx, after).await?;
    }
    let (job_id, run_id) = (new_id("job"), new_id("run"));
    sqlx::query(INSERT_RUN)
        .bind(&run_id)
        .bind(&job_id)
        .bind(&new.spec.name)
        .bind(&new.spec.project)
        .bind(&new.created_by)
        .bind(to_json(&new.spec.tags)?)
        .bind(&new.spec.model)
        .bind(&new.base_model)
        .bind(&new.spec.dataset)
        .bind(new.spec.method.name())
        .bind(new.spec.steps as i64)
        .bind(now)
        .execute(&mut *tx)
        .await?;
    let job = insert(tx, now, &Ids { job: &job_id, run: &run_id }, new, sweep, SUBMITTED).await?;
    let run = runs::load(&mut *tx, &run_id).await?;
    Ok((job, run))
}

/// The ids of a new job and of the run that it works on.
pub(super) struct Ids<'a> {
    pub job: &'a str,
    pub run: &'a str,
}

/// Inserts a job of a run, and its first event.
pub(super) async fn insert(
    tx: &mut Write,
    now: i64,
    ids: &Ids<'_>,
    new: &NewJob,
    sweep: Option<&SweepPoint>,
    reason: &str,
) -> Result<Job> {
    let row = sqlx::query(INSERT_JOB)
        .bind(ids.job)
        .bind(ids.run)
        .bind(&new.spec.name)
        .bind(&new.spec.project)
        .bind(&new.created_by)
        .bind(to_json(&new.spec.tags)?)
        .bind(reason)
        .bind(new.spec.priority)
        .bind(to_json(&new.spec)?)
        .bind(to_json(&new.origins)?)
        .bind(&new.spec.model)
        .bind(rows::device_name(new.spec.resources.device))
        .bind(&new.spec.after)
        .bind(i64::from(new.spec.max_attempts))
        .bind(new.spec.not_before.map(|time| time.timestamp_millis()))
        .bind(sweep.map(|point| point.id.as_str()))
        .bind(sweep.map(|point| to_json(&point.settings)).transpose()?)
        .bind(now)
        .bind(SPEC_VERSION)
        .bind(i64::from(new.spec.resources.ranks))
        .bind(&new.alert_webhook)
        .fetch_one(&mut *tx)
        .await?;
    let job = rows::job(&row)?;
    events::insert(tx, now, &first_event(&job, reason)?).await?;
    trackers::begin(tx, now, &job.run_id, &new.spec).await?;
    Ok(job)
}

/// A job that waits for one that cannot succeed any more would wait forever.
async fn refuse_hopeless(tx: &mut Write, after: &str) -> Result<()> {
    // Locked, so that the job cannot fail unseen before the one that waits for it is there.
    let row = existing(sqlx::query(locks::JOB_STATE).bind(after).fetch_optional(&mut *tx).await?, "job", after)?;
    let state: &str = row.try_get("state")?;
    if matches!(state, "failed" | "cancelled") {
        return Err(StoreError::Conflict(format!(
            "`after`: job `{after}` is {state} and cannot succeed; retry it first"
        )));
    }
    Ok(())
}
