//! Runs at trackers. Servers with the API read the events of a run as live streams do and send them on, each from
//! where the tracker is: a trainer does nothing for it, and a tracker that was down gets all that it missed.

mod mlflow;
mod trackio;

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use crate::clock::doubling_pause;
use crate::domain::event::{Event, EventFilter, JobChanged, MetricsEvent, kind};
use crate::domain::run::Run;
use crate::domain::tracker::{TrackerKind, Tracking};
use crate::export::{ExportedRun, Row};
use crate::outbound::{TrackerClient, TrackerFault};
use crate::service::runs::Runs;
use crate::service::{Result, ServiceError};
use crate::store::StoreError;

use mlflow::Mlflow;
use trackio::Trackio;

/// Runs that are served in one look.
const TAKEN: u32 = 16;
/// How long a server has a run for itself: longer than one batch takes.
const HOLD: Duration = Duration::from_mins(5);
/// Events of one batch.
const BATCH: u32 = 100;
/// Between two batches of a run that the tracker has up to now.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest pause after failures; the first is [`PAUSE`], and each one twice as long as the one before.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);
/// Failed tries in a row until a tracker is given up: a week.
const TRIES: u32 = 1010;

/// A program that takes metrics of runs. What is sent twice changes nothing.
#[async_trait]
trait Tracker: Send + Sync {
    /// Finds the run at the tracker, or begins it there; returns what the tracker calls it.
    async fn open(&self, run: &ExportedRun) -> std::result::Result<String, TrackerFault>;

    /// Sends rows and, where it changed, the state of the run; `remote` is what [`open`](Self::open) returned.
    async fn send(&self, remote: &str, run: &ExportedRun, sent: &Batch) -> std::result::Result<(), TrackerFault>;
}

/// What happened since the last batch.
#[derive(Debug, Default)]
struct Batch {
    /// What was measured, each with the number of its event.
    rows: Vec<(i64, Row)>,
    /// Did the job change its state?
    state_changed: bool,
}

impl Batch {
    fn of(events: &[Event]) -> Self {
        let mut batch = Self::default();
        for event in events {
            match event.kind.as_str() {
                kind::METRICS => {
                    if let Ok(metrics) = serde_json::from_value::<MetricsEvent>(event.data.clone()) {
                        batch.rows.push((event.seq, row(event, metrics)));
                    }
                }
                _ => batch.state_changed |= serde_json::from_value::<JobChanged>(event.data.clone()).is_ok(),
            }
        }
        batch
    }
}

fn row(event: &Event, metrics: MetricsEvent) -> Row {
    let MetricsEvent { step, samples, tokens, values, nonfinite } = metrics;
    let odd = |key: &str| match nonfinite.get(key).map(String::as_str) {
        Some("inf") => f64::INFINITY,
        Some("-inf") => f64::NEG_INFINITY,
        _ => f64::NAN,
    };
    let values = values.into_iter().map(|(key, value)| {
        let value = value.unwrap_or_else(|| odd(&key));
        (key, value)
    });
    Row { step, time: event.time, samples, tokens, values: values.collect() }
}

/// A number as the JSON of both has it.
fn number(value: f64) -> Value {
    if value.is_finite() {
        value.into()
    } else if value.is_nan() {
        "NaN".into()
    } else if value > 0.0 {
        "Infinity".into()
    } else {
        "-Infinity".into()
    }
}

/// The trackers of the settings.
struct Trackers {
    mlflow: Option<Mlflow>,
    trackio: Option<Trackio>,
}

impl Trackers {
    fn get(&self, kind: TrackerKind) -> Option<&dyn Tracker> {
        match kind {
            TrackerKind::Mlflow => self.mlflow.as_ref().map(|tracker| tracker as &dyn Tracker),
            TrackerKind::Trackio => self.trackio.as_ref().map(|tracker| tracker as &dyn Tracker),
        }
    }
}

impl Runs {
    /// How far the trackers of a run have its metrics.
    pub async fn trackers(&self, id: &str) -> Result<Vec<Tracking>> {
        self.store.run(id).await?;
        Ok(self.store.trackers(id).await?)
    }

    /// Sends runs to trackers until the server stops.
    pub async fn keep_tracking(&self) {
        let address = |url: &str| (!url.is_empty()).then(|| url.to_owned());
        let settings = &self.settings.trackers;
        let trackers = Trackers {
            mlflow: address(&settings.mlflow_url).map(|url| {
                let token = Some(&settings.mlflow_token).filter(|token| !token.is_empty());
                Mlflow(TrackerClient::new(&url, token.map(|token| ("authorization", format!("Bearer {token}")))))
            }),
            trackio: address(&settings.trackio_url).map(|url| {
                let token = Some(settings.trackio_write_token.clone()).filter(|token| !token.is_empty());
                Trackio(TrackerClient::new(&url, token.map(|token| ("x-trackio-write-token", token))))
            }),
        };
        loop {
            if let Err(error) = self.track(&trackers).await {
                tracing::warn!(%error, "runs cannot be sent to trackers now");
            }
            if !self.goes_on().await {
                return;
            }
        }
    }

    async fn track(&self, trackers: &Trackers) -> Result<()> {
        let due = self.database.take_tracking(TAKEN, HOLD).await?;
        let served = futures_util::future::join_all(due.into_iter().map(|tracking| self.track_one(trackers, tracking)));
        served.await.into_iter().collect()
    }

    /// Sends one batch of a run.
    async fn track_one(&self, trackers: &Trackers, mut tracking: Tracking) -> Result<()> {
        let run = match self.database.run(&tracking.run_id).await {
            Ok(run) => run,
            // It was deleted, and this with it.
            Err(StoreError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // Read before the events: the end that is seen here has its event in the batch.
        let ended = run.state.is_final();
        let filter = EventFilter {
            runs: vec![tracking.run_id.clone()],
            kinds: [kind::METRICS, kind::JOB].map(ToOwned::to_owned).to_vec(),
            ..EventFilter::default()
        };
        let events = self.database.events_after(tracking.seq, &filter, BATCH).await?;
        let now = self.clock.now();
        let sent = match events.last() {
            Some(last) => send(trackers, &mut tracking, &self.exported(&run).await?, &events, last.seq).await,
            None => Ok(()),
        };
        match sent {
            Ok(()) => {
                (tracking.tries, tracking.problem) = (0, None);
                let more = events.len() == BATCH as usize;
                tracking.next_at = match (more, ended) {
                    (true, _) => Some(now),
                    (false, true) => None,
                    (false, false) => Some(now + PAUSE),
                };
            }
            Err(fault) => {
                let (id, tracker) = (&tracking.run_id, tracking.tracker.name());
                tracing::info!(run = id, tracker, tries = tracking.tries, %fault, "a tracker did not take a run");
                tracking.tries += 1;
                tracking.problem = Some(fault.to_string());
                let pause = doubling_pause(PAUSE, tracking.tries, LONGEST_PAUSE);
                tracking.next_at = (tracking.tries < TRIES).then(|| now + pause);
            }
        }
        Ok(self.database.settle_tracking(&tracking).await?)
    }

    /// A run as trackers take it.
    async fn exported(&self, run: &Run) -> Result<ExportedRun> {
        let job = self.database.job(&run.job_id).await?;
        let value = |value: serde_json::Result<Value>| value.map_err(|e| ServiceError::Internal(e.to_string()));
        let (run, job) = (value(serde_json::to_value(run))?, value(serde_json::to_value(&job))?);
        ExportedRun::begun(&run, &job).map_err(|error| ServiceError::Internal(error.to_string()))
    }
}

/// Sends events up to the one with the number `last`, and notes in `tracking` what the tracker has.
async fn send(
    trackers: &Trackers,
    tracking: &mut Tracking,
    run: &ExportedRun,
    events: &[Event],
    last: i64,
) -> std::result::Result<(), TrackerFault> {
    let Some(tracker) = trackers.get(tracking.tracker) else {
        return Err(TrackerFault::of(format!("the setting `{}` is empty", tracking.tracker.setting())));
    };
    let remote = match &tracking.remote_id {
        Some(remote) => remote.clone(),
        None => tracker.open(run).await?,
    };
    tracking.remote_id = Some(remote.clone());
    tracker.send(&remote, run, &Batch::of(events)).await?;
    tracking.seq = last;
    Ok(())
}
