//! Data sets that come from a hub.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::datasets::{checked, lines, only_left, png};
use super::support::Api;
use crate::hub::server::{COMMIT, FakeHub, Moods, OTHER_COMMIT};

fn row(image: &str) -> Value {
    json!({"problem": "<image>how wide ?", "answer": 30, "images": [image]})
}

/// A repository of two parts: rows with a picture next to them, and rows whose pictures are in an archive.
fn repository() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |path: &str, bytes: &[u8]| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    put("README.md", b"# Rows");
    put("small/train.jsonl", &lines(&[row("images/a.png"), row("images/a.png")]));
    put("small/test.jsonl", &lines(&[row("images/a.png")]));
    put("small/images/a.png", &png(30, 20));
    put("small/images/unused.png", &png(300, 300));
    put("packed/rows.zip", &zip(&[("train.jsonl", &lines(&[row("b.png")])), ("b.png", &png(30, 10))]));
    folder
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut archive, bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

async fn start(limit: &str) -> (Api, FakeHub, TempDir) {
    let repository = repository();
    let hub = FakeHub::start(&[("datasets/org/rows", repository.path())], Moods::default()).await;
    let api = Api::with(&[("hf_endpoint", &hub.url), ("max_dataset_bytes", limit)]).await;
    (api, hub, repository)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_is_fetched_by_its_commit_checked_and_kept() {
    let (api, hub, repository) = start("1000000").await;
    let made = api.post("/v1/datasets", json!({"source": {"hub": "org/rows", "folder": "small"}})).await;
    assert_eq!((made.status, made.body["state"].as_str()), (202, Some("uploading")), "{}", made.body);
    let entry = checked(&api, "rows").await;
    assert_eq!(entry["state"], "ready", "{entry}");
    assert_eq!(entry["source"], format!("hf:org/rows@{COMMIT}"));
    assert_eq!((&entry["train_rows"], &entry["eval_rows"]), (&json!(2), &json!(1)));
    assert_eq!((hub.asked("@main/"), hub.asked("README")), (0, 0), "by commit, and nothing that rows do not need");

    let packed = json!({"name": "packed", "source": {"hub": "org/rows", "revision": "v2", "folder": "packed"}});
    assert_eq!(api.post("/v1/datasets", packed).await.status, 202);
    let entry = checked(&api, "packed").await;
    assert_eq!(entry["state"], "ready", "{entry}");
    assert_eq!(entry["source"], format!("hf:org/rows@{OTHER_COMMIT}"));

    // The rows are ours now: neither the hub nor its cache is needed any more.
    drop(repository);
    std::fs::remove_dir_all(&api.service.settings().hf_cache).unwrap();
    let rows = api.get("/v1/datasets/rows/rows?split=train").await.body;
    assert_eq!(rows["data"][0]["images"][0]["width"], 30, "{rows}");
    let plan = api.post("/v1/jobs?dry_run=true", json!({"model": "tiny", "dataset": "packed"})).await;
    assert_eq!(plan.status, 200, "{}", plan.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_come_is_told_and_leaves_nothing() {
    let (api, _hub, _repository) = start("1024").await;
    let refused = [
        (json!({"hub": "org/other"}), "/source/hub", "has no `org/other@main`"),
        (json!({"hub": "org/rows", "folder": "small/images"}), "/source/hub", "`small/images`"),
        (json!({"hub": "org/rows", "folder": "../x"}), "/source/folder", ".."),
        (json!({"hub": "org/rows", "revision": "../x"}), "/source/revision", "revision"),
        (json!({"path": "/x", "folder": "small"}), "/source/folder", "only applies to `hub`"),
        (json!({"hub": "org/rows", "path": "/x"}), "/source", "one of"),
    ];
    for (source, pointer, detail) in refused {
        let answer = api.post("/v1/datasets", json!({"source": source})).await;
        assert_eq!(answer.status, 422, "{source}: {}", answer.body);
        let error = &answer.body["errors"][0];
        assert_eq!(error["pointer"], pointer, "{source}: {error}");
        assert!(error["detail"].as_str().unwrap().contains(detail), "{source}: {error}");
    }
    let made = api.post("/v1/datasets", json!({"source": {"hub": "org/rows"}})).await;
    assert_eq!(made.status, 202, "{}", made.body);
    let entry = checked(&api, "rows").await;
    let problem = entry["report"]["errors"][0]["problem"].as_str().unwrap();
    assert!(entry["state"] == "invalid" && problem.contains("more than 1024 bytes"), "{entry}");
    only_left(&api, &[]).await;

    let offline = Api::with(&[("hf_endpoint", "http://127.0.0.1:9")]).await;
    let answer = offline.post("/v1/datasets", json!({"source": {"hub": "org/rows"}})).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.body["detail"].as_str().unwrap().contains("cannot reach the hub http://127.0.0.1:9"));
    assert_eq!(offline.get("/v1/datasets/rows").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_registers_by_name_and_revision() {
    let (api, _hub, _repository) = start("1000000").await;
    let mut command = std::process::Command::new(Path::new(env!("CARGO_BIN_EXE_vgpo")));
    command.args(["datasets", "register", "hf:org/rows@v2", "--folder", "small", "--name", "mine", "--wait"]);
    command.env("VGPO_SERVER", &api.url);
    let out = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && said.contains("3 rows (2 training, 1 held out)"), "{out:?}");
    assert_eq!(api.get("/v1/datasets/mine").await.body["source"], format!("hf:org/rows@{OTHER_COMMIT}"));
}
