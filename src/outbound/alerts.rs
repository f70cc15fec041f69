//! Alerts to webhooks: one request each, at listed hosts, signed like those to webhook rewards.

use std::time::Duration;

use hyper::Request;

use super::client::{Client, whole};
use super::webhooks::{may_pass, signature, told};
use crate::config::app::AppSettings;

/// How long a connection, and a whole request, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends alerts.
#[derive(Debug, Clone)]
pub struct AlertSender {
    client: Client,
    hosts: Vec<String>,
    secret: String,
}

/// Why an alert was not taken; the text holds no address, because that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken {
    /// What happened.
    pub problem: String,
    /// May another try succeed?
    pub passing: bool,
}

impl AlertSender {
    /// A sender under the settings `webhook_hosts` and `webhook_secret`.
    pub fn of(settings: &AppSettings) -> Self {
        let (hosts, secret) = (settings.webhook_hosts.clone(), settings.webhook_secret.clone());
        Self { client: Client::new(PATIENCE), hosts, secret }
    }

    /// Sends `body`, which tells of the alert `id`, at the time `timestamp` in seconds.
    ///
    /// # Errors
    /// The host is not listed any more, does not answer, or does not take it. No redirect is followed.
    pub async fn send(&self, url: &str, id: &str, timestamp: i64, body: Vec<u8>) -> Result<(), NotTaken> {
        let last = |problem: String| NotTaken { problem, passing: false };
        super::webhooks::check(&self.hosts, url).map_err(|problem| last(format!("its address {problem}")))?;
        let timestamp = timestamp.to_string();
        let mut request = Request::post(url)
            .header("content-type", "application/json")
            .header("x-vgpo-alert", id)
            .header("x-vgpo-timestamp", &timestamp);
        if !self.secret.is_empty() {
            request = request.header("x-vgpo-signature", signature(&self.secret, &timestamp, &body).map_err(last)?);
        }
        let request = request.body(whole(body)).map_err(|error| last(error.to_string()))?;
        let sent = tokio::time::timeout(PATIENCE, self.exchange(request)).await;
        sent.unwrap_or_else(|_| {
            let problem = format!("it did not answer within {} seconds", PATIENCE.as_secs());
            Err(NotTaken { problem, passing: true })
        })
    }

    async fn exchange(&self, request: Request<super::Body>) -> Result<(), NotTaken> {
        let passing = |problem: String| NotTaken { problem, passing: true };
        let mut answer = self.client.send(request).await.map_err(|error| passing(error.to_string()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let text = answer.chunk().await.ok().flatten().unwrap_or_default();
        let problem = format!("it answered {status}: {}", told(&String::from_utf8_lossy(&text)));
        Err(NotTaken { problem: problem.trim_end_matches([':', ' ']).to_owned(), passing: may_pass(status.as_u16()) })
    }
}
