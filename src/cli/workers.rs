//! `vgpo workers`: the workers of a server.

use std::process::ExitCode;

use super::client::ClientFlags;
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
}

/// Runs `vgpo workers`.
pub fn run(args: &Args) -> ExitCode {
    let flags = match &args.action {
        Some(Action::List { client }) => client,
        None => &args.client,
    };
    block_on(listing::list("/v1/workers", COLUMNS, flags)).unwrap_or_else(fail)
}
