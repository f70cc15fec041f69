//! The HTTP side of webhook rewards: which hosts may be called, how requests are signed, when they are repeated.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::blocking;
use super::hosts::{HostError, Hosts};
use crate::clock::Clock;
use crate::config::app::AppSettings;
use crate::domain::brief::{cut, is_printable};
use crate::reward::webhook::Question;
use crate::reward::{RewardError, WebhookClient};

/// Pause before the first repeat; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause between repeats.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Largest answer in bytes.
const MAX_ANSWER: u64 = 8 << 20;
/// Maximum number of characters of a rejection in errors.
const TOLD: usize = 80;

/// Asks webhooks over HTTP.
pub struct HttpWebhooks {
    hosts: Vec<String>,
    secret: String,
    clock: Arc<dyn Clock>,
}

/// How one try ended.
enum Failure {
    /// Another try may succeed.
    Passing(String),
    /// It will not.
    Final(String),
}

impl HttpWebhooks {
    /// A client under the settings `webhook_hosts` and `webhook_secret`; none where no host is allowed.
    pub fn of(settings: &AppSettings, clock: Arc<dyn Clock>) -> Option<Arc<dyn WebhookClient>> {
        let (hosts, secret) = (settings.webhook_hosts.clone(), settings.webhook_secret.clone());
        (!hosts.is_empty()).then(|| Arc::new(Self { hosts, secret, clock }) as Arc<dyn WebhookClient>)
    }

    fn attempt(&self, agent: &ureq::Agent, question: &Question<'_>) -> Result<Vec<u8>, Failure> {
        let timestamp = self.clock.now().timestamp().to_string();
        let signature = signature(&self.secret, &timestamp, question.body).map_err(Failure::Final)?;
        let mut request = agent
            .post(question.url)
            .header("content-type", "application/json")
            .header("x-vgpo-batch", question.batch)
            .header("x-vgpo-timestamp", &timestamp);
        if !self.secret.is_empty() {
            request = request.header("x-vgpo-signature", &signature);
        }
        let url = question.url;
        let mut response = request.send(question.body).map_err(|error| Failure::Passing(format!("{url}: {error}")))?;
        let status = response.status();
        if status.is_success() {
            let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
            return body.map_err(|error| Failure::Passing(format!("{url}: the answer broke off: {error}")));
        }
        let text = response.body_mut().with_config().limit(2000).read_to_string().unwrap_or_default();
        let message = format!("{url} answered {status}: {}", told(&text));
        Err(if may_pass(status.as_u16()) { Failure::Passing(message) } else { Failure::Final(message) })
    }
}

/// Checks that an address is plain http(s) and names a listed `host` or `host:port`.
///
/// # Errors
/// Says what is wrong with it, as the rest of a sentence about the address.
pub fn check(hosts: &[String], url: &str) -> Result<(), String> {
    let uri: ureq::http::Uri = url.parse().map_err(|_| "is not a URL".to_owned())?;
    let problem = match Hosts::new(hosts).check(&uri) {
        Ok(()) => return Ok(()),
        Err(HostError::Scheme) => "must begin with http:// or https://",
        Err(HostError::NoHost) => "names no host",
        Err(HostError::UserName) => "holds a user name; use webhook_secret to prove who asks",
        Err(HostError::Unlisted(_)) => {
            "is not allowed; add its host to the setting webhook_hosts (VGPO_WEBHOOK_HOSTS): `host` for ports 80 and \
             443, `host:port` for another one"
        }
    };
    Err(problem.to_owned())
}

/// `sha256=` and the hexadecimal HMAC over `{timestamp}.{body}`.
pub(super) fn signature(secret: &str, timestamp: &str, body: &[u8]) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|error| error.to_string())?;
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    Ok(format!("sha256={}", hex::encode(mac.finalize().into_bytes())))
}

/// What errors tell of an answer.
pub(super) fn told(answer: &str) -> String {
    cut(answer, TOLD).chars().filter(|c| is_printable(*c)).collect()
}

/// May a repeat of a request that was answered with this status succeed?
pub(super) fn may_pass(status: u16) -> bool {
    status >= 500 || [408, 425, 429].contains(&status)
}

impl WebhookClient for HttpWebhooks {
    fn check(&self, url: &str) -> Result<(), RewardError> {
        check(&self.hosts, url).map_err(|problem| RewardError::Webhook(format!("`{url}` {problem}")))
    }

    fn ask(&self, question: &Question<'_>) -> Result<Vec<u8>, RewardError> {
        self.check(question.url)?;
        let agent = blocking::guarded(question.timeout);
        let mut pause = FIRST_PAUSE;
        for attempt in 0.. {
            match self.attempt(&agent, question) {
                Ok(answer) => return Ok(answer),
                Err(Failure::Final(message)) => return Err(RewardError::Webhook(message)),
                Err(Failure::Passing(message)) if attempt >= question.retries => {
                    return Err(RewardError::WebhookUnreachable(format!("{message} (tried {} times)", attempt + 1)));
                }
                Err(Failure::Passing(message)) => {
                    tracing::warn!(attempt, %message, "a webhook failed; trying again");
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        Err(RewardError::WebhookUnreachable(question.url.to_owned()))
    }
}
