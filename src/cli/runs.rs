//! `vgpo runs`: the runs of a server.

use std::process::ExitCode;

use serde_json::Value;

use super::client::{Client, ClientFlags};
use super::jobs::text;
use super::{block_on, fail, report, say, table};

/// Arguments of `vgpo runs`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RunsArgs {
    #[command(subcommand)]
    action: Option<RunsAction>,
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
enum RunsAction {
    /// Write a run's report: one HTML file with its curves, samples, heat maps and settings.
    Report {
        #[command(flatten)]
        args: report::Args,
        #[command(flatten)]
        client: ClientFlags,
    },
}

/// Lists runs, shows one, or writes its report.
pub fn runs(args: &RunsArgs) -> ExitCode {
    if let Some(RunsAction::Report { args, client }) = &args.action {
        return report::run(args, &client.server);
    }
    let columns = ["id", "state", "name", "last_step", "last_accuracy", "best_accuracy", "best_checkpoint"];
    show("/v1/runs", args.id.as_deref(), &format!("?limit={}", args.limit), &args.client, &columns)
}

/// Lists what lies at `path`, or shows one of them.
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
