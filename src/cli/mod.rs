//! The command line: one file per command.

mod explain;
mod progress;
mod reward;
mod starter;
mod train;

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
    /// Make the starter model again, from nothing.
    Starter(starter::Args),
    /// Run one job in the foreground, without a server.
    Train(train::Args),
}

impl Cli {
    /// Does the command train, with a graph of its own on every core? Then each graph should compute on one thread.
    pub fn runs_one_graph_per_core(&self) -> bool {
        matches!(self.command, Command::Starter(_) | Command::Train(_))
    }

    /// Runs the chosen command.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Explain(args) => explain::run(&args),
            Command::Reward(args) => reward::run(&args),
            Command::Starter(args) => starter::run(&args),
            Command::Train(args) => train::run(&args),
        }
    }
}

/// Says on standard error why a command failed.
#[allow(clippy::print_stderr)]
fn fail(message: impl std::fmt::Display) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::FAILURE
}

/// The folder of a model that is named on the command line.
fn model_dir(name: &str) -> Result<std::path::PathBuf, String> {
    let path = std::path::PathBuf::from(name);
    if path.join("config.json").is_file() {
        return Ok(path);
    }
    Err(format!("model `{name}` is no folder with a config.json"))
}

/// Runs compute on a thread whose stack is large enough for a backward pass.
fn on_large_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let thread = std::thread::Builder::new().stack_size(256 << 20).spawn(work).map_err(|e| e.to_string())?;
    thread.join().map_err(|_| "the compute thread panicked".to_owned())
}
