//! `vgpo rank`: one of the processes of a job of several ranks. Workers start it by their launcher.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::collective::launch;
use crate::worker::ranks::{RankPlan, run_rank};

use super::settings::{ListenFlags, SettingFlags, load};
use super::{fail, on_large_stack, worker};

/// Arguments of `vgpo rank`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: SettingFlags,
    /// What to do, as the worker wrote it.
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
}

/// Runs the rank to its end.
pub fn run(args: &Args) -> ExitCode {
    match rank(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => fail(message),
    }
}

fn rank(args: &Args) -> Result<bool, String> {
    let settings = load(&args.flags, &ListenFlags::default()).map_err(|error| error.to_string())?;
    let _traces = super::logging(&settings)?;
    let text = std::fs::read(&args.plan).map_err(|error| format!("cannot read {}: {error}", args.plan.display()))?;
    let plan: RankPlan = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", args.plan.display()))?;
    let rewards = super::reward_backends(&settings, worker::device(&plan.device)?);
    let ranks = launch::join(settings.ranks.silence).map_err(|error| error.to_string())?;
    on_large_stack(move || run_rank(&plan, ranks, rewards))
}
