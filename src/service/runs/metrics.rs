//! Metrics of a run: what was measured, and series in buckets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::metric::{Better, MetricInfo, MetricKey, MetricPoint, SeriesQuery, describe, headlines};
use crate::service::runs::Runs;
use crate::service::{Result, ServiceError};

/// A metric key of a run with its meaning and range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DescribedKey {
    /// The key.
    pub key: String,
    /// Unit (`1` for plain numbers).
    pub unit: String,
    /// A summary in one line.
    pub description: String,
    /// Whether higher or lower is better.
    pub better: Better,
    /// The newest step with a value.
    pub last_step: u64,
    /// The value at this step; null if it is not finite.
    pub last: Option<f64>,
    /// Smallest finite value.
    pub min: Option<f64>,
    /// Largest finite value.
    pub max: Option<f64>,
}

/// Summary of a metric in a list of runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KeySummary {
    /// The newest step with a value.
    pub last_step: u64,
    /// The value at this step; null if it is not finite.
    pub last: Option<f64>,
    /// Smallest finite value.
    pub min: Option<f64>,
    /// Largest finite value.
    pub max: Option<f64>,
    /// The best value; null for metrics without a direction.
    pub best: Option<f64>,
}

/// The keys of the headlines.
pub(super) fn headline_keys() -> Vec<String> {
    headlines().map(|(key, _)| key.to_owned()).collect()
}

/// The points of one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricSeries {
    /// The run.
    pub run_id: String,
    /// The key.
    pub key: String,
    /// Unit (`1` for plain numbers).
    pub unit: String,
    /// A summary in one line.
    pub description: String,
    /// Whether higher or lower is better.
    pub better: Better,
    /// Points, or buckets of adjacent points, in the order of steps.
    pub points: Vec<MetricPoint>,
}

/// The catalogue's words for a key; keys of a trainer's own are plain numbers.
pub(super) fn meaning(key: &str) -> (String, String, Better) {
    let told = |info: &MetricInfo| (info.unit.to_owned(), info.description.to_owned(), info.better);
    describe(key).map_or_else(|| ("1".to_owned(), String::new(), Better::Neutral), told)
}

impl Runs {
    /// What a run has measured so far.
    pub async fn metric_keys(&self, run_id: &str) -> Result<Vec<DescribedKey>> {
        self.store.run(run_id).await?;
        let keys = self.store.metric_keys(run_id).await?;
        Ok(keys.into_iter().map(described).collect())
    }

    /// Series of a run: of the given keys (`visual/*` matches every key with this prefix), else of all.
    pub async fn metric_series(&self, run_id: &str, keys: &[String], query: &SeriesQuery) -> Result<Vec<MetricSeries>> {
        self.store.run(run_id).await?;
        let mut series = Vec::new();
        for key in self.expand(run_id, keys).await? {
            let points = self.store.metric_series(run_id, &key, query).await?;
            let (unit, description, better) = meaning(&key);
            series.push(MetricSeries { run_id: run_id.to_owned(), key, unit, description, better, points });
        }
        Ok(series)
    }

    /// Series of a run as CSV: one line a step with its time, samples and tokens, one column a key.
    pub async fn metrics_csv(&self, run_id: &str, keys: &[String], query: &SeriesQuery) -> Result<String> {
        let series = self.metric_series(run_id, keys, query).await?;
        let mut steps = BTreeMap::new();
        for point in series.iter().flat_map(|one| &one.points) {
            steps.entry(point.step).or_insert((point.time, point.samples, point.tokens));
        }
        let mut columns: Vec<_> = series.iter().map(|one| one.points.iter().peekable()).collect();
        let mut table = csv::Writer::from_writer(Vec::new());
        let fault = |error: csv::Error| ServiceError::Internal(error.to_string());
        let heads = ["step", "time", "samples", "tokens"].into_iter().chain(series.iter().map(|one| one.key.as_str()));
        table.write_record(heads).map_err(fault)?;
        for (step, (time, samples, tokens)) in steps {
            let time = time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            let mut line = vec![step.to_string(), time, samples.to_string(), tokens.to_string()];
            for column in &mut columns {
                let here = column.next_if(|point| point.step == step);
                line.push(here.map(cell).unwrap_or_default());
            }
            table.write_record(&line).map_err(fault)?;
        }
        let bytes = table.into_inner().map_err(|error| ServiceError::Internal(error.to_string()))?;
        String::from_utf8(bytes).map_err(|error| ServiceError::Internal(error.to_string()))
    }

    /// Last and best values of those of `keys` that a run has.
    pub(super) async fn summary(&self, run_id: &str, keys: &[String]) -> Result<BTreeMap<String, KeySummary>> {
        let known = self.store.metric_keys(run_id).await?.into_iter();
        Ok(known.filter(|known| keys.contains(&known.key)).map(|known| (known.key.clone(), summed(&known))).collect())
    }

    /// The keys that a caller means; without any, all that the run has.
    async fn expand(&self, run_id: &str, asked: &[String]) -> Result<Vec<String>> {
        let present: Vec<String> = self.store.metric_keys(run_id).await?.into_iter().map(|known| known.key).collect();
        if asked.is_empty() {
            return Ok(present);
        }
        let mut expanded: Vec<String> = Vec::new();
        for key in asked.iter().flat_map(|value| told_apart(value, &present)) {
            self.known_metric("keys", &key, &[run_id]).await?;
            let fitting: Vec<String> = match key.strip_suffix('*') {
                Some(head) => present.iter().filter(|known| known.starts_with(head)).cloned().collect(),
                None => vec![key],
            };
            expanded.extend(fitting.into_iter().filter(|key| !expanded.contains(key)).collect::<Vec<_>>());
        }
        Ok(expanded)
    }
}

/// Most commas inside one key.
const MOST_COMMAS: usize = 16;

/// The keys of a value whose commas part it, unless the run has a key with them; spaces at the ends of a key count only
/// where the run has one with them.
fn told_apart(value: &str, present: &[String]) -> Vec<String> {
    let known = |key: &str| present.iter().any(|present| present == key);
    if known(value) {
        return vec![value.to_owned()];
    }
    let pieces: Vec<&str> = value.split(',').collect();
    let (mut keys, mut at) = (Vec::new(), 0);
    while at < pieces.len() {
        let longest = (at + 1..=pieces.len().min(at + 1 + MOST_COMMAS)).rev();
        let known_key = longest.map(|end| (end, pieces[at..end].join(","))).find_map(|(end, joined)| {
            let trimmed = joined.trim();
            let key = if known(&joined) { joined.as_str() } else { trimmed };
            known(key).then(|| (end, key.to_owned()))
        });
        let (end, key) = known_key.unwrap_or_else(|| (at + 1, pieces[at].trim().to_owned()));
        if !key.is_empty() {
            keys.push(key);
        }
        at = end;
    }
    keys
}

/// A value, or the name of a non-finite one.
fn cell(point: &MetricPoint) -> String {
    point.mean.map(|value| value.to_string()).or_else(|| point.nonfinite.clone()).unwrap_or_default()
}

fn summed(key: &MetricKey) -> KeySummary {
    let best = match meaning(&key.key).2 {
        Better::Higher => key.max,
        Better::Lower => key.min,
        Better::Neutral => None,
    };
    KeySummary { last_step: key.last_step, last: key.last, min: key.min, max: key.max, best }
}

fn described(key: MetricKey) -> DescribedKey {
    let (unit, description, better) = meaning(&key.key);
    let MetricKey { key, last_step, last, min, max } = key;
    DescribedKey { key, unit, description, better, last_step, last, min, max }
}

#[cfg(test)]
mod tests {
    use super::told_apart;

    #[test]
    fn keys_with_commas_and_spaces_are_told_apart() {
        let present = ["red", "red, blue", "a,", "x", "x ", "b"].map(str::to_owned);
        let told = |value: &str| told_apart(value, &present);
        assert_eq!(told("red, blue"), ["red, blue"]);
        assert_eq!(told("red,x"), ["red", "x"]);
        assert_eq!(told(" red , b"), ["red", "b"]);
        assert_eq!(told("x "), ["x "]);
        assert_eq!(told("a,"), ["a,"]);
        assert_eq!(told("b,red, blue,a,,x ,c/*"), ["b", "red, blue", "a,", "x ", "c/*"]);
        assert_eq!(told("unknown, other"), ["unknown", "other"]);
        assert!(told(",,").is_empty());
    }
}
