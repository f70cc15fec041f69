//! A report of a run: one self-contained HTML file.

mod page;
mod samples;
mod svg;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::metric::{EVAL_ACCURACY, SeriesQuery};
use crate::service::runs::Runs;
use crate::service::runs::metrics::MetricSeries;
use crate::service::{Result, ServiceError};
use page::{Facts, Setting};
use svg::{Chart, Line, Look};

/// Points of a curve; more would not show.
const POINTS: u32 = 400;

/// A chart's title, look, and keys with their labels in the legend.
type ChartPlan = (&'static str, Look, &'static [(&'static str, &'static str)]);

/// Charts of a report.
const CHARTS: &[ChartPlan] = &[
    ("Accuracy", Look::Share, &[(EVAL_ACCURACY, "held-out, greedy"), ("accuracy", "training rollouts")]),
    ("Reward", Look::Number, &[("reward/mean", "mean reward")]),
    (
        "Focus kept: late over early",
        Look::Number,
        &[
            ("eval/late_early_ratio_right", "correct answers"),
            ("eval/late_early_ratio_wrong", "wrong answers"),
            ("visual/late_early_ratio", "training rollouts"),
        ],
    ),
    (
        "Attention",
        Look::Share,
        &[("attention/image", "image"), ("attention/query", "question"), ("attention/generated", "own text")],
    ),
    (
        "Attention to the image",
        Look::Share,
        &[("attention/image_early", "first third"), ("attention/image_late", "last third")],
    ),
    (
        "Token and trajectory weights",
        Look::Number,
        &[
            ("visual/token_weight_std", "spread of 1 + \u{3c8}"),
            ("visual/trajectory_weight_max", "largest 1 + \u{3c6}"),
            ("visual/trajectory_weight_min", "smallest 1 + \u{3c6}"),
        ],
    ),
    ("Response length", Look::Number, &[("response_length/mean", "tokens")]),
    ("Entropy", Look::Number, &[("policy/entropy", "nat")]),
    ("KL", Look::Number, &[("policy/kl", "old to new policy"), ("policy/reference_kl", "to the reference")]),
    ("Gradient norm", Look::Number, &[("optimizer/grad_norm", "before clipping")]),
    ("Loss", Look::Number, &[("loss/policy", "policy loss")]),
    ("Throughput", Look::Number, &[("throughput/tokens_per_second", "response tokens a second")]),
];

impl Runs {
    /// The report of a run as HTML: its figures, curves, samples with heat maps, and settings.
    ///
    /// # Errors
    /// No such run, or a database that does not answer. A model that cannot be loaded only costs the heat maps.
    pub async fn report(&self, run_id: &str) -> Result<String> {
        let run = self.get(run_id).await?;
        let job = self.jobs().get(&run.job_id).await?;
        let query = SeriesQuery { from_step: None, to_step: None, max_points: Some(POINTS) };
        let series = self.metric_series(run_id, &[], &query).await?;
        let charts: Vec<String> = CHARTS.iter().filter_map(|chart| draw(chart, &series)).collect();
        let samples = self.report_samples(&run).await?;
        let spec = serde_json::to_value(&job.spec).map_err(|error| ServiceError::Internal(error.to_string()))?;
        let facts = Facts { first_accuracy: first(&series, EVAL_ACCURACY), made_at: self.clock.now(), run };
        page::render(&facts, &charts, &samples, &settings(&spec, &job.origins))
    }
}

fn first(series: &[MetricSeries], key: &str) -> Option<f64> {
    series.iter().find(|one| one.key == key)?.points.first()?.mean
}

/// A chart of the keys that the run has; none when it has none of them.
fn draw((title, look, keys): &ChartPlan, series: &[MetricSeries]) -> Option<String> {
    let line = |(key, label): &(&str, &'static str)| {
        let wanted = series.iter().find(|one| one.key == *key)?;
        let points: Vec<(f64, f64)> =
            wanted.points.iter().filter_map(|point| Some((point.step as f64, point.mean?))).collect();
        (!points.is_empty()).then_some(Line { label, points })
    };
    let lines: Vec<Line> = keys.iter().filter_map(line).collect();
    (!lines.is_empty()).then(|| Chart { title, look: *look, lines }.svg())
}

/// Every setting by its JSON pointer, with where it came from.
fn settings(spec: &Value, origins: &Value) -> Vec<Setting> {
    let mut flat = BTreeMap::new();
    flatten(spec, String::new(), &mut flat);
    let origin = |pointer: &str| origins.get(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    flat.into_iter()
        .map(|(pointer, value)| Setting {
            origin: origin(&pointer),
            name: pointer.trim_start_matches('/').to_owned(),
            value,
        })
        .collect()
}

fn flatten(value: &Value, at: String, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(inner) if !inner.is_empty() => {
            inner.iter().for_each(|(name, value)| flatten(value, format!("{at}/{name}"), out));
        }
        Value::String(text) => {
            out.insert(at, text.clone());
        }
        other => {
            out.insert(at, other.to_string());
        }
    }
}
