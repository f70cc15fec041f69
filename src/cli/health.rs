//! `vgpo health`: can the server do its work? For health checks of containers.

use std::process::ExitCode;

use super::client::{Client, ClientFlags};
use super::{block_on, fail, say};

/// Arguments of `vgpo health`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    client: ClientFlags,
}

/// Says what `/readyz` tells; fails when the server is not ready.
pub fn run(args: &Args) -> ExitCode {
    let client = Client::new(&args.client.server);
    match block_on(async { client.get("/readyz").await.map_err(|error| error.to_string()) }) {
        Ok(told) if args.client.json => say(told),
        Ok(_) => say("ready"),
        Err(error) => fail(error),
    }
}
