//! `vgpo datasets`: upload, register, list, view and delete data sets of a server.

mod parts;
mod preview;
mod upload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::client::{Client, ClientFlags};
use super::hub::origin;
use super::jobs::text;
use super::listing::{self, Column};
use super::{block_on, fail, say, table};
use crate::config::datasets::EVAL_SHARE;

/// Polling interval of a check in progress.
const POLL: Duration = Duration::from_millis(500);

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("SOURCE", "source"),
    ("TRAIN", "train_rows"),
    ("EVAL", "eval_rows"),
];

/// Arguments of `vgpo datasets`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Upload files: .jsonl, .parquet and .zip files, images, or folders of them.
    Upload {
        /// Files and folders; a single folder is the data set itself, otherwise folder names are part of the paths.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Send in parts: a broken connection only costs one part, and the same command resumes after an interruption.
        #[arg(long)]
        parts: bool,
        #[command(flatten)]
        fields: Fields,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Register a folder or file of the server's machine in place, or a repository of a hub.
    Register {
        /// Its path there, below one of the server's `dataset_roots`, or `hf:org/name@revision`.
        source: String,
        /// Use only the files of this folder of the repository.
        #[arg(long)]
        folder: Option<String>,
        #[command(flatten)]
        fields: Fields,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// List data sets.
    List {
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Show a data set with the report of its check.
    Show {
        /// Its name or id.
        id: String,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Show rows.
    Rows {
        /// Its name or id.
        id: String,
        /// Show held-out rows.
        #[arg(long)]
        eval: bool,
        /// Number of rows.
        #[arg(long, default_value_t = 10)]
        limit: u32,
        /// The first row to show.
        #[arg(long, default_value_t = 0)]
        after: u64,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Write rows of a generated task as pictures and text; needs no server.
    Preview(preview::Args),
    /// Delete a data set and its uploaded files.
    Delete {
        /// Its name or id.
        id: String,
        #[command(flatten)]
        client: ClientFlags,
    },
}

/// Fields of a registration.
#[derive(Debug, clap::Args)]
struct Fields {
    /// Its name; by default that of the first file.
    #[arg(long)]
    name: Option<String>,
    /// The project it belongs to.
    #[arg(long)]
    project: Option<String>,
    /// A description for display.
    #[arg(long)]
    description: Option<String>,
    /// A column with another name, e.g. `--column prompt=question`.
    #[arg(long = "column", value_name = "ROLE=NAME")]
    columns: Vec<String>,
    /// How training and held-out rows are distinguished: auto, train, eval or `held_out`.
    #[arg(long)]
    split: Option<String>,
    /// The column with a row's split; empty: none.
    #[arg(long)]
    split_column: Option<String>,
    #[arg(long, help = format!("Share of the rows that is held out, where neither files nor a column give the split: \
                               {}", EVAL_SHARE.describe()))]
    eval_share: Option<f64>,
    /// Seed of the split.
    #[arg(long)]
    seed: Option<u64>,
    /// The model whose tokens are counted.
    #[arg(long)]
    model: Option<String>,
    /// What becomes of rows that cannot be used: refuse (the data set is invalid) or `leave_out`.
    #[arg(long, value_name = "refuse|leave_out")]
    bad_rows: Option<String>,
    /// Wait until every row was checked; the exit code says whether the data set can be used.
    #[arg(long)]
    wait: bool,
}

impl Fields {
    /// The given fields in the format of the API.
    fn json(&self) -> Result<Map<String, Value>, String> {
        let mut fields = Map::new();
        let texts = [
            ("name", &self.name),
            ("project", &self.project),
            ("description", &self.description),
            ("split", &self.split),
            ("split_column", &self.split_column),
            ("model", &self.model),
            ("bad_rows", &self.bad_rows),
        ];
        fields.extend(texts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?)))));
        if let Some(share) = self.eval_share {
            fields.insert("eval_share".to_owned(), json!(share));
        }
        if let Some(seed) = self.seed {
            fields.insert("seed".to_owned(), json!(seed));
        }
        let mut columns = Map::new();
        for column in &self.columns {
            let (role, name) =
                column.split_once('=').ok_or_else(|| format!("`--column {column}` must be ROLE=NAME"))?;
            columns.insert(role.to_owned(), json!(name));
        }
        if !columns.is_empty() {
            fields.insert("columns".to_owned(), Value::Object(columns));
        }
        Ok(fields)
    }
}

type Outcome = Result<ExitCode, Box<dyn std::error::Error + Send + Sync>>;

/// Runs `vgpo datasets`.
pub fn run(args: &Args) -> ExitCode {
    let done = block_on(async {
        match &args.action {
            Action::Upload { paths, parts, fields, client } => {
                let (server, files) = (Client::new(&client.server), upload::sources(paths)?);
                let entry = if *parts {
                    parts::send(&server, fields.json()?, &files).await?
                } else {
                    let form = upload::Form::new(fields.json()?, &files);
                    server.post_form("/v1/datasets", form.boundary(), form.body()).await?
                };
                registered(&entry, fields.wait, client).await
            }
            Action::Register { source, folder, fields, client } => {
                let (mut body, mut origin) = (fields.json()?, origin(source)?);
                if let Some(folder) = folder {
                    origin["folder"] = json!(folder);
                }
                body.insert("source".to_owned(), origin);
                let entry = Client::new(&client.server).post("/v1/datasets", &Value::Object(body)).await?;
                registered(&entry, fields.wait, client).await
            }
            Action::List { client } => listing::list("/v1/datasets", COLUMNS, client).await,
            Action::Show { id, client } => listing::show(&format!("/v1/datasets/{id}"), client).await,
            Action::Rows { id, eval, limit, after, client } => {
                let split = if *eval { "eval" } else { "train" };
                rows(&format!("/v1/datasets/{id}/rows?split={split}&limit={limit}&after={after}"), client).await
            }
            Action::Preview(args) => Ok(preview::run(args)?),
            Action::Delete { id, client } => {
                Client::new(&client.server).delete(&format!("/v1/datasets/{id}")).await?;
                Ok(say(format!("Deleted {id}")))
            }
        }
    });
    done.unwrap_or_else(fail)
}

/// Reports the result of a registration; fails if it is invalid.
async fn registered(entry: &Value, wait: bool, flags: &ClientFlags) -> Outcome {
    let mut entry = entry.clone();
    let path = format!("/v1/datasets/{}", text(&entry, "id"));
    let under_way = |entry: &Value| matches!(entry["state"].as_str(), Some("uploading" | "validating"));
    while wait && under_way(&entry) {
        tokio::time::sleep(POLL).await;
        entry = Client::new(&flags.server).get(&path).await?;
    }
    if flags.json {
        say(&entry);
    } else {
        let [id, name, state] = ["id", "name", "state"].map(|name| text(&entry, name));
        say(format!("{id}  {name}  {state}"));
        report(&entry);
    }
    Ok(if entry["state"] == "invalid" { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Prints the report of the check, if it has finished.
fn report(entry: &Value) {
    let report = &entry["report"];
    if report.is_null() {
        return;
    }
    let number = |name: &str| report[name].as_u64().unwrap_or_default();
    say(format!(
        "{} rows ({} training, {} held out), {} images, {} bad rows{}",
        number("rows"),
        entry["train_rows"],
        entry["eval_rows"],
        number("images"),
        number("bad_rows"),
        if number("left_out") > 0 { ", left out" } else { "" }
    ));
    for error in report["errors"].as_array().into_iter().flatten() {
        let row = error["row"].as_u64().map(|row| format!(", row {row}")).unwrap_or_default();
        say(format!("  {}{row}: {}", text(error, "file"), text(error, "problem")));
    }
}

async fn rows(path: &str, flags: &ClientFlags) -> Outcome {
    let page = Client::new(&flags.server).get(path).await?;
    if flags.json {
        return Ok(say(&page));
    }
    let line = |row: &Value| {
        let sizes = row["images"].as_array().into_iter().flatten();
        let sizes: Vec<String> = sizes.map(|image| format!("{}x{}", image["width"], image["height"])).collect();
        let short = |name: &str| text(row, name).replace('\n', " ").chars().take(60).collect::<String>();
        vec![text(row, "row"), sizes.join(" "), short("prompt"), short("answer")]
    };
    let rows = page["data"].as_array().into_iter().flatten().map(line).collect();
    Ok(table(&["ROW", "IMAGES", "PROMPT", "ANSWER"], rows))
}
