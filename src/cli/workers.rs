//! `vgpo workers`: the workers of a server.

use std::process::ExitCode;

use super::client::{Client, ClientFlags};
use super::listing::{self, Column};
use super::{block_on, fail};

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("STATE", "state"),
    ("HOST", "host"),
    ("DEVICE", "device"),
    ("JOB", "job_id"),
    ("HEARTBEAT", "heartbeat_at"),
];

/// Arguments of `vgpo workers`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List workers with a heartbeat within the last day, newest first.
    List {
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Show a worker.
    Show {
        /// Its id, `wrk_…`.
        id: String,
        #[command(flatten)]
        client: ClientFlags,
    },
}

/// Runs `vgpo workers`.
pub fn run(args: &Args) -> ExitCode {
    let done = block_on(async {
        match &args.action {
            Some(Action::Show { id, client }) => {
                let workers = Client::new(&client.server).get("/v1/workers").await?;
                let workers = workers["data"].as_array().map_or(&[][..], Vec::as_slice);
                Ok(listing::thing(listing::find(workers, id, "worker")?, client.json))
            }
            Some(Action::List { client }) => listing::list("/v1/workers", COLUMNS, client).await,
            None => listing::list("/v1/workers", COLUMNS, &args.client).await,
        }
    });
    done.unwrap_or_else(fail)
}
