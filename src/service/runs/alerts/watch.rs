//! Events compared with the rules of their jobs.

use std::collections::HashMap;

use crate::clock::Stopwatch;
use crate::domain::alert::{AlertRule, AlertRules, NOT_FINITE, NewAlert};
use crate::domain::event::{Event, EventFilter, JobChanged, MetricsEvent, kind};
use crate::domain::metric::{EVAL_ACCURACY, SeriesQuery};
use crate::service::Result;
use crate::service::runs::Runs;
use crate::store::StoreError;

use super::rules::{Found, Memory, Observed, REWARD, judge};

/// Events read at once.
const BATCH: u32 = 256;
/// Seconds between two notes of how far a server has read. What it reads again after it stopped changes nothing: every
/// alert is recorded once.
const NOTE: f64 = 10.0;
/// Steps before the newest one of which rewards are read when a server has not seen them itself.
const PAST: u64 = 10_000;
/// Jobs that are remembered; with more, all are read anew.
const MOST_JOBS: usize = 4096;

/// How far a server has read, and what it remembers of the runs.
#[derive(Default)]
pub(super) struct Watch {
    position: Option<i64>,
    /// When the position was last noted; none: there is a later one to note.
    noted: Option<(i64, Stopwatch)>,
    /// By job; none where there is nothing to watch.
    jobs: HashMap<String, Option<Watched>>,
}

/// A job with rules.
struct Watched {
    run_id: String,
    rules: AlertRules,
    /// Read with the first reward.
    memory: Option<Memory>,
}

impl Runs {
    /// Compares what happened since the last look.
    pub(super) async fn look_at_events(&self, watch: &mut Watch) -> Result<()> {
        let mut position = self.position(watch).await?;
        let kinds = [kind::JOB, kind::METRICS, kind::REWIND, kind::RUN_DELETED, NOT_FINITE];
        let filter = EventFilter { kinds: kinds.map(ToOwned::to_owned).to_vec(), ..EventFilter::default() };
        loop {
            let events = self.database.events_after(position, &filter, BATCH).await?;
            for event in &events {
                self.look_at(watch, event).await?;
                position = event.seq;
                watch.position = Some(position);
            }
            if events.len() < BATCH as usize {
                break;
            }
        }
        if watch.noted.as_ref().is_none_or(|(noted, since)| *noted < position && since.seconds() >= NOTE) {
            self.keep_position(watch).await;
        }
        Ok(())
    }

    /// Notes how far this server has read.
    pub(super) async fn keep_position(&self, watch: &mut Watch) {
        let Some(position) = watch.position else { return };
        match self.database.watched_events(position).await {
            Ok(()) => watch.noted = Some((position, Stopwatch::start())),
            Err(error) => tracing::warn!(%error, "how far alerts have been looked for cannot be noted now"),
        }
    }

    /// Where to read on: where a server left off, or with what happens from now on.
    async fn position(&self, watch: &mut Watch) -> Result<i64> {
        if let Some(position) = watch.position {
            return Ok(position);
        }
        let position = match self.database.events_watched().await? {
            Some(position) => position,
            None => self.database.event_span().await?.last,
        };
        watch.position = Some(position);
        Ok(position)
    }

    async fn look_at(&self, watch: &mut Watch, event: &Event) -> Result<()> {
        let Some(job) = &event.job_id else { return Ok(()) };
        if event.kind == kind::RUN_DELETED {
            watch.jobs.remove(job);
            return Ok(());
        }
        if event.kind == kind::REWIND {
            // What was measured after that step is measured again.
            if let Some(Some(watched)) = watch.jobs.get_mut(job) {
                watched.memory = None;
            }
            return Ok(());
        }
        let Some(watched) = self.watched(watch, job).await? else { return Ok(()) };
        let found = match event.kind.as_str() {
            kind::METRICS => {
                let Ok(metrics) = serde_json::from_value::<MetricsEvent>(event.data.clone()) else { return Ok(()) };
                self.remember(watched, &metrics).await?;
                let nothing = Memory::default();
                judge(&watched.rules, watched.memory.as_ref().unwrap_or(&nothing), &Observed::Metrics(&metrics))
            }
            kind::JOB => {
                let Ok(change) = serde_json::from_value::<JobChanged>(event.data.clone()) else { return Ok(()) };
                let found = judge(&watched.rules, &Memory::default(), &Observed::Job(&change));
                if change.to.is_final() {
                    watch.jobs.remove(job);
                }
                found
            }
            _ => {
                let problem = event.data["message"].as_str().unwrap_or("a number is not finite");
                judge(&watched.rules, &Memory::default(), &Observed::NotFinite(problem))
            }
        };
        self.raise(job, found).await
    }

    /// The rules of a job; none where there is nothing to watch.
    async fn watched<'w>(&self, watch: &'w mut Watch, job: &str) -> Result<Option<&'w mut Watched>> {
        if !watch.jobs.contains_key(job) {
            if watch.jobs.len() >= MOST_JOBS {
                watch.jobs.clear();
            }
            let watched = match self.database.job(job).await {
                Ok(found) => found.spec.known().map(|spec| {
                    let mut rules = spec.alerts.rules.clone();
                    // The event of the job's state tells the same.
                    (rules.finished, rules.failed) = match spec.alerts.webhook {
                        Some(_) => (rules.finished, rules.failed),
                        None => (false, false),
                    };
                    Watched { run_id: found.run_id.clone(), rules, memory: None }
                }),
                Err(StoreError::NotFound { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            watch.jobs.insert(job.to_owned(), watched);
        }
        Ok(watch.jobs.get_mut(job).and_then(Option::as_mut))
    }

    /// Takes the reward of a step, after those of the steps before, which another server may have seen.
    async fn remember(&self, watched: &mut Watched, metrics: &MetricsEvent) -> Result<()> {
        let Some(reward) = metrics.values.get(REWARD).copied().flatten() else { return Ok(()) };
        let rules = &watched.rules;
        if watched.memory.is_none() {
            let mut memory = Memory::default();
            if let Some(before) = metrics.step.checked_sub(1) {
                let from_step = Some(before.saturating_sub(PAST));
                let query = SeriesQuery { from_step, to_step: Some(before), max_points: None };
                for point in self.database.metric_series(&watched.run_id, REWARD, &query).await? {
                    if let Some(value) = point.mean {
                        memory.reward(value, rules);
                    }
                }
            }
            watched.memory = Some(memory);
        }
        if let Some(memory) = &mut watched.memory {
            memory.reward(reward, rules);
        }
        Ok(())
    }

    /// Finds jobs that run and have reported nothing for long.
    pub(super) async fn look_for_silence(&self, watch: &mut Watch) -> Result<()> {
        let now = self.clock.now();
        for heard in self.database.heard_jobs().await? {
            let Some(since) = heard.heard_at else { continue };
            let Some(watched) = self.watched(watch, &heard.job_id).await? else { continue };
            let seconds = u64::try_from((now - since).num_seconds()).unwrap_or(0);
            if watched.rules.stalled_seconds.is_none_or(|limit| seconds < limit) {
                continue;
            }
            let last_step = match self.database.run(&watched.run_id).await {
                Ok(run) => run.last_step,
                Err(StoreError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let silence = Observed::Silence { seconds, last_step };
            let found = judge(&watched.rules, &Memory::default(), &silence);
            self.raise(&heard.job_id, found).await?;
        }
        Ok(())
    }

    /// Records what was found, each once.
    async fn raise(&self, job: &str, found: Vec<Found>) -> Result<()> {
        for Found { mut finding, occasion } in found {
            if finding.rule == AlertRule::Finished {
                let run = self.database.job(job).await?.run_id;
                finding.value = self.database.run(&run).await?.last_accuracy;
                finding.key = finding.value.map(|_| EVAL_ACCURACY.to_owned());
            }
            let alert = NewAlert { job_id: job.to_owned(), occasion, found: finding };
            if let Some(alert) = self.database.raise_alert(&alert).await? {
                tracing::info!(job, rule = alert.found.rule.name(), message = %alert.found.message, "alert");
                self.tell_news();
            }
        }
        Ok(())
    }
}
