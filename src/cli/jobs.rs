//! `vgpo jobs`: submit, list, watch and control jobs of a server.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::client::{Client, ClientError, ClientFlags, Frame};
use super::{block_on, fail, listing, plan, say, watch};

pub use super::listing::{Outcome, text};

/// Arguments of `vgpo jobs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Submit a job.
    Submit(Submit),
    /// List jobs, newest first.
    List {
        /// Only jobs in these states, separated by commas.
        #[arg(long)]
        state: Option<String>,
        /// Number of entries.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Show a job with its settings.
    Show {
        /// The job.
        id: String,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Show a job's events and metrics until it ends.
    Watch {
        /// The job.
        id: String,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Cancel a job.
    Cancel(Ask),
    /// Pause a running job after saving a checkpoint.
    Pause(Ask),
    /// Queue a paused job again.
    Resume(Ask),
    /// Queue a failed or cancelled job again.
    Retry(Ask),
    /// Show a job's log.
    Logs {
        /// The job.
        id: String,
        /// Number of last lines.
        #[arg(long, default_value_t = 200)]
        tail: usize,
        /// Follow the log until the job ends.
        #[arg(long, short)]
        follow: bool,
        #[command(flatten)]
        client: ClientFlags,
    },
}

#[derive(Debug, clap::Args)]
struct Ask {
    /// The job.
    id: String,
    /// Reason; stored with the event.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, clap::Args)]
struct Submit {
    /// The job as JSON; `-` reads standard input. Without it, give --model and --dataset.
    #[arg(value_name = "FILE|-")]
    spec: Option<String>,
    /// The model to start from.
    #[arg(long)]
    model: Option<String>,
    /// The data set to train on.
    #[arg(long)]
    dataset: Option<String>,
    /// Another setting, e.g. `--set steps=80` or `--set method.type=grpo`; the value is JSON or plain text.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Only show the plan: work, memory, first prompt, settings that are not defaults.
    #[arg(long)]
    dry_run: bool,
    /// Wait for its end; the exit code says how it ended.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    client: ClientFlags,
}

/// Runs `vgpo jobs`.
pub fn run(args: &Args) -> ExitCode {
    let done = block_on(async {
        match &args.action {
            Action::Submit(args) => submit(args).await,
            Action::List { state, limit, client } => list(state.as_deref(), *limit, client).await,
            Action::Show { id, client } => listing::show(&format!("/v1/jobs/{id}"), client).await,
            Action::Watch { id, client } => follow(id, client).await,
            Action::Cancel(args) => ask(args, "cancel").await,
            Action::Pause(args) => ask(args, "pause").await,
            Action::Resume(args) => ask(args, "resume").await,
            Action::Retry(args) => ask(args, "retry").await,
            Action::Logs { id, tail, follow, client } => logs(id, *tail, *follow, client).await,
        }
    });
    done.unwrap_or_else(fail)
}

/// The JSON of a file, or of standard input for `-`.
pub fn read_json(source: &str) -> Result<Value, String> {
    serde_json::from_str(&super::read_input(source)?).map_err(|error| format!("{source} is not valid JSON: {error}"))
}

fn read_spec(args: &Submit) -> Result<Value, String> {
    let mut spec = match args.spec.as_deref() {
        None => Value::Object(Map::new()),
        Some(source) => read_json(source)?,
    };
    for (name, value) in [("model", &args.model), ("dataset", &args.dataset)] {
        if let Some(value) = value {
            set(&mut spec, name, json!(value))?;
        }
    }
    for setting in &args.settings {
        let (name, value) = setting.split_once('=').ok_or_else(|| format!("`--set {setting}` must be NAME=VALUE"))?;
        set(&mut spec, name, serde_json::from_str(value).unwrap_or_else(|_| json!(value)))?;
    }
    Ok(spec)
}

/// Sets a value at a path such as `method.type`.
pub fn set(spec: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let mut at = spec;
    for name in path.split('.') {
        let object = at.as_object_mut().ok_or_else(|| format!("`{path}` is not in an object"))?;
        at = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
    }
    *at = value;
    Ok(())
}

async fn submit(args: &Submit) -> Outcome {
    let spec = read_spec(args)?;
    let client = Client::new(&args.client.server);
    if args.dry_run {
        let plan = client.post("/v1/jobs?dry_run=true", &spec).await?;
        return Ok(if args.client.json { say(serde_json::to_string_pretty(&plan)?) } else { say(plan::words(&plan)) });
    }
    let job = client.post("/v1/jobs", &spec).await?;
    let id = job["id"].as_str().unwrap_or_default();
    if args.client.json {
        say(&job);
    } else {
        say(format!("{id}  {}  run {}", text(&job, "name"), text(&job, "run_id")));
        for warning in job["warnings"].as_array().into_iter().flatten() {
            say(format!("warning: {}: {}", text(warning, "pointer"), text(warning, "detail")));
        }
    }
    if args.wait { follow(id, &args.client).await } else { Ok(ExitCode::SUCCESS) }
}

async fn list(state: Option<&str>, limit: u32, flags: &ClientFlags) -> Outcome {
    let filter = state.map(|state| format!("&state={state}")).unwrap_or_default();
    let columns = [("ID", "id"), ("STATE", "state"), ("NAME", "name"), ("CREATED", "created_at"), ("REASON", "reason")];
    listing::list(&format!("/v1/jobs?limit={limit}{filter}"), &columns, flags).await
}

async fn ask(args: &Ask, action: &str) -> Outcome {
    let (id, flags) = (&args.id, &args.client);
    let body = json!({"reason": args.reason});
    let job = Client::new(&flags.server).post(&format!("/v1/jobs/{id}/{action}"), &body).await?;
    Ok(if flags.json { say(&job) } else { say(format!("{id} is {}", text(&job, "state"))) })
}

async fn logs(id: &str, tail: usize, follow: bool, flags: &ClientFlags) -> Outcome {
    let client = Client::new(&flags.server);
    if follow {
        let path = format!("/v1/jobs/{id}/logs/stream?tail={tail}");
        let each = |frame: Frame| {
            if frame.event == "log" {
                log_line(&frame.data, flags.json);
            }
            frame.event != "end"
        };
        client.follow(&path, "", each).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let page = client.get(&format!("/v1/jobs/{id}/logs?tail={tail}")).await?;
    for line in page["data"].as_array().into_iter().flatten() {
        log_line(line, flags.json);
    }
    Ok(ExitCode::SUCCESS)
}

fn log_line(line: &Value, json: bool) {
    if json {
        say(line);
        return;
    }
    let level = text(line, "level").to_uppercase();
    say(format!("{} {level:5} [{}] {}", text(line, "time"), text(line, "attempt"), text(line, "message")));
}

/// Prints events until the job ends; succeeds only if the job succeeded. A broken stream is resumed.
async fn follow(id: &str, flags: &ClientFlags) -> Outcome {
    const PATIENCE: u32 = 10;
    let client = Client::new(&flags.server);
    let (mut after, mut end, mut failures) = (String::new(), None, 0);
    loop {
        let followed = client
            .follow(&format!("/v1/jobs/{id}/events/stream"), &after.clone(), |frame| {
                after.clone_from(&frame.id);
                failures = 0;
                watch::show(&frame, flags.json);
                end = (frame.event == "end").then(|| text(&frame.data, "state"));
                end.is_none()
            })
            .await;
        if let Some(state) = end {
            return Ok(if state == "succeeded" { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        match followed {
            Err(error @ ClientError::Refused { .. }) => return Err(error.into()),
            Err(error) if failures >= PATIENCE => return Err(error.into()),
            _ => failures += 1,
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}
