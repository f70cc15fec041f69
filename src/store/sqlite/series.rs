//! Reading a whole series. A long one is limited by its number of columns, each of which SQLite's library copies
//! separately, so the numbers of a step come as one text.

use sqlx::Row as _;

use super::common::Statement;
use super::{Pool, Row};
use crate::domain::metric::MetricPoint;
use crate::store::error::Result;
use crate::store::{points, rows};

/// Every point of a series.
pub(super) const POINTS: &str = include_str!("sql/series_points.sql");

/// The points that [`POINTS`] finds.
pub(super) async fn read(points: Statement, reads: &Pool) -> Result<Vec<MetricPoint>> {
    points.fetch_all(reads).await?.iter().map(point).collect()
}

fn point(row: &Row) -> Result<MetricPoint> {
    let text: &str = row.try_get(0)?;
    let mut numbers = [0; 4];
    for (number, digits) in numbers.iter_mut().zip(text.split(' ')) {
        *number = digits.parse().map_err(|error| rows::damaged("step", &error))?;
    }
    points::point(numbers, row.try_get(1)?, row.try_get(2)?)
}
