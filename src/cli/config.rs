//! `vgpo config`: the program's settings and their origins.

use std::process::ExitCode;

use serde_json::json;

use super::settings::{ListenFlags, SettingFlags, load};
use super::settings_document::document;
use super::{fail, say};

/// Arguments of `vgpo config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print every setting with its origin; secrets are masked.
    Show(Box<Show>),
    /// Print docs/settings.md: every setting of jobs and of the program.
    Document,
}

#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    flags: SettingFlags,
    #[command(flatten)]
    listen: ListenFlags,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the settings.
pub fn run(args: &Args) -> ExitCode {
    let Action::Show(show) = &args.action else {
        return match document() {
            Ok(text) => say(text.trim_end()),
            Err(error) => fail(error),
        };
    };
    let settings = match load(&show.flags, &show.listen) {
        Ok(settings) => settings,
        Err(error) => return fail(error),
    };
    if show.json {
        let entries = settings.shown().iter();
        let entries: Vec<_> = entries
            .map(|shown| json!({"key": shown.key, "value": shown.value, "origin": shown.source.to_string()}))
            .collect();
        return say(json!(entries));
    }
    let width = settings.shown().iter().map(|shown| shown.key.len()).max().unwrap_or_default();
    let lines =
        settings.shown().iter().map(|shown| format!("{:width$}  {}  ({})", shown.key, shown.value, shown.source));
    say(lines.collect::<Vec<_>>().join("\n"))
}
