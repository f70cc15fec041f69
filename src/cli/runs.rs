//! `vgpo runs`: the runs of a server.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::client::{Client, ClientFlags};
use super::jobs::text;
use super::settings::ranged;
use super::{block_on, eval_rows, export, fail, report, say, table};

/// Arguments of `vgpo runs`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RunsArgs {
    #[command(subcommand)]
    action: Option<RunAction>,
    /// Show this run only.
    id: Option<String>,
    /// Entries to show.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    #[command(flatten)]
    client: ClientFlags,
}

/// What to do with one run.
#[derive(Debug, clap::Subcommand)]
enum RunAction {
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

async fn act(action: &RunAction) -> Result<ExitCode, String> {
    let text_of = |error: super::client::ClientError| error.to_string();
    match action {
        RunAction::Report { args, client } => report::run(args, &client.server).await,
        RunAction::Export { args, client } => export::run(args, &client.server).await,
        RunAction::Rows { args, client } => eval_rows::run(args, &client.server).await,
        RunAction::Continue { id, steps, client } => {
            let path = format!("/v1/runs/{id}/continue");
            let job = Client::new(&client.server).post(&path, &json!({"steps": steps})).await.map_err(text_of)?;
            Ok(if client.json { say(&job) } else { say(format!("{}  {}", text(&job, "id"), text(&job, "reason"))) })
        }
        RunAction::Delete { id, client } => {
            Client::new(&client.server).delete(&format!("/v1/runs/{id}")).await.map_err(text_of)?;
            Ok(say(format!("{id} was deleted")))
        }
    }
}

/// Lists runs, shows one, or does something to one.
pub fn runs(args: &RunsArgs) -> ExitCode {
    if let Some(action) = &args.action {
        return block_on(act(action)).unwrap_or_else(fail);
    }
    let columns = ["id", "state", "name", "last_step", "last_accuracy", "best_accuracy", "best_checkpoint"];
    show("/v1/runs", args.id.as_deref(), &format!("?limit={}", args.limit), &args.client, &columns)
}

/// Lists the objects of `path`, or shows one of them.
pub(super) fn show(path: &str, id: Option<&str>, query: &str, flags: &ClientFlags, columns: &[&str]) -> ExitCode {
    let path = match id {
        Some(id) => format!("{path}/{id}"),
        None => format!("{path}{query}"),
    };
    let answer =
        match block_on(async { Client::new(&flags.server).get(&path).await.map_err(|error| error.to_string()) }) {
            Ok(answer) => answer,
            Err(error) => return fail(error),
        };
    if flags.json {
        return say(&answer);
    }
    if id.is_some() {
        return say(serde_json::to_string_pretty(&answer).unwrap_or_default());
    }
    let rows = answer["data"].as_array().into_iter().flatten();
    let rows = rows.map(|row: &Value| columns.iter().map(|name| text(row, name)).collect());
    let heads: Vec<String> = columns.iter().map(|name| name.to_uppercase()).collect();
    table(&heads.iter().map(String::as_str).collect::<Vec<_>>(), rows.collect())
}
