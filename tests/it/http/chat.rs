//! `/v1/chat/completions` over the wire. The shape is `OpenAI`'s; what is generated must be what `/generate` gives.

use serde_json::{Value, json};

use super::support::Api;

fn picture() -> String {
    let path = super::support::tiny_model().parent().unwrap().join("images/a_56x84.png");
    crate::serving::data_url(&std::fs::read(path).unwrap())
}

fn chat(more: Value) -> Value {
    let content = json!([{"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": picture(), "detail": "low"}}]);
    let mut request =
        json!({"model": "tiny", "messages": [{"role": "user", "content": content}], "max_tokens": 5, "temperature": 0});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// The data of every event of a stream.
async fn events(api: &Api, request: Value) -> Vec<String> {
    let response = api.request("POST", "/v1/chat/completions").json(&request).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    text.lines().filter_map(|line| line.strip_prefix("data: ")).map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn an_answer_is_what_generate_gives_in_openai_shape() {
    let api = Api::start().await;
    let same = json!({"model": "tiny", "max_new_tokens": 5, "logprobs": 2, "messages": chat(json!({}))["messages"]});
    let expected = api.post("/generate", same).await.body;
    let request = chat(json!({"logprobs": true, "top_logprobs": 2, "n": 2, "user": "me", "store": false,
        "metadata": {"a": "b"}, "presence_penalty": 0, "tools": [], "response_format": {"type": "text"}}));
    let answer = api.post("/v1/chat/completions", request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = &answer.body;
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl"));
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("tiny")));
    assert!(body["created"].as_i64().unwrap() > 1_700_000_000 && body.get("vgpo").is_none());
    assert_eq!(body["choices"].as_array().unwrap().len(), 2);
    let (choice, wanted) = (&body["choices"][0], &expected["choices"][0]);
    assert_eq!(choice["message"], json!({"role": "assistant", "content": wanted["text"], "refusal": null}));
    assert_eq!(choice["finish_reason"], "length");
    let tokens = choice["logprobs"]["content"].as_array().unwrap();
    assert_eq!(tokens.len(), 5);
    for (token, wanted) in tokens.iter().zip(wanted["tokens"].as_array().unwrap()) {
        assert_eq!((&token["token"], &token["bytes"]), (&wanted["text"], &wanted["bytes"]));
        assert!((token["logprob"].as_f64().unwrap() - wanted["logprob"].as_f64().unwrap()).abs() < 1e-4);
        assert_eq!(token["top_logprobs"].as_array().unwrap().len(), 2);
    }
    let usage = &body["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"]),
        (&expected["usage"]["prompt_tokens"], &json!(10))
    );
    let plain = api.post("/v1/chat/completions", chat(json!({"vgpo": {"attention": {"maps": "summary"}}}))).await.body;
    assert_eq!(plain["choices"][0]["logprobs"], Value::Null);
    assert_eq!(plain["choices"][0]["vgpo"]["visual"], wanted["visual"]);
    assert_eq!(plain["choices"][0]["vgpo"]["attention"]["summary"].as_array().unwrap().len(), 1);
    assert!(plain["vgpo"]["seed"].is_u64() && plain["vgpo"]["image_tokens"] == 6);
}

#[tokio::test]
async fn token_ids_of_prompt_and_responses_come_on_request() {
    let api = Api::start().await;
    let same = json!({"model": "tiny", "max_new_tokens": 5, "return_token_ids": true,
        "messages": chat(json!({}))["messages"]});
    let expected = api.post("/generate", same).await.body;
    let wanted = json!({"return_token_ids": true, "skip_special_tokens": false, "logprobs": true, "n": 2});
    let body = api.post("/v1/chat/completions", chat(wanted)).await.body;
    assert_eq!(body["prompt_token_ids"], expected["prompt_token_ids"]);
    assert_eq!(body["prompt_token_ids"].as_array().unwrap().len(), body["usage"]["prompt_tokens"]);
    for choice in body["choices"].as_array().unwrap() {
        let tokens = expected["choices"][0]["tokens"].as_array().unwrap();
        let ids: Vec<Value> = tokens.iter().map(|token| token["id"].clone()).collect();
        assert_eq!(choice["token_ids"], json!(ids));
        assert_eq!(choice["logprobs"]["content"].as_array().unwrap().len(), ids.len(), "one for each id");
        let text: String = tokens.iter().map(|token| token["text"].as_str().unwrap()).collect();
        assert_eq!(choice["message"]["content"], text, "special tokens included");
    }
    let plain = api.post("/v1/chat/completions", chat(json!({}))).await.body;
    assert!(plain.get("prompt_token_ids").is_none() && plain["choices"][0].get("token_ids").is_none());
    let stream = api.post("/v1/chat/completions", chat(json!({"return_token_ids": true, "stream": true}))).await;
    assert_eq!(stream.status, 400);
    assert!(stream.body["error"]["message"].as_str().unwrap().contains("`return_token_ids`"), "{}", stream.body);
}

#[tokio::test]
async fn a_stream_joins_to_the_whole_answer() {
    let api = Api::start().await;
    let options = json!({"n": 2, "temperature": 1.0, "seed": -3, "logprobs": true});
    let whole = api.post("/v1/chat/completions", chat(options.clone())).await.body;
    let mut request = chat(options);
    request["stream"] = json!(true);
    request["stream_options"] = json!({"include_usage": true});
    let mut data = events(&api, request).await;
    assert_eq!(data.pop().unwrap(), "[DONE]");
    let chunks: Vec<Value> = data.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    assert!(chunks.iter().all(|c| c["object"] == "chat.completion.chunk" && c["id"] == chunks[0]["id"]));
    let (usage, chunks) = chunks.split_last().unwrap();
    assert_eq!((&usage["usage"], &usage["choices"]), (&whole["usage"], &json!([])));
    for wanted in whole["choices"].as_array().unwrap() {
        let own: Vec<&Value> =
            chunks.iter().map(|c| &c["choices"][0]).filter(|c| c["index"] == wanted["index"]).collect();
        assert_eq!(own[0]["delta"], json!({"role": "assistant", "content": ""}));
        let text: String = own.iter().filter_map(|c| c["delta"]["content"].as_str()).collect();
        assert_eq!(text, wanted["message"]["content"]);
        let tokens: Vec<&Value> = own.iter().filter_map(|c| c["logprobs"]["content"].as_array()).flatten().collect();
        assert_eq!(
            tokens.iter().map(|t| &t["token"]).collect::<Vec<_>>(),
            wanted["logprobs"]["content"].as_array().unwrap().iter().map(|t| &t["token"]).collect::<Vec<_>>()
        );
        assert_eq!(own.last().unwrap()["finish_reason"], wanted["finish_reason"]);
        assert!(own.iter().rev().skip(1).all(|c| c["finish_reason"].is_null()));
    }
}

#[tokio::test]
async fn errors_have_openai_shape() {
    let api = Api::start().await;
    let cases = [
        (chat(json!({"model": "tinny"})), 404, "model", "model_not_found", "tinny"),
        (chat(json!({"temperature": -1.0})), 400, "temperature", "invalid_request", "-1"),
        (chat(json!({"max_tokens": 5000})), 400, "max_tokens", "invalid_request", "`max_tokens`"),
        (chat(json!({"max_completion_tokens": 0})), 400, "max_completion_tokens", "invalid_request", "0"),
        (chat(json!({"top_logprobs": 2})), 400, "top_logprobs", "invalid_request", "logprobs"),
        (chat(json!({"top_logprobs": 99, "logprobs": true})), 400, "top_logprobs", "invalid_request", "20"),
        (chat(json!({"tools": [{"type": "function"}]})), 400, "tools", "invalid_request", "not supported"),
        (chat(json!({"frequency_penalty": 0.5})), 400, "frequency_penalty", "invalid_request", "send 0"),
        (chat(json!({"max_token": 5})), 400, "max_token", "invalid_request", "max_tokens"),
        (chat(json!({"messages": []})), 400, "messages", "invalid_request", "empty"),
        (chat(json!({"messages": [{"role": "user"}]})), 400, "messages[0].content", "invalid_request", "missing"),
        (
            chat(json!({"messages": [{"role": "tool", "content": "x"}]})),
            400,
            "messages[0].role",
            "invalid_request",
            "tool",
        ),
        (chat(json!({"vgpo": {"attention": {"layers": [99]}}})), 400, "vgpo.attention.layers", "invalid_request", "99"),
    ];
    for (request, status, param, code, part) in cases {
        for stream in [false, true] {
            let mut request = request.clone();
            request["stream"] = json!(stream);
            let answer = api.post("/v1/chat/completions", request).await;
            let error = &answer.body["error"];
            assert_eq!((answer.status, &error["code"]), (status, &json!(code)), "{}", answer.body);
            assert!(error["param"].as_str().unwrap().starts_with(param), "{error}");
            assert!(error["message"].as_str().unwrap().contains(part), "{error}");
            assert_eq!(error["type"], "invalid_request_error");
            assert_eq!(answer.header("content-type"), "application/json");
        }
    }
    let broken = api.request("POST", "/v1/chat/completions").header("content-type", "application/json").body("{");
    let answer = super::support::Answer::of(broken.send().await.unwrap()).await;
    assert_eq!((answer.status, &answer.body["error"]["code"]), (400, &json!("invalid_json")));
}

#[tokio::test]
async fn fields_of_other_servers_pass_where_they_ask_for_nothing() {
    let api = Api::start().await;
    let neutral = json!({"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "stop_token_ids": [],
        "ignore_eos": false,
        "skip_special_tokens": true, "chat_template_kwargs": {}, "mm_processor_kwargs": {},
        "add_generation_prompt": true,
        "continue_final_message": false, "best_of": 1, "min_tokens": 0, "length_penalty": 1.0, "guided_json": null,
        "echo": false,
        "structured_outputs": null, "separate_reasoning": true, "no_stop_trim": false, "typical_p": 1, "priority": 0,
        "rid": "r1",
        "dry_multiplier": null, "use_beam_search": false, "prompt_logprobs": null, "documents": []});
    let answer = api.post("/v1/chat/completions", chat(neutral)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    for (name, value) in [
        ("top_k", json!(5)),
        ("repetition_penalty", json!(1.2)),
        ("ignore_eos", json!(true)),
        ("min_tokens", json!(4)),
        ("guided_json", json!({"type": "object"})),
        ("mm_processor_kwargs", json!({"max_pixels": 3136})),
        ("chat_template_kwargs", json!({"enable_thinking": false})),
        ("best_of", json!("1")),
    ] {
        let answer = api.post("/v1/chat/completions", chat(json!({name: value}))).await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.body["error"]["message"].as_str().unwrap().contains(&format!("`{name}`")), "{}", answer.body);
    }
}

#[tokio::test]
async fn an_image_part_says_how_large_its_image_may_be() {
    let api = Api::start().await;
    let ask = async |path: &str, part: &Value| {
        let message = json!({"role": "user", "content": [part, {"type": "text", "text": "What is this?"}]});
        let limit = if path == "/generate" { "max_new_tokens" } else { "max_tokens" };
        api.post(path, json!({"model": "tiny", "messages": [message], limit: 1})).await
    };
    let tokens = async |part: Value| {
        let answer = ask("/v1/chat/completions", &part).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let tokens = answer.body["usage"]["prompt_tokens"].clone();
        let native = ask("/generate", &part).await;
        if part.pointer("/image_url/max_pixels").or(part.pointer("/image_url/min_pixels")).is_some() {
            let detail = native.problem(422, "invalid_request")["errors"][0]["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("_pixels` belongs next to `image_url`"), "{detail}");
        } else {
            assert_eq!(native.body["usage"]["prompt_tokens"], tokens);
        }
        tokens.as_u64().unwrap()
    };
    let url = picture();
    let plain = tokens(json!({"type": "image_url", "image_url": {"url": url}})).await;
    // 56 x 84 pixels are 6 cells of 28 x 28.
    let small = plain - 6 + 1;
    assert_eq!(tokens(json!({"type": "image_url", "image_url": {"url": url, "max_pixels": 1568}})).await, small);
    assert_eq!(tokens(json!({"type": "image_url", "image_url": {"url": url}, "max_pixels": 1568})).await, small);
    assert_eq!(tokens(json!({"type": "image", "image": url, "max_pixels": 1568})).await, small);
    let inside = json!({"type": "image_url", "image_url": {"url": url, "max_pixels": 1568}, "max_pixels": 4704});
    assert_eq!(tokens(inside).await, small, "`image_url.max_pixels` wins over `max_pixels` of the part");
    assert!(tokens(json!({"type": "image_url", "image_url": {"url": url, "min_pixels": 20_000}})).await > plain);
    for (image_url, field, part) in [
        (json!({"url": url, "foo": 1}), "foo", "unknown"),
        (json!({"url": url, "detail": "tiny"}), "content", "tiny"),
        (json!({"url": url, "min_pixels": "x"}), "content", "whole number"),
    ] {
        let message = json!({"role": "user", "content": [{"type": "image_url", "image_url": image_url}]});
        for (path, status) in [("/v1/chat/completions", 400), ("/generate", 422), ("/v1/score", 422)] {
            let mut body = json!({"model": "tiny", "messages": [message]});
            if path == "/v1/score" {
                body["responses"] = json!(["x"]);
            }
            let answer = api.post(path, body).await;
            let text = answer.body.to_string();
            assert_eq!(answer.status, status, "{path} {field} {text}");
            assert!(text.contains(field) && text.contains(part), "{path} {field} {part}: {text}");
        }
    }
    for (limits, part) in [
        (json!({"min_pixels": 5000, "max_pixels": 4000}), "5000"),
        (json!({"max_pixels": 0}), "max_pixels is 0"),
        (json!({"min_pixels": 1_000_000_000_000_u64}), "tokens"),
    ] {
        let mut image = json!({"type": "image_url", "image_url": {"url": url}});
        image.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
        let answer = ask("/generate", &image).await;
        assert!(answer.problem(422, "invalid_request").to_string().contains(part), "{}", answer.body);
    }
}
