//! Traces, as a collector gets them from the program.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::routing::post;
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CHAT: &str = "4bf92f3577b34da6a3ce929d0e0e4737";
const SCORE: &str = "4bf92f3577b34da6a3ce929d0e0e4738";
const PARENT: &str = "00f067aa0ba902b7";

/// A collector that keeps every span.
async fn collector() -> (String, Arc<Mutex<Vec<Value>>>) {
    let spans: Arc<Mutex<Vec<Value>>> = Arc::default();
    let kept = spans.clone();
    let take = async move |axum::Json(batch): axum::Json<Value>| {
        for scope in batch["resourceSpans"].as_array().unwrap().iter().flat_map(|r| r["scopeSpans"].as_array().unwrap())
        {
            kept.lock().unwrap().extend(scope["spans"].as_array().unwrap().iter().cloned());
        }
        axum::Json(json!({}))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/v1/traces", post(take))).await });
    (url, spans)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_traced_from_its_caller_to_the_engine() {
    let (url, spans) = collector().await;
    let folder = tempfile::tempdir().unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_vgpo"))
        .args(["serve", "--devices", "none", "--port", "0", "--data"])
        .arg(folder.path().join("data"))
        .current_dir(folder.path())
        .env("VGPO_OTLP_ENDPOINT", &url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().to_owned();
    let request = json!({"model": "starter", "prompt": "2 + 2", "max_new_tokens": 2});
    let sent = reqwest::Client::new().post(format!("{address}/generate")).json(&request);
    let answer = sent.header("traceparent", format!("00-{TRACE}-{PARENT}-01")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let chat =
        json!({"model": "starter", "messages": [{"role": "user", "content": "2 + 2"}], "max_completion_tokens": 2});
    let score = json!({"model": "starter", "prompt": "2 + 2", "responses": ["4", "four"]});
    for (path, request, trace) in [("/v1/chat/completions", chat, CHAT), ("/v1/score", score, SCORE)] {
        let sent = reqwest::Client::new().post(format!("{address}{path}")).json(&request);
        let answer = sent.header("traceparent", format!("00-{trace}-{PARENT}-01")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.bytes().await.unwrap();
    }
    Command::new("kill").args(["-TERM", &server.id().to_string()]).status().unwrap();
    let ended = tokio::task::spawn_blocking(move || server.wait().unwrap());
    let ended = tokio::time::timeout(Duration::from_secs(30), ended).await.expect("it stops").unwrap();
    assert!(ended.success());

    let spans = spans.lock().unwrap();
    let named = |name: &str| spans.iter().find(|span| span["name"] == name && span["traceId"] == TRACE);
    let outer = named("request").unwrap_or_else(|| panic!("{spans:?}"));
    assert_eq!(outer["parentSpanId"], PARENT, "the caller's span comes first");
    let attribute = |span: &Value, key: &str| {
        let found = span["attributes"].as_array().unwrap().iter().find(|a| a["key"] == key).cloned();
        found.unwrap_or_else(|| panic!("no {key}: {span}"))["value"].clone()
    };
    assert_eq!(attribute(outer, "id")["stringValue"], id.as_str());
    let inner = named("engine").unwrap_or_else(|| panic!("{spans:?}"));
    assert_eq!(inner["parentSpanId"], outer["spanId"]);
    assert_eq!(attribute(inner, "model")["stringValue"], "starter");
    for key in ["queue_seconds", "prefill_seconds", "decode_seconds"] {
        assert!(attribute(inner, key)["doubleValue"].as_f64().unwrap() >= 0.0);
    }
    let engine_of = |trace: &str| {
        let found = spans.iter().find(|span| span["name"] == "engine" && span["traceId"] == trace);
        found.unwrap_or_else(|| panic!("no engine in {trace}: {spans:?}"))
    };
    assert!(attribute(engine_of(CHAT), "decode_seconds")["doubleValue"].as_f64().unwrap() >= 0.0);
    assert_eq!(attribute(engine_of(SCORE), "responses")["intValue"].to_string().trim_matches('"'), "2");
}
