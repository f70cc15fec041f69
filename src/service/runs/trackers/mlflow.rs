//! MLflow's REST API 2.0: the project is the experiment; names are those of the offline export.

use std::collections::BTreeSet;

use async_trait::async_trait;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::domain::metric::CATALOGUE;
use crate::export::mlflow::{MAX_VALUE, RUN_TAG, metric_name, name_of, own_tags, status};
use crate::export::{ExportedRun, Row};
use crate::outbound::{TrackerClient, TrackerFault};

use super::{Batch, Tracker, number};

const API: &str = "/api/2.0/mlflow";
/// Metrics of one request.
const METRICS: usize = 1000;
/// Parameters of one request.
const PARAMS: usize = 100;

/// A tracking server.
pub(super) struct Mlflow(pub TrackerClient);

type Result<T> = std::result::Result<T, TrackerFault>;

impl Mlflow {
    async fn post(&self, what: &str, body: &Value) -> Result<Value> {
        self.0.post(&format!("{API}/{what}"), body).await
    }

    /// The id of the experiment with this name, which is made where there is none.
    async fn experiment(&self, name: &str) -> Result<String> {
        let made = self.post("experiments/create", &json!({ "name": name })).await;
        let answer = match made {
            Err(fault) if fault.answer["error_code"] == "RESOURCE_ALREADY_EXISTS" => {
                let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
                let path = format!("{API}/experiments/get-by-name?experiment_name={name}");
                self.0.get(&path).await?["experiment"].take()
            }
            other => other?,
        };
        text(&answer["experiment_id"], "experiment_id")
    }

    /// The run that was made for ours, if there is one.
    async fn found(&self, experiment: &str, run: &ExportedRun) -> Result<Option<Value>> {
        let filter = format!("tags.`{RUN_TAG}` = '{}'", run.id);
        let search = json!({"experiment_ids": [experiment], "filter": filter, "max_results": 1});
        let mut answer = self.post("runs/search", &search).await?;
        Ok(answer["runs"].get_mut(0).map(Value::take))
    }

    /// A new run for ours.
    async fn created(&self, experiment: &str, run: &ExportedRun) -> Result<Value> {
        let own = own_tags(run).into_iter().map(|(key, value)| (key.to_owned(), value));
        let labels = run.tags.iter().map(|(key, value)| (name_of(key), value.as_str()));
        let tags = own.chain(labels).map(|(key, value)| json!({"key": key, "value": value}));
        let request = json!({
            "experiment_id": experiment, "run_name": run.name, "tags": tags.collect::<Vec<_>>(),
            "start_time": run.started_at.timestamp_millis(),
        });
        Ok(self.post("runs/create", &request).await?["run"].take())
    }
}

#[async_trait]
impl Tracker for Mlflow {
    async fn open(&self, run: &ExportedRun) -> Result<String> {
        let experiment = self.experiment(&run.project).await?;
        let known = match self.found(&experiment, run).await? {
            Some(known) => known,
            None => self.created(&experiment, run).await?,
        };
        let id = text(&known["info"]["run_id"], "run_id")?;
        // Parameters never change there: those of the job that began the run stay.
        if known["data"]["params"].as_array().is_none_or(Vec::is_empty) {
            let params: Vec<Value> = run
                .settings
                .iter()
                .map(|(key, value)| {
                    let value: String = value.chars().take(MAX_VALUE).collect();
                    json!({"key": name_of(key), "value": value})
                })
                .collect();
            for params in params.chunks(PARAMS) {
                self.post("runs/log-batch", &json!({"run_id": id, "params": params})).await?;
            }
        }
        Ok(id)
    }

    async fn send(&self, remote: &str, run: &ExportedRun, sent: &Batch) -> Result<()> {
        let known: BTreeSet<&str> = CATALOGUE.iter().map(|info| info.key).collect();
        let metrics: Vec<Value> = sent.rows.iter().flat_map(|(_, row)| points(row, &known)).collect();
        for metrics in metrics.chunks(METRICS) {
            self.post("runs/log-batch", &json!({"run_id": remote, "metrics": metrics})).await?;
        }
        if sent.state_changed {
            let mut update = json!({"run_id": remote, "status": status(&run.state).1});
            if let Some(end) = run.finished_at {
                update["end_time"] = end.timestamp_millis().into();
            }
            self.post("runs/update", &update).await?;
        }
        Ok(())
    }
}

/// The points of a row.
fn points(row: &Row, known: &BTreeSet<&str>) -> Vec<Value> {
    let time = row.time.timestamp_millis();
    let point = |key: String, value: Value| json!({"key": key, "value": value, "timestamp": time, "step": row.step});
    let measured = row.values.iter().map(|(key, value)| point(metric_name(key, known), number(*value)));
    let progress = [("samples", row.samples), ("tokens", row.tokens)];
    let progress = progress.map(|(name, value)| point(format!("progress/{name}"), value.into()));
    measured.chain(progress).collect()
}

fn text(value: &Value, name: &str) -> Result<String> {
    let text = value.as_str().map(ToOwned::to_owned);
    text.ok_or_else(|| TrackerFault::of(format!("its answer has no `{name}`: it is not an MLflow tracking server")))
}
