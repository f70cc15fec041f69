//! `vgpo runs rows`: the answers of an evaluation as JSON lines.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use futures_util::StreamExt as _;

use super::client::Client;
use super::files::{Draft, refuse_existing};
use super::say;

/// Arguments of `vgpo runs rows`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run, of a job of method `eval`.
    id: String,
    /// Output file; by default they are printed.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Replace a file that is there.
    #[arg(long)]
    force: bool,
}

/// Streams the rows; an output file is written atomically.
pub async fn run(args: &Args, server: &str) -> Result<ExitCode, String> {
    let path = format!("/v1/runs/{}/rows", args.id);
    let Some(to) = &args.to else {
        copy(server, &path, &mut std::io::stdout()).await?;
        return Ok(ExitCode::SUCCESS);
    };
    refuse_existing(to, args.force)?;
    let mut draft = Draft::of(to)?;
    let rows = copy(server, &path, draft.file()).await?;
    draft.keep()?;
    Ok(say(format!("wrote {}: {rows} rows", to.display())))
}

/// Copies the body of `path`; returns the number of lines.
pub(super) async fn copy(server: &str, path: &str, out: &mut impl Write) -> Result<usize, String> {
    let mut blocks = Client::new(server).bytes(path).await.map_err(|error| error.to_string())?;
    let mut lines = 0;
    while let Some(block) = blocks.next().await {
        let block = block.map_err(|error| format!("the server's answer was interrupted: {error}"))?;
        lines += block.split(|byte| *byte == b'\n').count() - 1;
        match out.write_all(&block) {
            // A reader that went away (`| head`) has what it wanted.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(lines),
            written => written.map_err(|error| format!("cannot write the rows: {error}"))?,
        }
    }
    match out.flush() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(format!("cannot write the rows: {error}")),
        _ => {}
    }
    Ok(lines)
}
