//! Alerts: what is watched in a run, what was found, and how it is told to others.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Version of [`AlertMessage`].
pub const VERSION: u32 = 1;
/// Kind of the event of an attempt that ends because a gradient, a logit or a log-prob is not finite.
pub const NOT_FINITE: &str = "warning.not_finite";
/// Kind of the event of an alert that is given up: its webhook never took it.
pub const UNDELIVERED: &str = "warning.alert_undelivered";
/// What stands for the secret part of a webhook's address.
const REST: char = '…';

/// What is watched in the run of a job, and who hears of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertsSpec {
    /// The address that alerts are sent to, at one of `webhook_hosts`; none: they are events of the run only. Answers
    /// show its host alone, because the rest may be a secret.
    pub webhook: Option<String>,
    /// What is sent.
    pub format: AlertFormat,
    /// When there is an alert.
    pub rules: AlertRules,
}

/// What is sent to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertFormat {
    /// An `AlertMessage`.
    Json,
    /// `{"text": "…"}`, as incoming webhooks of Slack, Mattermost and others read it.
    Slack,
}

/// When there is an alert; null or false: never.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertRules {
    /// A metric, a gradient or a log-prob is not a finite number.
    pub nan: bool,
    /// The mean reward has been the same in this number of steps in a row.
    pub reward_constant: Option<u64>,
    /// The mean reward of the last 10 steps has fallen below this share of the best such mean.
    pub reward_collapse: Option<f64>,
    /// `policy/reference_kl` or `policy/kl` is above this.
    pub kl_above: Option<f64>,
    /// `policy/entropy` is below this.
    pub entropy_below: Option<f64>,
    /// `policy/entropy` is above this.
    pub entropy_above: Option<f64>,
    /// The job runs and has reported nothing for this number of seconds.
    pub stalled_seconds: Option<u64>,
    /// The job has succeeded. Without a webhook, the event of the job's state tells it.
    pub finished: bool,
    /// The job has failed for good. Without a webhook, the event of the job's state tells it.
    pub failed: bool,
}

/// Why there is an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertRule {
    /// Something is not a finite number.
    Nan,
    /// The reward stays the same.
    RewardConstant,
    /// The reward has fallen.
    RewardCollapse,
    /// A KL is too high.
    KlAbove,
    /// The entropy is too low.
    EntropyBelow,
    /// The entropy is too high.
    EntropyAbove,
    /// Nothing is reported any more.
    Stalled,
    /// The job has succeeded.
    Finished,
    /// The job has failed.
    Failed,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// The run needs a look.
    Warning,
    /// The run cannot succeed as it is.
    Error,
}

impl AlertRule {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nan => "nan",
            Self::RewardConstant => "reward_constant",
            Self::RewardCollapse => "reward_collapse",
            Self::KlAbove => "kl_above",
            Self::EntropyBelow => "entropy_below",
            Self::EntropyAbove => "entropy_above",
            Self::Stalled => "stalled",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }

    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            Self::Nan | Self::Failed => Severity::Error,
            Self::Finished => Severity::Info,
            _ => Severity::Warning,
        }
    }
}

/// What a rule found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// Why.
    pub rule: AlertRule,
    /// The same in words.
    pub message: String,
    /// The step, where it is about one.
    pub step: Option<u64>,
    /// The metric, where it is about one.
    pub key: Option<String>,
    /// Its value; null if it is not finite.
    pub value: Option<f64>,
    /// The limit of the rule.
    pub limit: Option<f64>,
}

/// Data of the event `alert`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlertEvent {
    /// The alert.
    pub alert_id: String,
    /// Why.
    pub rule: AlertRule,
    /// How bad it is.
    pub severity: Severity,
    /// The same in words.
    pub message: String,
    /// The step, where it is about one.
    pub step: Option<u64>,
    /// The metric, where it is about one.
    pub key: Option<String>,
    /// Its value; null if it is not finite.
    pub value: Option<f64>,
    /// The limit of the rule.
    pub limit: Option<f64>,
}

impl AlertEvent {
    /// The event of an alert.
    pub fn of(alert: &Alert) -> Self {
        let Finding { rule, message, step, key, value, limit } = alert.found.clone();
        Self { alert_id: alert.id.clone(), rule, severity: alert.severity, message, step, key, value, limit }
    }
}

/// Where an alert is on its way to the webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// The job has no webhook.
    None,
    /// It is sent, and sent again after failures.
    Pending,
    /// The webhook has it.
    Sent,
    /// The webhook never took it.
    Failed,
}

impl DeliveryState {
    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::Pending, Self::Sent, Self::Failed].into_iter().find(|state| state.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }
}

/// An alert and its delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Alert {
    /// `alrt_…`: the same in every try to deliver it.
    pub id: String,
    /// The job.
    pub job_id: String,
    /// The run.
    pub run_id: String,
    /// When it was found.
    pub time: DateTime<Utc>,
    /// What was found.
    #[serde(flatten)]
    pub found: Finding,
    /// How bad it is.
    pub severity: Severity,
    /// Where it is on its way to the webhook.
    pub delivery: DeliveryState,
    /// Tries to deliver it so far.
    pub tries: u32,
    /// What the last try ended with, if it failed.
    pub problem: Option<String>,
    /// When it will be tried again.
    pub next_try_at: Option<DateTime<Utc>>,
    /// When the webhook took it.
    pub sent_at: Option<DateTime<Utc>>,
}

/// Something to be recorded as an alert, unless the job has one of this rule and occasion already.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAlert {
    /// The job.
    pub job_id: String,
    /// Which time, for rules that may be met more than once; empty: once for a job.
    pub occasion: String,
    /// What was found.
    pub found: Finding,
}

/// An alert that is to be sent now.
#[derive(Debug, Clone, PartialEq)]
pub struct DueAlert {
    /// The alert, with this try counted.
    pub alert: Alert,
    /// Where to.
    pub webhook: String,
}

/// How a try to deliver an alert ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// The webhook has it.
    Sent,
    /// It is tried again after a pause.
    Again {
        /// What happened.
        problem: String,
        /// The pause.
        after: std::time::Duration,
    },
    /// It is not tried again.
    Lost {
        /// What happened.
        problem: String,
    },
}

/// Body of a request to a webhook of format `json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlertMessage {
    /// Version of this form: 1.
    pub version: u32,
    /// `alrt_…`: the same when the request is repeated.
    pub id: String,
    /// When it was found.
    pub time: DateTime<Utc>,
    /// The job.
    pub job_id: String,
    /// The run.
    pub run_id: String,
    /// The job's name.
    pub name: String,
    /// The job's project.
    pub project: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    #[serde(flatten)]
    pub found: Finding,
}

impl AlertMessage {
    /// What is told about an alert of the job with this name and project.
    pub fn of(alert: Alert, name: String, project: String) -> Self {
        let Alert { id, time, job_id, run_id, severity, found, .. } = alert;
        Self { version: VERSION, id, time, job_id, run_id, name, project, severity, found }
    }

    /// One line of text in Slack's notation.
    pub fn text(&self) -> String {
        let plain = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let Finding { rule, message, .. } = &self.found;
        format!("*{}* {} ({}): {}", rule.name(), plain(&self.name), self.run_id, plain(message))
    }
}

/// The address of a webhook as answers show it: its scheme and host.
pub fn shortened(address: &str) -> String {
    let host = address.find("://").map_or(0, |scheme| scheme + 3);
    let end = address[host..].find(['/', '?', '#']).map_or(address.len(), |path| host + path);
    let rest = &address[end..];
    if rest.is_empty() || rest == "/" { address.to_owned() } else { format!("{}/{REST}", &address[..end]) }
}

/// Is this an address as answers show it, without its secret part?
pub fn is_shortened(address: &str) -> bool {
    address.ends_with(REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_show_the_host_of_a_webhook_only() {
        for (address, shown) in [
            ("https://hooks.slack.com/services/T0/B0/secret", "https://hooks.slack.com/…"),
            ("http://127.0.0.1:9000/a?token=1", "http://127.0.0.1:9000/…"),
            ("https://hooks.example?token=1", "https://hooks.example/…"),
            ("https://hooks.example#1", "https://hooks.example/…"),
            ("https://hooks.example/", "https://hooks.example/"),
            ("https://hooks.example", "https://hooks.example"),
        ] {
            assert_eq!(shortened(address), shown);
            assert_eq!(is_shortened(&shortened(address)), shown.ends_with('…'));
            assert!(!is_shortened(address));
        }
    }
}
