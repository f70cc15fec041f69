//! JSON to a tracker, at the address that the operator chose.

use std::time::Duration;

use hyper::body::Bytes;
use hyper::{Method, Request};
use serde_json::Value;

use super::client::{Client, whole};
use super::webhooks::told;

/// How long a connection, and a whole request, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A tracker's server.
#[derive(Debug, Clone)]
pub struct TrackerClient {
    client: Client,
    /// Without a slash at its end.
    url: String,
    /// A header that proves who sends.
    proof: Option<(&'static str, String)>,
}

/// Why a tracker did not do as it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{problem}")]
pub struct TrackerFault {
    problem: String,
    /// Its answer, where it is JSON.
    pub answer: Value,
}

impl TrackerFault {
    /// A fault of the answer's content.
    pub fn of(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), answer: Value::Null }
    }
}

impl TrackerClient {
    /// A client of the server at `url`, which proves itself with a header.
    pub fn new(url: &str, proof: Option<(&'static str, String)>) -> Self {
        Self { client: Client::new(PATIENCE), url: url.trim_end_matches('/').to_owned(), proof }
    }

    /// # Errors
    /// No answer, no JSON, or a status that is no success.
    pub async fn get(&self, path: &str) -> Result<Value, TrackerFault> {
        self.ask(Method::GET, path, Vec::new()).await
    }

    /// # Errors
    /// As [`get`](Self::get).
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, TrackerFault> {
        self.ask(Method::POST, path, body.to_string().into_bytes()).await
    }

    async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Value, TrackerFault> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("content-type", "application/json");
        if let Some((name, value)) = &self.proof {
            request = request.header(*name, value);
        }
        let request = request.body(whole(body)).map_err(|error| TrackerFault::of(error.to_string()))?;
        let exchange = async {
            let answer = self.client.send(request).await.map_err(|error| TrackerFault::of(error.to_string()))?;
            let status = answer.status();
            let body: Bytes = answer.bytes().await.map_err(|error| TrackerFault::of(error.to_string()))?;
            let json: Option<Value> = serde_json::from_slice(&body).ok();
            match json {
                Some(json) if status.is_success() => Ok(json),
                Some(answer) => {
                    let message = answer["message"].as_str().or(answer["error"].as_str()).unwrap_or_default();
                    Err(TrackerFault { problem: format!("it answered {status}: {}", told(message)), answer })
                }
                None => Err(TrackerFault::of(format!("it answered {status} without JSON"))),
            }
        };
        let patience = tokio::time::timeout(PATIENCE, exchange).await;
        patience.unwrap_or_else(|_| {
            Err(TrackerFault::of(format!("it did not answer within {} seconds", PATIENCE.as_secs())))
        })
    }
}
