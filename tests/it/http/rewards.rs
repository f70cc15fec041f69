//! Trying a reward over the wire.

use futures_util::StreamExt as _;
use serde_json::json;

use super::support::Api;

#[tokio::test]
async fn a_reward_is_tried_on_given_responses() {
    let api = Api::start().await;
    let request = json!({"reward": {"type": "weighted", "parts": [{"weight": 0.9, "reward": {"type": "math"}}, {"weight": 0.1, "reward": {"type": "format"}}]},
        "items": [{"response": "<think>x</think> \\boxed{6/8}", "ground_truth": "3/4"}, {"response": "4", "ground_truth": "4"}]});
    let answer = api.post("/v1/rewards/evaluate", request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let data = answer.body["data"].as_array().unwrap();
    assert_eq!((&data[0]["reward"], &data[0]["extracted"]), (&json!(1.0), &json!("6/8")));
    assert_eq!(
        (&data[1]["reward"], &data[1]["accuracy"], &data[1]["parts"]["math"]),
        (&json!(0.0), &json!(0.0), &json!(0.0))
    );
}

#[tokio::test]
async fn faults_are_named() {
    let api = Api::start().await;
    let item = json!({"response": "x", "ground_truth": "y"});
    let many: Vec<_> = (0..1001).map(|_| item.clone()).collect();
    for (request, pointer) in [
        (json!({"reward": {"type": "mth"}, "items": [item]}), "/reward/type"),
        (json!({"reward": {"type": "math"}, "items": []}), "/items"),
        (json!({"reward": {"type": "math"}, "items": many}), "/items"),
        (json!({"reward": {"type": "math"}, "items": [{"response": "x"}]}), "/items/0/ground_truth"),
        (
            json!({"reward": {"type": "math"}, "items": [{"response": "x".repeat(2 << 20), "ground_truth": ""}]}),
            "/items/0/response",
        ),
        (json!({"reward": {"type": "webhook", "url": "http://127.0.0.1:1/"}, "items": [item]}), "/reward"),
    ] {
        let answer = api.post("/v1/rewards/evaluate", request).await;
        assert_eq!(answer.problem(422, "invalid_request")["errors"][0]["pointer"], pointer);
    }
}

#[tokio::test]
async fn a_webhook_that_is_down_is_a_503_and_a_job_with_a_forbidden_host_is_refused() {
    let api = Api::with(&[("webhook_hosts", "127.0.0.1:9")]).await;
    let item = json!({"response": "x", "ground_truth": "y"});
    let hook = |url: &str| json!({"type": "webhook", "url": url, "retries": 0});
    let answer =
        api.post("/v1/rewards/evaluate", json!({"reward": hook("http://127.0.0.1:9/"), "items": [item]})).await;
    answer.problem(503, "unavailable");
    let job = |url: &str| json!({"model": "tiny", "dataset": "digits", "data": {"max_prompt_tokens": 4000}, "reward": hook(url)});
    let refused = api.post("/v1/jobs", job("http://example.com/")).await;
    assert!(refused.problem(422, "invalid_request")["errors"][0]["detail"].as_str().unwrap().contains("webhook_hosts"));
    assert_eq!(api.post("/v1/jobs", job("http://127.0.0.1:9/")).await.status, 201);
}

#[tokio::test]
async fn parts_of_a_reward_have_a_limit_wherever_it_comes_from() {
    let api = Api::start().await;
    let parts = |count: usize| vec![json!({"weight": 0.1, "reward": {"type": "math"}}); count];
    let nested = |count: usize| {
        let inner = json!({"weight": 1, "reward": {"type": "weighted", "parts": parts(count)}});
        json!({"type": "weighted", "parts": [inner.clone(), inner]})
    };
    let item = json!({"response": "x", "ground_truth": "y"});
    for (reward, count) in [(json!({"type": "weighted", "parts": parts(33)}), 33), (nested(16), 34)] {
        let tried = api.post("/v1/rewards/evaluate", json!({"reward": reward, "items": [item]})).await;
        let job = api.post("/v1/jobs", json!({"model": "tiny", "dataset": "digits", "reward": reward})).await;
        for answer in [tried, job] {
            let errors = answer.problem(422, "invalid_request")["errors"].to_string();
            assert!(errors.contains(&format!("{count} parts")) && errors.contains("the limit is 32"), "{errors}");
        }
    }
    let most = json!({"reward": nested(15), "items": [item]});
    assert_eq!(api.post("/v1/rewards/evaluate", most).await.status, 200);
}

/// Webhooks that never answer hold neither the server nor its end.
#[tokio::test]
async fn webhooks_that_hang_hold_up_no_other_request() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let api = Api::with(&[("webhook_hosts", &format!("127.0.0.1:{port}"))]).await;
    let hook =
        json!({"type": "webhook", "url": format!("http://127.0.0.1:{port}/"), "timeout_seconds": 3600, "retries": 20});
    let ask = json!({"reward": hook, "items": [{"response": "x", "ground_truth": "y"}]});
    let asked = (0..40).map(|_| api.request("POST", "/v1/rewards/evaluate").json(&ask).send());
    let mut answers = futures_util::stream::iter(asked).buffer_unordered(40);
    // Those for whom there is no place are told at once.
    let mut told = 0;
    while told < 20 {
        let answer = tokio::time::timeout(std::time::Duration::from_secs(60), answers.next()).await;
        let answer = super::support::Answer::of(answer.expect("it is answered").unwrap().unwrap()).await;
        let detail = answer.problem(503, "unavailable")["detail"].as_str().unwrap().to_owned();
        told += usize::from(detail.contains("wait for rewards"));
    }
    drop(answers);
    assert_eq!(api.get("/readyz").await.status, 200);
    let many: Vec<_> = (0..5).map(|_| json!({"weight": 1, "reward": hook})).collect();
    let ask = json!({"reward": {"type": "weighted", "parts": many}, "items": [{"response": "x", "ground_truth": "y"}]});
    let detail = api.post("/v1/rewards/evaluate", ask).await.body["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("asks 5 webhooks"), "{detail}");
}
