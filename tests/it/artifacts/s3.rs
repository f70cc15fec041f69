//! A real S3 server (`moto` from PyPI): the protocol, and a training job whose worker and server share a database and a
//! bucket, nothing else.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use vgpo::artifacts::{self, ArtifactError};
use vgpo::config::app::{AppSettings, Sources};

use crate::printed::printed_address;

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program until standard input ends: pipes close with their process, even when it is killed.
const UNTIL_STDIN_ENDS: &str = r#"
"$@" </dev/null &
read -r _ || :
kill -KILL $! 2>/dev/null
"#;

/// An S3 server with the bucket `models`; it ends with the test, or with the test process, however that ends.
struct S3 {
    server: Running,
    url: String,
}

impl Drop for S3 {
    fn drop(&mut self) {
        // The shell ends its program, and then itself.
        drop(self.server.0.stdin.take());
        let _ = self.server.0.wait();
    }
}

#[allow(clippy::print_stdout, reason = "a skipped test must be seen")]
fn skip() {
    println!("SKIPPED: there is no moto_server (pip install 'moto[s3,server]', VGPO_TEST_MOTO)");
}

/// `VGPO_TEST_MOTO` names the program `moto_server`; else it is looked for in the path.
fn moto() -> Option<PathBuf> {
    let named = std::env::var_os("VGPO_TEST_MOTO").map(PathBuf::from);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let program =
        named.or_else(|| std::env::split_paths(&paths).map(|dir| dir.join("moto_server")).find(|p| p.is_file()));
    if program.is_none() {
        let required = std::env::var("VGPO_TEST_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|part| part == "s3"),
            "VGPO_TEST_REQUIRE asks for s3, but there is no moto_server"
        );
        skip();
    }
    program
}

impl S3 {
    async fn start() -> Option<Self> {
        let program = moto()?;
        let mut server = Command::new("sh");
        server.args(["-c", UNTIL_STDIN_ENDS, "moto"]).arg(program).args(["-H", "127.0.0.1", "-p", "0"]);
        server.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut server = Running(server.spawn().unwrap());
        let mut lines = BufReader::new(server.0.stderr.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().expect("moto prints its address").unwrap();
            if let Some((_, url)) = line.split_once("Running on ") {
                break url.trim().to_owned();
            }
        };
        // Its log must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let made = reqwest::Client::new().put(format!("{url}/models")).send().await.unwrap();
        assert!(made.status().is_success(), "{made:?}");
        Some(Self { server, url })
    }

    /// The settings of a host with this store.
    fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("VGPO_ARTIFACTS_URL", "s3://models/team".to_owned()),
            ("VGPO_S3_ENDPOINT", self.url.clone()),
            ("VGPO_S3_REGION", "us-east-1".to_owned()),
            ("VGPO_S3_ACCESS_KEY_ID", "test".to_owned()),
            ("VGPO_S3_SECRET_ACCESS_KEY", "test".to_owned()),
        ]
    }

    fn settings(&self, data: &Path) -> AppSettings {
        let known = self.environment();
        let environment = |name: &str| known.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
        let flags = [("data_dir", data.display().to_string())];
        AppSettings::load(&Sources { flags: &flags, environment: &environment, file: None }).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_travel_through_a_real_server() {
    let Some(s3) = S3::start().await else { return };
    let disk = tempfile::tempdir().unwrap();
    let host = |name: &str| artifacts::open_configured(&s3.settings(&disk.path().join(name))).unwrap();
    let (one, two) = (host("one"), host("two"));
    let src = disk.path().join("src");
    fs::create_dir_all(src.join("trainer")).unwrap();
    let weights = super::bucket::pattern(18_000_000);
    fs::write(src.join("model.safetensors"), &weights).unwrap();
    fs::write(src.join("trainer/empty"), "").unwrap();
    let manifest = one.publish_dir(&src, "c/1").unwrap();
    assert_eq!(two.list("c").unwrap(), ["c/1"]);
    assert!(two.leftovers("c").unwrap().is_empty());
    two.verify("c/1", &manifest).unwrap();
    assert!(fs::read(two.path("c/1").unwrap().join("model.safetensors")).unwrap() == weights);
    fs::create_dir_all(&src).unwrap();
    fs::write(src.join("x"), "x").unwrap();
    assert!(matches!(two.publish_dir(&src, "c/1"), Err(ArtifactError::Exists(_))));
    two.delete("c/1").unwrap();
    assert!(matches!(one.path("c/1"), Err(ArtifactError::NotFound(_))));
    assert!(one.list("c").unwrap().is_empty() && one.leftovers("c").unwrap().is_empty());
    let mut elsewhere = s3.settings(&disk.path().join("three"));
    elsewhere.artifacts_url = "s3://no-such-bucket/x".to_owned();
    let error = artifacts::open_configured(&elsewhere).unwrap().publish_dir(&src, "c/1").unwrap_err().to_string();
    assert!(error.contains("bucket") || error.contains("Bucket"), "{error}");
}

fn vgpo(s3: &S3, database: &Path, data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpo"));
    command.current_dir(data).stdin(Stdio::null()).stderr(Stdio::inherit()).envs(s3.environment());
    command.env("VGPO_DATABASE_URL", format!("sqlite:{}", database.display())).env("VGPO_DATA_DIR", data);
    command
}

async fn answer(request: reqwest::RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// Asks until `done` likes the answer.
async fn until(url: &str, done: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..1200 {
        let found = answer(reqwest::Client::new().get(url)).await;
        if done(&found) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{url} never got there");
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_and_server_share_a_database_and_a_bucket_only() {
    let Some(s3) = S3::start().await else { return };
    let disk = tempfile::tempdir().unwrap();
    let [server_dir, worker_dir] = ["server", "worker"].map(|name| disk.path().join(name));
    for dir in [&server_dir, &worker_dir] {
        fs::create_dir_all(dir).unwrap();
    }
    let database = disk.path().join("shared.db");
    let mut server = vgpo(&s3, &database, &server_dir);
    server.args(["serve", "--devices", "none", "--port", "0"]).stdout(Stdio::piped());
    let mut server = Running(server.spawn().unwrap());
    let url = printed_address(&mut server.0);
    let _worker = Running(vgpo(&s3, &database, &worker_dir).arg("worker").stdout(Stdio::null()).spawn().unwrap());

    let http = reqwest::Client::new();
    let rows: String = (0..4)
        .map(|n| json!({"problem": format!("what is {n} ?"), "answer": n.to_string()}).to_string() + "\n")
        .collect();
    let upload = http.post(format!("{url}/v1/datasets?name=sums")).header("content-type", "application/x-ndjson");
    let dataset = answer(upload.body(rows)).await;
    let id = dataset["id"].as_str().unwrap();
    let ready = until(&format!("{url}/v1/datasets/{id}"), |found| {
        found["state"] != "uploading" && found["state"] != "validating"
    })
    .await;
    assert_eq!(ready["state"], "ready", "{ready}");
    let job = json!({"model": "starter", "dataset": "sums", "method": {"type": "grpo"}, "steps": 1,
        "eval_before": false,
        "eval_every": 1, "rollout": {"group_size": 2, "max_new_tokens": 4, "filter": null},
        "batch": {"prompts_per_step": 2, "minibatch_prompts": 2}});
    let job = answer(http.post(format!("{url}/v1/jobs")).json(&job)).await;
    let place = format!("{url}/v1/jobs/{}", job["id"].as_str().unwrap());
    let over = |job: &Value| ["succeeded", "failed", "cancelled"].iter().any(|state| job["state"] == *state);
    let ended = until(&place, over).await;
    assert_eq!(ended["state"], "succeeded", "{ended}");
    assert!(
        !worker_dir.join("artifacts").exists() && !server_dir.join("artifacts").exists(),
        "all of it is in the bucket"
    );

    let log = answer(http.get(format!("{place}/logs"))).await;
    let lines: Vec<&str> = log["data"].as_array().unwrap().iter().map(|l| l["message"].as_str().unwrap()).collect();
    assert!(lines.first().unwrap().starts_with("attempt 1 of"), "{lines:?}");
    assert!(lines.last().unwrap().starts_with("fin"), "the last word of the attempt: {lines:?}");

    let run = job["run_id"].as_str().unwrap();
    let asked = json!({"model": format!("{run}@last"), "prompt": "what is 1 ?", "max_new_tokens": 3});
    let generated = answer(http.post(format!("{url}/generate")).json(&asked)).await;
    let checkpoint = generated["model"].as_str().unwrap().to_owned();
    assert!(checkpoint.starts_with("ckpt_"), "{generated}");
    let tar = http.get(format!("{url}/v1/checkpoints/{checkpoint}/download")).send().await.unwrap();
    assert!(tar.status().is_success() && tar.bytes().await.unwrap().len() > 100_000);
    let ready = answer(http.get(format!("{url}/readyz"))).await;
    assert_eq!(ready["ready"], true);
}
