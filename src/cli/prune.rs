//! `vgpo prune`: one pass of the retention policy.

use std::process::ExitCode;
use std::sync::Arc;

use vgpo::clock::SystemClock;
use vgpo::service::Service;

use super::settings::{ListenFlags, SettingFlags, load};
use super::{block_on, fail, say};

/// Arguments of `vgpo prune`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: SettingFlags,
}

/// Removes what is older than the settings keep, and says how much that was.
pub fn run(args: &Args) -> ExitCode {
    let settings = match load(&args.flags, &ListenFlags::default()) {
        Ok(settings) => settings,
        Err(error) => return fail(error),
    };
    let pruned = block_on(async {
        let clock = Arc::new(SystemClock);
        let store = super::open_store(&settings, clock.clone()).await?;
        let policy = settings.retention;
        let service = Service::new(store, clock, settings);
        let pruned = service.prune(&policy).await.map_err(|error| error.to_string())?;
        service.store().close().await;
        Ok::<_, String>(pruned)
    });
    match pruned.map(|pruned| serde_json::to_string(&pruned)) {
        Ok(Ok(line)) => say(line),
        Ok(Err(error)) => fail(error),
        Err(error) => fail(error),
    }
}
