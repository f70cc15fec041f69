//! The client's side of the HTTP API, for commands that talk to a server.

use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use axum::http::{Method, Request, request};
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;

use super::settings::usual_address;
use crate::outbound::{self, Body, OutboundError, Response};

/// Time limit of connecting to the server.
const CONNECT: Duration = Duration::from_secs(30);

/// The variable with the server that commands talk to.
pub const SERVER: &str = "VGPO_SERVER";

/// Address of the server, and output format.
#[derive(Debug, Clone, clap::Args)]
pub struct ClientFlags {
    /// URL of the server (`VGPO_CA_FILE` names the CA of a private https certificate)
    #[arg(long, value_name = "URL", env = SERVER, default_value_t = usual_address())]
    pub server: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// A server.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    /// The client, or why the CA file cannot be used.
    http: Result<outbound::Client, String>,
    /// The API key, or why it cannot be read.
    key: Result<Option<String>, String>,
}

/// A request that was rejected, or a server that was not reached.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No answer.
    #[error(
        "cannot reach the server at {base}: {problem}; start one with `vgpo serve`, or name it with --server or \
        {SERVER}"
    )]
    Unreachable {
        /// Its address.
        base: String,
        /// Why.
        problem: String,
    },
    /// Its certificate is not trusted.
    #[error(
        "the certificate of the server at {base} is not trusted: {problem}; if a private CA has issued it, set \
         VGPO_CA_FILE to a PEM file of that CA"
    )]
    Distrusted {
        /// Its address.
        base: String,
        /// Why.
        problem: String,
    },
    /// The key or the CA file cannot be read.
    #[error("{0}")]
    Environment(String),
    /// A problem.
    #[error("{}", describe(*.status, .body))]
    Refused {
        /// HTTP status.
        status: u16,
        /// The problem's body.
        body: Value,
    },
    /// An answer that cannot be parsed.
    #[error("the server's answer cannot be read: {0}")]
    Answer(#[from] OutboundError),
}

/// The key in `VGPO_API_KEY`, or in the file that `VGPO_API_KEY_FILE` names.
fn api_key(environment: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
    let key = match (environment("VGPO_API_KEY"), environment("VGPO_API_KEY_FILE")) {
        (Some(key), _) => Some(key),
        (None, Some(path)) => Some(
            std::fs::read_to_string(&path)
                .map_err(|error| format!("cannot read {path} (VGPO_API_KEY_FILE): {error}"))?,
        ),
        (None, None) => None,
    };
    Ok(key.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()))
}

/// A client that trusts public CAs, or those in the file that `VGPO_CA_FILE` names.
fn http_client(base: &str, ca_file: Option<&str>) -> Result<outbound::Client, String> {
    match ca_file.filter(|file| !file.is_empty() && base.starts_with("https://")) {
        Some(file) => {
            outbound::Client::with_ca_file(CONNECT, Path::new(file)).map_err(|error| format!("VGPO_CA_FILE: {error}"))
        }
        None => Ok(outbound::Client::new(CONNECT)),
    }
}

/// A problem as text, with one line per bad field.
fn describe(status: u16, body: &Value) -> String {
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let errors = body.get("errors").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut lines = vec![format!(
        "{} ({status})",
        [text("detail"), text("title")].into_iter().find(|t| !t.is_empty()).unwrap_or_default()
    )];
    if status == 401 {
        lines[0].push_str("; commands read the key from VGPO_API_KEY, or from the file that VGPO_API_KEY_FILE names");
    }
    // A single field is what the detail is about: once is enough.
    if let [only] = errors.as_slice()
        && let (Some(pointer), Some(detail)) = (only["pointer"].as_str(), only["detail"].as_str())
        && text("detail").contains(detail)
    {
        return format!("{pointer}: {detail} ({status})");
    }
    for error in &errors {
        let part = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
        lines.push(format!("  {}: {}", part("pointer"), part("detail")));
    }
    lines.join("\n")
}

/// One frame of a live stream.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Frame {
    /// Position, to resume from.
    pub id: String,
    /// Kind.
    pub event: String,
    /// JSON.
    pub data: Value,
}

impl Client {
    /// A client of the server at `base`, with the key and the CA file of the environment.
    pub fn new(base: &str) -> Self {
        let environment = |name: &str| std::env::var(name).ok();
        let http = http_client(base, environment("VGPO_CA_FILE").as_deref());
        Self { base: base.trim_end_matches('/').to_owned(), http, key: api_key(&environment) }
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.call(Method::GET, path, None).await
    }

    /// `GET path` as text.
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        let response = self.accepted(self.request(Method::GET, path), outbound::empty()).await?;
        let bytes = response.bytes().await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// `POST path` with a streamed form.
    pub async fn post_form(&self, path: &str, boundary: &str, body: Body) -> Result<Value, ClientError> {
        let kind = format!("multipart/form-data; boundary={boundary}");
        let request = self.request(Method::POST, path).header(CONTENT_TYPE, kind);
        Ok(self.accepted(request, body).await?.json().await?)
    }

    /// `PUT path` with bytes.
    pub async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<Value, ClientError> {
        let response = self.accepted(self.request(Method::PUT, path), outbound::whole(bytes)).await?;
        Ok(response.json().await?)
    }

    /// `GET path` as a stream of bytes.
    pub async fn bytes(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, OutboundError>> + use<>, ClientError> {
        Ok(self.accepted(self.request(Method::GET, path), outbound::empty()).await?.stream())
    }

    /// `DELETE path`, which answers without a body.
    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.accepted(self.request(Method::DELETE, path), outbound::empty()).await.map(drop)
    }

    /// `DELETE path`, which answers with the changed object.
    pub async fn delete_answered(&self, path: &str) -> Result<Value, ClientError> {
        self.call(Method::DELETE, path, None).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        let request = self.request(method, path);
        let response = match body {
            Some(body) => {
                let request = request.header(CONTENT_TYPE, "application/json");
                self.accepted(request, outbound::whole(body.to_string())).await?
            }
            None => self.accepted(request, outbound::empty()).await?,
        };
        Ok(response.json().await?)
    }

    fn request(&self, method: Method, path: &str) -> request::Builder {
        Request::builder().method(method).uri(format!("{}{path}", self.base))
    }

    async fn accepted(&self, request: request::Builder, body: Body) -> Result<Response, ClientError> {
        let key = self.key.clone().map_err(ClientError::Environment)?;
        let http = self.http.as_ref().map_err(|problem| ClientError::Environment(problem.clone()))?;
        let request = key.iter().fold(request, |request, key| request.header(AUTHORIZATION, format!("Bearer {key}")));
        let unreachable = |problem: String| ClientError::Unreachable { base: self.base.clone(), problem };
        let request = request.body(body).map_err(|error| unreachable(error.to_string()))?;
        let response = http.send(request).await.map_err(|error| {
            let (base, problem) = (self.base.clone(), error.to_string());
            if error.distrusts() { ClientError::Distrusted { base, problem } } else { unreachable(problem) }
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if let Some(to) = response.header(LOCATION.as_str()).filter(|_| status.is_redirection()) {
            return Err(unreachable(format!("it answers {status} and points to {to}, which commands do not follow")));
        }
        let body = response.json().await.unwrap_or(Value::Null);
        Err(ClientError::Refused { status: status.as_u16(), body })
    }

    /// Follows a live stream after the event `after`; `each` returns whether to continue. Ends with the stream.
    pub async fn follow(
        &self,
        path: &str,
        after: &str,
        mut each: impl FnMut(Frame) -> bool,
    ) -> Result<(), ClientError> {
        let mut request = self.request(Method::GET, path).header("accept", "text/event-stream");
        if !after.is_empty() {
            request = request.header("last-event-id", after);
        }
        let mut bytes = std::pin::pin!(self.accepted(request, outbound::empty()).await?.stream());
        let mut reader = FrameReader::default();
        while let Some(chunk) = bytes.next().await {
            let chunk = chunk?;
            for frame in reader.push(&chunk) {
                if !each(frame) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Splits a byte stream into server-sent events.
#[derive(Debug, Default)]
pub struct FrameReader {
    rest: Vec<u8>,
    frame: Frame,
    data: String,
}

impl FrameReader {
    /// The frames that are complete after `bytes`.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Frame> {
        self.rest.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            frames.extend(self.line(line.trim_end_matches(['\r', '\n'])));
        }
        frames
    }

    fn line(&mut self, line: &str) -> Option<Frame> {
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            let mut frame = std::mem::take(&mut self.frame);
            if data.is_empty() {
                return None;
            }
            frame.data = serde_json::from_str(&data).unwrap_or(Value::String(data));
            return Some(frame);
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => value.clone_into(&mut self.frame.id),
            "event" => value.clone_into(&mut self.frame.event),
            "data" => self.data.push_str(value),
            // A comment, or a field that is not used.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_comes_from_the_environment_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, "vgpo_file\n").unwrap();
        let path = file.display().to_string();
        let of = |given: &[(&str, &str)]| {
            api_key(&|name| given.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("VGPO_API_KEY", "")]), Ok(None));
        assert_eq!(of(&[("VGPO_API_KEY_FILE", &path)]), Ok(Some("vgpo_file".to_owned())));
        assert_eq!(of(&[("VGPO_API_KEY", "vgpo_env"), ("VGPO_API_KEY_FILE", &path)]), Ok(Some("vgpo_env".to_owned())));
        assert!(of(&[("VGPO_API_KEY_FILE", "/nowhere")]).unwrap_err().contains("/nowhere"));
    }

    #[test]
    fn frames_survive_any_cut() {
        let text = b": hello\n\nid: 7\nevent: metrics\ndata: {\"a\": \"\xc3\xa4\"}\n\nevent: end\ndata: {}\n\n";
        for cut in 0..text.len() {
            let mut reader = FrameReader::default();
            let mut frames = reader.push(&text[..cut]);
            frames.extend(reader.push(&text[cut..]));
            assert_eq!(frames.len(), 2, "cut at {cut}");
            assert_eq!((frames[0].id.as_str(), frames[0].event.as_str()), ("7", "metrics"));
            assert_eq!(frames[0].data["a"], "ä");
            assert_eq!(frames[1].event, "end");
        }
    }
}
