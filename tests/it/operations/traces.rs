//! Traces, as a collector gets them from the program.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::routing::post;
use serde_json::{Value, json};

use crate::printed::printed_address;

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

/// A server that sends its spans to a collector.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// One that is started with `arguments` and `environment`, next to others in `place`.
    fn start(place: &Path, collector: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vgpo"))
            .args(["serve", "--port", "0"])
            .args(arguments)
            .current_dir(place)
            .env("VGPO_OTLP_ENDPOINT", collector)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = printed_address(&mut child);
        Self { child, address }
    }

    /// Asks as the caller of a trace.
    async fn ask(&self, path: &str, request: &Value, trace: &str) -> reqwest::Response {
        let sent = reqwest::Client::new().post(format!("{}{path}", self.address)).json(request);
        sent.header("traceparent", format!("00-{trace}-{PARENT}-01")).send().await.unwrap()
    }

    /// Ends it, so that its last spans are delivered.
    async fn stop(mut self) {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        let ended = tokio::task::spawn_blocking(move || self.child.wait().unwrap());
        let ended = tokio::time::timeout(Duration::from_secs(30), ended).await.expect("it stops").unwrap();
        assert!(ended.success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_traced_from_its_caller_to_the_engine() {
    let (url, spans) = collector().await;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &url, &["--devices", "none", "--data", "data"], &[]);
    let request = json!({"model": "starter", "prompt": "2 + 2", "max_new_tokens": 2});
    let answer = server.ask("/generate", &request, TRACE).await;
    assert_eq!(answer.status(), 200);
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let chat =
        json!({"model": "starter", "messages": [{"role": "user", "content": "2 + 2"}], "max_completion_tokens": 2});
    let score = json!({"model": "starter", "prompt": "2 + 2", "responses": ["4", "four"]});
    for (path, request, trace) in [("/v1/chat/completions", chat, CHAT), ("/v1/score", score, SCORE)] {
        let answer = server.ask(path, &request, trace).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.bytes().await.unwrap();
    }
    server.stop().await;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarded_request_is_one_trace_over_both_servers() {
    let (url, spans) = collector().await;
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("vgpo.db").display());
    let shared = [("VGPO_DATABASE_URL", database.as_str()), ("VGPO_ENGINE_SECRET", "0123456789abcdef0123456789abcdef")];
    let api = Server::start(folder.path(), &url, &["--roles", "api", "--data", "api"], &shared);
    let engine = Server::start(folder.path(), &url, &["--roles", "engine", "--data", "engine"], &shared);
    let request = json!({"model": "starter", "prompt": "2 + 2", "max_new_tokens": 2});
    let mut answered = false;
    // Until the engine is registered there is none.
    for _ in 0..200 {
        let answer = api.ask("/generate", &request, TRACE).await;
        if answer.status() == 200 {
            answer.bytes().await.unwrap();
            answered = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(answered, "no engine ever took the request");
    api.stop().await;
    engine.stop().await;

    let spans = spans.lock().unwrap();
    let of_trace = || spans.iter().filter(|span| span["traceId"] == TRACE);
    let parent = |span: &Value| of_trace().find(|other| other["spanId"] == span["parentSpanId"]).cloned();
    let inner = of_trace().find(|span| span["name"] == "engine").unwrap_or_else(|| panic!("{spans:?}"));
    let theirs = parent(inner).expect("the request that the engine's server got");
    assert_eq!(theirs["name"], "request");
    let mut ours = parent(&theirs).expect("the API's server is where that came from");
    while let Some(outer) = parent(&ours) {
        ours = outer;
    }
    assert_eq!((&ours["name"], &ours["parentSpanId"]), (&json!("request"), &json!(PARENT)));
}
