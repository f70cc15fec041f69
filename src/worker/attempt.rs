//! One attempt of a job, from the claim to the recorded outcome.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::clock::doubling_pause;
use crate::domain::job::{Job, LeaseToken, LeasedJob};
use crate::domain::log::LogLevel;
use crate::domain::worker::WorkerState;
use crate::store::{Failure, StoreError};

use super::config::WorkerConfig;
use super::device::show_life;
use super::patience::patiently;
use super::resume;
use super::runner::{JobTask, RunEnd, RunnerError};
use super::shared::Shared;
use super::sink::StoreSink;
use super::writer::{self, Writer};

/// Stack of the trainer's thread: backward passes recurse through the whole graph.
const STACK: usize = 256 << 20;

/// How the trainer's thread ended.
type Ended = Result<RunEnd, RunnerError>;

/// Runs `leased` to its end. `drain` makes the trainer save a checkpoint and stop within the grace time; `abandon`
/// returns the job to the queue at once. A trainer that does not stop in time is left running until the process exits.
/// Returns whether the worker may continue.
pub(super) async fn run(
    worker: &WorkerConfig,
    leased: LeasedJob,
    drain: &CancellationToken,
    abandon: &CancellationToken,
) -> bool {
    let token = &leased.token;
    worker.log.begin(token).await;
    let sharing = tokio::spawn(worker.log.clone().keep_shared(token.job_id.clone()));
    let span = tracing::info_span!("attempt", job = %token.job_id, run = %token.run_id, attempt = token.attempt);
    let going_on = run_logged(worker, leased, drain, abandon).instrument(span).await;
    worker.log.end();
    sharing.abort();
    going_on
}

async fn run_logged(
    worker: &WorkerConfig,
    leased: LeasedJob,
    drain: &CancellationToken,
    abandon: &CancellationToken,
) -> bool {
    let LeasedJob { job, spec, token } = leased;
    let shared = Arc::new(Shared::new(drain.clone()));
    let beating = beat(worker.clone(), token.clone(), shared.clone(), drain.clone());
    let beating = tokio::spawn(beating.in_current_span());
    let attempts_used = job.attempts_used;
    let work_dir = worker.attempt_dir().join(format!("{}-{}", job.id, token.attempt));
    let work = async {
        let prepared = if spec.method.trains() {
            resume::prepare(&*worker.store, &worker.artifacts, &token).await
        } else {
            resume::prepare_evaluation(&*worker.store, &worker.artifacts, &token).await.map(|()| None)
        };
        let resume = match prepared {
            Ok(resume) => resume,
            Err(error) => return Err(RunnerError::Transient(format!("the attempt could not be prepared: {error}"))),
        };
        worker.log.say(LogLevel::Info, beginning(worker, &job, resume.as_ref().map(|point| point.step)));
        std::fs::create_dir_all(&work_dir)
            .map_err(|e| RunnerError::Transient(format!("cannot create {}: {e}", work_dir.display())))?;
        let keep = spec.keep_checkpoints;
        train(worker, JobTask { job, spec, resume, work_dir: work_dir.clone() }, keep, &token, &shared).await
    };
    let too_late = async {
        drain.cancelled().await;
        tokio::time::sleep(worker.timings.stop_grace).await;
    };
    let ended = tokio::select! {
        ended = work => Ok(ended),
        () = abandon.cancelled() => Err("its worker lost the server"),
        () = too_late => Err("its worker had to stop before it could save it"),
    };
    beating.abort();
    let ended = match ended {
        Ok(ended) => ended,
        Err(reason) => {
            report(&token, worker.store.release(&token, reason).await.map(drop));
            return false;
        }
    };
    remove(&work_dir);
    worker.artifacts.let_go(Duration::ZERO);
    conclude(worker, &token, &shared, ended, attempts_used).await;
    true
}

/// Runs the trainer on its own thread and waits until its last result is durable.
async fn train(worker: &WorkerConfig, task: JobTask, keep: u64, token: &LeaseToken, shared: &Arc<Shared>) -> Ended {
    let (messages, inbox) = mpsc::channel(writer::QUEUE);
    let writer = Writer {
        store: worker.store.clone(),
        token: token.clone(),
        shared: shared.clone(),
        flush_after: worker.timings.flush,
    };
    let writing = tokio::spawn(writer.run(inbox).in_current_span());
    let mut sink = StoreSink {
        runtime: Handle::current(),
        messages,
        store: worker.store.clone(),
        artifacts: worker.artifacts.clone(),
        clock: worker.clock.clone(),
        token: token.clone(),
        shared: shared.clone(),
        log: worker.log.clone(),
        keep,
    };
    let runner = worker.runner.clone();
    let (done, wait) = oneshot::channel();
    let span = tracing::Span::current();
    let body = move || {
        let _entered = span.entered();
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| runner.run(&task, &mut sink)));
        let ended = ended.unwrap_or_else(|panic| {
            Err(RunnerError::Transient(format!("the trainer panicked: {}", panic_message(&*panic))))
        });
        // The receiver is gone if the worker was told to abandon the job.
        let _ = done.send(ended);
    };
    let started = std::thread::Builder::new().name("trainer".to_owned()).stack_size(STACK).spawn(body);
    if let Err(error) = started {
        return Err(RunnerError::Transient(format!("the trainer's thread could not start: {error}")));
    }
    let ended = wait
        .await
        .unwrap_or_else(|_| Err(RunnerError::Transient("the trainer's thread ended without a result".to_owned())));
    // The sink was dropped with its thread, so the writer ends when it has written everything.
    if let Err(error) = writing.await {
        shared.fail(format!("results could not be stored: {error}"));
    }
    ended
}

/// The first line of an attempt.
fn beginning(worker: &WorkerConfig, job: &Job, resumed: Option<u64>) -> String {
    let from =
        resumed.map_or("from the beginning".to_owned(), |step| format!("resuming from the checkpoint at step {step}"));
    let (attempt, most, device) = (job.attempts_used, job.max_attempts, worker.device);
    format!("attempt {attempt} of {most} on {device} by {}, {from}: {}", worker.id, job.name)
}

/// The last line of an attempt.
fn ending(ended: &Ended, shared: &Shared) -> String {
    let told = match ended {
        Ok(RunEnd::Finished { reason }) => reason.clone(),
        Ok(RunEnd::Yielded | RunEnd::Cancelled) if shared.is_cancelled() => "cancelled".to_owned(),
        Ok(RunEnd::Yielded | RunEnd::Cancelled) if shared.is_paused() => "paused".to_owned(),
        Ok(RunEnd::Yielded | RunEnd::Cancelled) => "stopped; the job goes back to the queue".to_owned(),
        Err(error) => format!("failed: {error}"),
    };
    shared.failure().map_or(told.clone(), |failure| format!("{told}; {failure}"))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// Extends the lease and passes requests on to the trainer, until aborted.
async fn beat(worker: WorkerConfig, token: LeaseToken, shared: Arc<Shared>, drain: CancellationToken) {
    let mut since_presence = worker.timings.presence;
    loop {
        if since_presence >= worker.timings.presence {
            since_presence = Duration::ZERO;
            show_life(&worker.lock_dir, worker.device);
            let state = if drain.is_cancelled() { WorkerState::Draining } else { WorkerState::Busy };
            if let Err(error) = worker.store.worker_heartbeat(&worker.id, state, Some(&token.job_id)).await {
                tracing::warn!(%error, "cannot send the worker's heartbeat");
            }
        }
        match worker.store.heartbeat(&token, worker.timings.lease_ttl).await {
            Ok(wanted) => shared.want(wanted),
            Err(StoreError::LeaseLost { .. }) => {
                shared.lose();
                return;
            }
            // The lease survives a few missed heartbeats; if it does not, the next one reports that.
            Err(error) => tracing::warn!(job = %token.job_id, %error, "missed a heartbeat"),
        }
        tokio::time::sleep(worker.timings.heartbeat).await;
        since_presence += worker.timings.heartbeat;
    }
}

/// Records how the attempt ended.
async fn conclude(worker: &WorkerConfig, token: &LeaseToken, shared: &Shared, ended: Ended, attempts_used: u32) {
    if shared.is_lost() {
        tracing::warn!(job = %token.job_id, attempt = token.attempt, "the lease was lost; the attempt is discarded");
        return;
    }
    let retry = |message: String| {
        let pause = doubling_pause(worker.timings.retry_first, attempts_used, worker.timings.retry_most);
        Failure { message, retry_after: Some(pause) }
    };
    worker.log.say(if ended.is_ok() { LogLevel::Info } else { LogLevel::Error }, ending(&ended, shared));
    // The log must be complete before the job is marked as finished.
    worker.log.share(&token.job_id, 0).await;
    let store = &worker.store;
    let told = match (ended, shared.failure()) {
        (Ok(RunEnd::Finished { reason }), None) => patiently(|| store.complete(token, &reason)).await,
        (Ok(_) | Err(_), _) if shared.is_cancelled() => patiently(|| store.release(token, "cancelled")).await,
        (Ok(_) | Err(RunnerError::Transient(_)), Some(failure)) => {
            let failure = retry(failure);
            patiently(|| store.fail(token, &failure)).await
        }
        (Ok(RunEnd::Yielded | RunEnd::Cancelled), None) => {
            let reason = if shared.is_paused() { "paused" } else { "its worker stopped" };
            patiently(|| store.release(token, reason)).await
        }
        (Err(RunnerError::Transient(message)), None) => {
            let failure = retry(message);
            patiently(|| store.fail(token, &failure)).await
        }
        (Err(RunnerError::Permanent(message)), _) => {
            let failure = Failure { message, retry_after: None };
            patiently(|| store.fail(token, &failure)).await
        }
    };
    report(token, told.map(drop));
}

fn report(token: &LeaseToken, told: Result<(), StoreError>) {
    match told {
        Ok(()) => tracing::info!(job = %token.job_id, attempt = token.attempt, "attempt ended"),
        // The lease expires, and another attempt follows.
        Err(error) => tracing::warn!(job = %token.job_id, %error, "cannot record how the attempt ended"),
    }
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(folder = %folder.display(), %error, "cannot remove a work folder");
    }
}
