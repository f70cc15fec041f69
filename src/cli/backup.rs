//! `vgpo backup` and `vgpo restore`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::backup::{self, BackupManifest, Location, TakeOptions};
use crate::clock::SystemClock;

use super::settings::{ListenFlags, SettingFlags, load};
use super::{block_on, fail, say};

/// Arguments of `vgpo backup`.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    #[command(flatten)]
    flags: SettingFlags,
    /// The backup: a folder that does not exist yet.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Skip artifacts that are damaged in the source, instead of failing.
    #[arg(long)]
    allow_damaged: bool,
}

/// Arguments of `vgpo restore`.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    flags: SettingFlags,
    /// The backup.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Only check that the backup is complete.
    #[arg(long)]
    check: bool,
}

/// Saves database, artifacts and logs while the server is running.
pub fn run_backup(args: &BackupArgs) -> ExitCode {
    let location = match location(&args.flags) {
        Ok(location) => location,
        Err(error) => return fail(error),
    };
    let options = TakeOptions { allow_damaged: args.allow_damaged };
    let taken = block_on(async {
        backup::take(&location, &args.to, options, &SystemClock).await.map_err(|error| error.to_string())
    });
    match taken {
        Ok(manifest) => {
            for key in &manifest.damaged {
                say(format!("skipped, because it is damaged: {key}"));
            }
            say(format!("saved in {}: {}", args.to.display(), summary(&manifest)))
        }
        Err(error) => fail(error),
    }
}

/// Restores a backup into an empty data folder.
pub fn run_restore(args: &RestoreArgs) -> ExitCode {
    if args.check {
        return match BackupManifest::read(&args.from) {
            Ok(manifest) => say(format!("{} is whole: {}", args.from.display(), summary(&manifest))),
            Err(error) => fail(error),
        };
    }
    let location = match location(&args.flags) {
        Ok(location) => location,
        Err(error) => return fail(error),
    };
    let restored = block_on(async { backup::restore(&args.from, &location).await.map_err(|error| error.to_string()) });
    match restored {
        Ok(manifest) => say(format!("restored from {}: {}", args.from.display(), summary(&manifest))),
        Err(error) => fail(error),
    }
}

fn location(flags: &SettingFlags) -> Result<Location, String> {
    let settings = load(flags, &ListenFlags::default()).map_err(|error| error.to_string())?;
    let artifacts = crate::artifacts::open_configured(&settings).map_err(|error| error.to_string())?;
    Ok(Location { database_url: settings.database_url.clone(), artifacts, logs: settings.logs_dir() })
}

fn summary(manifest: &BackupManifest) -> String {
    format!(
        "{} artifacts, {} logs, {:.1} MB, schema {}, as of {}",
        manifest.artifacts.len(),
        manifest.logs.len(),
        manifest.size_bytes() as f64 / 1e6,
        manifest.schema_version,
        manifest.created_at.to_rfc3339()
    )
}
