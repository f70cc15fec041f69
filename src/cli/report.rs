//! `vgpo runs report`: a run as one HTML file.

use std::path::PathBuf;
use std::process::ExitCode;

use super::client::Client;
use super::files::{refuse_existing, write_whole};
use super::say;

/// Arguments of `vgpo runs report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run.
    id: String,
    /// Where to write it.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// Replace a file that is there.
    #[arg(long)]
    force: bool,
}

/// Downloads the report and writes it atomically.
pub async fn run(args: &Args, server: &str) -> Result<ExitCode, String> {
    refuse_existing(&args.out, args.force)?;
    let path = format!("/v1/runs/{}/report", args.id);
    let page = Client::new(server).text(&path).await.map_err(|error| error.to_string())?;
    write_whole(&args.out, page.as_bytes())?;
    Ok(say(format!("wrote {}", args.out.display())))
}
