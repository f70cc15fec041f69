//! Metrics: many points at once in, series or buckets out.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite};

use crate::domain::event::nonfinite_name;
use crate::domain::job::LeaseToken;
use crate::domain::metric::{MetricKey, MetricPoint, SeriesQuery, TimedMetrics};
use crate::store::error::Result;
use crate::store::points::{self, feed, finite, last_values, summarize};
use crate::store::rows;
use crate::store::traits::MetricStore;

use super::{SqliteStore, Write, events, guard, runs};

/// Rows of one INSERT: few enough for SQLite's limit of bound values, enough to make a statement's cost vanish.
const ROWS: usize = 1_000;
const KEY_ROWS: usize = 500;

const KEYS_CONFLICT: &str = include_str!("sql/metric_keys_conflict.sql");
const STEPS_CONFLICT: &str = " ON CONFLICT (run_id, step) DO UPDATE SET \
    time = excluded.time, samples = excluded.samples, tokens = excluded.tokens";
const POINTS_CONFLICT: &str =
    " ON CONFLICT (key_id, step) DO UPDATE SET value = excluded.value, nonfinite = excluded.nonfinite";
const KEYS: &str = "SELECT key, last_step, last_value, min_value, max_value \
    FROM metric_keys WHERE run_id = ? ORDER BY key";
const EXTENT: &str = "SELECT metric_keys.id AS key_id, count(*) AS n, min(step) AS low, max(step) AS high \
    FROM metric_keys JOIN points ON points.key_id = metric_keys.id \
    WHERE run_id = ? AND key = ? AND step BETWEEN ? AND ? GROUP BY metric_keys.id";
const SERIES_POINTS: &str = include_str!("sql/series_points.sql");
const SERIES_BUCKETS: &str = include_str!("sql/series_buckets.sql");

#[async_trait]
impl MetricStore for SqliteStore {
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
        events::insert_many(&mut tx, now, &feed).await?;
        runs::refresh_metrics(&mut tx, &token.run_id, now).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn metric_keys(&self, run_id: &str) -> Result<Vec<MetricKey>> {
        let key = |row: &SqliteRow| {
            Ok(MetricKey {
                key: rows::text(row, "key")?,
                last_step: rows::count(row, "last_step")?,
                last: row.try_get("last_value")?,
                min: row.try_get("min_value")?,
                max: row.try_get("max_value")?,
            })
        };
        sqlx::query(KEYS).bind(run_id).fetch_all(&self.readers).await?.iter().map(key).collect()
    }

    async fn metric_series(&self, run_id: &str, key: &str, query: &SeriesQuery) -> Result<Vec<MetricPoint>> {
        let step = |s: Option<u64>, otherwise: i64| s.map_or(otherwise, |s| i64::try_from(s).unwrap_or(i64::MAX));
        let extent = sqlx::query(EXTENT)
            .bind(run_id)
            .bind(key)
            .bind(step(query.from_step, 0))
            .bind(step(query.to_step, i64::MAX))
            .fetch_optional(&self.readers)
            .await?;
        let Some(extent) = extent else { return Ok(Vec::new()) };
        let (key_id, n): (i64, i64) = (extent.try_get("key_id")?, extent.try_get("n")?);
        let (low, high): (i64, i64) = (extent.try_get("low")?, extent.try_get("high")?);
        let buckets = query.max_points.map(|m| i64::from(m.max(1))).filter(|m| n > *m);
        let read = |sql| sqlx::query(sql).bind(run_id).bind(key_id).bind(low).bind(high);
        match buckets {
            None => read(SERIES_POINTS).fetch_all(&self.readers).await?.iter().map(point).collect(),
            Some(n) => read(SERIES_BUCKETS).bind(n).fetch_all(&self.readers).await?.iter().map(bucket).collect(),
        }
    }
}

/// A single point. A long series is bound by its columns, each of which SQLite's library copies on its own: the numbers of the
/// step come as one text.
fn point(row: &SqliteRow) -> Result<MetricPoint> {
    let text: &str = row.try_get(0)?;
    let mut numbers = [0; 4];
    for (number, digits) in numbers.iter_mut().zip(text.split(' ')) {
        *number = digits.parse().map_err(|error| rows::damaged("step", &error))?;
    }
    points::point(numbers, row.try_get(1)?, row.try_get(2)?)
}

/// A bucket: the columns of a point, then what only a bucket has.
fn bucket(row: &SqliteRow) -> Result<MetricPoint> {
    let count: i64 = row.try_get(5)?;
    Ok(MetricPoint { min: row.try_get(3)?, max: row.try_get(4)?, count: count as u64, ..point(row)? })
}

async fn upsert_keys(tx: &mut Write, run_id: &str, batch: &[TimedMetrics]) -> Result<HashMap<String, i64>> {
    let keys: Vec<_> = summarize(batch).into_iter().collect();
    let mut ids = HashMap::with_capacity(keys.len());
    for chunk in keys.chunks(KEY_ROWS) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO metric_keys (run_id, key, last_step, last_value, min_value, max_value) ",
        );
        query.push_values(chunk, |mut row, (key, summary)| {
            row.push_bind(run_id.to_owned())
                .push_bind((*key).to_owned())
                .push_bind(summary.last_step as i64)
                .push_bind(finite(summary.last))
                .push_bind(summary.min)
                .push_bind(summary.max);
        });
        query.push(KEYS_CONFLICT);
        for row in query.build().persistent(chunk.len() == KEY_ROWS).fetch_all(&mut *tx).await? {
            ids.insert(row.try_get("key")?, row.try_get("id")?);
        }
    }
    Ok(ids)
}

async fn upsert_steps(tx: &mut Write, run_id: &str, batch: &[TimedMetrics]) -> Result<()> {
    for chunk in batch.chunks(ROWS) {
        let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO metric_steps (run_id, step, time, samples, tokens) ");
        query.push_values(chunk, |mut row, entry| {
            row.push_bind(run_id.to_owned())
                .push_bind(entry.metrics.step as i64)
                .push_bind(entry.time.timestamp_millis())
                .push_bind(entry.metrics.samples as i64)
                .push_bind(entry.metrics.tokens as i64);
        });
        query.push(STEPS_CONFLICT);
        query.build().persistent(chunk.len() == ROWS).execute(&mut *tx).await?;
    }
    Ok(())
}

async fn upsert_points(tx: &mut Write, ids: &HashMap<String, i64>, batch: &[TimedMetrics]) -> Result<()> {
    let points = last_values(ids, batch);
    for chunk in points.chunks(ROWS) {
        let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO points (key_id, step, value, nonfinite) ");
        query.push_values(chunk, |mut row, ((id, step), value)| {
            row.push_bind(*id).push_bind(*step).push_bind(finite(*value)).push_bind(nonfinite_name(*value));
        });
        query.push(POINTS_CONFLICT);
        query.build().persistent(chunk.len() == ROWS).execute(&mut *tx).await?;
    }
    Ok(())
}
