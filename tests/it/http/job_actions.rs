//! What people ask of jobs: pause, resume, retry, other priorities, other starts.

use serde_json::{Value, json};
use vgpo::domain::checkpoint::{Manifest, NewCheckpoint};
use vgpo::domain::job::LeasedJob;
use vgpo::store::Failure;

use super::support::{Answer, Api};

fn path(job: &Value, action: &str) -> String {
    format!("/v1/jobs/{}{action}", job["id"].as_str().unwrap())
}

async fn states(api: &Api, job: &Value) -> Vec<(String, String)> {
    let events = api.get(&path(job, "/events?types=job")).await.body;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    events["data"].as_array().unwrap().iter().map(|e| (text(&e["data"]["to"]), text(&e["data"]["reason"]))).collect()
}

/// The worker stores a checkpoint.
pub async fn checkpoint(api: &Api, leased: &LeasedJob, id: &str, step: u64) {
    let manifest = Manifest { files: Vec::new(), size_bytes: 0, sha256: String::new() };
    let key = format!("checkpoints/{}/{id}", leased.token.run_id);
    let new = NewCheckpoint { id: id.to_owned(), step, key, accuracy: None, score: None, last: false, manifest };
    api.store().add_checkpoint(&leased.token, new).await.unwrap();
}

#[tokio::test]
async fn pause_resume_and_retry_follow_the_table_with_reasons() {
    let api = Api::start().await;
    let job = api.submit(json!({})).await;
    let early = api.post(&path(&job, "/pause"), json!({})).await;
    let problem = early.problem(409, "illegal_transition");
    assert_eq!((problem["state"].as_str(), &problem["allowed"]), (Some("queued"), &json!(["cancel"])));
    let leased = api.claim().await;
    let paused = api.post(&path(&job, "/pause"), json!({"reason": "lunch"})).await;
    assert_eq!((paused.status, paused.body["state"].as_str()), (200, Some("pausing")));
    assert_eq!(api.post(&path(&job, "/pause"), json!({})).await.status, 200, "a repeat is fine");
    api.store().release(&leased.token, "paused").await.unwrap();
    assert_eq!(api.request("POST", &path(&job, "/resume")).send().await.unwrap().status(), 200, "without a body");
    let again = api.post(&path(&job, "/resume"), json!({})).await;
    assert_eq!((again.status, again.body["state"].as_str()), (200, Some("queued")));
    let leased = api.claim().await;
    assert_eq!(api.post(&path(&job, "/resume"), json!({})).await.body["state"], "running");
    let failure = Failure { message: "no such column".to_owned(), retry_after: None };
    api.store().fail(&leased.token, &failure).await.unwrap();
    let late = api.post(&path(&job, "/resume"), json!({})).await;
    assert_eq!(late.problem(409, "illegal_transition")["allowed"], json!(["retry"]));
    for _ in 0..2 {
        let retried = api.post(&path(&job, "/retry"), json!({"reason": "fixed"})).await;
        assert_eq!((retried.status, retried.body["state"].as_str()), (200, Some("queued")));
    }
    let told = states(&api, &job).await;
    let names: Vec<_> = told.iter().map(|(to, _)| to.as_str()).collect();
    assert_eq!(names, ["queued", "running", "pausing", "paused", "queued", "running", "failed", "queued"]);
    assert_eq!((told[2].1.as_str(), told[7].1.as_str()), ("lunch", "fixed"));
    let wrong = api.post(&path(&job, "/cancel"), json!({"raeson": "x"})).await;
    assert_eq!(wrong.problem(422, "invalid_request")["errors"][0]["pointer"], "/raeson");
    let long = api.post(&path(&job, "/cancel"), json!({"reason": "x".repeat(501)})).await;
    assert_eq!(long.problem(422, "invalid_request")["errors"][0]["pointer"], "/reason");
    api.post("/v1/jobs/nothing/pause", json!({})).await.problem(404, "not_found");
}

#[tokio::test]
async fn priority_and_labels_can_be_changed() {
    let api = Api::start().await;
    let first = api.submit(json!({})).await;
    let second = api.submit(json!({})).await;
    let patch = async |job: &Value, body: Value| {
        Answer::of(api.request("PATCH", &path(job, "")).json(&body).send().await.unwrap()).await
    };
    let changed = patch(&second, json!({"priority": 5, "tags": {"a": "b"}})).await;
    assert_eq!((changed.status, changed.body["priority"].as_i64()), (200, Some(5)));
    assert_eq!((&changed.body["tags"], &changed.body["spec"]["priority"]), (&json!({"a": "b"}), &json!(0)));
    let events = api.get(&path(&second, "/events?types=job.updated")).await.body;
    assert_eq!(events["data"][0]["data"], json!({"priority": 5, "tags": {"a": "b"}}));
    assert_eq!(api.claim().await.job.id, second["id"].as_str().unwrap());
    let wrong = patch(&first, json!({"priority": 1_000_001})).await;
    let error = &wrong.problem(422, "invalid_request")["errors"][0];
    assert_eq!(error["pointer"], "/priority");
    assert!(error["detail"].as_str().unwrap().contains("-1000000 to 1000000"), "{error}");
    api.post(&path(&first, "/cancel"), json!({})).await;
    patch(&first, json!({"priority": 3})).await.problem(409, "conflict");
}

#[tokio::test]
async fn a_job_may_start_later() {
    let api = Api::start().await;
    let job = api.submit(json!({"not_before": "2099-01-01T00:00:00Z"})).await;
    assert_eq!(job["not_before"], "2099-01-01T00:00:00Z");
    let wrong = api.post("/v1/jobs", json!({"model": "tiny", "dataset": "digits", "not_before": "tomorrow"})).await;
    assert_eq!(wrong.problem(422, "invalid_request")["errors"][0]["pointer"], "/not_before");
    // Asked for by hand, it need not wait.
    api.post(&path(&job, "/cancel"), json!({})).await;
    assert_eq!(api.post(&path(&job, "/retry"), json!({})).await.body["not_before"], Value::Null);
    assert_eq!(api.claim().await.job.id, job["id"].as_str().unwrap());
}

#[tokio::test]
async fn a_job_starts_from_what_another_one_ends_with() {
    let api = Api::start().await;
    let sft = api.submit(json!({"method": {"type": "grpo"}})).await;
    let (sft_id, run_id) = (sft["id"].as_str().unwrap(), sft["run_id"].as_str().unwrap());
    let by_job = api.submit(json!({"model": sft_id})).await;
    assert_eq!((&by_job["after"], &by_job["spec"]["after"]), (&json!(sft_id), &json!(sft_id)), "it waits by itself");
    let by_run = api.submit(json!({"model": format!("{run_id}@last"), "after": sft_id})).await;
    let chained = api.submit(json!({"model": by_job["id"]})).await;
    let early = api.post("/v1/jobs", json!({"model": format!("{run_id}@last"), "dataset": "digits"})).await;
    let detail = early.problem(422, "invalid_request")["errors"][0]["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("no checkpoint yet") && detail.contains(sft_id), "{detail}");
    let other = json!({"model": sft_id, "dataset": "digits", "after": chained["id"]});
    assert_eq!(api.post("/v1/jobs", other).await.problem(422, "invalid_request")["errors"][0]["pointer"], "/model");

    let leased = api.claim().await;
    assert_eq!(leased.job.id, sft_id);
    checkpoint(&api, &leased, "ckpt_end", 7).await;
    assert_eq!(api.get(&path(&by_job, "")).await.body["spec"]["model"], sft_id);
    api.store().complete(&leased.token, "finished").await.unwrap();
    for job in [&by_job, &by_run] {
        assert_eq!(api.get(&path(job, "")).await.body["spec"]["model"], "ckpt_end");
    }
    let run = api.get(&format!("/v1/runs/{}", by_run["run_id"].as_str().unwrap())).await.body;
    assert_eq!((run["model"].as_str(), run["base_model"].as_str()), (Some("ckpt_end"), Some("tiny")));
    assert_eq!(api.submit(json!({"model": sft_id})).await["spec"]["model"], "ckpt_end", "it has ended already");
    api.post(&path(&by_job, "/cancel"), json!({})).await;
    assert_eq!(api.get(&path(&chained, "")).await.body["state"], "cancelled");
    let gone = api.post("/v1/jobs", json!({"model": by_job["id"], "dataset": "digits"})).await;
    let detail = gone.problem(422, "invalid_request")["errors"][0]["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("is cancelled; retry it"), "{detail}");
}

#[tokio::test]
async fn a_run_goes_on_and_goes_away() {
    let api = Api::start().await;
    let job = api.submit(json!({"steps": 4})).await;
    let run = format!("/v1/runs/{}", job["run_id"].as_str().unwrap());
    let go_on = format!("{run}/continue");
    api.post(&go_on, json!({"steps": 2})).await.problem(409, "conflict");
    let leased = api.claim().await;
    api.report(&leased, 4, &[("reward/mean", 0.5)]).await;
    checkpoint(&api, &leased, "ckpt_4", 4).await;
    api.store().complete(&leased.token, "finished").await.unwrap();
    for (body, pointer) in [(json!({"steps": 0}), "/steps"), (json!({"step": 1}), "/step"), (json!({}), "/steps")] {
        assert_eq!(api.post(&go_on, body).await.problem(422, "invalid_request")["errors"][0]["pointer"], pointer);
    }
    let request = || api.request("POST", &go_on).header("Idempotency-Key", "once").json(&json!({"steps": 3}));
    let answer = Answer::of(request().send().await.unwrap()).await;
    assert_eq!((answer.status, answer.body["spec"]["steps"].as_u64()), (201, Some(7)));
    let again = Answer::of(request().send().await.unwrap()).await;
    assert_eq!((again.header("idempotent-replayed"), &again.body["id"]), ("true", &answer.body["id"]));
    let now = api.get(&run).await.body;
    assert_eq!((&now["job_id"], &now["state"], &now["steps"]), (&answer.body["id"], &json!("queued"), &json!(7)));

    let delete = async |path: &str| Answer::of(api.request("DELETE", path).send().await.unwrap()).await;
    delete(&run).await.problem(409, "conflict");
    api.post(&path(&answer.body, "/cancel"), json!({})).await;
    assert_eq!(api.post("/v1/checkpoints/ckpt_4/promote", json!({"name": "mine"})).await.status, 200);
    assert_eq!(delete(&run).await.problem(409, "held")["holders"], json!(["the served model `mine`"]));
    assert_eq!(delete("/v1/checkpoints/ckpt_4/promote").await.body["promoted_as"], Value::Null);
    assert_eq!(delete(&run).await.status, 204);
    api.get(&run).await.problem(404, "not_found");
    delete(&run).await.problem(404, "not_found");
}
