//! `vgpo health`: is the server ready, is the worker alive? For health checks of containers.

use std::process::ExitCode;
use std::time::Duration;

use crate::worker::is_alive;

use super::client::{Client, ClientFlags};
use super::settings::{ListenFlags, SettingFlags, load};
use super::{block_on, fail, say};

/// A worker shows that it is alive every five seconds; after this time without, it is considered hung.
const SILENT: Duration = Duration::from_mins(2);

/// Arguments of `vgpo health`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    client: ClientFlags,
    /// Check the worker of this data folder (`VGPO_DATA_DIR`) instead of a server.
    #[arg(long)]
    worker: bool,
}

/// Prints the result of `/readyz`; fails if the server is not ready.
pub fn run(args: &Args) -> ExitCode {
    if args.worker {
        return worker();
    }
    let client = Client::new(&args.client.server);
    match block_on(async { client.get("/readyz").await.map_err(|error| error.to_string()) }) {
        Ok(told) if args.client.json => say(told),
        Ok(_) => say("ready"),
        Err(error) => fail(error),
    }
}

fn worker() -> ExitCode {
    let settings = match load(&SettingFlags::default(), &ListenFlags::default()) {
        Ok(settings) => settings,
        Err(error) => return fail(error),
    };
    let locks = settings.data_dir.join("locks");
    if is_alive(&locks, SILENT) {
        return say("alive");
    }
    fail(format!("no worker of {} has sent a sign of life for {} seconds", locks.display(), SILENT.as_secs()))
}
