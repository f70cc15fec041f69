//! `/generate` and `/v1/score` over the wire.

use serde_json::{Value, json};

use super::support::{Api, Frame};

fn question(more: Value) -> Value {
    let mut request = json!({"model": "tiny", "prompt": "What is 2 + 3?", "max_new_tokens": 5});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

fn picture() -> String {
    let path = super::support::tiny_model().parent().unwrap().join("images/a_56x84.png");
    crate::serving::data_url(&std::fs::read(path).unwrap())
}

async fn frames(api: &Api, request: Value) -> Vec<Frame> {
    let response = api.request("POST", "/generate").json(&request).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    super::support::Stream::of(response).rest().await
}

#[tokio::test]
async fn an_answer_has_every_part() {
    let api = Api::start().await;
    let request = question(json!({"images": [picture()], "seed": 1, "temperature": 1.0, "logprobs": 2,
        "attention": {"maps": "tokens", "format": "png"}}));
    let answer = api.post("/generate", request.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = &answer.body;
    assert!(body["id"].as_str().unwrap().starts_with("gen_"));
    assert_eq!((&body["model"], &body["seed"], &body["warnings"]), (&json!("tiny"), &json!(1), &json!([])));
    let choice = &body["choices"][0];
    assert_eq!(choice["attention"]["images"][0]["cell_px"], 28);
    assert_eq!(choice["attention"]["tokens"].as_array().unwrap().len(), choice["tokens"].as_array().unwrap().len());
    assert!(choice["attention"]["summary"][0]["png"].is_string() && choice["visual"]["focus_mean"].is_f64());
    assert_eq!(choice["tokens"][0]["top_logprobs"].as_array().unwrap().len(), 2);
    assert!(body["timings"]["total_seconds"].is_f64() && body["usage"]["image_tokens"] == 6);
    let same = api.post("/v1/generate", request).await;
    assert_eq!(same.body["choices"], *choice_list(body));
}

fn choice_list(body: &Value) -> &Value {
    &body["choices"]
}

#[tokio::test]
async fn a_stream_tells_each_token_and_ends_with_the_answer() {
    let api = Api::start().await;
    let whole = api.post("/generate", question(json!({}))).await.body;
    let mut frames = frames(&api, question(json!({"stream": true}))).await;
    let last = frames.pop().unwrap();
    assert_eq!((last.event.as_str(), &last.data["choices"][0]["text"]), ("done", &whole["choices"][0]["text"]));
    assert!(frames.iter().all(|f| f.event == "token"));
    let tokens: Vec<&Value> = frames.iter().map(|f| &f.data["token"]).collect();
    assert_eq!(json!(tokens), whole["choices"][0]["tokens"]);
    let text: String = frames.iter().map(|f| f.data["text"].as_str().unwrap()).collect();
    assert_eq!(text, whole["choices"][0]["text"]);
}

#[tokio::test]
async fn scores_come_over_the_wire() {
    let api = Api::start().await;
    let request = json!({"model": "tiny", "prompt": "What?", "images": [picture()], "responses": ["red<|im_end|>", "5"],
        "rewards": [1, 0], "ablate": {"random_patches": 0.5, "seed": 3}});
    let answer = api.post("/v1/score", request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let response = &answer.body["responses"][0];
    assert!(response["advantage"].as_f64().unwrap() > 0.5);
    assert!(response["tokens"][0]["delta_logprob"].is_f64() && response["tokens"][0]["psi"].is_f64());
    assert_eq!(response["hidden_cells"][0].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn bad_requests_are_problems() {
    let api = Api::start().await;
    let cases = [
        (question(json!({"max_tokens": 3})), "/max_tokens", "max_new_tokens"),
        (question(json!({"model": "tinny"})), "/model", "did you mean `tiny`"),
        (question(json!({"model": "run_x@best"})), "/model", "run_x@best"),
        (question(json!({"images": ["data:image/png;base64,%%"]})), "/images/0", "base64"),
        (question(json!({"max_new_tokens": 5000})), "/max_new_tokens", "4096"),
        (question(json!({"temperature": -1.0})), "/temperature", "-1"),
    ];
    for (request, pointer, part) in cases {
        let answer = api.post("/generate", request.clone()).await;
        let problem = answer.problem(422, "invalid_request");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        assert!(problem["errors"][0]["detail"].as_str().unwrap().contains(part), "{problem}");
        let mut streaming = request;
        streaming["stream"] = json!(true);
        api.post("/generate", streaming).await.problem(422, "invalid_request");
    }
    let score = json!({"model": "tiny", "prompt": "x", "responses": []});
    api.post("/v1/score", score).await.problem(422, "invalid_request");
}

#[tokio::test]
async fn a_broken_model_folder_is_named() {
    let api = Api::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(super::support::tiny_model().join("config.json"), folder.path().join("config.json")).unwrap();
    let mut broken = super::support::model("broken", json!({}));
    broken.path = folder.path().display().to_string();
    api.store().upsert_model(broken).await.unwrap();
    let answer = api.post("/generate", question(json!({"model": "broken"}))).await;
    let problem = answer.problem(422, "invalid_request");
    assert!(problem["detail"].as_str().unwrap().contains("safetensors"), "{problem}");
    assert_eq!(api.post("/generate", question(json!({}))).await.status, 200);
}

#[tokio::test]
async fn a_full_queue_is_429_with_a_pause() {
    let (engine, watch) = crate::serving::watched_engine(1);
    let api = Api::with_engine(engine.clone()).await;
    watch.close();
    let send = || {
        let request = api.request("POST", "/generate").json(&question(json!({})));
        tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
    };
    let first = send();
    watch.pass(1).await;
    let second = send();
    crate::serving::queued(engine.as_ref(), 1).await;
    let refused = api.post("/generate", question(json!({}))).await;
    refused.problem(429, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    watch.open();
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (200, 200));
    assert_eq!(api.post("/generate", question(json!({}))).await.status, 200);
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_the_engine() {
    let (engine, watch) = crate::serving::watched_engine(4);
    let api = Api::with_engine(engine).await;
    watch.close();
    let long = question(json!({"max_new_tokens": 3000, "temperature": 1.0, "seed": 2, "n": 8}));
    let request = tokio::spawn(api.request("POST", "/generate").json(&long).send());
    watch.pass(1).await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    // The server learns of it from the closed connection, which takes a moment.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    watch.open();
    assert_eq!(api.post("/generate", question(json!({}))).await.status, 200);
    assert!(watch.rows().len() < 20, "{}", watch.rows().len());
}

#[tokio::test]
async fn a_panic_in_the_engine_is_a_500_and_an_error_event() {
    let (engine, watch) = crate::serving::watched_engine(4);
    let api = Api::with_engine(engine).await;
    watch.panic_once();
    let answer = api.post("/generate", question(json!({}))).await;
    let problem = answer.problem(500, "internal");
    assert!(!problem.to_string().contains("told to panic"), "internals stay inside: {problem}");
    watch.panic_once();
    let frames = frames(&api, question(json!({"stream": true}))).await;
    assert_eq!((frames.len(), frames[0].event.as_str(), &frames[0].data["code"]), (1, "error", &json!("internal")));
    assert_eq!(api.post("/generate", question(json!({}))).await.status, 200);
}

#[tokio::test]
async fn a_stopping_server_ends_its_streams() {
    let (engine, watch) = crate::serving::watched_engine(4);
    let api = Api::with_engine(engine).await;
    watch.close();
    let request = question(json!({"stream": true}));
    let response = api.request("POST", "/generate").json(&request).send().await.unwrap();
    watch.pass(1).await;
    api.service.stopping().cancel();
    let frames = super::support::Stream::of(response).rest().await;
    assert_eq!((frames.len(), &frames[0].data["code"]), (1, &json!("unavailable")));
    watch.open();
}

#[tokio::test]
async fn checkpoints_and_runs_are_served_by_name() {
    let api = Api::start().await;
    let job = api.submit(json!({})).await;
    let run = job["run_id"].as_str().unwrap().to_owned();
    let fresh = api.post("/generate", question(json!({"model": format!("{run}@best")}))).await;
    let problem = fresh.problem(422, "invalid_request");
    assert!(problem["detail"].as_str().unwrap().contains("no checkpoint yet"), "{problem}");
    let leased = api.claim().await;
    let artifacts = vgpo::artifacts::open(&api.service.settings().artifacts_url).unwrap();
    for (id, step, accuracy) in [("ckpt_a", 1, 0.9), ("ckpt_b", 2, 0.1)] {
        let folder = tempfile::tempdir().unwrap().keep();
        for entry in std::fs::read_dir(super::support::tiny_model()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
        let key = format!("checkpoints/{run}/{id}");
        let manifest = artifacts.publish_dir(&folder, &key).unwrap();
        let (id, accuracy, last) = (id.to_owned(), Some(accuracy), step == 2);
        let checkpoint =
            vgpo::domain::checkpoint::NewCheckpoint { id, step, key, accuracy, score: accuracy, last, manifest };
        api.store().add_checkpoint(&leased.token, checkpoint).await.unwrap();
    }
    let base = api.post("/generate", question(json!({}))).await.body;
    for (name, id) in
        [(format!("{run}@best"), "ckpt_a"), (format!("{run}@last"), "ckpt_b"), ("ckpt_a".to_owned(), "ckpt_a")]
    {
        let answer = api.post("/generate", question(json!({"model": name}))).await;
        assert_eq!((answer.status, &answer.body["model"]), (200, &json!(id)), "{}", answer.body);
        assert_eq!(answer.body["choices"][0]["text"], base["choices"][0]["text"]);
    }
    let wrong = api.post("/generate", question(json!({"model": format!("{run}@worst")}))).await;
    assert!(wrong.problem(422, "invalid_request")["detail"].as_str().unwrap().contains("@best"));
    artifacts.delete(&format!("checkpoints/{run}/ckpt_b")).unwrap();
    let scored = json!({"model": format!("{run}@last"), "prompt": "x", "responses": ["y"]});
    let gone = api.post("/v1/score", scored).await;
    assert!(gone.problem(422, "invalid_request")["detail"].as_str().unwrap().contains("ckpt_b` are gone"));
}

#[tokio::test]
async fn scores_are_weighed_by_every_method_that_jobs_know() {
    let api = Api::start().await;
    let score = |method: Value| {
        let request =
            json!({"model": "tiny", "prompt": "what ?", "responses": ["a", "b"], "rewards": [1, 0], "method": method});
        api.post("/v1/score", request)
    };
    for name in vgpo::domain::method::NAMES.into_iter().filter(|name| *name != "eval") {
        let answer = score(json!({ "type": name })).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.body);
        assert!(answer.body["responses"][0]["advantage"].is_number(), "{name}");
    }
    for (method, pointer, part) in [
        (json!({"type": "eval"}), "/method/type", "no objective"),
        (json!({"type": "papoo"}), "/method/type", "did you mean `papo`"),
        (json!({"type": "papo", "mask_ratio": 0}), "/method/mask_ratio", "(0, 1]"),
        (json!({"clip_low": 1.5}), "/method/clip_low", "[0, 1]"),
        (json!({"gamma": 0}), "/method/gamma", "(0, 1]"),
        (json!({"type": "vppo", "beta": 1}), "/method/beta", "not a setting of method `vppo`"),
        (json!(7), "/method", "an object"),
    ] {
        let answer = score(method.clone()).await;
        let fault = &answer.problem(422, "invalid_request")["errors"][0];
        assert_eq!(fault["pointer"], pointer, "{method}");
        assert!(fault["detail"].as_str().unwrap().contains(part), "{method}: {fault}");
    }
    let released = score(json!({"variant": "released", "gamma": 0})).await;
    assert_eq!(released.status, 200, "the released tail may begin with the response: {}", released.body);
}
