//! Trying a reward over the wire.

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::datasets::{LINES, checked, rows, send};
use super::support::Api;
use crate::reward::image_text::fixtures;

#[tokio::test]
async fn a_reward_is_tried_on_given_responses() {
    let api = Api::start().await;
    let request = json!({"reward": {"type": "weighted",
        "parts": [{"weight": 0.9, "reward": {"type": "math"}}, {"weight": 0.1, "reward": {"type": "format"}}]},
        "items": [{"response": "<think>x</think> \\boxed{6/8}", "ground_truth": "3/4"},
            {"response": "4", "ground_truth": "4"}]});
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
    let job = |url: &str| {
        json!({"model": "tiny", "dataset": "digits", "data": {"max_prompt_tokens": 4000},
        "reward": hook(url)})
    };
    let refused = api.post("/v1/jobs", job("http://example.com/")).await;
    assert!(refused.problem(422, "invalid_request")["errors"][0]["detail"].as_str().unwrap().contains("webhook_hosts"));
    assert_eq!(api.post("/v1/jobs", job("http://127.0.0.1:9/")).await.status, 201);
}

/// A picture of the fixtures as a `data:` URL.
fn picture(name: &str) -> String {
    vgpo::images::png_url(&image::open(fixtures().join(name)).unwrap().into_rgb8()).unwrap()
}

#[tokio::test]
async fn responses_are_compared_with_the_images_of_a_request() {
    let api = Api::with(&[("model_roots", fixtures().to_str().unwrap())]).await;
    let case: Value = serde_json::from_slice(&std::fs::read(fixtures().join("clip_tiny/cases.json")).unwrap()).unwrap();
    let item = |case: &Value| {
        json!({"response": case["text"], "ground_truth": "",
        "images": [picture(case["image"].as_str().unwrap())]})
    };
    let items: Vec<Value> = case.as_array().unwrap().iter().map(item).collect();
    let reward = json!({"type": "weighted",
        "parts": [{"weight": 2.0, "reward": {"type": "image_text", "model": fixtures().join("clip_tiny")}}]});
    let answer = api.post("/v1/rewards/evaluate", json!({"reward": reward, "items": items})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    for (judged, case) in answer.body["data"].as_array().unwrap().iter().zip(case.as_array().unwrap()) {
        let difference = judged["reward"].as_f64().unwrap() - 2.0 * case["cosine"].as_f64().unwrap();
        assert!(difference.abs() < 2e-4, "{judged} {case}");
    }
}

#[tokio::test]
async fn images_and_checkpoints_that_cannot_be_used_are_named() {
    let roots = fixtures().join("clip_tiny");
    let api = Api::with(&[("model_roots", roots.to_str().unwrap()), ("max_image_pixels", "9000")]).await;
    let clip = json!({"type": "image_text", "model": roots});
    let siglip = json!({"type": "image_text", "model": fixtures().join("siglip_tiny")});
    let nested = json!({"type": "weighted",
        "parts": [{"weight": 1, "reward": {"type": "math"}}, {"weight": 1, "reward": siglip}]});
    let item = |images: Value| json!({"response": "x", "ground_truth": "y", "images": images});
    let (wide, tall, small) = (picture("wide.png"), picture("tall.png"), picture("small.png"));
    let nothing = json!([]);
    let ended = format!("{}AAAA", &small[..small.len() / 2]);
    let many: Vec<&str> = vec![&small; 65];
    for (reward, items, pointer, part) in [
        (&siglip, vec![item(json!([small]))], "/reward/model", "model_roots"),
        (&nested, vec![item(json!([small]))], "/reward/parts/1/reward/model", "model_roots"),
        (&clip, vec![item(json!([small])), item(nothing)], "/items/1/images", "has none"),
        (&clip, vec![item(json!(["data:image/png;base64,AAAA"]))], "/items/0/images/0", "image"),
        (&clip, vec![item(json!([small])), item(json!([ended]))], "/items/1/images/0", "image"),
        (&clip, vec![item(json!([wide, wide])), item(json!([wide, tall]))], "/items/1/images/1", "max_image_pixels"),
        (&clip, vec![item(json!(many))], "/items/0/images", "the limit is 64"),
        (&json!({"type": "image_text"}), vec![item(json!([small]))], "/reward/model", "required"),
        (
            &json!({"type": "image_text", "model": roots, "score": "dot"}),
            vec![item(json!([small]))],
            "/reward/score",
            "cosine",
        ),
        (
            &json!({"type": "image_text", "model": roots, "score": "probability"}),
            vec![item(json!([small]))],
            "/reward",
            "CLIP",
        ),
    ] {
        let answer = api.post("/v1/rewards/evaluate", json!({"reward": reward, "items": items})).await;
        let fault = &answer.problem(422, "invalid_request")["errors"][0];
        assert_eq!(fault["pointer"], pointer, "{fault}");
        assert!(fault["detail"].as_str().unwrap().contains(part), "{fault}");
    }
}

#[tokio::test]
async fn a_job_learns_at_the_door_whether_its_checkpoint_and_images_are_there() {
    let api = Api::with(&[("model_roots", fixtures().to_str().unwrap())]).await;
    let roots = fixtures().canonicalize().unwrap();
    let reward = |name: &str| {
        json!({"type": "weighted", "parts": [{"weight": 0.5, "reward": {"type": "math"}},
        {"weight": 0.5, "reward": {"type": "image_text", "model": format!("{}/./{name}", fixtures().display())}}]})
    };
    let job = api.submit(json!({"reward": reward("siglip_tiny")})).await;
    assert_eq!(job["spec"]["reward"]["parts"][1]["reward"]["model"], json!(roots.join("siglip_tiny")));
    let refused = |name: &'static str, dataset: &'static str| {
        let job =
            json!({"model": "tiny", "dataset": dataset, "data": {"max_prompt_tokens": 4000}, "reward": reward(name)});
        let api = &api;
        async move { api.post("/v1/jobs", job).await.problem(422, "invalid_request")["errors"][0].clone() }
    };
    let absent = refused("other", "digits").await;
    assert_eq!(absent["pointer"], "/reward/parts/1/reward/model");
    let made = send(&api, "?name=texts", LINES, rows(8)).await;
    assert_eq!(made.status, 202, "{}", made.body);
    assert_eq!(checked(&api, "texts").await["state"], "ready");
    let blind = refused("siglip_tiny", "texts").await;
    assert_eq!(blind["pointer"], "/reward");
    assert!(blind["detail"].as_str().unwrap().contains("`texts` have none"), "{blind}");
}

#[tokio::test]
async fn what_a_reward_cannot_decide_or_read_is_told_before_the_job() {
    let api = Api::start().await;
    let job = |more: Value| {
        let mut job = json!({"model": "tiny", "dataset": "digits", "data": {"max_prompt_tokens": 4000}});
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        job
    };
    let length = json!({"type": "length", "limit": 40, "buffer": 20});
    let filter = |metric: &str| json!({"reward": length, "rollout": {"filter": {"metric": metric}}});
    let refused = api.post("/v1/jobs", job(filter("accuracy"))).await;
    let fault = refused.problem(422, "invalid_request")["errors"][0].clone();
    assert_eq!(fault["pointer"], "/rollout/filter/metric");
    assert!(fault["detail"].as_str().unwrap().contains("\"reward\""), "{fault}");
    assert_eq!(api.post("/v1/jobs", job(filter("reward"))).await.status, 201);
    let judged = json!({"reward": length, "items": [{"response": "x", "ground_truth": "x"}]});
    assert_eq!(api.post("/v1/rewards/evaluate", judged).await.body["data"][0]["accuracy"], Value::Null);

    let warnings = async |reward: Value| {
        let plan = api.post("/v1/jobs?dry_run=true", job(json!({"reward": reward}))).await;
        assert_eq!(plan.status, 200, "{}", plan.body);
        let all = plan.body["warnings"].as_array().unwrap().clone();
        all.into_iter().filter(|warning| warning["code"] == "unreadable_truths").collect::<Vec<_>>()
    };
    let blind = warnings(json!({"type": "iou"})).await;
    assert!(blind.len() == 1 && blind[0]["detail"].as_str().unwrap().contains("none of the first 8"), "{blind:?}");
    assert!(warnings(json!({"type": "numeric"})).await.is_empty());
    assert!(warnings(json!({"type": "math"})).await.is_empty());
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
        told += usize::from(detail.contains("waiting for rewards"));
    }
    drop(answers);
    assert_eq!(api.get("/readyz").await.status, 200);
    let many: Vec<_> = (0..5).map(|_| json!({"weight": 1, "reward": hook})).collect();
    let ask = json!({"reward": {"type": "weighted", "parts": many}, "items": [{"response": "x", "ground_truth": "y"}]});
    let detail = api.post("/v1/rewards/evaluate", ask).await.body["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("uses 5 webhooks"), "{detail}");
}
