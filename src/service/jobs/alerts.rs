//! Where alerts of a job are sent: the address is kept apart from the settings, because it may hold a secret.

use serde_json::Value;

use crate::domain::alert::{is_shortened, shortened};
use crate::domain::spec::AlertsSpec;
use crate::outbound::check_webhook;
use crate::service::{Result, ServiceError};

/// JSON pointer of the address.
const WEBHOOK: &str = "/alerts/webhook";

/// Takes the whole address out of settings, which keep its host: answers and workers need no more.
///
/// # Errors
/// The address is not allowed, or was copied from an answer.
pub(super) fn take_webhook(alerts: &mut AlertsSpec, hosts: &[String]) -> Result<Option<String>> {
    let Some(address) = alerts.webhook.take() else { return Ok(None) };
    let shown = shortened(&address);
    let refused = |problem: &str| Err(ServiceError::field(WEBHOOK, format!("`webhook` is `{shown}`, which {problem}")));
    if is_shortened(&address) {
        return refused("is shortened, as answers show it; give the whole address");
    }
    if let Err(problem) = check_webhook(hosts, &address) {
        return refused(&problem);
    }
    alerts.webhook = Some(shown);
    Ok(Some(address))
}

/// A request for a job as it may be kept: without the secret part of an address.
pub(in crate::service) fn without_secrets(mut request: Value) -> Value {
    if let Some(Value::String(address)) = request.pointer_mut(WEBHOOK) {
        *address = shortened(address);
    }
    request
}
