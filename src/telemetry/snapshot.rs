//! Figures that are collected when they are scraped: the queue and running jobs (database), workers, the engine.

use std::sync::atomic::AtomicU64;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::PREFIX;
use crate::domain::engine::{EngineUsage, ModelUsage};
use crate::domain::figures::{Figures, LeaseLoss, RunFigures};
use crate::domain::job::JobState;
use crate::domain::worker::WorkerRecord;

type Real = Gauge<f64, AtomicU64>;
type Seconds = Counter<f64, AtomicU64>;

/// A snapshot of the program.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// When it was taken.
    pub now: DateTime<Utc>,
    /// Version of the program.
    pub version: &'static str,
    /// Queue and running jobs; none while the database does not answer.
    pub figures: Option<Figures>,
    /// Workers with a recent heartbeat.
    pub workers: Vec<WorkerRecord>,
    /// Engines that serve other servers and are alive.
    pub engines: usize,
    /// The engine of this process.
    pub engine: EngineUsage,
}

/// One label, with its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Label(&'static str, String);

impl EncodeLabelSet for Label {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        use prometheus_client::encoding::EncodeLabel as _;
        (self.0, self.1.as_str()).encode(encoder.encode_label())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Worker {
    state: &'static str,
    device: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Run {
    run: String,
    job: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepPhase {
    run: String,
    job: String,
    phase: String,
}

impl Snapshot {
    /// The figures as metrics.
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix(PREFIX);
        let out = &mut registry;
        out.register("build", "The program", Info::new([("version", self.version)]));
        gauge(out, "database_up", "1 while the database answers", u64::from(self.figures.is_some()));
        if let Some(figures) = &self.figures {
            self.queue(out, figures);
            gauge(out, "engines", "Engines that serve other servers and are alive", self.engines as u64);
            runs(out, &figures.runs);
        }
        self.workers(out);
        self.engine(out);
        registry
    }

    fn queue(&self, out: &mut Registry, figures: &Figures) {
        let jobs = Family::<Label, Gauge>::default();
        for state in JobState::ALL {
            let count = figures.jobs.get(&state).copied().unwrap_or_default();
            jobs.get_or_create(&Label("state", state.name().to_owned())).set(count as i64);
        }
        out.register("jobs", "Jobs by state", jobs);
        let age = figures.waiting_since.map_or(0, |since| (self.now - since).num_milliseconds().max(0));
        let text = "Waiting time in seconds of the oldest job that a worker could claim";
        real(out, "queue_oldest_seconds", text, age as f64 / 1e3);
        counter(out, "job_claims", "Claims of jobs that are still in the database", figures.claims);
        let losses = Family::<Label, Counter>::default();
        for how in LeaseLoss::ALL {
            let count = figures.lost_leases.get(&how).copied().unwrap_or_default();
            losses.get_or_create(&Label("how", how.name().to_owned())).inc_by(count);
        }
        out.register("lease_losses", "Leases that workers lost", losses);
    }

    fn workers(&self, out: &mut Registry) {
        let workers = Family::<Worker, Gauge>::default();
        let living = self.workers.iter().filter(|worker| worker.state.is_alive());
        let silent = living.map(|worker| (self.now - worker.heartbeat_at).num_milliseconds()).fold(0, i64::max);
        for worker in &self.workers {
            workers.get_or_create(&Worker { state: worker.state.name(), device: worker.device.clone() }).inc();
        }
        out.register("workers", "Workers with a heartbeat within the last five minutes, by state and device", workers);
        let text = "Seconds since the oldest last heartbeat of the workers that did not stop in an orderly way";
        real(out, "worker_silence_seconds", text, silent as f64 / 1e3);
    }

    fn engine(&self, out: &mut Registry) {
        let usage = &self.engine;
        counter(out, "engine_requests", "Requests that left the engine's queue", usage.requests);
        counter(out, "engine_prompt_tokens", "Prompt tokens that the engine accepted", usage.prompt_tokens);
        counter(out, "engine_generated_tokens", "Tokens that the engine generated", usage.generated_tokens);
        let text = "Decode steps; generated tokens per step is the mean batch size";
        counter(out, "engine_decode_steps", text, usage.decode_steps);
        let phases = Family::<Label, Seconds>::default();
        let spent =
            [("queue", usage.queue_seconds), ("prefill", usage.prefill_seconds), ("decode", usage.decode_seconds)];
        for (phase, seconds) in spent {
            phases.get_or_create(&Label("phase", phase.to_owned())).inc_by(seconds);
        }
        out.register("engine_phase_seconds", "Seconds by phase: waiting in the queue, prefill, decoding", phases);
        let by_model = |value: fn(&ModelUsage) -> usize| {
            let family = Family::<Label, Gauge>::default();
            for model in &usage.models {
                family.get_or_create(&Label("model", model.model.clone())).set(value(model) as i64);
            }
            family
        };
        out.register("engine_queued_requests", "Requests that are waiting for a model", by_model(|m| m.queued));
        out.register("engine_batch_rows", "Sequences in the decode batches", by_model(|m| m.rows));
        out.register("engine_kv_bytes", "Bytes of the KV caches of sequences in progress", by_model(|m| m.kv_bytes));
        let text = "Bytes in the prefix cache";
        out.register("engine_prompt_memory_bytes", text, by_model(|m| m.prompt_memory_bytes));
    }
}

fn runs(out: &mut Registry, runs: &[RunFigures]) {
    let (steps, samples, tokens) = (Family::<Run, Gauge>::default(), Family::default(), Family::default());
    let phases = Family::<StepPhase, Real>::default();
    for run in runs {
        let labels = Run { run: run.run_id.clone(), job: run.job_id.clone() };
        steps.get_or_create(&labels).set(run.step as i64);
        Family::<Run, Gauge>::get_or_create(&samples, &labels).set(run.samples as i64);
        Family::<Run, Gauge>::get_or_create(&tokens, &labels).set(run.tokens as i64);
        for (phase, seconds) in &run.phases {
            let labels = StepPhase { run: run.run_id.clone(), job: run.job_id.clone(), phase: phase.clone() };
            phases.get_or_create(&labels).set(*seconds);
        }
    }
    out.register("run_step", "Last finished step of a run that is in progress", steps);
    out.register("run_samples", "Responses that the run has trained on", samples);
    out.register("run_tokens", "Response tokens that the run has trained on", tokens);
    out.register("run_phase_seconds", "Duration of each phase of the run's last step in seconds", phases);
}

fn gauge(out: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(value as i64);
    out.register(name, help, gauge);
}

fn real(out: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Real::default();
    gauge.set(value);
    out.register(name, help, gauge);
}

fn counter(out: &mut Registry, name: &str, help: &str, value: u64) {
    let counter = Counter::<u64>::default();
    counter.inc_by(value);
    out.register(name, help, counter);
}
