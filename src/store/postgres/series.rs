//! Reading a whole series. A long one is limited by its number of rows and columns, so it comes as one row of arrays.

use sqlx::Row as _;

use super::Pool;
use super::common::Statement;
use crate::domain::metric::MetricPoint;
use crate::store::error::Result;
use crate::store::points;

/// Every point of a series.
pub(super) const POINTS: &str = include_str!("sql/series_points.sql");

/// The points that [`POINTS`] finds.
pub(super) async fn read(series: Statement, reads: &Pool) -> Result<Vec<MetricPoint>> {
    let row = series.fetch_one(reads).await?;
    let numbers = |column: usize| -> Result<Vec<i64>> {
        // Without points, because they were pruned a moment ago, the arrays are null.
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
