//! The report's page.

use chrono::{DateTime, Utc};
use minijinja::{AutoEscape, Environment, Value, context};
use serde::Serialize;

use super::samples::ReportSample;
use super::svg::number;
use crate::domain::run::Run;
use crate::service::{Result, ServiceError};

/// What is known of a run at one look.
#[derive(Debug)]
pub struct Facts {
    /// The run.
    pub run: Run,
    /// Held-out accuracy at its first evaluation.
    pub first_accuracy: Option<f64>,
    /// When the report is made.
    pub made_at: DateTime<Utc>,
}

/// One setting of the job.
#[derive(Debug, Serialize)]
pub struct Setting {
    /// Its name, e.g. `method/beta`.
    pub name: String,
    /// Its value.
    pub value: String,
    /// `request`, `recommended` or `default`.
    pub origin: String,
}

/// The page; everything but the charts, which are our own SVG, is escaped.
pub fn render(facts: &Facts, charts: &[String], samples: &[ReportSample], settings: &[Setting]) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_filter("percent", |value: Option<f64>| value.map(|v| format!("{:.1}%", v * 100.0)));
    environment.add_filter("number", number);
    let charts: Vec<Value> = charts.iter().map(|svg| Value::from_safe_string(svg.clone())).collect();
    let page = context! {
        run => facts.run,
        state => facts.run.state.name(),
        first_accuracy => facts.first_accuracy,
        made_at => facts.made_at.format("%Y-%m-%d %H:%M UTC").to_string(),
        version => env!("CARGO_PKG_VERSION"),
        charts => charts,
        samples => samples,
        settings => settings,
    };
    environment.render_str(include_str!("report.html"), page).map_err(|error| ServiceError::Internal(error.to_string()))
}
