//! `vgpo runs export`: a run in the formats of other programs.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::export::{ExportFormat, ExportedRun, write};

use super::client::Client;
use super::say;

/// Arguments of `vgpo runs export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run.
    id: String,
    /// Output format.
    #[arg(long)]
    format: Format,
    /// Output folder, or for csv the output file; must not exist. To an MLflow store that exists the run is added.
    #[arg(long, value_name = "PATH")]
    to: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// An event file, for `tensorboard --logdir PATH`.
    Tensorboard,
    /// A file store, for `mlflow ui --backend-store-uri PATH`.
    Mlflow,
    /// A table with one line per step and one column per key.
    Csv,
}

/// Fetches the run and writes it.
pub async fn run(args: &Args, server: &str) -> Result<ExitCode, String> {
    let client = Client::new(server);
    let told = |error: super::client::ClientError| error.to_string();
    let run = client.get(&format!("/v1/runs/{}", args.id)).await.map_err(told)?;
    let job = run["job_id"].as_str().unwrap_or_default();
    let job = client.get(&format!("/v1/jobs/{job}")).await.map_err(told)?;
    let csv = client.text(&format!("/v1/runs/{}/metrics.csv", args.id)).await.map_err(told)?;
    let run = ExportedRun::read(&run, &job, csv).map_err(|error| error.to_string())?;
    let format = match args.format {
        Format::Tensorboard => ExportFormat::Tensorboard,
        Format::Mlflow => ExportFormat::Mlflow,
        Format::Csv => ExportFormat::Csv,
    };
    write(&run, format, &args.to).map_err(|error| error.to_string())?;
    Ok(say(format!("wrote {}: {} steps", args.to.display(), run.rows.len())))
}
