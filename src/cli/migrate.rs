//! `vgpo migrate`: bring the database up to date without starting a server.

use std::process::ExitCode;
use std::sync::Arc;

use crate::clock::SystemClock;

use super::settings::{ListenFlags, SettingFlags, load};
use super::{block_on, fail, say};

/// Arguments of `vgpo migrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: SettingFlags,
}

/// Creates the database if needed and brings its schema up to date.
pub fn run(args: &Args) -> ExitCode {
    let settings = match load(&args.flags, &ListenFlags::default()) {
        Ok(settings) => settings,
        Err(error) => return fail(error),
    };
    let done = block_on(async {
        std::fs::create_dir_all(&settings.data_dir)
            .map_err(|error| format!("cannot create the data folder {}: {error}", settings.data_dir.display()))?;
        let store =
            crate::store::open(&settings.database_url, Arc::new(SystemClock)).await.map_err(|e| e.to_string())?;
        store.close().await;
        Ok::<_, String>(())
    });
    match done {
        Ok(()) => say("the database is up to date"),
        Err(error) => fail(error),
    }
}
