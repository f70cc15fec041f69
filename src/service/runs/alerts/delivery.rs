//! Alerts on their way to their webhooks.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::json;

use crate::clock::doubling_pause;
use crate::domain::alert::{AlertFormat, AlertMessage, Delivered, DueAlert};
use crate::outbound::{AlertSender, NotTaken};
use crate::service::runs::Runs;
use crate::service::{Result, ServiceError};

/// Alerts that are sent at the same time.
const AT_ONCE: usize = 8;
/// Alerts that are taken at a time.
const TAKEN: u32 = 32;
/// How long a server has alerts that it took for itself: longer than all of them take.
const HOLD: Duration = Duration::from_mins(2);
/// Pause after the first failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// Tries until an alert is given up: a day and two hours.
const TRIES: u32 = 35;

impl Runs {
    /// Sends the alerts whose time has come.
    pub(super) async fn deliver(&self, sender: &AlertSender) -> Result<()> {
        let due = self.database.take_alerts(TAKEN, HOLD).await?;
        let sent = stream::iter(due).map(|due| self.deliver_one(sender, due)).buffer_unordered(AT_ONCE);
        let ended: Vec<Result<()>> = sent.collect().await;
        ended.into_iter().collect()
    }

    async fn deliver_one(&self, sender: &AlertSender, due: DueAlert) -> Result<()> {
        let DueAlert { alert, webhook } = due;
        let (id, tries) = (alert.id.clone(), alert.tries);
        let job = self.database.job(&alert.job_id).await?;
        let format = job.spec.known().map_or(AlertFormat::Json, |spec| spec.alerts.format);
        let message = AlertMessage::of(alert, job.name, job.project);
        let body = match format {
            AlertFormat::Json => serde_json::to_vec(&message),
            AlertFormat::Slack => serde_json::to_vec(&json!({ "text": message.text() })),
        };
        let body = body.map_err(|error| ServiceError::Internal(error.to_string()))?;
        let outcome = match sender.send(&webhook, &id, self.clock.now().timestamp(), body).await {
            Ok(()) => Delivered::Sent,
            Err(NotTaken { problem, passing }) if passing && tries < TRIES => {
                tracing::info!(alert = id, tries, problem, "an alert was not taken; it is sent again");
                Delivered::Again { problem, after: pause(tries) }
            }
            Err(NotTaken { problem, .. }) => {
                tracing::warn!(alert = id, tries, problem, "an alert was not taken, and is given up");
                Delivered::Lost { problem: format!("{problem} (tried {tries} times)") }
            }
        };
        Ok(self.database.settle_alert(&id, &outcome).await?)
    }
}

/// The pause after this number of failed tries.
fn pause(tries: u32) -> Duration {
    doubling_pause(FIRST_PAUSE, tries, LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_tried_for_a_day() {
        let all: Duration = (1..TRIES).map(pause).sum();
        assert!((24..30).contains(&(all.as_secs() / 3600)), "{all:?}");
        assert_eq!(pause(1), FIRST_PAUSE);
    }
}
