//! Uploads in parts: they go on after a broken connection and a restart.

use std::io::{Cursor, Write as _};

use axum::body::Bytes;
use futures_util::stream;
use serde_json::{Value, json};

use super::datasets::{checked, only_left, rows};
use super::support::{Answer, Api};

async fn begin(api: &Api, name: &str) -> Value {
    let answer = api.post("/v1/datasets", json!({"name": name, "source": {"upload": "parts"}})).await;
    assert_eq!((answer.status, &answer.body["state"]), (202, &json!("uploading")), "{}", answer.body);
    answer.body
}

async fn put(api: &Api, path: &str, bytes: impl Into<reqwest::Body>) -> Answer {
    Answer::of(api.request("PUT", &format!("/v1/datasets/{path}")).body(bytes).send().await.unwrap()).await
}

#[tokio::test]
async fn parts_outlive_a_broken_connection_and_a_restart() {
    let api = Api::start().await;
    let data = rows(60);
    begin(&api, "mine").await;
    let answer = put(&api, "mine/files/deep/rows.jsonl", data[..100].to_vec()).await;
    assert_eq!(answer.body, json!({"path": "deep/rows.jsonl", "bytes": 100}));
    let broken = stream::iter([Ok(Bytes::copy_from_slice(&data[100..300])), Err(std::io::Error::other("gone"))]);
    let path = "/v1/datasets/mine/files/deep/rows.jsonl?offset=100";
    let sent = api.request("PUT", path).body(reqwest::Body::wrap_stream(broken)).send().await;
    assert!(sent.is_err());
    // A restarting server looks for what dead ones left.
    api.service.datasets().recover().await.unwrap();
    assert_eq!(api.get("/v1/datasets/mine").await.body["state"], "uploading");
    // The server may still be at the part whose connection broke.
    let mut there = 0;
    for _ in 0..100 {
        there = api.get("/v1/datasets/mine/files").await.body["data"][0]["bytes"].as_u64().unwrap();
        let next =
            put(&api, &format!("mine/files/deep/rows.jsonl?offset={there}"), data[there as usize..].to_vec()).await;
        if next.status == 200 {
            assert_eq!(next.body["bytes"].as_u64(), Some(data.len() as u64));
            break;
        }
        next.problem(409, "conflict");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!((100..=300).contains(&there), "{there}");
    let answer = api.post("/v1/datasets/mine/finish", json!({})).await;
    assert_eq!((answer.status, &answer.body["state"]), (202, &json!("validating")));
    let entry = checked(&api, "mine").await;
    assert_eq!((&entry["state"], &entry["report"]["rows"]), (&json!("ready"), &json!(60)), "{entry}");
    only_left(&api, &[entry["id"].as_str().unwrap()]).await;
    for path in ["mine/files/x.jsonl", "digits/files/x.jsonl"] {
        let answer = put(&api, path, "{}").await;
        assert!(
            answer.problem(409, "conflict")["detail"].as_str().unwrap().contains("does not accept parts: it is ready")
        );
    }
    api.post("/v1/datasets/mine/finish", json!({})).await.problem(409, "conflict");
    api.get("/v1/datasets/mine/files").await.problem(409, "conflict");
}

#[tokio::test]
async fn parts_are_written_anew_unpacked_and_given_up() {
    let api = Api::with(&[("max_dataset_bytes", "3000")]).await;
    let id = begin(&api, "mine").await["id"].as_str().unwrap().to_owned();
    put(&api, "mine/files/a.jsonl", "nonsense").await;
    let gap = put(&api, "mine/files/a.jsonl?offset=9", "x").await;
    assert!(gap.problem(409, "conflict")["detail"].as_str().unwrap().contains("has 8 bytes so far"));
    assert_eq!(put(&api, "mine/files/a.jsonl?offset=0", rows(2)).await.status, 200);
    put(&api, "mine/files/..%2Fup.jsonl", "x").await.problem(422, "invalid_request");
    let much = put(&api, "mine/files/b.jsonl", vec![b' '; 3000]).await;
    assert!(much.problem(422, "invalid_request")["detail"].as_str().unwrap().contains("more than 3000 bytes"));
    put(&api, "mine/files/b.jsonl?offset=0", "").await;
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("test.jsonl", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(&rows(3)).unwrap();
    put(&api, "mine/files/more.zip", zip.finish().unwrap().into_inner()).await;
    let files = api.get(&format!("/v1/datasets/{id}/files")).await.body;
    let names: Vec<&str> = files["data"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert_eq!(names, ["a.jsonl", "b.jsonl", "more.zip"]);
    api.post(&format!("/v1/datasets/{id}/finish"), json!({})).await;
    let entry = checked(&api, "mine").await;
    assert_eq!((&entry["train_rows"], &entry["eval_rows"]), (&json!(2), &json!(3)), "{entry}");

    begin(&api, "other").await;
    put(&api, "other/files/a.jsonl", rows(1)).await;
    assert_eq!(api.request("DELETE", "/v1/datasets/other").send().await.unwrap().status(), 204);
    only_left(&api, &[&id]).await;
    let nameless = api.post("/v1/datasets", json!({"source": {"upload": "parts"}})).await;
    assert_eq!(nameless.problem(422, "invalid_request")["errors"][0]["pointer"], "/name");
    let both = api.post("/v1/datasets", json!({"name": "x", "source": {"upload": "parts", "path": "/x"}})).await;
    both.problem(422, "invalid_request");
}

#[tokio::test]
async fn paths_that_cannot_be_files_are_refused_by_name() {
    let api = Api::start().await;
    begin(&api, "mine").await;
    assert_eq!(put(&api, "mine/files/file", "x").await.status, 200);
    assert_eq!(put(&api, "mine/files/folder/x", "x").await.status, 200);
    let (long, deep) = ("n".repeat(300), "n/".repeat(600) + "x");
    for path in [long.as_str(), &deep, "file/below", "folder"] {
        let answer = put(&api, &format!("mine/files/{path}"), "x").await;
        let problem = answer.problem(422, "invalid_request").to_string();
        assert!(problem.contains("/path"), "{path}: {problem}");
    }
}
