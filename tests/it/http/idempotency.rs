//! `Idempotency-Key`: sent twice, carried out once.

use serde_json::{Value, json};
use vgpo::domain::access::Caller;
use vgpo::service::access::idempotency::Idempotent;

use super::support::{Answer, Api};

async fn send(api: &Api, key: &str, body: &Value) -> Answer {
    Answer::of(api.request("POST", "/v1/jobs").header("idempotency-key", key).json(body).send().await.unwrap()).await
}

async fn count(api: &Api) -> usize {
    api.get("/v1/jobs").await.body["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_makes_nothing() {
    let api = Api::start().await;
    let body = json!({"model": "tiny", "dataset": "digits"});
    let first = send(&api, "k1", &body).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (201, ""));
    let again = send(&api, "k1", &body).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, "true"));
    assert_eq!(again.body, first.body);
    assert_eq!(count(&api).await, 1);
    // Another key, or none, is another request.
    assert_ne!(send(&api, "k2", &body).await.body["id"], first.body["id"]);
    api.submit(json!({})).await;
    assert_eq!(count(&api).await, 3);
}

#[tokio::test]
async fn another_body_under_the_same_key_is_refused() {
    let api = Api::start().await;
    send(&api, "k", &json!({"model": "tiny", "dataset": "digits"})).await;
    let answer = send(&api, "k", &json!({"model": "tiny", "dataset": "digits", "steps": 3})).await;
    answer.problem(422, "idempotency_mismatch");
    assert_eq!(count(&api).await, 1);
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let api = Api::start().await;
    send(&api, "k", &json!({"model": "tiny"})).await.problem(422, "invalid_request");
    assert_eq!(send(&api, "k", &json!({"model": "tiny", "dataset": "digits"})).await.status, 201);
}

#[tokio::test]
async fn twins_at_the_same_moment_make_one_job() {
    let api = Api::start().await;
    let body = json!({"model": "tiny", "dataset": "digits"});
    let answers = futures_util::future::join_all((0..6).map(|_| send(&api, "k", &body))).await;
    for answer in &answers {
        if answer.status != 201 {
            answer.problem(409, "idempotency_in_flight");
            assert_eq!(answer.header("retry-after"), "1");
        }
    }
    assert!(answers.iter().any(|answer| answer.status == 201));
    assert_eq!(count(&api).await, 1);
}

#[tokio::test]
async fn keys_must_be_fit_for_a_header() {
    let api = Api::start().await;
    let answer = send(&api, &"k".repeat(300), &json!({})).await;
    assert_eq!(answer.problem(422, "invalid_request")["errors"][0]["pointer"], "Idempotency-Key");
}

/// The server dies behind the commit of the job, and before it keeps the answer.
#[tokio::test]
async fn a_repeat_after_a_crash_finds_what_was_made() {
    let api = Api::start().await;
    let body = json!({"model": "tiny", "dataset": "digits"});
    let dying = api.service.for_caller(Caller::anonymous());
    let begun =
        dying.access().begin_idempotent("k", "POST /v1/jobs", &serde_json::to_vec(&body).unwrap()).await.unwrap();
    assert!(matches!(begun, Idempotent::CarryOut(_)));
    let job = dying.jobs().submit(&body, None).await.unwrap().job;
    drop(dying);
    for _ in 0..2 {
        let again = send(&api, "k", &body).await;
        assert_eq!((again.status, again.header("idempotent-replayed")), (201, "true"), "{}", again.body);
        assert_eq!(again.body["id"], job.id);
    }
    assert_eq!(count(&api).await, 1);
    send(&api, "k", &json!({"model": "tiny", "dataset": "digits", "steps": 3}))
        .await
        .problem(422, "idempotency_mismatch");
}
