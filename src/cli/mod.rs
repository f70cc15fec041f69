//! The command line: one file per command.

use clap::{Parser, Subcommand};

/// Train vision-language models that keep looking at the image, and serve them with attention maps.
#[derive(Debug, Parser)]
#[command(name = "vgpo", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {}

impl Cli {
    /// Runs the chosen command.
    pub fn run(self) -> std::process::ExitCode {
        match self.command {}
    }
}
