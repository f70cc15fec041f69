//! Does a job fit? What a dry run tells, and what is refused with which advice.

use serde_json::{Value, json};

use super::support::Api;

fn request(change: Value) -> Value {
    let mut request = json!({"model": "tiny", "dataset": "digits", "method": {"type": "grpo"},
                             "batch": {"prompts_per_step": 8, "minibatch_prompts": 8, "microbatch_tokens": 8192},
                             "rollout": {"max_new_tokens": 16}, "eval_rows": 8});
    request.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    request
}

async fn peak(api: &Api, change: Value) -> u64 {
    let plan = api.post("/v1/jobs?dry_run=true", request(change)).await;
    assert_eq!(plan.status, 200, "{}", plan.body);
    plan.body["memory"]["peak_bytes"].as_u64().unwrap()
}

#[tokio::test]
async fn a_job_that_cannot_fit_is_refused_with_settings_that_do() {
    let roomy = Api::start().await;
    let full = peak(&roomy, json!({})).await;
    let limit = full - (full - (112 << 20)) / 4;
    let api = Api::with(&[("memory_limit", &limit.to_string())]).await;
    let answer = api.post("/v1/jobs", request(json!({}))).await;
    let errors = answer.problem(422, "invalid_request")["errors"].as_array().unwrap().clone();
    assert!(errors.len() >= 3, "{errors:?}");
    assert!(answer.body["detail"].as_str().unwrap().contains("`memory_limit`"), "{}", answer.body);
    assert_eq!(api.get("/v1/jobs").await.body["data"], json!([]), "nothing was stored");
    // A dry run says the same as a warning.
    let plan = api.post("/v1/jobs?dry_run=true", request(json!({}))).await.body;
    assert_eq!(plan["memory"]["limit_bytes"], limit);
    let warned = plan["warnings"].as_array().unwrap().iter().any(|warning| warning["code"] == "does_not_fit");
    assert!(warned, "{}", plan["warnings"]);
    // The advice holds: with every setting that it names, the job is taken.
    let mut change = request(json!({}));
    for error in &errors {
        let detail = error["detail"].as_str().unwrap();
        let value = detail.split(": ").nth(1).unwrap().split(" -> ").next().unwrap();
        let mut place = &mut change;
        for key in error["pointer"].as_str().unwrap().split('/').skip(1) {
            place = &mut place[key];
        }
        *place = serde_json::from_str(value).unwrap();
    }
    let taken = api.post("/v1/jobs", change.clone()).await;
    assert_eq!(taken.status, 201, "{change}: {}", taken.body);
}

#[tokio::test]
async fn every_way_to_save_memory_shows_in_the_estimate() {
    let api = Api::start().await;
    let full = peak(&api, json!({})).await;
    for change in [
        json!({"train": {"gradient_checkpointing": true}}),
        json!({"train": {"parameters": "lora"}}),
        json!({"batch": {"prompts_per_step": 8, "minibatch_prompts": 8, "microbatch_tokens": 512}}),
    ] {
        let less = peak(&api, change.clone()).await;
        assert!(less < full, "{change}: {less} of {full}");
    }
    let more = peak(&api, json!({"method": {"type": "grpo", "kl_coef": 0.1}})).await;
    assert!(more > full, "a reference model is a second copy of the weights");
}

#[tokio::test]
async fn a_point_of_a_sweep_that_cannot_fit_is_named() {
    let roomy = Api::start().await;
    let tokens =
        |tokens: u32| json!({"batch": {"prompts_per_step": 8, "minibatch_prompts": 8, "microbatch_tokens": tokens}});
    let (low, high) = (peak(&roomy, tokens(512)).await, peak(&roomy, tokens(65536)).await);
    assert!(low < high, "{low} {high}");
    let api = Api::with(&[("memory_limit", &low.midpoint(high).to_string())]).await;
    let sweep = json!({"job": request(json!({})), "grid": {"batch.microbatch_tokens": [512, 65536]}});
    for query in ["?dry_run=true", ""] {
        let answer = api.post(&format!("/v1/sweeps{query}"), sweep.clone()).await;
        let errors = answer.problem(422, "invalid_request")["errors"].as_array().unwrap().clone();
        assert_eq!(errors.len(), 1, "{errors:?}");
        let detail = errors[0]["detail"].as_str().unwrap();
        assert!(detail.contains("`memory_limit`") && detail.contains("65536"), "{detail}");
    }
    assert_eq!(api.get("/v1/jobs").await.body["data"], json!([]), "nothing was stored");
}
