//! Jobs on uploaded data sets: from the upload to trained weights; and the command line's part of it.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vgpo::domain::device::DeviceName;
use vgpo::reward::Backends;
use vgpo::worker::{self, TrainRunner};

use super::datasets::{checked, lines, png, request};
use super::support::{Answer, Api};
use crate::worker::fixture::Place;

/// Rows whose prompts tell them apart.
fn rows(count: usize) -> Vec<u8> {
    let row = |n: usize| json!({"question": format!("what is {n} ?"), "target": n});
    lines(&(0..count).map(row).collect::<Vec<_>>())
}

fn job(dataset: &str, steps: u32) -> Value {
    json!({"dataset": dataset, "steps": steps, "eval_every": 0, "eval_before": false, "checkpoint_every": 0,
        "method": {"type": "grpo"},
        "batch": {"prompts_per_step": 4, "minibatch_prompts": 4},
        "rollout": {"group_size": 2, "max_new_tokens": 4, "filter": null}})
}

struct Worker {
    drain: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), worker::WorkerError>>,
}

impl Worker {
    /// A real worker on the server's own database and files.
    async fn start(api: &Api, id: &str) -> Self {
        let place = Place::at(&api.service.settings().data_dir).await;
        let mut config = place.config(id);
        config.runner = Arc::new(TrainRunner::new(
            place.store.clone(),
            config.artifacts.clone(),
            DeviceName::CPU,
            Backends::default(),
        ));
        let drain = CancellationToken::new();
        let task = tokio::spawn(worker::run(config, drain.clone(), CancellationToken::new()));
        Self { drain, task }
    }

    async fn stop(self) {
        self.drain.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Waits until `done` says so of the job.
async fn wait(api: &Api, id: &str, done: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..1500 {
        let job = api.get(&format!("/v1/jobs/{id}")).await.body;
        if done(&job) {
            return job;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("waited in vain: {}", api.get(&format!("/v1/jobs/{id}")).await.body);
}

fn ended(job: &Value) -> bool {
    ["succeeded", "failed", "cancelled"].contains(&job["state"].as_str().unwrap())
}

async fn last_step(api: &Api, run: &Value) -> u64 {
    let run = api.get(&format!("/v1/runs/{}", run.as_str().unwrap())).await.body;
    run["last_step"].as_u64().unwrap_or_default()
}

/// Hash of the weights that a run ended with.
async fn weights(api: &Api, job: &Value) -> String {
    let path = format!("/v1/checkpoints?run={}", job["run_id"].as_str().unwrap());
    let newest = api.get(&path).await.body["data"][0].clone();
    let files = newest["manifest"]["files"].as_array().unwrap().clone();
    let file = files.iter().find(|file| file["path"] == "model.safetensors").unwrap();
    file["sha256"].as_str().unwrap().to_owned()
}

async fn upload(api: &Api, query: &str, rows: Vec<u8>) -> Value {
    let columns = "%7B%22prompt%22:%22question%22,%22answer%22:%22target%22%7D";
    let request = request(api, &format!("{query}&columns={columns}"), "application/x-ndjson", rows);
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    checked(api, answer.body["id"].as_str().unwrap()).await
}

#[tokio::test]
async fn a_dry_run_of_an_evaluation_counts_the_rows_that_there_are() {
    let api = Api::start().await;
    let entry = upload(&api, "?name=mine", rows(40)).await;
    let held_out = entry["eval_rows"].as_u64().unwrap();
    assert!(held_out > 0 && held_out < 32, "{entry}");
    for (split, expected) in [("eval", held_out), ("train", entry["train_rows"].as_u64().unwrap())] {
        let request = json!({"model": "tiny", "dataset": "mine", "method": {"type": "eval", "split": split},
                             "eval": {"samples": 3, "temperature": 1.0}});
        let work = api.post("/v1/jobs?dry_run=true", request).await.body["work"].clone();
        assert_eq!(work["prompts"], expected, "{split}: {work}");
        assert_eq!(work["responses"], 3 * expected, "{split}: {work}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_job_on_uploaded_rows_goes_on_where_it_stood() {
    let api = Api::start().await;
    let entry = upload(&api, "?name=mine", rows(40)).await;
    let id = entry["id"].as_str().unwrap();
    let plan = api.post("/v1/jobs?dry_run=true", json!({"model": "tiny", "dataset": id})).await.body;
    assert_eq!(plan["spec"]["data"]["columns"]["prompt"], "question", "the job reads the columns that were checked");
    assert_eq!(plan["origins"]["/data/columns/prompt"], "recommended");
    assert!(plan["prompt"]["text"].as_str().unwrap().contains("what is"), "{plan}");

    let worker = Worker::start(&api, "wrk_1").await;
    let whole = api.submit(job("mine", 30)).await;
    let whole = wait(&api, whole["id"].as_str().unwrap(), ended).await;
    assert_eq!(whole["state"], "succeeded", "{whole}");
    let parts = api.submit(job("mine", 30)).await;
    while last_step(&api, &parts["run_id"]).await < 1 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    worker.stop().await;
    let worker = Worker::start(&api, "wrk_2").await;
    let parts = wait(&api, parts["id"].as_str().unwrap(), ended).await;
    assert_eq!(parts["state"], "succeeded", "{parts}");
    assert_eq!(weights(&api, &whole).await, weights(&api, &parts).await, "the same rows in the same order");

    let held_out = api
        .submit(json!({"dataset": "digits", "eval_dataset": "mine", "steps": 1, "eval_rows": 2,
        "batch": {"prompts_per_step": 1, "minibatch_prompts": 1},
        "rollout": {"group_size": 2, "max_new_tokens": 2}}))
        .await;
    let held_out = wait(&api, held_out["id"].as_str().unwrap(), ended).await;
    assert_eq!(held_out["state"], "succeeded", "an uploaded set with other columns to evaluate on: {held_out}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_set_that_changed_ends_its_jobs_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.jsonl");
    std::fs::write(&file, rows(40)).unwrap();
    let api = Api::with(&[("dataset_roots", folder.path().to_str().unwrap())]).await;
    let columns = json!({"prompt": "question", "answer": "target"});
    let register = json!({"name": "mine", "source": {"path": file}, "columns": columns});
    assert_eq!(api.post("/v1/datasets", register.clone()).await.status, 202);
    checked(&api, "mine").await;
    let worker = Worker::start(&api, "wrk_1").await;
    // It can only end by being stopped.
    let stopped = api.submit(job("mine", 100_000)).await;
    let id = stopped["id"].as_str().unwrap();
    while last_step(&api, &stopped["run_id"]).await < 1 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    worker.stop().await;
    assert_eq!(api.get(&format!("/v1/jobs/{id}")).await.body["state"], "queued", "it was given back");
    let mut changed = std::fs::read(&file).unwrap();
    changed[15] = b'T';
    std::fs::write(&file, changed).unwrap();
    let worker = Worker::start(&api, "wrk_2").await;
    let failed = wait(&api, id, ended).await;
    let reason = failed["reason"].as_str().unwrap();
    assert_eq!(failed["state"], "failed");
    assert!(reason.contains("`dataset`: the files of data set `mine` have changed"), "{reason}");
    worker.stop().await;
}

/// The picture is 300 times as wide as high: models refuse it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_row_never_costs_the_last_checkpoint_and_may_be_left_out() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thin.png"), png(900, 3)).unwrap();
    std::fs::write(folder.path().join("train.jsonl"), rows(4)).unwrap();
    let bad = json!({"question": "how wide ?", "target": 900, "images": ["thin.png"]});
    let good = json!({"question": "what is 1 ?", "target": 1});
    std::fs::write(folder.path().join("test.jsonl"), lines(&[good, bad])).unwrap();
    let api = Api::with(&[("dataset_roots", folder.path().to_str().unwrap())]).await;
    assert_eq!(api.post("/v1/datasets", json!({"name": "mine", "source": {"path": folder.path()}})).await.status, 202);
    assert_eq!(checked(&api, "mine").await["state"], "ready");
    let worker = Worker::start(&api, "wrk_1").await;
    let failed = api.submit(job("mine", 1)).await;
    let failed = wait(&api, failed["id"].as_str().unwrap(), ended).await;
    let reason = failed["reason"].as_str().unwrap();
    assert_eq!(failed["state"], "failed", "{failed}");
    assert!(reason.contains("row 2 of `test.jsonl`") && reason.contains("200 times"), "{reason}");
    let path = format!("/v1/checkpoints?run={}", failed["run_id"].as_str().unwrap());
    assert_eq!(api.get(&path).await.body["data"][0]["step"], 1, "what was learnt is kept");
    let bad = json!({"question": "how wide ?", "target": 900, "images": ["thin.png"]});
    std::fs::write(folder.path().join("train.jsonl"), [rows(8), lines(&[bad])].concat()).unwrap();
    assert_eq!(api.post("/v1/datasets", json!({"name": "more", "source": {"path": folder.path()}})).await.status, 202);
    checked(&api, "more").await;
    let mut later = job("more", 5);
    later["data"] = json!({"shuffle": false});
    let later = api.submit(later).await;
    let later = wait(&api, later["id"].as_str().unwrap(), ended).await;
    assert!(later["reason"].as_str().unwrap().contains("row 9 of `train.jsonl`"), "{later}");
    let path = format!("/v1/checkpoints?run={}", later["run_id"].as_str().unwrap());
    assert_eq!(api.get(&path).await.body["data"][0]["step"], 2, "two steps came before it");
    std::fs::write(folder.path().join("train.jsonl"), rows(4)).unwrap();
    let mut left_out = job("mine", 1);
    left_out["data"] = json!({"overlong": "drop"});
    let left_out = api.submit(left_out).await;
    let left_out = wait(&api, left_out["id"].as_str().unwrap(), ended).await;
    assert_eq!(left_out["state"], "succeeded", "{left_out}");
    worker.stop().await;
}

async fn vgpo(api: &Api, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpo"));
    command.args(arguments).env("VGPO_SERVER", &api.url);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

fn folder_of_rows(folder: &Path) {
    std::fs::create_dir_all(folder.join("images")).unwrap();
    std::fs::write(folder.join("images/a.png"), png(30, 20)).unwrap();
    let row = json!({"question": "<image>how wide ?", "target": 30, "images": ["images/a.png"]});
    std::fs::write(folder.join("train.jsonl"), lines(&[row.clone(), row.clone()])).unwrap();
    std::fs::write(folder.join("test.jsonl"), lines(&[row])).unwrap();
}

#[tokio::test]
async fn the_command_line_uploads_shows_and_deletes() {
    let api = Api::start().await;
    let folder = tempfile::tempdir().unwrap();
    folder_of_rows(folder.path());
    let path = folder.path().to_str().unwrap();
    let columns = ["--column", "prompt=question", "--column", "answer=target"];
    let out = vgpo(&api, &[&["datasets", "upload", path, "--name", "mine", "--wait"][..], &columns].concat()).await;
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("3 rows (2 training, 1 held out), 3 images, 0 bad rows"), "{}", said(&out));
    let out = vgpo(&api, &["datasets", "list"]).await;
    assert!(said(&out).contains("mine") && said(&out).contains("digits"), "{}", said(&out));
    let out = vgpo(&api, &["datasets", "rows", "mine", "--eval"]).await;
    assert!(said(&out).contains("30x20") && said(&out).contains("how wide ?"), "{}", said(&out));
    let out = vgpo(&api, &["datasets", "show", "mine", "--json"]).await;
    assert_eq!(serde_json::from_slice::<Value>(&out.stdout).unwrap()["state"], "ready");
    let out = vgpo(&api, &["datasets", "delete", "mine"]).await;
    assert!(out.status.success() && api.get("/v1/datasets/mine").await.status == 404, "{}", said(&out));
    // In parts: what an earlier command has sent is not sent again.
    api.post(
        "/v1/datasets",
        json!({"name": "mine", "columns": {"prompt": "question", "answer": "target"}, "source": {"upload": "parts"}}),
    )
    .await;
    let begun = std::fs::read(folder.path().join("train.jsonl")).unwrap()[..10].to_vec();
    api.request("PUT", "/v1/datasets/mine/files/train.jsonl").body(begun).send().await.unwrap();
    let out = vgpo(&api, &["datasets", "upload", path, "--name", "mine", "--parts", "--wait"]).await;
    assert!(said(&out).contains("3 rows (2 training, 1 held out), 3 images, 0 bad rows"), "{}", said(&out));
    vgpo(&api, &["datasets", "delete", "mine"]).await;
    // With columns that it does not have no row can be used.
    let out = vgpo(&api, &["datasets", "upload", path, "--name", "mine", "--wait", "--column", "prompt=text"]).await;
    assert!(!out.status.success());
    assert!(said(&out).contains("test.jsonl, row 1: there is no column `text`"), "{}", said(&out));
    let out = vgpo(&api, &["datasets", "register", "/etc"]).await;
    assert!(!out.status.success() && said(&out).contains("/source/path"), "{}", said(&out));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drawn_tasks_are_taken_as_jobs_and_shown() {
    let api = Api::start().await;
    for name in ["objects", "chart", "geometry"] {
        let job = api.submit(json!({"dataset": name, "method": {"type": "sft"}})).await;
        assert_eq!(
            (job["state"].as_str(), job["spec"]["reward"]["type"].as_str()),
            (Some("queued"), Some("math")),
            "{job}"
        );
        let rows = api.get(&format!("/v1/datasets/{name}/rows?split=eval&limit=2")).await.body;
        let row = &rows["data"][0];
        assert_eq!((&row["images"][0]["width"], row["tags"].as_array().map(Vec::len)), (&json!(224), Some(2)), "{row}");
    }
}
