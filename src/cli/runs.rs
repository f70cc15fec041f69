//! `vgpo runs`: the runs of a server.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::client::{Client, ClientFlags};
use super::jobs::{Outcome, text};
use super::listing::{self, Column};
use super::settings::ranged;
use super::{block_on, eval_compare, eval_rows, export, fail, report, samples, say};

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("STATE", "state"),
    ("NAME", "name"),
    ("STEP", "last_step"),
    ("ACCURACY", "last_accuracy"),
    ("BEST ACCURACY", "best_accuracy"),
    ("BEST CHECKPOINT", "best_checkpoint"),
];

/// Arguments of `vgpo runs`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RunsArgs {
    #[command(subcommand)]
    action: Option<RunAction>,
    /// Show this run only.
    id: Option<String>,
    /// Number of entries.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    #[command(flatten)]
    client: ClientFlags,
}

/// What to do with one run.
#[derive(Debug, clap::Subcommand)]
enum RunAction {
    /// List runs, newest first.
    List {
        /// Number of entries.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Show a run.
    Show {
        /// The run.
        id: String,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Write a run's report: one HTML file with its curves, samples, heat maps and settings.
    Report {
        #[command(flatten)]
        args: report::Args,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Write a run for TensorBoard, for MLflow, or as a table.
    Export {
        #[command(flatten)]
        args: export::Args,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Print the answers of an evaluation (method `eval`), one JSON object per row.
    Rows {
        #[command(flatten)]
        args: eval_rows::Args,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Print the samples of a run token by token, as CSV; or write them as CSV or Parquet.
    Samples {
        #[command(flatten)]
        args: samples::Args,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Compare the answers of two runs to the same rows: fixed and broken rows, and paired differences with intervals.
    Compare {
        #[command(flatten)]
        args: eval_compare::Args,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Continue a run that has ended: a new job on the same run, from its newest checkpoint.
    Continue {
        /// The run.
        id: String,
        #[arg(long, help = ranged("Steps beyond that checkpoint", "/steps"))]
        steps: u64,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Delete a run with its metrics, samples and checkpoints.
    Delete {
        /// The run.
        id: String,
        #[command(flatten)]
        client: ClientFlags,
    },
}

async fn act(action: &RunAction) -> Outcome {
    match action {
        RunAction::List { limit, client } => list(*limit, client).await,
        RunAction::Show { id, client } => listing::show(&format!("/v1/runs/{id}"), client).await,
        RunAction::Report { args, client } => Ok(report::run(args, &client.server).await?),
        RunAction::Export { args, client } => Ok(export::run(args, &client.server).await?),
        RunAction::Rows { args, client } => Ok(eval_rows::run(args, &client.server).await?),
        RunAction::Samples { args, client } => Ok(samples::run(args, &client.server).await?),
        RunAction::Compare { args, client } => eval_compare::run(args, client).await,
        RunAction::Continue { id, steps, client } => {
            let path = format!("/v1/runs/{id}/continue");
            let job = Client::new(&client.server).post(&path, &json!({"steps": steps})).await?;
            Ok(if client.json { say(&job) } else { say(continued(&job, *steps)) })
        }
        RunAction::Delete { id, client } => {
            Client::new(&client.server).delete(&format!("/v1/runs/{id}")).await?;
            Ok(say(format!("Deleted {id}")))
        }
    }
}

/// The new job, and from which step to which it goes.
fn continued(job: &Value, steps: u64) -> String {
    let to = job["spec"]["steps"].as_u64().unwrap_or_default();
    format!("{}  from step {} to step {to}", text(job, "id"), to.saturating_sub(steps))
}

/// Lists runs, shows one, or does something to one.
pub fn runs(args: &RunsArgs) -> ExitCode {
    let done = block_on(async {
        match (&args.action, &args.id) {
            (Some(action), _) => act(action).await,
            (None, Some(id)) => listing::show(&format!("/v1/runs/{id}"), &args.client).await,
            (None, None) => list(args.limit, &args.client).await,
        }
    });
    done.unwrap_or_else(fail)
}

async fn list(limit: u32, flags: &ClientFlags) -> Outcome {
    listing::list(&format!("/v1/runs?limit={limit}"), COLUMNS, flags).await
}
