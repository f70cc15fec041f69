//! The command line: one file per command.

mod explain;
mod reward;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Train vision-language models that keep looking at the image, and serve them with attention maps.
#[derive(Debug, Parser)]
#[command(name = "vgpo", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show every intermediate of VGPO for one group of responses (JSON in, JSON out).
    Explain(explain::Args),
    /// Judge responses: rows `{"response", "ground_truth"}` in, rows `{"reward", "parts", "extracted"}` out (JSON lines).
    Reward(reward::Args),
}

impl Cli {
    /// Runs the chosen command.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Explain(args) => explain::run(&args),
            Command::Reward(args) => reward::run(&args),
        }
    }
}

/// Says on standard error why a command failed.
#[allow(clippy::print_stderr)]
fn fail(message: impl std::fmt::Display) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::FAILURE
}
