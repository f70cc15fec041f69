//! The engine: against the reference's numbers, against itself alone and in batches, and against bad input.

mod attention;
mod batching;
mod errors;
mod generate;
mod joining;
mod lifecycle;
mod program;
mod recurrent;
mod score;
mod spy;

use std::path::{Path, PathBuf};

pub use spy::{Watch, watch, watch_as, watched};

use base64::Engine as _;
use serde_json::{Value, json};
use vgpo::config::serving::EngineLimits;
use vgpo::serving::answer::{GenerateAnswer, ScoreAnswer, TokenEvent};
use vgpo::serving::{Engine, GenerateEvent, LocalEngine, ModelRef, ServingError, parse};

pub fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/qwen2_5_vl_tiny")
}

pub fn tiny() -> ModelRef {
    ModelRef { id: "tiny".to_owned(), dir: fixture().join("checkpoint"), adapter: None }
}

pub fn engine() -> LocalEngine {
    LocalEngine::new(EngineLimits::default())
}

/// A watched engine that lets `queued` requests wait.
pub fn watched_engine(queued: usize) -> (std::sync::Arc<LocalEngine>, std::sync::Arc<Watch>) {
    watched(EngineLimits { queued_requests: queued, ..EngineLimits::default() })
}

pub fn data_url(bytes: &[u8]) -> String {
    format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

pub fn picture(name: &str) -> String {
    data_url(&std::fs::read(fixture().join("images").join(format!("{name}.png"))).unwrap())
}

/// A stored case with its pictures put into its messages.
pub fn case(name: &str) -> (Value, Value) {
    let text = std::fs::read_to_string(fixture().join(name).join("case.json")).unwrap();
    let case: Value = serde_json::from_str(&text).unwrap();
    let mut messages = case["messages"].clone();
    let mut images = case["images"].as_array().cloned().unwrap_or_default().into_iter();
    for message in messages.as_array_mut().unwrap() {
        for part in message["content"].as_array_mut().into_iter().flatten() {
            if part["type"] == "image" {
                part["image"] = json!(picture(images.next().unwrap().as_str().unwrap()));
            }
        }
    }
    (case, messages)
}

/// The messages of a case together with more fields of a request.
pub fn request(name: &str, more: Value) -> Value {
    let mut request = json!({"model": "tiny", "messages": case(name).1});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

pub async fn generate(engine: &dyn Engine, request: &Value) -> Result<GenerateAnswer, ServingError> {
    engine.generate(&tiny(), parse(request)?).await?.answer().await
}

pub async fn score(engine: &dyn Engine, request: &Value) -> Result<ScoreAnswer, ServingError> {
    engine.score(&tiny(), parse(request)?).await
}

/// Every event of a stream: its tokens, then its answer.
pub async fn stream(engine: &dyn Engine, request: &Value) -> (Vec<TokenEvent>, GenerateAnswer) {
    let mut stream = engine.generate(&tiny(), parse(request).unwrap()).await.unwrap();
    let mut tokens = Vec::new();
    loop {
        match stream.next_event().await.expect("a stream ends with an answer") {
            GenerateEvent::Token(token) => tokens.push(*token),
            GenerateEvent::Done(answer) => return (tokens, *answer),
            GenerateEvent::Failed(error) => panic!("{error}"),
        }
    }
}

pub fn ids(answer: &GenerateAnswer, choice: usize) -> Vec<u32> {
    answer.choices[choice].tokens.iter().map(|t| t.id).collect()
}

pub fn near(what: &str, got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance, "{what}: {got} is not {want} (+-{tolerance})");
}

/// Waits until `count` requests stand in the queue.
pub async fn queued(engine: &LocalEngine, count: usize) {
    for _ in 0..2000 {
        if engine.loaded().await[0].queued_requests == count {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{count} requests never waited");
}
