//! One conversation with an engine over HTTP.

use axum::body::Bytes;
use reqwest::header::CONTENT_TYPE;
use tokio::time::timeout;

use super::choice::Busy;
use crate::config::serving::{ENGINE_CONNECT, ENGINE_SEND, ENGINE_SILENCE};
use crate::domain::engine::EngineRecord;
use crate::serving::wire::Frame;
use crate::telemetry::traces;

/// How engines are asked.
#[derive(Clone)]
pub(super) struct Peer {
    /// None where it cannot be built, with the reason.
    http: Result<reqwest::Client, String>,
    secret: String,
}

/// An answer as it comes. Dropping it closes the connection.
pub(super) struct Exchange {
    response: reqwest::Response,
    /// Bytes behind the last whole line.
    rest: Vec<u8>,
    /// Where in `rest` no line end was found so far.
    searched: usize,
    _busy: Busy,
}

impl Peer {
    pub(super) fn new(secret: &str) -> Self {
        // Neither a proxy of the environment nor a redirect shall see the secret.
        let http = reqwest::Client::builder()
            .connect_timeout(ENGINE_CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build();
        Self { http: http.map_err(|error| error.to_string()), secret: secret.to_owned() }
    }

    /// Sends a request; the first frame of the answer, and the rest of it. An error says why the engine is none at the moment.
    pub(super) async fn ask(
        &self,
        engine: &EngineRecord,
        route: &str,
        body: Bytes,
        busy: Busy,
    ) -> Result<(Frame, Exchange), String> {
        let mut request = self.http.as_ref().map_err(Clone::clone)?.post(format!("{}{route}", engine.address));
        for (name, value) in traces::carried() {
            request = request.header(name, value);
        }
        let request = request.bearer_auth(&self.secret).header(CONTENT_TYPE, "application/json").body(body);
        let sent = timeout(ENGINE_SEND, request.send()).await.map_err(|_| "it does not take the request".to_owned())?;
        let response = sent.map_err(|error| root_cause(&error))?;
        match response.status().as_u16() {
            200 => {}
            401 | 403 => return Err("it refuses this server: is its engine_secret the same?".to_owned()),
            status => return Err(format!("it answers with status {status}: is it an engine of this version?")),
        }
        let mut exchange = Exchange { response, rest: Vec::new(), searched: 0, _busy: busy };
        let first = exchange.next().await?;
        Ok((first, exchange))
    }
}

impl Exchange {
    /// The next frame. An error says why there is none.
    pub(super) async fn next(&mut self) -> Result<Frame, String> {
        loop {
            while let Some(line) = self.line() {
                if line.len() > 1 {
                    return serde_json::from_slice(&line).map_err(|error| format!("its answer is unknown: {error}"));
                }
            }
            let chunk =
                timeout(ENGINE_SILENCE, self.response.chunk()).await.map_err(|_| "it fell silent".to_owned())?;
            let chunk = chunk.map_err(|error| root_cause(&error))?.ok_or("it broke off")?;
            self.rest.extend_from_slice(&chunk);
        }
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.rest.iter().skip(self.searched).position(|byte| *byte == b'\n');
        let Some(end) = end else {
            self.searched = self.rest.len();
            return None;
        };
        let end = self.searched + end;
        self.searched = 0;
        Some(self.rest.drain(..=end).collect())
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
