//! The program itself: how fast it starts, and how soon a submitted job is at work.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use vgpo::clock::Stopwatch;

use crate::report::{Bound, Report, quantile};

const STARTS: usize = 7;
const JOBS: usize = 60;
const PROGRAM: &str = env!("CARGO_BIN_EXE_vgpo");

/// A server; it ends with this value.
pub struct Server {
    child: Child,
    pub url: String,
    pub http: reqwest::Client,
}

impl Server {
    /// Starts a server with `settings`, and waits until it answers.
    pub async fn start(data: &Path, devices: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--devices", devices, "--port", "0", "--data"]).arg(data).current_dir(data);
        command.envs(settings.iter().copied()).env("RUST_LOG", "warn").env("VGPO_MAX_REQUESTS_PER_MINUTE", "0");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        let server = Self { child, url, http: reqwest::Client::new() };
        assert!(server.http.get(format!("{}/readyz", server.url)).send().await.unwrap().status().is_success());
        server
    }

    /// Resident memory in bytes, where the system tells.
    fn resident(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? * 1024.0)
    }

    pub async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.http.post(format!("{}{path}", self.url)).json(body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts without a model in memory, on a data folder that is there already.
pub async fn starts(report: &mut Report) {
    let folder = tempfile::tempdir().unwrap();
    let (mut seconds, mut memory) = (Vec::new(), Vec::new());
    for start in 0..=STARTS {
        let watch = Stopwatch::start();
        let server = Server::start(folder.path(), "none", &[]).await;
        let ready = watch.seconds();
        // The first one makes the database.
        if start > 0 {
            seconds.push(ready);
            memory.extend(server.resident());
        }
    }
    report.row(
        "server",
        "from its start until /readyz answers (median)",
        quantile(&mut seconds, 0.5),
        "s",
        Bound::Most(1.0),
    );
    if memory.is_empty() {
        report.skipped("server", "this system does not tell how much memory it takes");
    } else {
        let most = quantile(&mut memory, 1.0) / 1e6;
        report.row("server", "resident memory without a model", most, "MB", Bound::Most(100.0));
    }
}

/// Jobs one at a time, each from the request to the claim by a worker process that looks as often as it does by
/// default. The end is taken from the job itself: both times are of this machine's clock.
pub async fn submits(name: &str, url: &str, report: &mut Report) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "cpu", &[("VGPO_DATABASE_URL", url)]).await;
    let job = json!({
        "model": "starter", "dataset": "digits", "method": {"type": "grpo"}, "steps": 1, "eval_before": false,
        "eval_every": 0, "eval_rows": 1, "checkpoint_every": 0, "log_samples_every": 0,
        "rollout": {"group_size": 2, "max_new_tokens": 1, "filter": null},
        "batch": {"prompts_per_step": 1, "minibatch_prompts": 1},
    });
    let (mut starts, mut answers) = (Vec::new(), Vec::new());
    for number in 0..=JOBS {
        // Not in step with the worker's looks.
        tokio::time::sleep(Duration::from_millis(number as u64 * 13 % 50)).await;
        let before = now();
        let watch = Stopwatch::start();
        let submitted = server.post("/v1/jobs", &job).await;
        let answered = watch.seconds() * 1e3;
        let ended = ended(&server, submitted["id"].as_str().unwrap()).await;
        let started = chrono::DateTime::parse_from_rfc3339(ended["started_at"].as_str().unwrap()).unwrap();
        // The first one waits for the worker's own start.
        if number > 0 {
            starts.push((started.timestamp_millis() - before).max(0) as f64);
            answers.push(answered);
        }
    }
    let what = "POST /v1/jobs until a worker has the job";
    report.row(name, &format!("{what} (median)"), quantile(&mut starts, 0.5), "ms", Bound::Most(100.0));
    report.row(name, &format!("{what} (p99)"), quantile(&mut starts, 0.99), "ms", Bound::Most(500.0));
    println!("  of these, the answer to the request takes {:.1} ms (median)", quantile(&mut answers, 0.5));
}

fn now() -> i64 {
    use vgpo::clock::Clock as _;
    vgpo::clock::SystemClock.now().timestamp_millis()
}

async fn ended(server: &Server, id: &str) -> Value {
    loop {
        let job = server.get(&format!("/v1/jobs/{id}")).await;
        match job["state"].as_str() {
            Some("succeeded") => return job,
            Some("failed" | "cancelled") => panic!("{job}"),
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
