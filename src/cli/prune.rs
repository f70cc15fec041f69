//! `vgpo prune`: one pass of the retention policy.

use std::process::ExitCode;
use std::sync::Arc;

use crate::clock::SystemClock;
use crate::domain::retention::{Pruned, RetentionPolicy};
use crate::service::Service;
use crate::service::admin::storage::ORPHANS_STAY_AT_LEAST;

use super::settings::{ListenFlags, SettingFlags, load};
use super::{block_on, fail, say};

/// Arguments of `vgpo prune`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: SettingFlags,
    /// Also delete artifacts without a record that were first found at least ten minutes ago (a server does this after
    /// a week).
    #[arg(long)]
    orphans: bool,
    /// First take the artifacts over from another database that no longer exists.
    #[arg(long)]
    adopt: bool,
}

/// Deletes results older than the retention settings, and prints how many.
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
        let pruned = prune(&service, &policy, args).await.map_err(|error| error.to_string())?;
        service.database().close().await;
        Ok::<_, String>(pruned)
    });
    match pruned.map(|pruned| serde_json::to_string(&pruned)) {
        Ok(Ok(line)) => say(line),
        Ok(Err(error)) => fail(error),
        Err(error) => fail(error),
    }
}

async fn prune(service: &Service, policy: &RetentionPolicy, args: &Args) -> crate::service::Result<Pruned> {
    if args.adopt {
        service.admin().adopt_artifacts().await?;
    }
    let mut pruned = service.admin().prune(policy).await?;
    service.admin().finish_removals().await?;
    if args.orphans {
        let orphans = service.admin().remove_orphans(ORPHANS_STAY_AT_LEAST).await?;
        pruned.orphans = orphans.removed.len() as u64;
        let waiting = orphans.keys.len() - orphans.removed.len();
        if waiting > 0 {
            let minutes = ORPHANS_STAY_AT_LEAST.as_secs() / 60;
            say(format!(
                "{waiting} more artifacts have no record; they are deleted {minutes} minutes after they were first \
                found"
            ));
        }
    }
    Ok(pruned)
}
