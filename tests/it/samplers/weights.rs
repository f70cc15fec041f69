//! All weights in place of a server's own.

use serde_json::{Value, json};

use super::stub::{Options, Stub};
use super::{failure, is_empty, job, recorder, server, shared, train, values};

/// All weights are trained, by steps too small for the server's own to differ from them.
pub fn full() -> Value {
    json!({ "steps": 2, "optimizer": { "learning_rate": 1e-9 }, "train": { "parameters": "full", "lora": null },
        "rollout": { "engine": { "sync": "weights" } } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_are_replaced_while_the_server_rests_and_caches_are_emptied() {
    let shared = shared();
    let api = server(shared.path()).await;
    let stub = Stub::start(&api.url, Options::default()).await;
    let urls = [stub.url.clone()];
    let (end, recorder) = train(job(&urls, shared.path(), &full()), recorder(&urls)).await;
    end.unwrap();
    let calls = stub.calls();
    let first = calls.iter().position(|call| call.starts_with("/pause")).unwrap();
    let expected = [
        "/pause?mode=wait",
        "/collective_rpc",
        "/reset_prefix_cache",
        "/reset_mm_cache",
        "/reset_encoder_cache",
        "/update_weight_version",
        "/resume",
        "/weight_info",
    ];
    assert_eq!(calls[first..first + expected.len()], expected);
    assert_eq!((stub.count("/collective_rpc"), stub.count("/pause?mode=wait")), (2, 2), "once a step: {calls:?}");
    assert!(stub.count("/weight_info") >= 4, "and the version is checked before every batch");
    assert_eq!(values(&recorder, "rollout/version_lag"), [0.0, 0.0]);
    assert!(is_empty(shared.path()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_another_version_is_refused() {
    let shared = shared();
    let api = server(shared.path()).await;
    let options = Options { claims: Some("job_other-1-7"), ..Options::default() };
    let stub = Stub::start(&api.url, options).await;
    let urls = [stub.url.clone()];
    let (end, _) = train(job(&urls, shared.path(), &full()), recorder(&urls)).await;
    let (problem, again) = failure(end);
    assert!(problem.contains("`job_other-1-7` although `job_test-1-0` were published") && !again, "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_replace_its_weights_names_the_way_out() {
    let shared = shared();
    let api = server(shared.path()).await;
    let stub = Stub::start(&api.url, Options { development: false, ..Options::default() }).await;
    let urls = [stub.url.clone()];
    let (end, _) = train(job(&urls, shared.path(), &full()), recorder(&urls)).await;
    let (problem, again) = failure(end);
    assert!(problem.contains("VLLM_SERVER_DEV_MODE=1") && !again, "{problem}");
}
