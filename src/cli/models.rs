//! `vgpo models`: list, show, add and delete models of a server.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::client::{Client, ClientFlags};
use super::hub::origin;
use super::jobs::{Outcome, text};
use super::listing::{self, Column};
use super::{block_on, fail, say};

/// Polling interval of a download in progress.
const POLL: Duration = Duration::from_millis(500);

const COLUMNS: &[Column] =
    &[("NAME", "id"), ("STATE", "state"), ("FAMILY", "family"), ("PARAMETERS", "parameters"), ("SOURCE", "source")];

/// Arguments of `vgpo models`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Show this model only.
    id: Option<String>,
    #[command(flatten)]
    client: ClientFlags,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List models, by name.
    List {
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Show a model.
    Show {
        /// Its name.
        id: String,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Register a model: `hf:org/name@revision` of a hub, or a folder of the server's machine below one of its
    /// `model_roots`.
    Add {
        /// Its location.
        source: String,
        /// Its name; by default the hub's `org/name`, or the folder's name.
        #[arg(long)]
        name: Option<String>,
        /// The project it belongs to.
        #[arg(long)]
        project: Option<String>,
        /// Wait until it is ready; the exit code says whether it is.
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Unregister a model, or stop serving a checkpoint under its name; files and checkpoints are kept.
    Delete {
        /// Its name.
        id: String,
        #[command(flatten)]
        client: ClientFlags,
    },
}

/// Runs `vgpo models`.
pub fn run(args: &Args) -> ExitCode {
    let done = block_on(async {
        let action = match (&args.action, &args.id) {
            (Some(action), _) => action,
            (None, Some(id)) => return listing::show(&format!("/v1/models/{id}"), &args.client).await,
            (None, None) => return listing::list("/v1/models", COLUMNS, &args.client).await,
        };
        match action {
            Action::List { client } => listing::list("/v1/models", COLUMNS, client).await,
            Action::Show { id, client } => listing::show(&format!("/v1/models/{id}"), client).await,
            Action::Add { source, name, project, wait, client } => {
                let body = body(source, name.as_deref(), project.as_deref())?;
                let entry = Client::new(&client.server).post("/v1/models", &body).await?;
                added(entry, *wait, client).await
            }
            Action::Delete { id, client } => {
                Client::new(&client.server).delete(&format!("/v1/models/{id}")).await?;
                Ok(say(format!("Deleted {id}")))
            }
        }
    });
    done.unwrap_or_else(fail)
}

fn body(source: &str, name: Option<&str>, project: Option<&str>) -> Result<Value, String> {
    let mut body = Map::new();
    body.insert("source".to_owned(), origin(source)?);
    for (key, value) in [("name", name), ("project", project)] {
        if let Some(value) = value {
            body.insert(key.to_owned(), json!(value));
        }
    }
    Ok(Value::Object(body))
}

/// Reports the result of a registration, and the progress of its download.
async fn added(mut entry: Value, wait: bool, flags: &ClientFlags) -> Outcome {
    let path = format!("/v1/models/{}", text(&entry, "id"));
    let mut told = String::new();
    while wait && entry["state"] == "downloading" {
        tokio::time::sleep(POLL).await;
        entry = Client::new(&flags.server).get(&path).await?;
        let progress = &entry["progress"];
        let line = format!("{} of {}: {}", progress["number"], progress["files"], text(progress, "file"));
        if !flags.json && progress.is_object() && line != told {
            say(&line);
            told = line;
        }
    }
    if flags.json {
        say(&entry);
    } else {
        let [id, state, family, source] = ["id", "state", "family", "source"].map(|name| text(&entry, name));
        say([id, state, family, source, text(&entry, "problem")].join("  ").trim_end());
        for warning in entry["card"]["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            say(format!("  note: {warning}"));
        }
    }
    Ok(if entry["state"] == "failed" { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
