//! Many rows at once: statements whose rows come as arrays, so that their text is always the same.

use std::collections::{BTreeMap, HashMap};

use super::Write;
use crate::clock::new_id;
use crate::domain::event::{NewEvent, nonfinite_name};
use crate::domain::metric::TimedMetrics;
use crate::domain::sample::SampleGroup;
use crate::store::error::Result;
use crate::store::json::to_text;
use crate::store::points::{finite, last_values, summarize};
use crate::store::rows;

/// Events at time $1, numbered in their order.
const INSERT_EVENTS: &str = concat!(
    include_str!("../sql/event_insert.sql"),
    "SELECT $1, kind, job_id, run_id, project, data::json \
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) \
        WITH ORDINALITY AS batch (kind, job_id, run_id, project, data, place) \
    ORDER BY place"
);
/// Groups of run $1 at step $2 and time $3.
const INSERT_SAMPLES: &str = concat!(
    include_str!("../sql/sample_insert.sql"),
    "SELECT id, $1, $2, data::json, $3 FROM unnest($4::text[], $5::text[]) AS batch (id, data)"
);
/// Keys of run $1 with their entries in a batch.
const UPSERT_KEYS: &str = concat!(
    include_str!("../sql/metric_keys_insert.sql"),
    "SELECT $1, batch.* FROM unnest($2::text[], $3::bigint[], $4::float8[], $5::float8[], $6::float8[]) AS batch\n",
    include_str!("../sql/metric_keys_conflict.sql")
);
const UPSERT_STEPS: &str = concat!(
    include_str!("../sql/metric_steps_insert.sql"),
    "SELECT $1, batch.* FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) AS batch\n",
    include_str!("../sql/metric_steps_conflict.sql")
);
const UPSERT_POINTS: &str = concat!(
    include_str!("../sql/points_insert.sql"),
    "SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::float8[], $4::text[])\n",
    include_str!("../sql/points_conflict.sql")
);

/// Writes events in their order.
pub(super) async fn insert_events(tx: &mut Write, now: i64, events: &[NewEvent]) -> Result<()> {
    let data = events.iter().map(|e| to_text(&e.data)).collect::<Result<Vec<_>>>()?;
    sqlx::query(INSERT_EVENTS)
        .bind(now)
        .bind(events.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|e| e.job_id.as_deref()).collect::<Vec<_>>())
        .bind(events.iter().map(|e| e.run_id.as_deref()).collect::<Vec<_>>())
        .bind(events.iter().map(|e| e.project.as_deref()).collect::<Vec<_>>())
        .bind(data)
        .execute(&mut *tx)
        .await?;
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
    let data = groups.iter().map(to_text).collect::<Result<Vec<_>>>()?;
    sqlx::query(INSERT_SAMPLES)
        .bind(run_id)
        .bind(step as i64)
        .bind(now)
        .bind(groups.iter().map(|_| new_id("smp")).collect::<Vec<_>>())
        .bind(data)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

/// Brings the keys of a run up to date, and returns their ids.
pub(super) async fn upsert_keys(tx: &mut Write, run_id: &str, batch: &[TimedMetrics]) -> Result<HashMap<String, i64>> {
    // In the order of keys, so that rows are locked in one order.
    let keys: Vec<_> = summarize(batch).into_iter().collect();
    let ids = sqlx::query(UPSERT_KEYS)
        .bind(run_id)
        .bind(keys.iter().map(|(key, _)| *key).collect::<Vec<_>>())
        .bind(keys.iter().map(|(_, s)| s.last_step as i64).collect::<Vec<_>>())
        .bind(keys.iter().map(|(_, s)| finite(s.last)).collect::<Vec<_>>())
        .bind(keys.iter().map(|(_, s)| s.min).collect::<Vec<_>>())
        .bind(keys.iter().map(|(_, s)| s.max).collect::<Vec<_>>())
        .fetch_all(&mut *tx)
        .await?;
    ids.iter().map(|row| Ok((rows::text(row, "key")?, rows::int(row, "id")?))).collect()
}

/// Writes the steps of a batch.
pub(super) async fn upsert_steps(tx: &mut Write, run_id: &str, batch: &[TimedMetrics]) -> Result<()> {
    // One statement may touch a row only once: the last entry of a step counts.
    let steps: BTreeMap<_, _> = batch.iter().map(|entry| (entry.metrics.step, entry)).collect();
    sqlx::query(UPSERT_STEPS)
        .bind(run_id)
        .bind(steps.keys().map(|step| *step as i64).collect::<Vec<_>>())
        .bind(steps.values().map(|e| e.time.timestamp_millis()).collect::<Vec<_>>())
        .bind(steps.values().map(|e| e.metrics.samples as i64).collect::<Vec<_>>())
        .bind(steps.values().map(|e| e.metrics.tokens as i64).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
    Ok(())
}

/// Writes the points of a batch, whose keys have these ids.
pub(super) async fn upsert_points(tx: &mut Write, ids: &HashMap<String, i64>, batch: &[TimedMetrics]) -> Result<()> {
    let points = last_values(ids, batch);
    sqlx::query(UPSERT_POINTS)
        .bind(points.iter().map(|((id, _), _)| *id).collect::<Vec<_>>())
        .bind(points.iter().map(|((_, step), _)| *step).collect::<Vec<_>>())
        .bind(points.iter().map(|(_, value)| finite(*value)).collect::<Vec<_>>())
        .bind(points.iter().map(|(_, value)| nonfinite_name(*value)).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
    Ok(())
}
