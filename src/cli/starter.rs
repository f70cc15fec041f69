//! `vgpo starter build`: builds the starter model from scratch.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::starter::build::build;
use crate::starter::family::StarterFamily;
use crate::starter::recipe::Recipe;

use super::fail;
use super::progress::Foreground;

/// Arguments of `vgpo starter`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Build the starter: vision pre-training, then supervised training on forgetful demonstrations (minutes).
    Build {
        /// The folder to write; must not exist.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// What it is made of, as a `model_type`: `qwen2_5_vl`, which the starter that ships is, or `qwen3_5`.
        #[arg(long, value_name = "TYPE", default_value = StarterFamily::ALL[0].0, value_parser = StarterFamily::named)]
        family: StarterFamily,
        /// Seed of everything random.
        #[arg(long)]
        seed: Option<u64>,
        /// Steps of vision pre-training.
        #[arg(long)]
        vision_steps: Option<u64>,
        /// Steps of supervised training.
        #[arg(long)]
        sft_steps: Option<u64>,
    },
}

/// Builds the starter.
#[allow(clippy::print_stdout)]
pub fn run(args: &Args) -> ExitCode {
    let Command::Build { out, family, seed, vision_steps, sft_steps } = &args.command;
    let default = Recipe::default();
    let recipe = Recipe {
        family: *family,
        seed: seed.unwrap_or(default.seed),
        vision_steps: vision_steps.unwrap_or(default.vision_steps),
        sft_steps: sft_steps.unwrap_or(default.sft_steps),
        ..default
    };
    let logs = match tempfile::tempdir() {
        Ok(logs) => logs,
        Err(error) => return fail(error),
    };
    let mut sink = Foreground::new(logs.path(), recipe.sft_steps, Arc::new(AtomicBool::new(false)), false);
    match build(out, &recipe, &mut sink) {
        Ok(built) => {
            println!(
                "vision names {:.1}% of held-out digits; the starter answers {} of held-out questions; written to {}",
                100.0 * built.vision_accuracy,
                built.accuracy.map_or("an unknown share".to_owned(), |a| format!("{:.1}%", 100.0 * a)),
                out.display()
            );
            ExitCode::SUCCESS
        }
        Err(error) => fail(error),
    }
}
