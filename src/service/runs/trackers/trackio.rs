//! trackio's HTTP API 1: an entry for each step, which its id keeps from being stored twice.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use crate::export::{ExportedRun, Row};
use crate::outbound::{TrackerClient, TrackerFault};

use super::{Batch, Tracker, number};

/// The version of its API that this speaks.
const VERSION: u64 = 1;

/// A server, as `trackio.show()` starts one.
pub(super) struct Trackio(pub TrackerClient);

#[async_trait]
impl Tracker for Trackio {
    /// It takes the ids of others, so nothing is to be begun.
    async fn open(&self, run: &ExportedRun) -> Result<String, TrackerFault> {
        let version = self.0.get("/version").await?;
        if version["api_version"] != VERSION {
            let problem = format!("it speaks version {} of trackio's API, not {VERSION}", version["api_version"]);
            return Err(TrackerFault::of(problem));
        }
        Ok(run.id.clone())
    }

    async fn send(&self, remote: &str, run: &ExportedRun, sent: &Batch) -> Result<(), TrackerFault> {
        if sent.rows.is_empty() {
            return Ok(());
        }
        let mut config: Map<String, Value> =
            run.settings.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        config.insert("_Created".to_owned(), run.started_at.to_rfc3339().into());
        let entry = |(seq, row): &(i64, Row)| {
            json!({"project": run.project, "run": run.name, "run_id": remote, "step": row.step, "config": config,
                "log_id": format!("{remote}-{seq}"), "metrics": metrics(row)})
        };
        let logs: Vec<Value> = sent.rows.iter().map(entry).collect();
        let request = json!({"args": [], "kwargs": {"logs": logs, "hf_token": null}});
        self.0.post("/api/bulk_log", &request).await.map(drop)
    }
}

fn metrics(row: &Row) -> Map<String, Value> {
    let measured = row.values.iter().map(|(key, value)| (key.clone(), number(*value)));
    let progress = [("progress/samples", row.samples), ("progress/tokens", row.tokens)];
    measured.chain(progress.map(|(key, value)| (key.to_owned(), value.into()))).collect()
}
