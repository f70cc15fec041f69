//! The rows of an evaluation as a stream of lines.

use serde_json::{Value, json};
use vgpo::domain::eval_row::{ROWS_FILE, chunk_key};

use super::support::Api;

fn publish(api: &Api, run: &str, chunk: u64, lines: &[Value]) {
    let artifacts = vgpo::artifacts::open(&api.service.settings().artifacts_url).unwrap();
    let folder = tempfile::tempdir().unwrap().keep();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(folder.join(ROWS_FILE), text).unwrap();
    artifacts.publish_dir(&folder, &chunk_key(run, chunk)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_come_in_order_and_only_finished_ones() {
    let api = Api::start().await;
    let job = api.submit(json!({"method": {"type": "eval"}, "eval_rows": 70, "batch": {"prompts_per_step": 20}})).await;
    assert_eq!(job["spec"]["steps"], 4, "70 rows in chunks of 20");
    let run = job["run_id"].as_str().unwrap();
    let path = format!("/v1/runs/{run}/rows");
    let empty = api.get(&path).await;
    assert_eq!((empty.status, empty.header("content-type")), (200, "application/jsonl"));
    assert_eq!(empty.body, json!(""));
    for (chunk, rows) in [(2, vec![json!({"row": 2})]), (1, vec![json!({"row": 0}), json!({"row": 1})])] {
        publish(&api, run, chunk, &rows);
    }
    // The third chunk is missing: what is behind it does not count yet.
    publish(&api, run, 4, &[json!({"row": 9})]);
    let lines = api.get(&path).await.body;
    let rows: Vec<Value> = lines.as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows, [json!({"row": 0}), json!({"row": 1}), json!({"row": 2})]);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.jsonl");
    let vgpo = async |arguments: Vec<String>| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vgpo"));
        command.args(["runs", "rows", run]).args(arguments).env("VGPO_SERVER", &api.url);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    let printed = vgpo(vec![]).await;
    assert_eq!(json!(String::from_utf8(printed.stdout).unwrap()), lines);
    let written = vgpo(vec!["--to".to_owned(), file.display().to_string()]).await;
    assert!(String::from_utf8_lossy(&written.stdout).contains("3 rows"), "{written:?}");
    assert_eq!(json!(std::fs::read_to_string(&file).unwrap()), lines);
}

#[tokio::test]
async fn only_evaluations_have_rows() {
    let api = Api::start().await;
    let job = api.submit(json!({})).await;
    let answer = api.get(&format!("/v1/runs/{}/rows", job["run_id"].as_str().unwrap())).await;
    let detail = answer.problem(409, "conflict")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("method `eval`"), "{detail}");
    api.get("/v1/runs/run_none/rows").await.problem(404, "not_found");
}
