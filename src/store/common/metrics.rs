//! Metrics as people see them: series or buckets.

use async_trait::async_trait;
use sqlx::Row as _;
use tracing::instrument;

use crate::domain::metric::{MetricKey, MetricPoint, SeriesQuery};
use crate::store::error::Result;
use crate::store::traits::MetricStore;
use crate::store::{points, rows};

use super::{Row, SqlStore, series};

const KEYS: &str = "SELECT key, last_step, last_value, min_value, max_value \
    FROM metric_keys WHERE run_id = $1 ORDER BY key";
const EXTENT: &str = "SELECT metric_keys.id AS key_id, count(*) AS n, min(step) AS low, max(step) AS high \
    FROM metric_keys JOIN points ON points.key_id = metric_keys.id \
    WHERE run_id = $1 AND key = $2 AND step BETWEEN $3 AND $4 GROUP BY metric_keys.id";
const SERIES_BUCKETS: &str = include_str!("../sql/series_buckets.sql");

#[async_trait]
impl MetricStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(run = run_id))]
    async fn metric_keys(&self, run_id: &str) -> Result<Vec<MetricKey>> {
        let key = |row: &Row| {
            Ok(MetricKey {
                key: rows::text(row, "key")?,
                last_step: rows::count(row, "last_step")?,
                last: row.try_get("last_value")?,
                min: row.try_get("min_value")?,
                max: row.try_get("max_value")?,
            })
        };
        self.all(|| sqlx::query(KEYS).bind(run_id)).await?.iter().map(key).collect()
    }

    #[instrument(level = "debug", skip_all, fields(run = run_id, key = key))]
    async fn metric_series(&self, run_id: &str, key: &str, query: &SeriesQuery) -> Result<Vec<MetricPoint>> {
        self.patiently(|| self.series(run_id, key, query)).await
    }
}

impl SqlStore {
    async fn series(&self, run_id: &str, key: &str, query: &SeriesQuery) -> Result<Vec<MetricPoint>> {
        let step = |s: Option<u64>, otherwise: i64| s.map_or(otherwise, |s| i64::try_from(s).unwrap_or(i64::MAX));
        let extent = sqlx::query(EXTENT)
            .bind(run_id)
            .bind(key)
            .bind(step(query.from_step, 0))
            .bind(step(query.to_step, i64::MAX))
            .fetch_optional(self.reads())
            .await?;
        let Some(extent) = extent else { return Ok(Vec::new()) };
        let (key_id, n): (i64, i64) = (extent.try_get("key_id")?, extent.try_get("n")?);
        let (low, high): (i64, i64) = (extent.try_get("low")?, extent.try_get("high")?);
        let buckets = query.max_points.map(|m| i64::from(m.max(1))).filter(|m| n > *m);
        let read = |sql| sqlx::query(sql).bind(run_id).bind(key_id).bind(low).bind(high);
        match buckets {
            None => series::read(read(series::POINTS), self.reads()).await,
            Some(n) => read(SERIES_BUCKETS).bind(n).fetch_all(self.reads()).await?.iter().map(bucket).collect(),
        }
    }
}

/// A bucket, whose columns are read by position.
fn bucket(row: &Row) -> Result<MetricPoint> {
    let numbers = [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?];
    let count: i64 = row.try_get(8)?;
    let point = points::point(numbers, row.try_get(4)?, row.try_get(5)?)?;
    Ok(MetricPoint { min: row.try_get(6)?, max: row.try_get(7)?, count: count as u64, ..point })
}
