//! Jobs: what is submitted, what is refused, what a dry run tells.

use serde_json::{Value, json};

use super::support::{Api, model};

fn errors(body: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    body["errors"].as_array().unwrap().iter().map(|e| (text(&e["pointer"]), text(&e["detail"]))).collect()
}

#[tokio::test]
async fn two_names_make_a_job_with_origins() {
    let api = Api::start().await;
    let job = api.submit(json!({})).await;
    assert!(job["id"].as_str().unwrap().starts_with("job_"));
    assert_eq!((job["state"].as_str(), job["name"].as_str()), (Some("queued"), Some("digits-vgpo")));
    assert_eq!((job["spec"]["steps"].as_u64(), job["origins"]["/steps"].as_str()), (Some(7), Some("recommended")));
    assert_eq!(job["origins"]["/model"], "request");
    assert_eq!(job["origins"]["/method/beta"], "default");
    let got = api.get(&format!("/v1/jobs/{}", job["id"].as_str().unwrap())).await;
    assert_eq!(got.body["spec"], job["spec"]);
    let run = api.get(&format!("/v1/runs/{}", job["run_id"].as_str().unwrap())).await;
    assert_eq!((run.body["job_id"].clone(), run.body["state"].clone()), (job["id"].clone(), json!("queued")));
}

#[tokio::test]
async fn the_starter_on_its_task_needs_no_setting_and_no_warning() {
    let api = Api::start().await;
    let answer = api.post("/v1/jobs", json!({"model": "starter", "dataset": "digits"})).await;
    assert_eq!((answer.status, &answer.body["warnings"]), (201, &json!([])), "{}", answer.body["warnings"]);
    assert_eq!(answer.body["origins"]["/optimizer/learning_rate"], "recommended");
    assert!(answer.body["spec"]["optimizer"]["learning_rate"].as_f64().unwrap() > 1e-5);
    let card = api.get("/v1/models/starter").await.body;
    assert_eq!((card["source"].as_str(), card["card"]["task"].is_string()), (Some("builtin"), true));
    assert!(card["parameters"].as_u64().unwrap() > 500_000);
    // A word that the starter's vocabulary does not have is told.
    let change = json!({"model": "starter", "dataset": "digits", "data": {"prompt_template": "please , {{ prompt }}"}});
    let warnings = api.post("/v1/jobs", change).await.body["warnings"].clone();
    assert_eq!(warnings[0]["code"], "out_of_vocabulary");
    assert!(warnings[0]["detail"].as_str().unwrap().ends_with(": please what"), "{warnings}");
}

#[tokio::test]
async fn what_is_trained_and_where_is_checked_against_the_model_and_the_workers() {
    let api = Api::start().await;
    let job = |train: Value, device: &str| {
        json!({"model": "tiny", "dataset": "digits", "train": train,
        "resources": {"device": device}})
    };
    let lora = |target: &str| json!({"parameters": "lora", "lora": {"targets": ["q_proj", target]}});
    let answer = api.post("/v1/jobs", job(lora("w_pack"), "any")).await;
    let found = errors(answer.problem(422, "invalid_request"));
    assert_eq!(found[0].0, "/train/lora/targets");
    assert!(found[0].1.contains("`w_pack`") && found[0].1.contains("q_proj, qkv"), "{found:?}");
    // A layer of the frozen vision tower is no target.
    let mut frozen = lora("qkv");
    frozen["freeze_vision"] = json!(true);
    let answer = api.post("/v1/jobs", job(frozen, "any")).await;
    assert_eq!(errors(answer.problem(422, "invalid_request"))[0].0, "/train/lora/targets");
    let answer = api.post("/v1/jobs", job(lora("qkv"), "cuda")).await;
    assert_eq!(answer.body["spec"]["train"]["lora"]["rank"], 16, "{}", answer.body);
    let codes: Vec<&Value> = answer.body["warnings"].as_array().unwrap().iter().map(|w| &w["code"]).collect();
    assert!(codes.contains(&&json!("no_such_worker")), "{codes:?}");
}

#[tokio::test]
async fn every_bad_field_is_named_with_the_way_out() {
    let api = Api::start().await;
    let request = json!({"model": "tiny", "dataset": "digits", "stepz": 3, "rollout": {"group_size": 0, "topp": 0.5},
                         "method": {"gamma": 2}, "train": {"dtype": "f16"}});
    let answer = api.post("/v1/jobs", request).await;
    let mut body = answer.problem(422, "invalid_request").clone();
    body["request_id"] = json!("[request id]");
    insta::assert_json_snapshot!("bad_fields", body);
    let answer = api.post("/v1/jobs", json!({"model": "tinny", "dataset": "digitz"})).await;
    let found = errors(answer.problem(422, "invalid_request"));
    assert_eq!(found.iter().map(|(p, _)| p.as_str()).collect::<Vec<_>>(), ["/model", "/dataset"]);
    assert!(found[0].1.contains("did you mean `tiny`?") && found[1].1.contains("did you mean `digits`?"), "{found:?}");
    assert_eq!(api.get("/v1/jobs").await.body["data"], json!([]), "nothing was stored");
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_once() {
    let api = Api::start().await;
    let cases = [
        (json!({"data": {"prompt_template": "{{ prompt"}}), "/data/prompt_template"),
        (json!({"data": {"prompt_template": "{{ question }}"}}), "/data/prompt_template"),
        (json!({"data": {"max_prompt_tokens": 2}}), "/data/max_prompt_tokens"),
        (json!({"rollout": {"max_new_tokens": 900_000}}), "/rollout/max_new_tokens"),
        (json!({"eval_dataset": "nowhere"}), "/eval_dataset"),
        (json!({"after": "job_nowhere"}), "/after"),
        (json!({"model": "ckpt_nowhere"}), "/model"),
        (json!({"model": "run_nowhere@best"}), "/model"),
        (json!({"reward": {"type": "weighted", "parts": []}}), "/reward/parts"),
    ];
    for (change, pointer) in cases {
        let mut request = json!({"model": "tiny", "dataset": "digits"});
        request.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = api.post("/v1/jobs", request.clone()).await;
        let found = errors(answer.problem(422, "invalid_request"));
        assert_eq!((found.len(), found[0].0.as_str()), (1, pointer), "{request}: {found:?}");
    }
    let broken = vgpo::domain::model::NewModel { path: "/nowhere".into(), ..model("broken", json!({})) };
    api.store().upsert_model(broken).await.unwrap();
    let answer = api.post("/v1/jobs", json!({"model": "broken", "dataset": "digits"})).await;
    let found = errors(answer.problem(422, "invalid_request"));
    assert!(found[0].0 == "/model" && found[0].1.contains("/nowhere/config.json"), "{found:?}");
}

#[tokio::test]
async fn a_dry_run_shows_everything_and_stores_nothing() {
    let api = Api::start().await;
    let request = json!({"model": "tiny", "dataset": "digits", "steps": 5,
                         "batch": {"prompts_per_step": 4, "minibatch_prompts": 2},
                         "reward": {"type": "format"}, "rollout": {"max_new_tokens": 16}});
    let plan = api.post("/v1/jobs?dry_run=true", request).await;
    assert_eq!(plan.status, 200, "{}", plan.body);
    let plan = plan.body;
    let prompt = &plan["prompt"];
    let image = &prompt["images"][0];
    assert_eq!(prompt["image_tokens"], image["tokens"]);
    assert!(prompt["text"].as_str().unwrap().contains("<|image_pad|>"), "{prompt}");
    assert!(prompt["tokens"].as_u64().unwrap() > prompt["image_tokens"].as_u64().unwrap());
    let work = &plan["work"];
    assert_eq!((work["steps"].as_u64(), work["updates"].as_u64()), (Some(5), Some(10)));
    assert_eq!((work["prompts"].as_u64(), work["responses"].as_u64()), (Some(20), Some(160)));
    assert_eq!(work["max_response_tokens"], 160 * 16);
    let parts: Vec<_> =
        plan["memory"]["parts"].as_array().unwrap().iter().map(|p| p["part"].as_str().unwrap()).collect();
    let all =
        ["base", "weights", "gradients", "optimizer", "activations", "logits", "kv_cache", "images", "checkpoint"];
    assert_eq!(parts, all);
    assert!(plan["memory"]["peak_bytes"].as_u64().unwrap() > plan["memory"]["parts"][0]["bytes"].as_u64().unwrap());
    let codes: Vec<_> = plan["warnings"].as_array().unwrap().iter().map(|w| w["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"format_not_asked"), "{codes:?}");
    assert_eq!(plan["origins"]["/steps"], "request");
    assert_eq!(api.get("/v1/jobs").await.body["data"], json!([]));
}

#[tokio::test]
async fn a_format_reward_that_the_prompt_asks_for_warns_of_nothing() {
    let api = Api::start().await;
    let codes = async |change: Value| {
        let job = api.submit(change).await;
        job["warnings"].as_array().unwrap().iter().map(|w| w["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let format = json!({"type": "format"});
    let asked = "Think between <think> and </think>, then write \\boxed{answer}.";
    assert!(codes(json!({"reward": format})).await.contains(&"format_not_asked".to_owned()));
    let quiet = codes(json!({"reward": format, "data": {"system": asked, "max_prompt_tokens": 4000}})).await;
    assert!(!quiet.contains(&"format_not_asked".to_owned()), "{quiet:?}");
    assert!(!codes(json!({"reward": {"type": "math"}})).await.contains(&"format_not_asked".to_owned()));
    // There is no warning for a model whose card promises the format.
    let card = json!({"response_format": "<think> … </think> \\boxed{ 7 }"});
    let knows = vgpo::domain::model::NewModel { card, ..model("knows", json!({})) };
    api.store().upsert_model(knows).await.unwrap();
    let quiet = codes(json!({"model": "knows", "reward": format})).await;
    assert!(!quiet.contains(&"format_not_asked".to_owned()), "{quiet:?}");
}

#[tokio::test]
async fn cancel_is_repeatable_and_knows_its_limits() {
    let api = Api::start().await;
    let queued = api.submit(json!({})).await;
    let path = format!("/v1/jobs/{}/cancel", queued["id"].as_str().unwrap());
    assert_eq!(api.post(&path, json!({})).await.body["state"], "cancelled");
    assert_eq!(api.post(&path, json!({})).await.status, 200, "a repeat is fine");
    // No body is fine, too.
    assert_eq!(api.request("POST", &path).send().await.unwrap().status(), 200);
    let running = api.submit(json!({})).await;
    let leased = api.claim().await;
    let path = format!("/v1/jobs/{}/cancel", running["id"].as_str().unwrap());
    assert_eq!(api.post(&path, json!({})).await.body["state"], "cancelling");
    api.store().release(&leased.token, "stopped").await.unwrap();
    let done = api.submit(json!({})).await;
    let leased = api.claim().await;
    api.store().complete(&leased.token, "finished").await.unwrap();
    let id = done["id"].as_str().unwrap();
    let answer = api.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await;
    let problem = answer.problem(409, "illegal_transition");
    assert_eq!((problem["state"].as_str(), &problem["allowed"]), (Some("succeeded"), &json!([])));
    api.post("/v1/jobs/nothing/cancel", json!({})).await.problem(404, "not_found");
}

#[tokio::test]
async fn more_ranks_than_any_worker_can_start_are_refused() {
    let api = Api::start().await;
    let job = |ranks: u32| json!({"model": "tiny", "dataset": "digits", "resources": {"ranks": ranks}});
    assert_eq!(api.post("/v1/jobs", job(8)).await.status, 201, "without a worker, one that can may join");
    api.store().register_worker(super::support::worker("wrk_two")).await.unwrap();
    assert_eq!(api.get("/v1/workers").await.body["data"][0]["ranks"], 2);
    assert_eq!(api.post("/v1/jobs", job(2)).await.status, 201);
    let answer = api.post("/v1/jobs", job(3)).await;
    let found = errors(answer.problem(422, "invalid_request"));
    assert_eq!((found.len(), found[0].0.as_str()), (1, "/resources/ranks"));
    assert!(found[0].1.contains("is 3, but no worker can start more than 2"), "{found:?}");
    let mut foreign = job(2);
    foreign["rollout"] = json!({"engine": {"type": "local"}});
    assert_eq!(api.post("/v1/jobs", foreign).await.status, 201);
}
