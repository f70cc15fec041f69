//! One request to a server, with its deadline, and what a failure means.

use std::time::Duration;

use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::domain::brief::{cut, is_printable};
use crate::outbound::{self, Client};
use crate::train::EngineError;

/// Longest time for opening a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Maximum number of characters of a server's message in errors.
const TOLD: usize = 300;

/// Why a request was not answered.
#[derive(Debug)]
pub(super) enum Fault {
    /// Another server, or the same one later, may answer.
    Passing(String),
    /// The server does not know what the address or the body names (status 404).
    Unknown(String),
    /// The server refuses the request itself (another status 4xx).
    Refused(String),
    /// Nothing will help.
    Final(EngineError),
}

impl Fault {
    /// As an error about the server at `url`, where it stays.
    pub(super) fn into_final(self, url: &str) -> Self {
        match self {
            Self::Unknown(problem) | Self::Refused(problem) => {
                Self::Final(EngineError::Refused { url: url.to_owned(), problem })
            }
            other => other,
        }
    }
}

/// Sends requests.
pub(super) struct Http {
    client: Client,
    key: String,
    deadline: Duration,
}

impl Http {
    pub(super) fn new(key: &str, deadline: Duration) -> Self {
        Self { client: Client::new(CONNECT.min(deadline)), key: key.to_owned(), deadline }
    }

    /// The answer to a GET.
    pub(super) async fn get(&self, url: &str, path: &str) -> Result<Bytes, Fault> {
        self.ask(Request::get(address(url, path)), Bytes::new()).await
    }

    /// The answer to a POST of JSON; null sends no body.
    pub(super) async fn post(&self, url: &str, path: &str, body: &Value) -> Result<Bytes, Fault> {
        let bytes = if body.is_null() { String::new() } else { body.to_string() };
        self.ask(Request::post(address(url, path)).header(CONTENT_TYPE, "application/json"), bytes.into()).await
    }

    async fn ask(&self, mut request: hyper::http::request::Builder, body: Bytes) -> Result<Bytes, Fault> {
        if !self.key.is_empty() {
            request = request.header(AUTHORIZATION, format!("Bearer {}", self.key));
        }
        let request = request.body(outbound::whole(body)).map_err(|error| Fault::Refused(error.to_string()))?;
        let answered = tokio::time::timeout(self.deadline, async {
            let response = self.client.send(request).await.map_err(|error| Fault::Passing(error.to_string()))?;
            let status = response.status();
            let broke_off = |error| Fault::Passing(format!("its answer broke off: {error}"));
            Ok((status, response.bytes().await.map_err(broke_off)?))
        });
        let (status, bytes) = answered.await.unwrap_or_else(|_| {
            let seconds = self.deadline.as_secs_f64();
            Err(Fault::Passing(format!("no answer within {seconds} s (`rollout.engine.timeout_seconds`)")))
        })?;
        if status.is_success() {
            return Ok(bytes);
        }
        let problem = format!("status {}: {}", status.as_u16(), told(&bytes));
        Err(match status.as_u16() {
            404 => Fault::Unknown(problem),
            401 | 403 => Fault::Refused(format!("{problem}; set the servers' key as rollout_key (VGPO_ROLLOUT_KEY)")),
            408 | 409 | 425 | 429 => Fault::Passing(problem),
            400..500 => Fault::Refused(problem),
            _ => Fault::Passing(problem),
        })
    }
}

fn address(url: &str, path: &str) -> String {
    format!("{}{path}", url.trim_end_matches('/'))
}

/// An answer as JSON of a known shape.
pub(super) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| Fault::Passing(format!("its answer cannot be read: {error}")))
}

/// The message in an error's body, in the shapes that are usual, or its text.
fn told(bytes: &[u8]) -> String {
    let json: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let message = ["/error/message", "/detail", "/message", "/error"];
    let message = message.into_iter().find_map(|pointer| json.pointer(pointer)?.as_str());
    let text = message.map_or_else(|| String::from_utf8_lossy(bytes).into_owned(), str::to_owned);
    cut(&text, TOLD).chars().filter(|c| is_printable(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_servers_are_found_and_cut() {
        assert_eq!(told(br#"{"error": {"message": "no such model"}}"#), "no such model");
        assert_eq!(told(br#"{"detail": "below no root"}"#), "below no root");
        assert_eq!(told(b"Internal\x07 Server Error"), "Internal Server Error");
        assert!(told(&[b'x'; 5000]).chars().count() <= TOLD + 1);
    }

    #[test]
    fn a_slash_at_the_end_of_an_address_is_no_part_of_it() {
        assert_eq!(address("http://a:1/", "/v1/models"), address("http://a:1", "/v1/models"));
    }
}
