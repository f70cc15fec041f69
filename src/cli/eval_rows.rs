//! `vgpo runs rows`: the answers of an evaluation as JSON lines.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use futures_util::StreamExt as _;

use super::client::Client;
use super::files::Draft;
use super::say;

/// Arguments of `vgpo runs rows`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run, of a job of method `eval`.
    id: String,
    /// Output file; by default they are printed.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// Streams the rows; an output file is written atomically.
pub async fn run(args: &Args, server: &str) -> Result<ExitCode, String> {
    let path = format!("/v1/runs/{}/rows", args.id);
    let Some(to) = &args.to else {
        copy(server, &path, &mut std::io::stdout()).await?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut draft = Draft::of(to)?;
    let rows = copy(server, &path, draft.file()).await?;
    draft.keep()?;
    Ok(say(format!("wrote {}: {rows} rows", to.display())))
}

/// Copies the body of `path`; returns the number of lines.
async fn copy(server: &str, path: &str, out: &mut impl Write) -> Result<usize, String> {
    let mut blocks = Client::new(server).bytes(path).await.map_err(|error| error.to_string())?;
    let mut lines = 0;
    while let Some(block) = blocks.next().await {
        let block = block.map_err(|error| format!("the server's answer was interrupted: {error}"))?;
        lines += block.split(|byte| *byte == b'\n').count() - 1;
        out.write_all(&block).map_err(|error| format!("cannot write the rows: {error}"))?;
    }
    out.flush().map_err(|error| format!("cannot write the rows: {error}"))?;
    Ok(lines)
}
