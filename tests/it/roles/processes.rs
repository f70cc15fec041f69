//! The program itself, a process for each role, over one database.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::support::{Frame, Stream};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// `vgpo serve` with some roles.
struct Server {
    child: Child,
    url: String,
    http: reqwest::Client,
}

fn serve(place: &Path, roles: &str, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpo"));
    command.args(["serve", "--port", "0", "--roles", roles, "--data"]).arg(place.join(name));
    command.current_dir(place).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let inside = |kind: &str, path: &str| format!("{kind}:{}", place.join(path).display());
    command
        .env("VGPO_DATABASE_URL", inside("sqlite", "vgpo.db"))
        .env("VGPO_ARTIFACTS_URL", inside("file", "artifacts"));
    command.env("VGPO_ENGINE_SECRET", SECRET);
    command
}

impl Server {
    fn start(place: &Path, roles: &str, name: &str) -> Self {
        let mut child = serve(place, roles, name).stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains(&format!("with the roles {roles} serves at http://")), "{line}");
        Self { child, url: line.trim().rsplit(' ').next().unwrap().to_owned(), http: reqwest::Client::new() }
    }

    async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> reqwest::Response {
        let request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.url)).bearer_auth(SECRET);
        body.into_iter().fold(request, reqwest::RequestBuilder::json).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        self.send("GET", path, None).await.json().await.unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let response = self.send("POST", path, Some(body)).await;
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// How many engines the server knows.
    async fn engines(&self) -> usize {
        self.get("/v1/engines").await["data"].as_array().unwrap().len()
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..3600 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited too long for {what}");
}

/// Trains through the API's server, on the worker's; the checkpoint.
async fn trained(api: &Server) -> String {
    let job = json!({"model": "starter", "dataset": "digits", "steps": 1, "eval_before": false, "eval_every": 0,
        "batch": {"prompts_per_step": 2, "minibatch_prompts": 2}, "rollout": {"group_size": 2, "max_new_tokens": 8}});
    let (status, job) = api.post("/v1/jobs", &job).await;
    assert_eq!(status, 201, "{job}");
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    until("the job to succeed", async || {
        let job = api.get(&path).await;
        assert!(job["state"] != "failed", "{job}");
        job["state"] == "succeeded"
    })
    .await;
    let log = api.get(&format!("{path}/logs")).await;
    assert!(log["data"][0]["message"].as_str().unwrap().starts_with("attempt 1 of"), "another server's log: {log}");
    format!("{}@last", job["run_id"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_trains_and_is_served_by_servers_with_a_role_each() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let api = Server::start(place, "api", "api");
    let (status, problem) = api.post("/generate", &json!({"model": "starter", "prompt": "2 + 2"})).await;
    assert_eq!((status, &problem["code"]), (503, &json!("no_engine")));
    let worker = Server::start(place, "worker", "worker");
    let model = trained(&api).await;
    assert_eq!(worker.send("GET", "/v1/jobs", None).await.status(), 404, "a worker's server has no API");
    assert_eq!(worker.send("GET", "/healthz", None).await.status(), 200);

    let mut first = Server::start(place, "engine", "first");
    until("the engine to register", async || api.engines().await == 1).await;
    let request = json!({"model": model, "prompt": "2 + 2", "max_new_tokens": 6, "temperature": 1.0, "seed": 7});
    let (status, told) = api.post("/generate", &request).await;
    assert_eq!(status, 200, "{told}");
    let mut resolved = request.clone();
    resolved["model"] = told["model"].clone();
    let direct = first.send("POST", "/engine/generate", Some(&resolved)).await.text().await.unwrap();
    let direct: Value = serde_json::from_str(direct.lines().last().unwrap()).unwrap();
    assert_eq!(direct["done"]["choices"], told["choices"]);
    let mut streaming = request.clone();
    streaming["stream"] = json!(true);
    let frames = Stream::of(api.send("POST", "/generate", Some(&streaming)).await).rest().await;
    assert_eq!(text_of(&frames), told["choices"][0]["text"]);
    let chat = json!({"model": model, "messages": [{"role": "user", "content": "2 + 2"}], "seed": 7,
        "max_completion_tokens": 6, "temperature": 1.0});
    let (status, chat) = api.post("/v1/chat/completions", &chat).await;
    assert_eq!((status, &chat["choices"][0]["message"]["content"]), (200, &told["choices"][0]["text"]), "{chat}");

    let second = Server::start(place, "engine", "second");
    until("the second engine to register", async || api.engines().await == 2).await;
    first.signal("-9");
    first.child.wait().unwrap();
    let (status, again) = api.post("/generate", &request).await;
    assert_eq!((status, &again["choices"]), (200, &told["choices"]), "the other one takes it at once");
    until("the dead engine to expire", async || api.engines().await == 1).await;
    second.signal("-TERM");
    until("the second engine to leave", async || api.engines().await == 0).await;
    let (status, problem) = api.post("/generate", &request).await;
    assert_eq!((status, &problem["code"]), (503, &json!("no_engine")));
}

fn text_of(frames: &[Frame]) -> Value {
    assert!(frames.iter().all(|frame| ["token", "done"].contains(&frame.event.as_str())), "{frames:?}");
    frames.last().unwrap().data["choices"][0]["text"].clone()
}

#[test]
fn roles_that_cannot_work_are_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |roles: &str, secret: &str, arguments: &[&str]| {
        let mut command = serve(folder.path(), roles, "refused");
        let out = command.args(arguments).env("VGPO_ENGINE_SECRET", secret).output().unwrap();
        assert!(!out.status.success());
        String::from_utf8(out.stderr).unwrap()
    };
    let gpu = ["--devices", "cpu,cuda", "--engine-device", "cuda:0"];
    let cases: [(&str, &str, &[&str], &[&str]); 7] = [
        ("api,engin", SECRET, &[], &["api,engin", "api, engine, worker"]),
        ("engine", "", &[], &["VGPO_ENGINE_SECRET", "openssl"]),
        ("api", "", &[], &["VGPO_ENGINE_SECRET"]),
        ("api,engine", "", &["--advertise", "http://here:1"], &["VGPO_ENGINE_SECRET"]),
        ("engine", "opensesame", &[], &["engine_secret", "32"]),
        ("engine", SECRET, &["--host", "0.0.0.0"], &["VGPO_ADVERTISE"]),
        ("api,engine,worker", SECRET, &gpu, &["cuda:0", "share_gpu"]),
    ];
    for (roles, secret, arguments, parts) in cases {
        let told = refused(roles, secret, arguments);
        assert!(parts.iter().all(|part| told.contains(part)) && !told.contains("opensesame"), "{roles}: {told}");
    }
    assert!(!folder.path().join("refused").exists(), "nothing was made");
}
