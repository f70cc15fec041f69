//! `vgpo runs samples`: the samples of a run token by token, as CSV or Parquet.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::client::Client;
use super::eval_rows::copy;
use super::files::{Draft, refuse_existing};
use super::say;
use crate::domain::page::Listing;
use crate::domain::sample::SampleRecord;
use crate::export::TokenFile;

/// Arguments of `vgpo runs samples`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run.
    id: String,
    /// Output file, whose name ends in `.csv` or `.parquet`; by default CSV is printed.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Only samples of this step.
    #[arg(long)]
    step: Option<u64>,
    /// Replace a file that is there.
    #[arg(long)]
    force: bool,
}

/// Samples per request.
const PAGE: u32 = 8;

/// Writes the table; an output file is written atomically.
pub async fn run(args: &Args, server: &str) -> Result<ExitCode, String> {
    let step = args.step.map(|step| format!("step={step}")).unwrap_or_default();
    let table = format!("/v1/runs/{}/samples.csv?{step}", args.id);
    let Some(to) = &args.to else {
        copy(server, &table, &mut std::io::stdout()).await?;
        return Ok(ExitCode::SUCCESS);
    };
    refuse_existing(to, args.force)?;
    let tokens = match to.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => {
            let mut draft = Draft::of(to)?;
            let lines = copy(server, &table, draft.file()).await?;
            draft.keep()?;
            lines.saturating_sub(1) as u64
        }
        Some("parquet") => parquet(&Client::new(server), &args.id, &step, to).await?,
        _ => return Err(format!("{}: the name must end in .csv or .parquet", to.display())),
    };
    Ok(say(format!("wrote {}: {tokens} tokens", to.display())))
}

async fn parquet(client: &Client, id: &str, step: &str, to: &Path) -> Result<u64, String> {
    let mut draft = Draft::of(to)?;
    let mut file = TokenFile::create(draft.file()).map_err(|error| error.to_string())?;
    let mut after = String::new();
    loop {
        let path = format!("/v1/runs/{id}/samples?limit={PAGE}&{step}{after}");
        let page = client.get(&path).await.map_err(|error| error.to_string())?;
        let page: Listing<SampleRecord> =
            serde_json::from_value(page).map_err(|error| format!("the samples cannot be read: {error}"))?;
        page.data.iter().try_for_each(|record| file.add(record)).map_err(|error| error.to_string())?;
        let Some(next) = page.next else { break };
        after = format!("&after={next}");
    }
    let tokens = file.finish().map_err(|error| error.to_string())?;
    draft.keep()?;
    Ok(tokens)
}
