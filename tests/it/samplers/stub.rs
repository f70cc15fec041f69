//! A server that answers like vLLM, with faults: it asks a real server of this program, and spoils the answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// How a chat request is answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// As it should be.
    None,
    /// With this status.
    Status(u16),
    /// Never.
    Hang,
    /// The connection breaks in the middle.
    Die,
    /// After a moment.
    Slow,
    /// With one response too few.
    Few,
    /// With log-probs for all tokens but one.
    Half,
    /// Without the end token of a response, which is not as long as it may be.
    Endless,
    /// With other token ids of the prompt.
    WrongIds,
    /// Without token ids of the prompt.
    NoIds,
    /// By another model.
    WrongModel,
    /// With log-probs that no sampler had.
    OtherLogprobs,
}

/// What a stub does and has seen.
pub struct Stub {
    pub url: String,
    seen: Arc<Seen>,
}

struct Seen {
    upstream: String,
    http: reqwest::Client,
    faults: Mutex<VecDeque<Fault>>,
    /// The fault of all further chat requests.
    then: Fault,
    calls: Mutex<Vec<String>>,
    version: Mutex<String>,
    /// The version that it names, whatever it was told.
    claims: Option<&'static str>,
    development: bool,
}

/// Settings of a stub.
pub struct Options {
    pub faults: Vec<Fault>,
    pub then: Fault,
    pub claims: Option<&'static str>,
    /// Has it the calls that replace all weights?
    pub development: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { faults: Vec::new(), then: Fault::None, claims: None, development: true }
    }
}

impl Stub {
    pub async fn start(upstream: &str, options: Options) -> Self {
        let seen = Arc::new(Seen {
            upstream: upstream.to_owned(),
            http: reqwest::Client::new(),
            faults: Mutex::new(options.faults.into()),
            then: options.then,
            calls: Mutex::default(),
            version: Mutex::new("default".to_owned()),
            claims: options.claims,
            development: options.development,
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&seen));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, seen }
    }

    /// Addresses that were asked, in order.
    pub fn calls(&self) -> Vec<String> {
        self.seen.calls.lock().clone()
    }

    /// How often an address was asked.
    pub fn count(&self, path: &str) -> usize {
        self.calls().iter().filter(|call| *call == path).count()
    }
}

async fn answer(State(seen): State<Arc<Seen>>, method: Method, uri: Uri, body: Bytes) -> Response {
    let path = uri.path_and_query().map_or_else(String::new, ToString::to_string);
    seen.calls.lock().push(path.clone());
    if path == "/v1/chat/completions" {
        return seen.chat(&body).await;
    }
    if let Some(response) = seen.weights(&path, &body) {
        return response;
    }
    let (status, body) = seen.ask(method, &path, body).await;
    (status, body).into_response()
}

impl Seen {
    async fn ask(&self, method: Method, path: &str, body: Bytes) -> (StatusCode, Vec<u8>) {
        let request = self.http.request(method, format!("{}{path}", self.upstream));
        let request = request.header("content-type", "application/json").body(body);
        let response = request.send().await.unwrap();
        (StatusCode::from_u16(response.status().as_u16()).unwrap(), response.bytes().await.unwrap().to_vec())
    }

    /// The calls that replace all weights; nothing changes but the version.
    fn weights(&self, path: &str, body: &Bytes) -> Option<Response> {
        let known =
            ["/pause", "/resume", "/collective_rpc", "/reset_", "/update_weight", "/weight_info", "/model_info"];
        if !known.iter().any(|known| path.starts_with(known)) {
            return None;
        }
        if !self.development {
            return Some((StatusCode::NOT_FOUND, r#"{"detail": "Not Found"}"#).into_response());
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(version) = body["new_version"].as_str().or(body["weight_version"].as_str()) {
            version.clone_into(&mut self.version.lock());
        }
        let dir = body.pointer("/kwargs/weights_path").or(body.get("model_path"));
        if let Some(dir) = dir.and_then(Value::as_str) {
            assert!(std::path::Path::new(dir).join("model.safetensors").exists(), "a whole model in {dir}");
        }
        let version = self.claims.map_or_else(|| self.version.lock().clone(), str::to_owned);
        Some(axum::Json(json!({ "weight_version": version, "success": true })).into_response())
    }

    async fn chat(&self, body: &Bytes) -> Response {
        let fault = self.faults.lock().pop_front().unwrap_or(self.then);
        match fault {
            Fault::Status(status) => {
                let status = StatusCode::from_u16(status).unwrap();
                return (status, r#"{"error": {"message": "it has no mind to"}}"#).into_response();
            }
            Fault::Hang => std::future::pending::<()>().await,
            Fault::Slow => tokio::time::sleep(Duration::from_millis(300)).await,
            Fault::Die => {
                let pieces = [Ok(Bytes::from_static(b"{\"model\": ")), Err(std::io::Error::other("gone"))];
                return Body::from_stream(futures_util::stream::iter(pieces)).into_response();
            }
            _ => {}
        }
        let sglang = as_vllm(body);
        let asked = sglang.clone().unwrap_or_else(|| body.clone());
        let (status, bytes) = self.ask(Method::POST, "/v1/chat/completions", asked).await;
        let Ok(mut answer) = serde_json::from_slice::<Value>(&bytes) else { return (status, bytes).into_response() };
        if status.is_success() {
            spoil(&mut answer, fault);
            if sglang.is_some() {
                as_sglang(&mut answer);
            }
        }
        (status, answer.to_string()).into_response()
    }
}

/// A request to SGLang as this program takes it; none for one to vLLM.
fn as_vllm(body: &Bytes) -> Option<Bytes> {
    let mut body: Value = serde_json::from_slice(body).unwrap();
    let fields = body.as_object_mut().unwrap();
    fields.remove("return_meta_info")?;
    assert_eq!(fields.remove("return_prompt_token_ids"), Some(json!(true)));
    assert!(fields.remove("stop_token_ids").unwrap().is_array());
    fields.insert("return_token_ids".to_owned(), json!(true));
    Some(body.to_string().into())
}

/// An answer as SGLang gives it.
fn as_sglang(answer: &mut Value) {
    let prompt = answer.as_object_mut().unwrap().remove("prompt_token_ids").unwrap();
    for choice in answer["choices"].as_array_mut().unwrap() {
        let ids = choice["token_ids"].take();
        let entries = choice["logprobs"]["content"].as_array().unwrap();
        let tokens = entries.iter().zip(ids.as_array().unwrap());
        let tokens: Vec<Value> = tokens.map(|(entry, id)| json!([entry["logprob"], id, null])).collect();
        choice["meta_info"] = json!({ "output_token_logprobs": tokens });
        choice["prompt_token_ids"] = prompt.clone();
    }
}

fn spoil(answer: &mut Value, fault: Fault) {
    match fault {
        Fault::Few => drop(answer["choices"].as_array_mut().unwrap().pop()),
        Fault::Half => {
            let content = answer.pointer_mut("/choices/0/logprobs/content").unwrap();
            content.as_array_mut().unwrap().pop();
        }
        Fault::Endless => {
            answer["choices"][0]["token_ids"] = json!([10]);
            let first = answer["choices"][0]["logprobs"]["content"][0].clone();
            answer["choices"][0]["logprobs"]["content"] = json!([first]);
            answer["choices"][0]["finish_reason"] = json!("abort");
        }
        Fault::WrongIds => drop(answer["prompt_token_ids"].as_array_mut().unwrap().pop()),
        Fault::NoIds => drop(answer.as_object_mut().unwrap().remove("prompt_token_ids")),
        Fault::WrongModel => answer["model"] = json!("another"),
        Fault::OtherLogprobs => {
            for choice in answer["choices"].as_array_mut().unwrap() {
                for entry in choice["logprobs"]["content"].as_array_mut().unwrap() {
                    entry["logprob"] = json!(-20.0);
                }
            }
        }
        _ => {}
    }
}
