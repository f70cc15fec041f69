//! `vgpo convert`: converts settings of other programs to jobs.

use std::process::ExitCode;

use crate::import::easyr1;

use super::{fail, read_input, say};

/// Arguments of `vgpo convert`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, clap::Subcommand)]
enum From {
    /// A configuration of `EasyR1`, or of the released VGPO code: prints the job, and the skipped settings on standard
    /// error.
    Easyr1 {
        /// The YAML file; `-` reads standard input.
        #[arg(value_name = "FILE|-")]
        file: String,
        /// Settings that override the file, as on their command line, e.g. worker.actor.optim.lr=1e-6.
        #[arg(value_name = "KEY=VALUE")]
        overrides: Vec<String>,
        /// Rows to train on: turns epochs into steps.
        #[arg(long)]
        rows: Option<u64>,
        /// Print job and omissions as one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Converts.
#[allow(clippy::print_stderr)]
pub fn run(args: &Args) -> ExitCode {
    let From::Easyr1 { file, overrides, rows, json } = &args.from;
    let converted = read_input(file)
        .and_then(|text| easyr1::convert(&text, overrides, *rows).map_err(|error| format!("{file}: {error}")));
    let converted = match converted {
        Ok(converted) => converted,
        Err(error) => return fail(error),
    };
    if *json {
        return say(serde_json::to_string_pretty(&converted).unwrap_or_default());
    }
    for dropped in &converted.dropped {
        eprintln!("skipped: {} = {}: {}", dropped.key, dropped.value, dropped.reason);
    }
    say(serde_json::to_string_pretty(&converted.job).unwrap_or_default())
}
