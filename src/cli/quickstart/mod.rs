//! `vgpo quickstart`: a tour through the program's own HTTP API.

mod compare;
mod progress;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::worker::GRACE;
use crate::domain::metric::EVAL_ACCURACY;
use serde_json::{Value, json};

use super::client::{Client, ClientError};
use super::files::write_whole;
use super::jobs::text;
use super::serve::{Server, interrupted};
use crate::config::app::Roles;

use super::settings::{ListenFlags, SettingFlags, about, load, ranged};
use super::{block_on, fail, say};
use compare::Comparison;

/// The label of quickstart jobs.
const LABEL: &str = "quickstart";
const MODEL: &str = "starter";
const DATASET: &str = "digits";

/// Arguments of `vgpo quickstart`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: SettingFlags,
    #[arg(long, value_name = "PORT", help = about("port"))]
    port: Option<String>,
    #[arg(long, value_name = "STEPS", help = ranged("Steps to train [default: what the starter recommends]", "/steps"))]
    steps: Option<u64>,
    /// Exit at the end instead of continuing to serve.
    #[arg(long)]
    exit: bool,
}

/// Runs the tour.
pub fn run(args: &Args) -> ExitCode {
    let listen = ListenFlags {
        port: args.port.clone(),
        // Trains and generates in this process, whatever roles the environment sets.
        roles: Some(Roles::ALL.to_string()),
        ..ListenFlags::default()
    };
    let settings = match load(&args.flags, &listen) {
        Ok(settings) => settings,
        Err(error) => return fail(error),
    };
    super::quiet_logging();
    let data_dir = settings.data_dir.clone();
    let done = block_on(async {
        let server = Box::pin(Server::start(settings, super::QUIET_LOG, GRACE.as_secs())).await?;
        let url = server.url();
        say(format!("vgpo {} is serving at {url}, data in {}", env!("CARGO_PKG_VERSION"), data_dir.display()));
        let tour = tokio::select! {
            tour = tour(&url, &data_dir, args.steps) => Some(tour),
            () = interrupted() => None,
        };
        match &tour {
            Some(Ok(())) if !args.exit => {
                say(format!("serving at {url} until Ctrl-C"));
                interrupted().await;
            }
            Some(Ok(())) => {
                let port = args.port.as_ref().map(|port| format!(" --port {port}")).unwrap_or_default();
                say(format!(
                    "the server has stopped; `vgpo serve --data {}{port}` opens these addresses again",
                    data_dir.display()
                ));
            }
            Some(Err(_)) => {}
            None => {
                say("\nstopping; `vgpo quickstart` continues this job");
            }
        }
        server.stop().await;
        tour.unwrap_or(Ok(()))
    });
    done.map_or_else(fail, |()| ExitCode::SUCCESS)
}

/// Runs the job and prints its report.
async fn tour(url: &str, data_dir: &Path, steps: Option<u64>) -> Result<(), String> {
    let client = Client::new(url);
    let job = match unfinished(&client).await.map_err(words)? {
        Some(job) => {
            say(format!("continuing job {}", text(&job, "id")));
            job
        }
        None => submit(&client, steps).await.map_err(words)?,
    };
    say(format!("watch it train: {url}/#/runs/{}", text(&job, "run_id")));
    progress::show(&client, &job).await?;
    let job = client.get(&format!("/v1/jobs/{}", text(&job, "id"))).await.map_err(words)?;
    if job["state"] != "succeeded" {
        return Err(format!("the job is {}: {}", text(&job, "state"), text(&job, "reason")));
    }
    let report = Report::of(&client, &job).await.map_err(words)?;
    let comparison = Comparison::make(&client, MODEL, &report.checkpoint, DATASET).await?;
    let heatmaps = comparison.write_heatmaps(data_dir)?;
    report.print(&comparison, &heatmaps, url);
    report.write(&data_dir.join("quickstart.json"), &heatmaps)
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn words(error: ClientError) -> String {
    error.to_string()
}

/// An unfinished quickstart job of an earlier call.
async fn unfinished(client: &Client) -> Result<Option<Value>, ClientError> {
    let jobs = client.get(&format!("/v1/jobs?tag={LABEL}&state=queued,running,cancelling&limit=1")).await?;
    Ok(jobs["data"].get(0).cloned())
}

async fn submit(client: &Client, steps: Option<u64>) -> Result<Value, ClientError> {
    let mut request = json!({"model": MODEL, "dataset": DATASET, "tags": {LABEL: "true"}});
    if let Some(steps) = steps {
        request["steps"] = json!(steps);
    }
    let job = client.post("/v1/jobs", &request).await?;
    for warning in job["warnings"].as_array().into_iter().flatten() {
        say(format!("warning: {}: {}", text(warning, "pointer"), text(warning, "detail")));
    }
    say(format!(
        "submitted job {}: {} on {DATASET}, {} steps",
        text(&job, "id"),
        text(&job, "name"),
        job["spec"]["steps"]
    ));
    Ok(job)
}

/// The results of the job.
struct Report {
    job: String,
    run: String,
    checkpoint: String,
    before: Option<f64>,
    after: Option<f64>,
    /// Held-out rows of an evaluation.
    rows: u64,
    steps: u64,
    seconds: Option<f64>,
}

impl Report {
    async fn of(client: &Client, job: &Value) -> Result<Self, ClientError> {
        let run_id = text(job, "run_id");
        let run = client.get(&format!("/v1/runs/{run_id}")).await?;
        let series = client.get(&format!("/v1/runs/{run_id}/metrics?keys={EVAL_ACCURACY}")).await?;
        let points = series["data"][0]["points"].as_array().cloned().unwrap_or_default();
        let rows = job["spec"]["eval_rows"].as_u64().unwrap_or_default();
        let accuracy = |point: Option<&Value>| point.and_then(|point| point["mean"].as_f64());
        Ok(Self {
            job: text(job, "id"),
            checkpoint: text(&run, "last_checkpoint"),
            before: accuracy(points.first().filter(|point| point["step"] == 0)),
            after: accuracy(points.last()),
            rows,
            steps: run["last_step"].as_u64().unwrap_or_default(),
            seconds: seconds_between(&text(job, "started_at"), &text(job, "finished_at")),
            run: run_id,
        })
    }

    fn print(&self, comparison: &Comparison, heatmaps: &[PathBuf; 2], url: &str) {
        let percent = |share: Option<f64>| share.map_or("unknown".to_owned(), |share| format!("{:.1}%", 100.0 * share));
        say(format!(
            "\nHeld-out accuracy (greedy, {} rows): {} before, {} after {} steps",
            self.rows,
            percent(self.before),
            percent(self.after),
            self.steps
        ));
        comparison.print();
        say(format!("\nHeat maps: {} (before), {} (after)", heatmaps[0].display(), heatmaps[1].display()));
        say("Note: on this small task VGPO and GRPO score about the same. It demonstrates the software, not an \
            advantage of VGPO.");
        say(format!(
            "Before a long run, `vgpo audit {MODEL} {DATASET}` tells in a minute what answers depend on the image for, \
             and what visual weights are likely to gain."
        ));
        say(format!("\nDashboard   {url}/#/runs/{}", self.run));
        say(format!("Job         {url}/v1/jobs/{}", self.job));
        say(format!("Metrics     {url}/v1/runs/{}/metrics", self.run));
        say(format!("Samples     {url}/v1/runs/{}/samples", self.run));
        say(format!("Checkpoint  {url}/v1/checkpoints/{}", self.checkpoint));
        say(format!("API         {url}/openapi.json"));
    }

    /// Writes the report as JSON, atomically.
    fn write(&self, path: &Path, heatmaps: &[PathBuf; 2]) -> Result<(), String> {
        let report = json!({
            "job": self.job, "run": self.run, "checkpoint": self.checkpoint, "model": MODEL,
            "accuracy_before": self.before, "accuracy_after": self.after,
            "steps": self.steps, "seconds": self.seconds,
            "heatmaps": heatmaps.each_ref().map(|path| path.display().to_string()),
        });
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())? + "\n";
        write_whole(path, text.as_bytes())
    }
}

fn seconds_between(start: &str, end: &str) -> Option<f64> {
    let time = |text: &str| chrono::DateTime::parse_from_rfc3339(text).ok();
    Some((time(end)? - time(start)?).as_seconds_f64())
}
