//! Comparing runs by one metric: groups of runs that share settings, with mean and interval over each group.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use statrs::distribution::{ContinuousCDF, StudentsT};
use utoipa::ToSchema;

use super::metrics::meaning;
use crate::config::job::{pointer, setting_pointers};
use crate::domain::metric::{Better, SeriesQuery};
use crate::domain::nearest::suggestion;
use crate::domain::plain::plain;
use crate::domain::run::Run;
use crate::service::runs::Runs;
use crate::service::{Result, ServiceError};

/// Most runs of one comparison.
const MAX_RUNS: usize = 512;
/// The share of the interval.
const CONFIDENCE: f64 = 0.95;

/// What to compare.
#[derive(Debug, Clone, Default)]
pub struct CompareQuery {
    /// These runs.
    pub runs: Vec<String>,
    /// And those of this sweep.
    pub sweep: Option<String>,
    /// The metric.
    pub key: String,
    /// Settings that runs of one group share, as JSON pointers or dotted paths; none: every run is a group of its own.
    pub group_by: Vec<String>,
    /// First step.
    pub from_step: Option<u64>,
    /// Last step.
    pub to_step: Option<u64>,
    /// More steps than this are joined in that many buckets of equal width.
    pub max_points: u64,
}

/// Runs compared by one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Comparison {
    /// The metric.
    pub key: String,
    /// Unit (`1` for plain numbers).
    pub unit: String,
    /// A summary in one line.
    pub description: String,
    /// Whether higher or lower is better.
    pub better: Better,
    /// The settings that runs of one group share, as JSON pointers.
    pub group_by: Vec<String>,
    /// The groups, in the order of their first runs.
    pub groups: Vec<ComparedGroup>,
}

/// Runs that share the settings of `group_by`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparedGroup {
    /// As text.
    pub label: String,
    /// The shared settings: JSON pointer -> value (null where a run's method has no such setting).
    #[schema(value_type = Object)]
    pub settings: Map<String, Value>,
    /// Its runs.
    pub runs: Vec<String>,
    /// Its curve; every group has the same buckets.
    pub points: Vec<ComparedPoint>,
}

/// One bucket of steps over the runs of a group. Each run contributes the mean of its values in the bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparedPoint {
    /// The last step of the bucket.
    pub step: u64,
    /// Mean over runs.
    pub mean: f64,
    /// Lower end of the 95% interval of the mean (Student's t); null with fewer than two runs.
    pub low: Option<f64>,
    /// Upper end of the interval.
    pub high: Option<f64>,
    /// Smallest run.
    pub min: f64,
    /// Largest run.
    pub max: f64,
    /// Runs with a value here.
    pub n: u64,
}

/// The values of one run: step and finite value, in order.
type Curve = Vec<(u64, f64)>;

impl Runs {
    /// Compares runs by one metric.
    pub async fn compare(&self, query: &CompareQuery) -> Result<Comparison> {
        let runs = self.compared_runs(query).await?;
        let group_by: Vec<String> = query.group_by.iter().map(|name| pointer(name)).collect();
        let whole = SeriesQuery { from_step: query.from_step, to_step: query.to_step, max_points: None };
        let mut is_known = vec![false; group_by.len()];
        let mut groups: Vec<(ComparedGroup, Vec<Curve>)> = Vec::new();
        for run in runs {
            let spec = serde_json::to_value(self.store.job(&run.job_id).await?.spec);
            let spec = spec.map_err(|error| ServiceError::Internal(error.to_string()))?;
            let mut settings = Map::new();
            for (is_known, name) in is_known.iter_mut().zip(&group_by) {
                *is_known |= spec.pointer(name).is_some();
                settings.insert(name.clone(), spec.pointer(name).cloned().unwrap_or(Value::Null));
            }
            let points = self.store.metric_series(&run.id, &query.key, &whole).await?;
            let curve: Curve = points.iter().filter_map(|point| Some((point.step, point.mean?))).collect();
            let known = groups.iter_mut().find(|(group, _)| !group_by.is_empty() && group.settings == settings);
            if let Some((group, curves)) = known {
                group.runs.push(run.id);
                curves.push(curve);
            } else {
                let label = if group_by.is_empty() { run.name } else { label(&settings) };
                groups.push((ComparedGroup { label, settings, runs: vec![run.id], points: Vec::new() }, vec![curve]));
            }
        }
        if let Some(unknown) = is_known.iter().position(|is_known| !is_known) {
            return Err(unknown_setting(&query.group_by[unknown]));
        }
        if groups.iter().all(|(_, curves)| curves.iter().all(Vec::is_empty)) {
            let runs: Vec<&str> = groups.iter().flat_map(|(group, _)| &group.runs).map(String::as_str).collect();
            self.known_metric("key", &query.key, &runs).await?;
        }
        let buckets = Buckets::over(groups.iter().flat_map(|(_, curves)| curves), query.max_points);
        let groups = groups.into_iter().map(|(group, curves)| ComparedGroup { points: buckets.join(&curves), ..group });
        let (unit, description, better) = meaning(&query.key);
        Ok(Comparison { key: query.key.clone(), unit, description, better, group_by, groups: groups.collect() })
    }

    async fn compared_runs(&self, query: &CompareQuery) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        if let Some(sweep) = &query.sweep {
            self.store.sweep(sweep).await?;
            runs = self.store.sweep_runs(sweep).await?;
        }
        for id in &query.runs {
            if runs.iter().all(|run| run.id != *id) {
                runs.push(self.store.run(id).await?);
            }
            if runs.len() > MAX_RUNS {
                let detail = format!("more than {MAX_RUNS} runs; compare fewer at once");
                return Err(ServiceError::field("?runs", detail));
            }
        }
        Ok(runs)
    }
}

fn unknown_setting(name: &str) -> ServiceError {
    let known: Vec<String> = setting_pointers().map(|known| known.trim_start_matches('/').replace('/', ".")).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let asked = name.trim_start_matches('/').replace('/', ".");
    let detail = format!("no run has a setting `{name}`: {}", suggestion(&asked, &known));
    ServiceError::field("?group_by", detail)
}

/// A group in words: one setting by its value alone.
fn label(settings: &Map<String, Value>) -> String {
    if settings.len() == 1 {
        return settings.values().map(plain).collect();
    }
    let name = |pointer: &str| pointer.rsplit('/').next().unwrap_or_default().to_owned();
    settings.iter().map(|(at, value)| format!("{}={}", name(at), plain(value))).collect::<Vec<_>>().join(" ")
}

/// Ranges of steps that all curves share: from each range's last step to its number.
struct Buckets(BTreeMap<u64, usize>);

impl Buckets {
    /// One bucket a step, or `most` of equal width where there are more steps.
    fn over<'a>(curves: impl Iterator<Item = &'a Curve>, most: u64) -> Self {
        let mut steps: Vec<u64> = curves.flatten().map(|(step, _)| *step).collect();
        steps.sort_unstable();
        steps.dedup();
        let (Some(low), Some(high)) = (steps.first().copied(), steps.last().copied()) else {
            return Self(BTreeMap::new());
        };
        let width = if steps.len() as u64 <= most { 1 } else { (high - low + 1).div_ceil(most.max(1)) };
        let mut last = BTreeMap::new();
        for step in steps {
            last.insert((step - low) / width, step);
        }
        Self(last.into_values().enumerate().map(|(number, step)| (step, number)).collect())
    }

    /// Means and intervals over runs.
    fn join(&self, curves: &[Curve]) -> Vec<ComparedPoint> {
        let mut values: Vec<Vec<f64>> = vec![Vec::new(); self.0.len()];
        for curve in curves {
            let mut sums = vec![(0.0, 0_u64); self.0.len()];
            for (step, value) in curve {
                if let Some((_, number)) = self.0.range(step..).next() {
                    sums[*number].0 += value;
                    sums[*number].1 += 1;
                }
            }
            for (values, (sum, count)) in values.iter_mut().zip(sums).filter(|(_, (_, count))| *count > 0) {
                values.push(sum / count as f64);
            }
        }
        self.0.iter().filter_map(|(step, number)| point(*step, &values[*number])).collect()
    }
}

fn point(step: u64, values: &[f64]) -> Option<ComparedPoint> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    let half = half_width(values, mean);
    Some(ComparedPoint {
        step,
        mean,
        low: half.map(|half| mean - half),
        high: half.map(|half| mean + half),
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        n: n as u64,
    })
}

/// Half the width of the interval: `t * s / sqrt(n)` with `n - 1` degrees of freedom.
pub(super) fn half_width(values: &[f64], mean: f64) -> Option<f64> {
    let n = values.len() as f64;
    let t = StudentsT::new(0.0, 1.0, n - 1.0).ok()?.inverse_cdf(f64::midpoint(1.0, CONFIDENCE));
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some(t * (variance / n).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_labels_without_json() {
        let settings = |text: &str| serde_json::from_str(text).unwrap();
        let whole = r#"{"/method": {"type": "vgpo", "alpha": 0.2, "levels": [1, 2]}}"#;
        assert_eq!(label(&settings(whole)), "vgpo alpha=0.2 levels=(1, 2)");
        assert_eq!(label(&settings(r#"{"/method/type": "grpo", "/seed": 0}"#)), "type=grpo seed=0");
    }

    #[test]
    fn the_interval_is_students() {
        // Quantiles of Student's t at 0.975 for 1, 2 and 9 degrees of freedom, from published tables.
        for (n, t) in [(2, 12.706), (3, 4.303), (10, 2.262)] {
            let values: Vec<f64> = (0..n).map(f64::from).collect();
            let n = f64::from(n);
            let mean = (n - 1.0) / 2.0;
            // The variance of 0, 1, … n-1 is n (n + 1) / 12.
            let expected = t * ((n + 1.0) / 12.0).sqrt();
            let half = half_width(&values, mean).unwrap();
            assert!((half - expected).abs() < 2e-3, "{n}: {half} {expected}");
        }
        assert_eq!(half_width(&[1.0], 1.0), None);
        let same = point(3, &[0.5, 0.5]).unwrap();
        assert_eq!((same.low, same.high, same.n), (Some(0.5), Some(0.5), 2));
    }

    #[test]
    fn runs_meet_in_the_same_buckets() {
        let curves = vec![vec![(0, 1.0), (8, 3.0)], vec![(0, 3.0), (4, 9.0), (8, 5.0)]];
        let every = Buckets::over(curves.iter(), 10).join(&curves);
        let told: Vec<_> = every.iter().map(|p| (p.step, p.mean, p.n)).collect();
        assert_eq!(told, [(0, 2.0, 2), (4, 9.0, 1), (8, 4.0, 2)]);
        // Two buckets: steps 0 to 4 and 5 to 8. The second run counts once in each, with its mean.
        let two = Buckets::over(curves.iter(), 2).join(&curves);
        let told: Vec<_> = two.iter().map(|p| (p.step, p.mean, p.n)).collect();
        assert_eq!(told, [(4, 3.5, 2), (8, 4.0, 2)]);
        assert!(Buckets::over([].iter(), 5).join(&[Vec::new()]).is_empty());
    }
}
