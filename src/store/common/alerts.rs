//! Alerts: recorded once, read with their runs, and handed to the server that sends them.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::QueryBuilder;
use tracing::instrument;

use crate::clock::new_id;
use crate::domain::alert::{Alert, AlertEvent, Delivered, DeliveryState, DueAlert, Finding, NewAlert, UNDELIVERED};
use crate::domain::event::{NewEvent, kind};
use crate::domain::page::{Listing, Page};
use crate::store::change::event_data;
use crate::store::error::Result;
use crate::store::filter::{push_equal, push_page};
use crate::store::json::to_json;
use crate::store::traits::{AlertStore, HeardJob, WatchStore};
use crate::store::{millis, rows};

use super::{Db, Row, SqlStore, Write, events};

const JOB: &str = "SELECT run_id, alert_webhook FROM jobs WHERE id = $1";
const INSERT: &str = include_str!("../sql/alert_insert.sql");
const DUE: &str = "SELECT id, tries FROM alerts WHERE next_try_at <= $1 ORDER BY next_try_at, id LIMIT $2";
/// One server gets it: the other one finds another number of tries.
const TAKE: &str = "UPDATE alerts SET tries = tries + 1, next_try_at = $1 \
    WHERE id = $2 AND tries = $3 AND delivery = 'pending' RETURNING *";
const SENT: &str = "UPDATE alerts SET delivery = 'sent', next_try_at = NULL, problem = NULL, sent_at = $1 \
    WHERE id = $2 AND delivery = 'pending'";
const AGAIN: &str = "UPDATE alerts SET next_try_at = $1, problem = $2 WHERE id = $3 AND delivery = 'pending'";
const LOST: &str = "UPDATE alerts SET delivery = 'failed', next_try_at = NULL, problem = $1 \
    WHERE id = $2 AND delivery = 'pending' RETURNING *";
const HEARD: &str = include_str!("../sql/alerts_heard.sql");
const SEEN: &str = "SELECT value FROM facts WHERE name = 'alerts_seen'";
const SEE: &str = "INSERT INTO facts (name, value) VALUES ('alerts_seen', $1) \
    ON CONFLICT (name) DO UPDATE SET value = excluded.value \
    WHERE CAST(facts.value AS BIGINT) < CAST(excluded.value AS BIGINT)";

#[async_trait]
impl AlertStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(run = run_id))]
    async fn alerts(&self, run_id: &str, page: &Page) -> Result<Listing<Alert>> {
        let list = || {
            let mut query = QueryBuilder::<Db>::new("SELECT * FROM alerts WHERE true");
            push_equal(&mut query, "run_id", Some(run_id));
            push_page(&mut query, "id", page);
            query
        };
        let alerts = self.listed(list).await?.iter().map(record).collect::<Result<Vec<_>>>()?;
        Ok(Listing::from_overfull(alerts, page.limit, |alert| alert.id.clone()))
    }
}

#[async_trait]
impl WatchStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(job = new.job_id, rule = new.found.rule.name()))]
    async fn raise_alert(&self, new: &NewAlert) -> Result<Option<Alert>> {
        let now = self.now();
        let mut tx = self.write().await?;
        let Some(job) = sqlx::query(JOB).bind(&new.job_id).fetch_optional(&mut tx).await? else { return Ok(None) };
        let sent = rows::text_or_none(&job, "alert_webhook")?.is_some();
        let row = sqlx::query(INSERT)
            .bind(new_id("alrt"))
            .bind(&new.job_id)
            .bind(rows::text(&job, "run_id")?)
            .bind(new.found.rule.name())
            .bind(&new.occasion)
            .bind(to_json(&new.found)?)
            .bind(if sent { DeliveryState::Pending } else { DeliveryState::None }.name())
            .bind(sent.then_some(now))
            .bind(now)
            .fetch_optional(&mut tx)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let alert = record(&row)?;
        let data = event_data(&AlertEvent::of(&alert))?;
        write_event(&mut tx, now, kind::ALERT, &alert, data).await?;
        tx.commit().await?;
        Ok(Some(alert))
    }

    #[instrument(level = "debug", skip_all)]
    async fn take_alerts(&self, most: u32, hold: Duration) -> Result<Vec<DueAlert>> {
        let now = self.now();
        let due = self.all(|| sqlx::query(DUE).bind(now).bind(i64::from(most))).await?;
        let mut taken = Vec::with_capacity(due.len());
        for row in &due {
            let mut tx = self.write().await?;
            let take = sqlx::query(TAKE).bind(now + millis(hold)).bind(rows::text(row, "id")?);
            let Some(row) = take.bind(rows::int(row, "tries")?).fetch_optional(&mut tx).await? else { continue };
            let alert = record(&row)?;
            let job = sqlx::query(JOB).bind(&alert.job_id).fetch_one(&mut tx).await?;
            tx.commit().await?;
            taken.push(DueAlert { alert, webhook: rows::text(&job, "alert_webhook")? });
        }
        Ok(taken)
    }

    #[instrument(level = "debug", skip_all, fields(alert = id))]
    async fn settle_alert(&self, id: &str, outcome: &Delivered) -> Result<()> {
        let now = self.now();
        let mut tx = self.write().await?;
        match outcome {
            Delivered::Sent => {
                sqlx::query(SENT).bind(now).bind(id).execute(&mut tx).await?;
            }
            Delivered::Again { problem, after } => {
                sqlx::query(AGAIN).bind(now + millis(*after)).bind(problem).bind(id).execute(&mut tx).await?;
            }
            Delivered::Lost { problem } => {
                if let Some(row) = sqlx::query(LOST).bind(problem).bind(id).fetch_optional(&mut tx).await? {
                    let alert = record(&row)?;
                    let Finding { rule, .. } = &alert.found;
                    let message = format!("the alert `{}` did not reach its webhook: {problem}", rule.name());
                    let data = serde_json::json!({ "message": message, "data": { "alert_id": id } });
                    write_event(&mut tx, now, UNDELIVERED, &alert, data).await?;
                }
            }
        }
        Ok(tx.commit().await?)
    }

    #[instrument(level = "debug", skip_all)]
    async fn heard_jobs(&self) -> Result<Vec<HeardJob>> {
        self.all(|| sqlx::query(HEARD)).await?.iter().map(heard_job).collect()
    }

    #[instrument(level = "debug", skip_all)]
    async fn events_watched(&self) -> Result<Option<i64>> {
        let Some(row) = self.optional(|| sqlx::query(SEEN)).await? else { return Ok(None) };
        let seq = rows::text(&row, "value")?;
        seq.parse().map(Some).map_err(|error| rows::damaged("alerts_seen", &error))
    }

    #[instrument(level = "debug", skip_all, fields(seq))]
    async fn watched_events(&self, seq: i64) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(SEE).bind(seq.to_string()).execute(&mut tx).await?;
        Ok(tx.commit().await?)
    }
}

/// Writes an event about the alert's job.
async fn write_event(tx: &mut Write, now: i64, kind: &str, alert: &Alert, data: serde_json::Value) -> Result<()> {
    let (job_id, run_id) = (Some(alert.job_id.clone()), Some(alert.run_id.clone()));
    let event = NewEvent { kind: kind.to_owned(), job_id, run_id, project: None, data };
    events::insert(tx, now, &event).await.map(drop)
}

/// A row of `alerts`.
fn record(row: &Row) -> Result<Alert> {
    let found: Finding = rows::json(row, "found")?;
    let delivery = rows::text(row, "delivery")?;
    Ok(Alert {
        id: rows::text(row, "id")?,
        job_id: rows::text(row, "job_id")?,
        run_id: rows::text(row, "run_id")?,
        time: rows::time(row, "created_at")?,
        severity: found.rule.severity(),
        found,
        delivery: DeliveryState::from_name(&delivery).ok_or_else(|| rows::damaged("delivery", &delivery))?,
        tries: rows::count(row, "tries")?,
        problem: rows::text_or_none(row, "problem")?,
        next_try_at: rows::time_or_none(row, "next_try_at")?,
        sent_at: rows::time_or_none(row, "sent_at")?,
    })
}

/// A job that runs, and when it was last heard of.
fn heard_job(row: &Row) -> Result<HeardJob> {
    Ok(HeardJob { job_id: rows::text(row, "job_id")?, heard_at: rows::time_or_none(row, "heard_at")? })
}
