//! Many rows at once: statements with a list of values for each row.

use std::collections::HashMap;

use sqlx::{QueryBuilder, Row as _};

use super::{Db, Write};
use crate::clock::new_id;
use crate::domain::event::{NewEvent, nonfinite_name};
use crate::domain::metric::TimedMetrics;
use crate::domain::sample::SampleGroup;
use crate::store::error::Result;
use crate::store::json::to_json;
use crate::store::points::{finite, last_values, summarize};

/// Rows of one INSERT: few enough for SQLite's limit of bound values, enough to make the cost of a statement
/// negligible.
const ROWS: usize = 1_000;
/// The same, for rows with more columns.
const WIDE_ROWS: usize = 500;

const INSERT_EVENTS: &str = include_str!("../sql/event_insert.sql");
const INSERT_SAMPLE: &str = concat!(include_str!("../sql/sample_insert.sql"), "VALUES ($1, $2, $3, $4, $5)");
const INSERT_KEYS: &str = include_str!("../sql/metric_keys_insert.sql");
const KEYS_CONFLICT: &str = include_str!("../sql/metric_keys_conflict.sql");
const INSERT_STEPS: &str = include_str!("../sql/metric_steps_insert.sql");
const STEPS_CONFLICT: &str = include_str!("../sql/metric_steps_conflict.sql");
const INSERT_POINTS: &str = include_str!("../sql/points_insert.sql");
const POINTS_CONFLICT: &str = include_str!("../sql/points_conflict.sql");

/// Writes events in their order.
pub(super) async fn insert_events(tx: &mut Write, now: i64, events: &[NewEvent]) -> Result<()> {
    for chunk in events.chunks(WIDE_ROWS) {
        let data = chunk.iter().map(|e| to_json(&e.data)).collect::<Result<Vec<_>>>()?;
        let mut query = QueryBuilder::<Db>::new(INSERT_EVENTS);
        query.push_values(chunk.iter().zip(data), |mut row, (event, data)| {
            row.push_bind(now)
                .push_bind(event.kind.clone())
                .push_bind(event.job_id.clone())
                .push_bind(event.run_id.clone())
                .push_bind(event.project.clone())
                .push_bind(data);
        });
        query.build().persistent(chunk.len() == WIDE_ROWS).execute(&mut *tx).await?;
    }
    Ok(())
}

/// Writes the sample groups of a step.
pub(super) async fn insert_samples(
    tx: &mut Write,
    now: i64,
    run_id: &str,
    step: u64,
    groups: &[SampleGroup],
) -> Result<()> {
    for group in groups {
        sqlx::query(INSERT_SAMPLE)
            .bind(new_id("smp"))
            .bind(run_id)
            .bind(step as i64)
            .bind(to_json(group)?)
            .bind(now)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// Brings the keys of a run up to date, and returns their ids.
pub(super) async fn upsert_keys(tx: &mut Write, run_id: &str, batch: &[TimedMetrics]) -> Result<HashMap<String, i64>> {
    let keys: Vec<_> = summarize(batch).into_iter().collect();
    let mut ids = HashMap::with_capacity(keys.len());
    for chunk in keys.chunks(WIDE_ROWS) {
        let mut query = QueryBuilder::<Db>::new(INSERT_KEYS);
        query.push_values(chunk, |mut row, (key, summary)| {
            row.push_bind(run_id.to_owned())
                .push_bind((*key).to_owned())
                .push_bind(summary.last_step as i64)
                .push_bind(finite(summary.last))
                .push_bind(summary.min)
                .push_bind(summary.max);
        });
        query.push("\n").push(KEYS_CONFLICT);
        for row in query.build().persistent(chunk.len() == WIDE_ROWS).fetch_all(&mut *tx).await? {
            ids.insert(row.try_get("key")?, row.try_get("id")?);
        }
    }
    Ok(ids)
}

/// Writes the steps of a batch.
pub(super) async fn upsert_steps(tx: &mut Write, run_id: &str, batch: &[TimedMetrics]) -> Result<()> {
    for chunk in batch.chunks(ROWS) {
        let mut query = QueryBuilder::<Db>::new(INSERT_STEPS);
        query.push_values(chunk, |mut row, entry| {
            row.push_bind(run_id.to_owned())
                .push_bind(entry.metrics.step as i64)
                .push_bind(entry.time.timestamp_millis())
                .push_bind(entry.metrics.samples as i64)
                .push_bind(entry.metrics.tokens as i64);
        });
        query.push("\n").push(STEPS_CONFLICT);
        query.build().persistent(chunk.len() == ROWS).execute(&mut *tx).await?;
    }
    Ok(())
}

/// Writes the points of a batch, whose keys have these ids.
pub(super) async fn upsert_points(tx: &mut Write, ids: &HashMap<String, i64>, batch: &[TimedMetrics]) -> Result<()> {
    let points = last_values(ids, batch);
    for chunk in points.chunks(ROWS) {
        let mut query = QueryBuilder::<Db>::new(INSERT_POINTS);
        query.push_values(chunk, |mut row, ((id, step), value)| {
            row.push_bind(*id).push_bind(*step).push_bind(finite(*value)).push_bind(nonfinite_name(*value));
        });
        query.push("\n").push(POINTS_CONFLICT);
        query.build().persistent(chunk.len() == ROWS).execute(&mut *tx).await?;
    }
    Ok(())
}
