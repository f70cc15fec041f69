//! What is refused before a server is asked, and adapters that this program's own server is asked to load.

use serde_json::{Value, json};
use vgpo::domain::access::Role;

use super::{failure, job, merge, recorder, server, shared, train};
use crate::http::access::place::Place;
use crate::http::support::Api;

/// The errors of a job that names an engine, by pointer.
async fn errors(api: &Api, more: Value) -> Vec<(String, String)> {
    let mut job = json!({"model": "starter", "dataset": "digits", "rollout": {"engine": {
        "type": "vllm", "urls": ["http://gpu-1:8000"], "shared_dir": "/mnt/weights"}}});
    merge(&mut job, &more);
    let answer = api.post("/v1/jobs", job).await;
    let errors = answer.problem(422, "invalid_request").clone();
    let text = |error: &Value, name: &str| error[name].as_str().unwrap().to_owned();
    errors["errors"].as_array().unwrap().iter().map(|e| (text(e, "pointer"), text(e, "detail"))).collect()
}

fn engine(more: Value) -> Value {
    json!({ "rollout": { "engine": more } })
}

#[tokio::test]
async fn a_job_that_cannot_work_is_refused_at_submit() {
    let api = Api::with(&[("rollout_hosts", "gpu-1:8000")]).await;
    let lora = json!({"parameters": "lora", "lora": {"targets": ["all-linear"]}});
    let cases = [
        (engine(json!({"urls": ["http://gpu-2:8000"]})), "/urls/0", "VGPO_ROLLOUT_HOSTS"),
        (engine(json!({"urls": ["gpu-1"]})), "/urls/0", "http://"),
        (engine(json!({"urls": null})), "/urls", "is required"),
        (engine(json!({"shared_dir": null})), "/shared_dir", "is required"),
        (engine(json!({"shared_dir": "weights"})), "/shared_dir", "absolute"),
        (engine(json!({"sync": "adapter"})), "/sync", "all weights are trained"),
        (engine(json!({"type": "sglang", "sync": "adapter"})), "/sync", ""),
        (engine(json!({"staleness": 9})), "/staleness", "from 0 to 8"),
        (engine(json!({"type": "tgi"})), "/type", "vllm"),
        (json!({"method": {"type": "eval"}}), "/type", "trains on no samples"),
        (json!({"train": lora, "rollout": {"engine": {"sync": "adapter"}}}), "/sync", "vision tower"),
    ];
    for (more, pointer, told) in cases {
        let found = errors(&api, more.clone()).await;
        let expected = format!("/rollout/engine{pointer}");
        assert!(found.iter().any(|(at, detail)| *at == expected && detail.contains(told)), "{more}: {found:?}");
    }
    let local = json!({"model": "starter", "dataset": "digits", "rollout": {"engine": {"staleness": 1}}});
    assert_eq!(
        api.post("/v1/jobs", local).await.problem(422, "invalid_request")["errors"][0]["pointer"],
        "/rollout/engine/staleness"
    );
    let mut good = json!({"model": "starter", "dataset": "digits"});
    merge(&mut good, &engine(json!({"type": "vllm", "urls": ["http://gpu-1:8000"], "shared_dir": "/mnt/weights"})));
    let plan = api.post("/v1/jobs?dry_run=true", good).await;
    assert_eq!(plan.status, 200, "{}", plan.body);
    assert_eq!(plan.body["spec"]["rollout"]["correction_cap"], 2.0, "another program samples");
    assert_eq!(plan.body["spec"]["rollout"]["engine"]["patience_seconds"], 600.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_worker_can_know_is_refused_there() {
    let shared = shared();
    let api = server(shared.path()).await;
    let urls = [api.url.clone()];
    let cases = [
        (engine(json!({"shared_dir": "/nowhere/at/all"})), "there is no folder /nowhere/at/all"),
        (engine(json!({"model": "other"})), "serves no model `other`; it serves"),
        (engine(json!({"model": null})), "name the one that is trained"),
        (engine(json!({"urls": ["http://127.0.0.1:8"]})), "rollout_hosts"),
        (json!({"rollout": {"temperature": 0.7}}), "tells log-probs at temperature 1"),
    ];
    for (more, told) in cases {
        let (end, _) = train(job(&urls, shared.path(), &more), recorder(&urls)).await;
        let (problem, again) = failure(end);
        assert!(problem.contains(told) && !again, "{more}: {problem}");
    }
    // The server reads weights below its roots only.
    let elsewhere = super::shared();
    let (end, _) = train(job(&urls, elsewhere.path(), &json!({})), recorder(&urls)).await;
    let (problem, again) = failure(end);
    assert!(problem.contains("shared_dir") && problem.contains("did not take the weights") && !again, "{problem}");
}

#[tokio::test]
async fn only_admins_load_adapters() {
    let place = Place::new().await;
    let admin = place.key(Role::Admin, "default").await;
    let user = place.key(Role::User, "default").await;
    for path in ["/v1/load_lora_adapter", "/v1/unload_lora_adapter"] {
        let body = json!({"lora_name": "mine", "lora_path": "/tmp"});
        place.send(&user, "POST", path, Some(body)).await.problem(403, "forbidden");
    }
    let unknown = json!({"lora_name": "mine"});
    place.send(&admin, "POST", "/v1/unload_lora_adapter", Some(unknown)).await.problem(404, "not_found");
    let outside = json!({"lora_name": "mine", "lora_path": "/tmp"});
    let refused = place.send(&admin, "POST", "/v1/load_lora_adapter", Some(outside)).await;
    assert_eq!(refused.problem(422, "invalid_request")["errors"][0]["pointer"], "/lora_path");
}
