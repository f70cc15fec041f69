//! The built program as a user starts it, and a minimal client.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything in these tests may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

pub struct Program {
    server: Child,
    url: String,
    runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    #[allow(clippy::disallowed_methods)]
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Is there a live process with this id? (A zombie is not alive.)
pub fn alive(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
        state != Some('Z')
    })
}

fn kill(pid: u64, signal: &str) {
    Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
}

impl Program {
    /// Starts `vgpo serve` with one CPU worker on a free port and waits for its address.
    pub fn start(data: &Path) -> Self {
        let mut server = Command::new(env!("CARGO_BIN_EXE_vgpo"))
            .args(["serve", "--port", "0", "--devices", "cpu", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let url = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| line.split_whitespace().find(|w| w.starts_with("http://")).map(str::to_owned))
            .expect("the server prints its address");
        std::thread::spawn(move || lines.for_each(drop));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { server, url: url.trim_end_matches(['.', ',', '/']).to_owned(), runtime, http: reqwest::Client::new() }
    }

    pub fn get(&self, path: &str) -> Value {
        let request = self.http.get(format!("{}{path}", self.url)).send();
        self.runtime.block_on(async {
            let response = request.await.unwrap();
            let status = response.status();
            let text = response.text().await.unwrap();
            assert!(status.is_success(), "GET {path}: {status} {text}");
            serde_json::from_str(&text).unwrap()
        })
    }

    /// Submits a job; returns the ids of job and run.
    pub fn submit(&self, job: &Value) -> (String, String) {
        let request = self.http.post(format!("{}/v1/jobs", self.url)).json(job).send();
        let answer: Value = self.runtime.block_on(async {
            let response = request.await.unwrap();
            let status = response.status();
            let text = response.text().await.unwrap();
            assert!(status.is_success(), "submit: {status} {text}");
            serde_json::from_str(&text).unwrap()
        });
        let job = answer.get("job").unwrap_or(&answer);
        (job["id"].as_str().unwrap().to_owned(), job["run_id"].as_str().unwrap().to_owned())
    }

    pub fn wait_for(&self, job: &str, state: &str) {
        wait_until(&format!("{job} to be {state}"), || {
            let job = self.get(&format!("/v1/jobs/{job}"));
            let now = job["state"].as_str().unwrap();
            assert!(now == state || !["failed", "cancelled", "succeeded"].contains(&now), "the job is {now}: {job}");
            now == state
        });
    }

    /// Process id of the worker that is alive.
    pub fn worker_pid(&self) -> u64 {
        let mut found = 0;
        wait_until("a worker", || {
            let workers = self.get("/v1/workers");
            let pids = workers["data"].as_array().unwrap().iter().filter_map(|w| w["pid"].as_u64());
            found = pids.filter(|pid| alive(*pid)).max().unwrap_or(0);
            found != 0
        });
        found
    }

    pub fn kill_worker(&self) {
        let pid = self.worker_pid();
        kill(pid, "-9");
        wait_until("the worker to be gone", || !alive(pid));
    }

    pub fn kill_server(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// Ctrl-C; the server must end by itself.
    pub fn stop(mut self) {
        kill(u64::from(self.server.id()), "-INT");
        wait_until("the server to stop", || self.server.try_wait().unwrap().is_some());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
