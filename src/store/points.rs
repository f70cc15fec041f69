//! A batch of metrics as rows, whatever the database.

use std::collections::{BTreeMap, HashMap};

use crate::domain::event::{MetricsEvent, NewEvent, kind};
use crate::domain::job::LeaseToken;
use crate::domain::metric::{MetricPoint, TimedMetrics};
use crate::store::change::{event_data, leased_event};
use crate::store::error::Result;
use crate::store::rows;

/// The entries of a batch for one key.
pub(super) struct KeySummary {
    /// The newest step that has it.
    pub last_step: u64,
    /// The value there.
    pub last: f64,
    /// Smallest finite value.
    pub min: Option<f64>,
    /// Largest finite value.
    pub max: Option<f64>,
}

/// Every key of a batch.
pub(super) fn summarize(batch: &[TimedMetrics]) -> BTreeMap<&str, KeySummary> {
    let mut keys = BTreeMap::<&str, KeySummary>::new();
    for entry in batch {
        for (key, &value) in &entry.metrics.values {
            let step = entry.metrics.step;
            let summary = keys.entry(key).or_insert(KeySummary { last_step: step, last: value, min: None, max: None });
            if step >= summary.last_step {
                (summary.last_step, summary.last) = (step, value);
            }
            if value.is_finite() {
                summary.min = Some(summary.min.map_or(value, |m| m.min(value)));
                summary.max = Some(summary.max.map_or(value, |m| m.max(value)));
            }
        }
    }
    keys
}

/// The last value of every point of a batch, by id of its key and step: the order of the table, so that each page of
/// a series is touched once.
pub(super) fn last_values(ids: &HashMap<String, i64>, batch: &[TimedMetrics]) -> Vec<((i64, i64), f64)> {
    let mut points = BTreeMap::new();
    for entry in batch {
        for (key, &value) in &entry.metrics.values {
            if let Some(id) = ids.get(key) {
                points.insert((*id, entry.metrics.step as i64), value);
            }
        }
    }
    points.into_iter().collect()
}

/// One `metrics` event for each entry.
pub(super) fn feed(token: &LeaseToken, batch: &[TimedMetrics]) -> Result<Vec<NewEvent>> {
    let event = |m: &TimedMetrics| Ok(leased_event(token, kind::METRICS, event_data(&MetricsEvent::of(&m.metrics))?));
    batch.iter().map(event).collect()
}

/// A single point, of the numbers of its step (step, time, samples, tokens) and its value.
pub(super) fn point(numbers: [i64; 4], value: Option<f64>, nonfinite: Option<String>) -> Result<MetricPoint> {
    let [step, time, samples, tokens] = numbers;
    Ok(MetricPoint {
        step: step as u64,
        time: rows::time_of(time, "time")?,
        samples: samples as u64,
        tokens: tokens as u64,
        mean: value,
        min: value,
        max: value,
        count: 1,
        nonfinite,
    })
}

/// A value as databases keep it: one that is not finite is null (another column has its name).
pub(super) fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
