//! A run as it is exported, read from what the API tells.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{ExportError, Result};

/// Columns of the table before the first key.
const HEADS: [&str; 4] = ["step", "time", "samples", "tokens"];

/// A run with everything that was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportedRun {
    /// `run_…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its project.
    pub project: String,
    /// Its job's state.
    pub state: String,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Settings by JSON pointer without its first slash, e.g. `optimizer/learning_rate`.
    pub settings: BTreeMap<String, String>,
    /// What was measured, in the order of steps.
    pub rows: Vec<Row>,
    /// The same as the server wrote it.
    pub csv: String,
}

/// What was measured at one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The step.
    pub step: u64,
    /// When.
    pub time: DateTime<Utc>,
    /// Responses since the beginning of the run.
    pub samples: u64,
    /// Response tokens since the beginning of the run.
    pub tokens: u64,
    /// Value by key; not all keys are measured at all steps.
    pub values: Vec<(String, f64)>,
}

impl ExportedRun {
    /// From the answers of `GET /v1/runs/{id}`, `GET /v1/jobs/{id}` of its job, and `GET /v1/runs/{id}/metrics.csv`.
    ///
    /// # Errors
    /// `Run` where something is missing.
    pub fn read(run: &Value, job: &Value, csv: String) -> Result<Self> {
        Ok(Self { rows: rows(&csv)?, csv, ..Self::begun(run, job)? })
    }

    /// The same without what was measured.
    ///
    /// # Errors
    /// `Run` where something is missing.
    pub fn begun(run: &Value, job: &Value) -> Result<Self> {
        let text = |name: &str| run[name].as_str().map(str::to_owned).ok_or_else(|| missing(name));
        let time = |name: &str| run[name].as_str().and_then(|t| t.parse::<DateTime<Utc>>().ok());
        let tags = run["tags"].as_object().into_iter().flatten();
        let mut settings = BTreeMap::new();
        flatten("", &job["spec"], &mut settings);
        Ok(Self {
            id: text("id")?,
            name: text("name")?,
            project: text("project")?,
            state: text("state")?,
            tags: tags.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect(),
            started_at: time("started_at").or_else(|| time("created_at")).ok_or_else(|| missing("created_at"))?,
            finished_at: time("finished_at"),
            settings,
            rows: Vec::new(),
            csv: String::new(),
        })
    }
}

fn missing(name: &str) -> ExportError {
    ExportError::Run(format!("`{name}` is missing"))
}

/// Leaves of a JSON value by their path.
fn flatten(path: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
    let inside = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| flatten(&inside(name), value, leaves)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().enumerate().for_each(|(at, value)| flatten(&inside(&at.to_string()), value, leaves));
        }
        Value::Null => {}
        Value::String(text) => drop(leaves.insert(path.to_owned(), text.clone())),
        other => drop(leaves.insert(path.to_owned(), other.to_string())),
    }
}

fn rows(text: &str) -> Result<Vec<Row>> {
    let wrong = |problem: String| ExportError::Run(format!("its metrics: {problem}"));
    let mut table = csv::Reader::from_reader(text.as_bytes());
    let heads = table.headers().map_err(|error| wrong(error.to_string()))?.clone();
    if heads.iter().take(HEADS.len()).ne(HEADS) {
        return Err(wrong("the table has other columns".to_owned()));
    }
    let mut rows = Vec::new();
    for line in table.records() {
        let line = line.map_err(|error| wrong(error.to_string()))?;
        let cell = |at: usize| line.get(at).unwrap_or_default();
        let whole = |at: usize| cell(at).parse::<u64>().map_err(|error| wrong(format!("{}: {error}", HEADS[at])));
        let mut values = Vec::new();
        for (key, value) in heads.iter().zip(&line).skip(HEADS.len()).filter(|(_, value)| !value.is_empty()) {
            values.push((key.to_owned(), value.parse().map_err(|_| wrong(format!("{key} is {value}")))?));
        }
        let time = cell(1).parse().map_err(|_| wrong(format!("time is {}", cell(1))))?;
        rows.push(Row { step: whole(0)?, time, samples: whole(2)?, tokens: whole(3)?, values });
    }
    Ok(rows)
}
