//! `vgpo checkpoints`: list, download, serve and delete checkpoints of a server.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use futures_util::StreamExt as _;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::client::{Client, ClientFlags};
use super::files::Draft;
use super::jobs::{Outcome, text};
use super::{block_on, fail, listing, say};
use crate::domain::model_reference::ModelReference;

/// Arguments of `vgpo checkpoints`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List checkpoints, newest first.
    List {
        /// Only those of this run.
        #[arg(long)]
        run: Option<String>,
        /// Number of entries.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Show a checkpoint with its files.
    Show {
        /// The checkpoint.
        id: String,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Save a checkpoint as a tar file in the Hugging Face layout.
    Download {
        /// The checkpoint.
        id: String,
        /// The file [default: its id with `.tar`]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Also the trainer's own files: optimizer, position, job.
        #[arg(long)]
        trainer: bool,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Serve a checkpoint under a model name.
    Promote {
        /// The checkpoint.
        id: String,
        /// The name.
        name: String,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Stop serving a checkpoint under its model name; the checkpoint is kept.
    Withdraw {
        /// The checkpoint, or the model name that it is served under.
        id: String,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Delete a checkpoint that is not in use.
    Delete {
        /// The checkpoint.
        id: String,
        #[command(flatten)]
        client: ClientFlags,
    },
}

/// Runs `vgpo checkpoints`.
pub fn run(args: &Args) -> ExitCode {
    let done = block_on(async {
        match &args.action {
            Action::List { run, limit, client } => list(run.as_deref(), *limit, client).await,
            Action::Show { id, client } => listing::show(&format!("/v1/checkpoints/{id}"), client).await,
            Action::Withdraw { id, client } => withdraw(id, client).await,
            Action::Download { id, out, trainer, client } => download(id, out.as_deref(), *trainer, client).await,
            Action::Promote { id, name, client } => promote(id, name, client).await,
            Action::Delete { id, client } => {
                Client::new(&client.server).delete(&format!("/v1/checkpoints/{id}")).await?;
                Ok(say(format!("Deleted {id}")))
            }
        }
    });
    done.unwrap_or_else(fail)
}

async fn list(run: Option<&str>, limit: u32, flags: &ClientFlags) -> Outcome {
    let filter = run.map(|run| format!("&run={run}")).unwrap_or_default();
    let columns = [
        ("ID", "id"),
        ("RUN", "run"),
        ("STEP", "step"),
        ("ACCURACY", "accuracy"),
        ("BEST", "best"),
        ("LAST", "last"),
        ("SERVED AS", "promoted_as"),
    ];
    let client = Client::new(&flags.server);
    let mut answer = client.get(&format!("/v1/checkpoints?limit={limit}{filter}")).await?;
    if flags.json {
        return Ok(say(&answer));
    }
    let mut names = HashMap::new();
    for checkpoint in answer["data"].as_array_mut().into_iter().flatten() {
        let run = text(checkpoint, "run_id");
        if !names.contains_key(&run) {
            names.insert(run.clone(), client.get(&format!("/v1/runs/{run}")).await?["name"].take());
        }
        checkpoint["run"] = names[&run].clone();
    }
    Ok(listing::entries(&answer["data"], &columns))
}

/// Writes to a temporary file first, so that a file with this name is always complete.
async fn download(id: &str, out: Option<&Path>, trainer: bool, flags: &ClientFlags) -> Outcome {
    let out = out.map_or_else(|| PathBuf::from(format!("{id}.tar")), Path::to_path_buf);
    let mut draft = Draft::of(&out)?;
    let path = format!("/v1/checkpoints/{id}/download?trainer={trainer}");
    let mut bytes = Client::new(&flags.server).bytes(&path).await?;
    let mut file = tokio::fs::File::from_std(draft.file().reopen()?);
    while let Some(chunk) = bytes.next().await {
        file.write_all(&chunk?).await?;
    }
    file.flush().await?;
    draft.keep()?;
    Ok(say(out.display()))
}

async fn promote(id: &str, name: &str, flags: &ClientFlags) -> Outcome {
    let body = json!({"name": name});
    let promoted = Client::new(&flags.server).post(&format!("/v1/checkpoints/{id}/promote"), &body).await?;
    Ok(if flags.json { say(&promoted) } else { say(format!("{id} is served as {name}")) })
}

async fn withdraw(id: &str, flags: &ClientFlags) -> Outcome {
    let client = Client::new(&flags.server);
    let id = match id.parse()? {
        ModelReference::Checkpoint(id) => id,
        _ => served_as(&client, id).await?,
    };
    let withdrawn = client.delete_answered(&format!("/v1/checkpoints/{id}/promote")).await?;
    Ok(if flags.json { say(&withdrawn) } else { say(format!("{id} is no longer served")) })
}

/// The checkpoint that is served under this model name.
async fn served_as(client: &Client, name: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let model = client.get(&format!("/v1/models/{name}")).await?;
    if model["trained"].is_object() {
        return Ok(text(&model, "source"));
    }
    Err(format!("model `{name}` is not a served checkpoint; `vgpo models delete {name}` unregisters a model").into())
}
