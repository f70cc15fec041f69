//! `vgpo sweeps`: one job over a grid of settings.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::client::{Client, ClientFlags};
use super::jobs::{Outcome, read_json, set, text};
use super::{block_on, fail, listing, plan, say, table};

/// Arguments of `vgpo sweeps`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Submit a job for every combination of values.
    Submit(Submit),
    /// List sweeps, newest first.
    List {
        /// Number of entries.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Show the state of a sweep's points, or compare them by a metric.
    Show {
        /// The sweep.
        id: String,
        /// A metric to compare by, e.g. `eval/accuracy`: its mean and 95% interval at the last step of each group.
        #[arg(long)]
        key: Option<String>,
        /// Settings that define the groups, separated by commas, e.g. `method.type`.
        #[arg(long, requires = "key")]
        group_by: Option<String>,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Delete a sweep with its runs, once all of its jobs have ended.
    Delete {
        /// The sweep.
        id: String,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Cancel every job of a sweep that has not ended.
    Cancel {
        /// The sweep.
        id: String,
        #[command(flatten)]
        client: ClientFlags,
    },
}

#[derive(Debug, clap::Args)]
struct Submit {
    /// A job, or a whole sweep `{"job", "grid"}`, as JSON; `-` reads standard input. Without it, give --model and
    /// --dataset.
    #[arg(value_name = "FILE|-")]
    spec: Option<String>,
    /// The model to start from.
    #[arg(long)]
    model: Option<String>,
    /// The data set to train on.
    #[arg(long)]
    dataset: Option<String>,
    /// Another setting of every job, e.g. `--set steps=80`; the value is JSON or plain text.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// A varied setting, e.g. `--vary seed=0,1,2` or `--vary method.type=vgpo,grpo`; a JSON list works as well.
    #[arg(long = "vary", value_name = "NAME=VALUES")]
    grid: Vec<String>,
    /// A display name.
    #[arg(long)]
    name: Option<String>,
    /// Check every point and print the number of jobs and their work; nothing is submitted.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    client: ClientFlags,
}

/// Runs `vgpo sweeps`.
pub fn run(args: &Args) -> ExitCode {
    let done = block_on(async {
        match &args.action {
            Action::Submit(args) => submit(args).await,
            Action::List { limit, client } => list(*limit, client).await,
            Action::Show { id, key: None, client, .. } => show(id, client).await,
            Action::Show { id, key: Some(key), group_by, client } => {
                compare(id, key, group_by.as_deref(), client).await
            }
            Action::Cancel { id, client } => cancel(id, client).await,
            Action::Delete { id, client } => {
                Client::new(&client.server).delete(&format!("/v1/sweeps/{id}")).await?;
                Ok(say(format!("Deleted {id}")))
            }
        }
    });
    done.unwrap_or_else(fail)
}

fn read_request(args: &Submit) -> Result<Value, String> {
    let given = args.spec.as_deref().map_or_else(|| Ok(json!({})), read_json)?;
    let mut request = if given.get("job").is_some() { given } else { json!({"job": given}) };
    let mut job = request["job"].take();
    for (name, value) in [("model", &args.model), ("dataset", &args.dataset)] {
        if let Some(value) = value {
            set(&mut job, name, json!(value))?;
        }
    }
    let pair = |flag: &str, text: &str| {
        let pair = text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        pair.ok_or_else(|| format!("`{flag} {text}` must be NAME=VALUE"))
    };
    for text in &args.settings {
        let (name, value) = pair("--set", text)?;
        set(&mut job, &name, plain(&value))?;
    }
    request["job"] = job;
    let mut grid = request["grid"].as_object().cloned().unwrap_or_else(Map::new);
    for text in &args.grid {
        let (name, values) = pair("--vary", text)?;
        let listed = plain(&values);
        let listed = if listed.is_array() { listed } else { values.split(',').map(plain).collect() };
        grid.insert(name, listed);
    }
    request["grid"] = Value::Object(grid);
    if let Some(name) = &args.name {
        request["name"] = json!(name);
    }
    Ok(request)
}

/// Parses JSON if possible, else returns the text.
fn plain(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

async fn submit(args: &Submit) -> Outcome {
    let request = read_request(args)?;
    let path = if args.dry_run { "/v1/sweeps?dry_run=true" } else { "/v1/sweeps" };
    let sweep = Client::new(&args.client.server).post(path, &request).await?;
    if args.client.json {
        return Ok(say(&sweep));
    }
    if args.dry_run {
        let limit = text(&sweep, "max_points");
        say(format!("{}: {} jobs of at most {limit}", text(&sweep, "name"), text(&sweep, "points")));
        say(plan::work(&sweep["work"]));
    } else {
        say(format!("{}  {}  {} jobs", text(&sweep, "id"), text(&sweep, "name"), text(&sweep, "points")));
    }
    for warning in sweep["warnings"].as_array().into_iter().flatten() {
        say(format!("warning: {}: {}", text(warning, "pointer"), text(warning, "detail")));
    }
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let jobs = sweep["jobs"].as_array().into_iter().flatten();
    Ok(table(&["JOB", "NAME"], jobs.map(|job| ["id", "name"].map(|name| text(job, name)).to_vec()).collect()))
}

async fn list(limit: u32, flags: &ClientFlags) -> Outcome {
    let columns = [("ID", "id"), ("NAME", "name"), ("POINTS", "points"), ("STATES", "states")];
    listing::list(&format!("/v1/sweeps?limit={limit}"), &columns, flags).await
}

async fn show(id: &str, flags: &ClientFlags) -> Outcome {
    let sweep = Client::new(&flags.server).get(&format!("/v1/sweeps/{id}")).await?;
    if flags.json {
        return Ok(say(&sweep));
    }
    let columns = [
        ("RUN", "id"),
        ("STATE", "state"),
        ("SETTINGS", "settings"),
        ("STEP", "last_step"),
        ("ACCURACY", "last_accuracy"),
        ("BEST ACCURACY", "best_accuracy"),
    ];
    Ok(listing::entries(&sweep["runs"], &columns))
}

async fn compare(id: &str, key: &str, group_by: Option<&str>, flags: &ClientFlags) -> Outcome {
    let groups = group_by.map(|settings| format!("&group_by={settings}")).unwrap_or_default();
    let compared = Client::new(&flags.server).get(&format!("/v1/metrics?sweep={id}&key={key}{groups}")).await?;
    if flags.json {
        return Ok(say(&compared));
    }
    let row = |group: &Value| {
        let last = group["points"].as_array().and_then(|points| points.last()).cloned().unwrap_or_default();
        let number = |name: &str| last[name].as_f64().map(|value| format!("{value:.4}")).unwrap_or_default();
        vec![text(group, "label"), text(&last, "step"), text(&last, "n"), number("mean"), number("low"), number("high")]
    };
    let rows = compared["groups"].as_array().into_iter().flatten().map(row).collect();
    Ok(table(&["GROUP", "STEP", "RUNS", "MEAN", "LOW", "HIGH"], rows))
}

async fn cancel(id: &str, flags: &ClientFlags) -> Outcome {
    let sweep = Client::new(&flags.server).post(&format!("/v1/sweeps/{id}/cancel"), &json!({})).await?;
    Ok(if flags.json { say(&sweep) } else { say(format!("{id}: {}", listing::cell(&sweep, "states"))) })
}
