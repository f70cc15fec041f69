//! `vgpo datasets preview`: rows of a generated task as pictures and text, without a server.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::data::{self, Split};
use serde_json::json;

use super::say;

/// Arguments of `vgpo datasets preview`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task, e.g. `objects`.
    name: String,
    /// Folder for the pictures and `rows.jsonl`, which can be uploaded as a data set.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Show held-out rows.
    #[arg(long)]
    eval: bool,
    /// Rows to show.
    #[arg(long, default_value_t = 8)]
    limit: u64,
    /// The first row to show.
    #[arg(long, default_value_t = 0)]
    after: u64,
}

/// Writes the rows.
pub(super) fn run(args: &Args) -> Result<ExitCode, String> {
    let (split, part) = if args.eval { (Split::Eval, "eval") } else { (Split::Train, "train") };
    let dataset = data::open(&args.name).map_err(|error| error.to_string())?;
    let fault = |path: &Path, error: &dyn std::fmt::Display| format!("cannot write {}: {error}", path.display());
    std::fs::create_dir_all(&args.out).map_err(|error| fault(&args.out, &error))?;
    let list = args.out.join("rows.jsonl");
    let mut lines = Vec::new();
    for index in args.after..args.after.saturating_add(args.limit).min(dataset.len(split)) {
        let row = dataset.example(split, index).map_err(|error| error.to_string())?;
        let mut names = Vec::new();
        for (at, image) in row.images.iter().enumerate() {
            let number = if row.images.len() == 1 { String::new() } else { format!("-{at}") };
            let name = format!("{}-{part}-{index}{number}.png", args.name);
            let path = args.out.join(&name);
            image.save(&path).map_err(|error| fault(&path, &error))?;
            names.push(name);
        }
        say(format!("{}  {}  -> {}", names.join(" "), row.prompt, row.answer()));
        let line = json!({
            "problem": row.prompt, "answer": row.answer(), "images": names, "demonstration": row.demonstration,
            "tags": row.tags, "split": part,
        });
        lines.push(line.to_string());
    }
    let written = std::fs::File::create(&list).and_then(|mut file| writeln!(file, "{}", lines.join("\n")));
    written.map_err(|error| fault(&list, &error))?;
    Ok(ExitCode::SUCCESS)
}
