//! `vgpo runs report`: a run as one HTML file.

use std::path::PathBuf;
use std::process::ExitCode;

use super::client::Client;
use super::say;

/// Arguments of `vgpo runs report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run.
    id: String,
    /// Where to write it.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
}

/// Fetches the report and writes it; an existing file is replaced as a whole or not at all.
pub async fn run(args: &Args, server: &str) -> Result<ExitCode, String> {
    let path = format!("/v1/runs/{}/report", args.id);
    let page = Client::new(server).text(&path).await.map_err(|error| error.to_string())?;
    write(&args.out, &page).map_err(|error| format!("cannot write {}: {error}", args.out.display()))?;
    Ok(say(format!("wrote {}", args.out.display())))
}

fn write(out: &std::path::Path, page: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(page.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(out).map(drop).map_err(|error| error.error)
}
