//! Metrics: many points at once in, series or buckets out.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::domain::event::nonfinite_name;
use crate::domain::job::LeaseToken;
use crate::domain::metric::{MetricKey, MetricPoint, SeriesQuery, TimedMetrics};
use crate::store::error::Result;
use crate::store::points::{self, feed, finite, last_values, summarize};
use crate::store::rows;
use crate::store::traits::MetricStore;

use super::{PostgresStore, Write, events, guard, runs};

const UPSERT_KEYS: &str = include_str!("sql/metric_keys_upsert.sql");
const UPSERT_STEPS: &str = include_str!("sql/metric_steps_upsert.sql");
const UPSERT_POINTS: &str = include_str!("sql/points_upsert.sql");
const KEYS: &str = "SELECT key, last_step, last_value, min_value, max_value \
    FROM metric_keys WHERE run_id = $1 ORDER BY key";
const EXTENT: &str = "SELECT metric_keys.id AS key_id, count(*) AS n, min(step) AS low, max(step) AS high \
    FROM metric_keys JOIN points ON points.key_id = metric_keys.id \
    WHERE run_id = $1 AND key = $2 AND step BETWEEN $3 AND $4 GROUP BY metric_keys.id";
const SERIES_POINTS: &str = include_str!("sql/series_points.sql");
const SERIES_BUCKETS: &str = include_str!("sql/series_buckets.sql");

#[async_trait]
impl MetricStore for PostgresStore {
    async fn append_metrics(&self, token: &LeaseToken, batch: &[TimedMetrics]) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let feed = feed(token, batch)?;
        let mut tx = self.write().await?;
        guard(&mut tx, token).await?;
        let ids = upsert_keys(&mut tx, &token.run_id, batch).await?;
        upsert_steps(&mut tx, &token.run_id, batch).await?;
        upsert_points(&mut tx, &ids, batch).await?;
        let now = self.now();
        runs::refresh_metrics(&mut tx, &token.run_id, now).await?;
        events::insert_many(&mut tx, now, &feed).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn metric_keys(&self, run_id: &str) -> Result<Vec<MetricKey>> {
        let key = |row: &PgRow| {
            Ok(MetricKey {
                key: rows::text(row, "key")?,
                last_step: rows::count(row, "last_step")?,
                last: row.try_get("last_value")?,
                min: row.try_get("min_value")?,
                max: row.try_get("max_value")?,
            })
        };
        let read = || async { Ok(sqlx::query(KEYS).bind(run_id).fetch_all(&self.pool).await?) };
        self.patiently(read).await?.iter().map(key).collect()
    }

    async fn metric_series(&self, run_id: &str, key: &str, query: &SeriesQuery) -> Result<Vec<MetricPoint>> {
        self.patiently(|| self.series(run_id, key, query)).await
    }
}

impl PostgresStore {
    async fn series(&self, run_id: &str, key: &str, query: &SeriesQuery) -> Result<Vec<MetricPoint>> {
        let step = |s: Option<u64>, otherwise: i64| s.map_or(otherwise, |s| i64::try_from(s).unwrap_or(i64::MAX));
        let extent = sqlx::query(EXTENT)
            .bind(run_id)
            .bind(key)
            .bind(step(query.from_step, 0))
            .bind(step(query.to_step, i64::MAX))
            .fetch_optional(&self.pool)
            .await?;
        let Some(extent) = extent else { return Ok(Vec::new()) };
        let (key_id, n): (i64, i64) = (extent.try_get("key_id")?, extent.try_get("n")?);
        let (low, high): (i64, i64) = (extent.try_get("low")?, extent.try_get("high")?);
        let buckets = query.max_points.map(|m| i64::from(m.max(1))).filter(|m| n > *m);
        let read = |sql| sqlx::query(sql).bind(run_id).bind(key_id).bind(low).bind(high);
        match buckets {
            None => whole_series(&read(SERIES_POINTS).fetch_one(&self.pool).await?),
            Some(n) => read(SERIES_BUCKETS).bind(n).fetch_all(&self.pool).await?.iter().map(bucket).collect(),
        }
    }
}

/// Every point of a series, which comes as one row of arrays: a long one is bound by its rows and columns.
fn whole_series(row: &PgRow) -> Result<Vec<MetricPoint>> {
    let numbers = |column: usize| -> Result<Vec<i64>> {
        // Points that were pruned a moment ago leave no arrays.
        Ok(row.try_get::<Option<_>, _>(column)?.unwrap_or_default())
    };
    let (steps, times, samples, tokens) = (numbers(0)?, numbers(1)?, numbers(2)?, numbers(3)?);
    let values: Vec<Option<f64>> = row.try_get::<Option<_>, _>(4)?.unwrap_or_default();
    let names: Vec<Option<String>> = row.try_get::<Option<_>, _>(5)?.unwrap_or_default();
    let point = |((at, value), name)| {
        let at: usize = at;
        points::point([steps[at], times[at], samples[at], tokens[at]], value, name)
    };
    (0..steps.len()).zip(values).zip(names).map(point).collect()
}

/// A bucket, whose columns are read by position.
fn bucket(row: &PgRow) -> Result<MetricPoint> {
    let numbers = [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?];
    let count: i64 = row.try_get(8)?;
    let point = points::point(numbers, row.try_get(4)?, row.try_get(5)?)?;
    Ok(MetricPoint { min: row.try_get(6)?, max: row.try_get(7)?, count: count as u64, ..point })
}

async fn upsert_keys(tx: &mut Write, run_id: &str, batch: &[TimedMetrics]) -> Result<HashMap<String, i64>> {
    // In the order of keys, so that rows are locked in one order.
    let keys: Vec<_> = summarize(batch).into_iter().collect();
    let found = sqlx::query(UPSERT_KEYS)
        .bind(run_id)
        .bind(keys.iter().map(|(key, _)| *key).collect::<Vec<_>>())
        .bind(keys.iter().map(|(_, s)| s.last_step as i64).collect::<Vec<_>>())
        .bind(keys.iter().map(|(_, s)| finite(s.last)).collect::<Vec<_>>())
        .bind(keys.iter().map(|(_, s)| s.min).collect::<Vec<_>>())
        .bind(keys.iter().map(|(_, s)| s.max).collect::<Vec<_>>())
        .fetch_all(&mut *tx)
        .await?;
    found.iter().map(|row| Ok((rows::text(row, "key")?, rows::int(row, "id")?))).collect()
}

async fn upsert_steps(tx: &mut Write, run_id: &str, batch: &[TimedMetrics]) -> Result<()> {
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

async fn upsert_points(tx: &mut Write, ids: &HashMap<String, i64>, batch: &[TimedMetrics]) -> Result<()> {
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
