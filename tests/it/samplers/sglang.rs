//! The calls of SGLang, as its source has them.

use serde_json::json;

use super::stub::{Fault, Options, Stub};
use super::weights::full;
use super::{failure, is_empty, job, merge, recorder, server, shared, train, values};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_call_replaces_weights_and_chats_tell_ids() {
    let shared = shared();
    let api = server(shared.path()).await;
    let stub = Stub::start(&api.url, Options::default()).await;
    let urls = [stub.url.clone()];
    let mut sglang = full();
    merge(&mut sglang, &json!({ "rollout": { "engine": { "type": "sglang", "sync": "auto" } } }));
    let (end, recorder) = train(job(&urls, shared.path(), &sglang), recorder(&urls)).await;
    end.unwrap();
    assert_eq!(stub.count("/update_weights_from_disk"), 2, "{:?}", stub.calls());
    assert!(stub.count("/model_info") >= 4, "the version is checked");
    assert!(values(&recorder, "rollout/kl").iter().all(|kl| kl.abs() < 1e-3));
    assert!(is_empty(shared.path()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_ids_end_the_job() {
    let shared = shared();
    let api = server(shared.path()).await;
    let stub = Stub::start(&api.url, Options { then: Fault::WrongIds, ..Options::default() }).await;
    let urls = [stub.url.clone()];
    let mut sglang = full();
    merge(&mut sglang, &json!({ "rollout": { "engine": { "type": "sglang" } } }));
    let (end, _) = train(job(&urls, shared.path(), &sglang), recorder(&urls)).await;
    let (problem, again) = failure(end);
    assert!(problem.contains("as other tokens") && !again, "{problem}");
}
