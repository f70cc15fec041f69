//! One conversation with an engine over HTTP.

use axum::body::Bytes;
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use tokio::time::timeout;

use super::health::InFlight;
use crate::config::serving::{ENGINE_CONNECT, ENGINE_SEND, ENGINE_SILENCE};
use crate::domain::engine::EngineRecord;
use crate::outbound::{self, Client, Response};
use crate::serving::wire::Frame;
use crate::telemetry::traces;

/// The client that calls engines.
#[derive(Clone)]
pub(super) struct Peer {
    http: Client,
    secret: String,
}

/// A streamed answer. Dropping it closes the connection.
pub(super) struct Exchange {
    response: Response,
    /// Bytes after the last complete line.
    rest: Vec<u8>,
    /// Bytes of `rest` that contain no line end.
    searched: usize,
    _in_flight: InFlight,
}

impl Peer {
    pub(super) fn new(secret: &str) -> Self {
        Self { http: Client::new(ENGINE_CONNECT), secret: secret.to_owned() }
    }

    /// Sends a request and returns the first frame of the answer and the rest of the stream. An error says why the
    /// engine is not available.
    pub(super) async fn ask(
        &self,
        engine: &EngineRecord,
        route: &str,
        body: Bytes,
        in_flight: InFlight,
    ) -> Result<(Frame, Exchange), String> {
        let mut request = Request::post(format!("{}{route}", engine.address))
            .header(AUTHORIZATION, format!("Bearer {}", self.secret))
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in traces::carried() {
            request = request.header(name, value);
        }
        let request = request.body(outbound::whole(body)).map_err(|error| error.to_string())?;
        let sent = timeout(ENGINE_SEND, self.http.send(request)).await;
        let response = sent
            .map_err(|_| "it does not accept the request in time".to_owned())?
            .map_err(|error| error.to_string())?;
        match response.status().as_u16() {
            200 => {}
            401 | 403 => {
                return Err("it rejects this server's credentials: does it have the same engine_secret?".to_owned());
            }
            status => return Err(format!("it answers with status {status}: does it run the same version?")),
        }
        let mut exchange = Exchange { response, rest: Vec::new(), searched: 0, _in_flight: in_flight };
        let first = exchange.next().await?;
        Ok((first, exchange))
    }
}

impl Exchange {
    /// The next frame.
    pub(super) async fn next(&mut self) -> Result<Frame, String> {
        loop {
            while let Some(line) = self.line() {
                if line.len() > 1 {
                    return serde_json::from_slice(&line)
                        .map_err(|error| format!("its answer cannot be parsed: {error}"));
                }
            }
            let chunk =
                timeout(ENGINE_SILENCE, self.response.chunk()).await.map_err(|_| "it stopped responding".to_owned())?;
            let chunk = chunk.map_err(|error| error.to_string())?.ok_or("it closed the connection")?;
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
