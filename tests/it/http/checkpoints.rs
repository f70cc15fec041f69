//! Checkpoints over HTTP: download, serve under a name, delete.

use std::collections::BTreeMap;
use std::io::Read as _;

use serde_json::json;
use vgpo::domain::checkpoint::NewCheckpoint;
use vgpo::domain::job::LeasedJob;

use super::support::{Answer, Api, tiny_model};

/// The worker publishes the tiny model with a trainer's file as a checkpoint.
async fn publish(api: &Api, leased: &LeasedJob, id: &str, step: u64) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    std::fs::create_dir_all(dir.join("trainer")).unwrap();
    for entry in std::fs::read_dir(tiny_model()).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
    }
    std::fs::write(dir.join("trainer/state.json"), "{}").unwrap();
    let artifacts = vgpo::artifacts::open(&api.service.settings().artifacts_url).unwrap();
    let key = format!("checkpoints/{}/{id}", leased.token.run_id);
    let manifest = artifacts.publish_dir(&dir, &key).unwrap();
    let new = NewCheckpoint { id: id.to_owned(), step, key, accuracy: None, score: None, last: false, manifest };
    api.store().add_checkpoint(&leased.token, new).await.unwrap();
}

fn unpack(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(bytes);
    let files = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().display().to_string(), content)
    });
    files.collect()
}

#[tokio::test]
async fn a_checkpoint_comes_as_a_tar_stream() {
    let api = Api::start().await;
    api.submit(json!({})).await;
    let leased = api.claim().await;
    publish(&api, &leased, "ckpt_a", 1).await;
    for trainer in [false, true] {
        let url = format!("/v1/checkpoints/ckpt_a/download?trainer={trainer}");
        let answer = api.request("GET", &url).header("accept-encoding", "gzip").send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &"application/x-tar".parse().unwrap())
        );
        assert!(answer.headers().get("content-encoding").is_none(), "its length is told");
        let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let bytes = answer.bytes().await.unwrap();
        assert_eq!(bytes.len(), length);
        let files = unpack(&bytes);
        assert_eq!(files.contains_key("ckpt_a/trainer/state.json"), trainer);
        for entry in std::fs::read_dir(tiny_model()).unwrap().map(Result::unwrap) {
            let name = format!("ckpt_a/{}", entry.file_name().to_str().unwrap());
            assert_eq!(files[&name], std::fs::read(entry.path()).unwrap(), "{name}");
        }
    }
    api.get("/v1/checkpoints/ckpt_x/download").await.problem(404, "not_found");
}

#[tokio::test]
async fn a_promoted_checkpoint_is_a_model_until_it_is_not() {
    let api = Api::start().await;
    api.submit(json!({})).await;
    let leased = api.claim().await;
    for step in 1..=3 {
        publish(&api, &leased, &format!("ckpt_{step}"), step).await;
    }
    let delete = async |path: &str| Answer::of(api.request("DELETE", path).send().await.unwrap()).await;
    let promoted = api.post("/v1/checkpoints/ckpt_1/promote", json!({"name": "team/digits"})).await;
    assert_eq!((promoted.status, promoted.body["promoted_as"].as_str()), (200, Some("team/digits")));
    let entry = api.get("/v1/models/team/digits").await.body;
    assert_eq!((entry["source"].as_str(), entry["family"].as_str()), (Some("ckpt_1"), Some("qwen2_5_vl")));
    let run = &leased.token.run_id;
    let name = api.get(&format!("/v1/runs/{run}")).await.body["name"].clone();
    let expected = json!({"model": "tiny", "run_id": run, "run": name, "step": 1, "accuracy": null});
    assert_eq!(entry["trained"], expected, "what it is, and not only what it grew from");
    let models = api.get("/v1/models").await.body;
    assert!(models["data"].as_array().unwrap().contains(&entry));
    let question = json!({"model": "team/digits", "prompt": "what ?", "max_new_tokens": 2});
    let answer = api.post("/generate", question.clone()).await;
    assert_eq!((answer.status, answer.body["model"].as_str()), (200, Some("ckpt_1")), "{}", answer.body);

    let held = delete("/v1/checkpoints/ckpt_1").await;
    assert!(held.problem(409, "held")["holders"][0].as_str().unwrap().contains("the engine"), "{}", held.body);
    for (name, why) in [("tiny", 409), ("ckpt_9", 422), ("", 422), ("a b", 422)] {
        let refused = api.post("/v1/checkpoints/ckpt_1/promote", json!({"name": name})).await;
        assert_eq!(refused.status, why, "{name}: {}", refused.body);
    }
    api.post("/v1/checkpoints/ckpt_2/promote", json!({"name": "team/digits"})).await;
    assert_eq!(api.get("/v1/models/team/digits").await.body["source"], "ckpt_2", "the name moves");
    let held = delete("/v1/checkpoints/ckpt_2").await;
    assert_eq!(held.problem(409, "held")["holders"], json!(["the served model `team/digits`"]));
    let last = delete("/v1/checkpoints/ckpt_3").await;
    let holders = last.problem(409, "held")["holders"].to_string();
    assert!(holders.contains("(last)") && holders.contains("(best)"), "{holders}");
    for _ in 0..2 {
        assert_eq!(delete("/v1/checkpoints/ckpt_2/promote").await.status, 200);
    }
    api.get("/v1/models/team/digits").await.problem(404, "not_found");
    // What is listed as a model can be taken off as one.
    api.post("/v1/checkpoints/ckpt_2/promote", json!({"name": "team/digits"})).await;
    assert_eq!(delete("/v1/models/team/digits").await.status, 204);
    api.get("/v1/models/team/digits").await.problem(404, "not_found");
    assert_eq!(api.get("/v1/checkpoints/ckpt_2").await.body["promoted_as"], json!(null));
    delete("/v1/models/team/digits").await.problem(404, "not_found");
    assert_eq!(delete("/v1/checkpoints/ckpt_2").await.status, 204);
    api.get("/v1/checkpoints/ckpt_2").await.problem(404, "not_found");
    let key = format!("checkpoints/{}/ckpt_2", leased.token.run_id);
    let artifacts = vgpo::artifacts::open(&api.service.settings().artifacts_url).unwrap();
    assert!(artifacts.path(&key).is_err(), "its files are gone");
}

#[tokio::test]
async fn a_damaged_checkpoint_is_refused_before_it_is_used() {
    let api = Api::start().await;
    api.submit(json!({})).await;
    let leased = api.claim().await;
    for (id, step) in [("ckpt_flipped", 1), ("ckpt_short", 2)] {
        publish(&api, &leased, id, step).await;
    }
    let artifacts = vgpo::artifacts::open(&api.service.settings().artifacts_url).unwrap();
    let weights = |id: &str| {
        let folder = artifacts.path(&format!("checkpoints/{}/{id}", leased.token.run_id)).unwrap();
        folder.join("model.safetensors")
    };
    // Some bits of a weight: a file of the same size, which every reader of safetensors takes.
    let mut bytes = std::fs::read(weights("ckpt_flipped")).unwrap();
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..middle + 4096] {
        *byte ^= 0xff;
    }
    std::fs::write(weights("ckpt_flipped"), &bytes).unwrap();
    std::fs::write(weights("ckpt_short"), &bytes[..middle]).unwrap();
    for (id, problem) in [("ckpt_flipped", "another content"), ("ckpt_short", "bytes instead of")] {
        let request = json!({"model": id, "prompt": "what ?", "max_new_tokens": 2});
        let refused = api.post("/generate", request).await;
        let detail = refused.problem(409, "conflict")["detail"].as_str().unwrap();
        assert!(detail.contains("model.safetensors") && detail.contains(problem), "{detail}");
    }
    // Too short is told before the first byte.
    let refused = api.get("/v1/checkpoints/ckpt_short/download").await;
    assert!(refused.problem(409, "conflict")["detail"].as_str().unwrap().contains("bytes instead of"));
}
