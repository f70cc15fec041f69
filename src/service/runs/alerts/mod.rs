//! Alerts. Servers with the API read the events of all jobs as live streams do, so workers and trainers do nothing
//! for them: [`watch`] compares events with the rules of each job and records what it finds, once; [`delivery`] sends
//! what is recorded. Both continue where a server that stopped left off.

mod delivery;
mod rules;
mod watch;

use std::time::Duration;

use crate::clock::Stopwatch;
use crate::domain::alert::Alert;
use crate::domain::page::{Listing, Page};
use crate::outbound::AlertSender;
use crate::service::Result;
use crate::service::runs::Runs;

use watch::Watch;

/// Between two looks at new events, at alerts to be sent, and at runs for trackers.
const LOOK: Duration = Duration::from_secs(2);
/// Seconds between two looks at jobs that report nothing.
const SILENCE: f64 = 10.0;

impl Runs {
    /// The alerts of a run with their delivery, newest first.
    pub async fn alerts(&self, id: &str, page: &Page) -> Result<Listing<Alert>> {
        self.store.run(id).await?;
        Ok(self.store.alerts(id, page).await?)
    }

    /// Watches runs and sends alerts until the server stops.
    pub async fn keep_alerting(&self) {
        tokio::join!(self.keep_watching(), self.keep_delivering());
    }

    async fn keep_watching(&self) {
        let (mut watch, mut silence) = (Watch::default(), Stopwatch::start());
        loop {
            if let Err(error) = self.look_at_events(&mut watch).await {
                tracing::warn!(%error, "events cannot be compared with rules for alerts now");
                watch = Watch::default();
            }
            if silence.seconds() >= SILENCE {
                silence = Stopwatch::start();
                if let Err(error) = self.look_for_silence(&mut watch).await {
                    tracing::warn!(%error, "jobs that report nothing cannot be found now");
                }
            }
            if !self.goes_on().await {
                break;
            }
        }
        self.keep_position(&mut watch).await;
    }

    async fn keep_delivering(&self) {
        let sender = AlertSender::of(&self.settings);
        while self.goes_on().await {
            if let Err(error) = self.deliver(&sender).await {
                tracing::warn!(%error, "alerts cannot be sent now");
            }
        }
    }

    /// Waits a moment; false: the server stops.
    pub(in crate::service::runs) async fn goes_on(&self) -> bool {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => true,
            () = self.stopping.cancelled() => false,
        }
    }
}
