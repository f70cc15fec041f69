//! Keeps local worker processes alive: one per device, restarted when they die, stopped with the server.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;

use crate::clock::{Stopwatch, new_id};
use crate::config::worker::WorkerTimings;
use crate::domain::event::{CrashEvent, NewEvent, kind};
use crate::store::{Database, StoreError};

use super::joblog::JobLog;

/// Makes the command of a worker process for a new worker id. Its standard input becomes the parent pipe.
pub type WorkerCommand = Arc<dyn Fn(&str) -> std::process::Command + Send + Sync>;

/// What to supervise.
#[derive(Clone)]
pub struct SupervisorConfig {
    /// The database.
    pub store: Arc<dyn Database>,
    /// One command for each worker to keep alive.
    pub workers: Vec<WorkerCommand>,
    /// Log for the end of a worker during a job.
    pub log: JobLog,
    /// Pauses and grace.
    pub timings: WorkerTimings,
}

/// Where the ends of workers are reported.
struct Context<'a> {
    store: &'a dyn Database,
    log: &'a JobLog,
}

/// Runs the workers until `stop` is cancelled; then asks them to stop and waits (or kills them after the grace time).
pub async fn run(config: SupervisorConfig, stop: CancellationToken) {
    let mut keepers = tokio::task::JoinSet::new();
    for worker in config.workers {
        keepers.spawn(keep_alive(config.store.clone(), config.log.clone(), worker, config.timings, stop.clone()));
    }
    while keepers.join_next().await.is_some() {}
}

async fn keep_alive(
    store: Arc<dyn Database>,
    log: JobLog,
    worker: WorkerCommand,
    timings: WorkerTimings,
    stop: CancellationToken,
) {
    let context = Context { store: &*store, log: &log };
    let mut pause = timings.restart_first;
    while !stop.is_cancelled() {
        let id = new_id("wrk");
        let lived = Stopwatch::start();
        match start(&worker, &id) {
            Ok(child) => watch(&context, child, &id, &timings, &stop).await,
            Err(error) => tracing::error!(%error, "cannot start a worker process"),
        }
        if lived.seconds() >= timings.restart_most.as_secs_f64() {
            pause = timings.restart_first;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => (),
            () = stop.cancelled() => (),
        }
        pause = (pause * 2).min(timings.restart_most);
    }
}

fn start(worker: &WorkerCommand, id: &str) -> std::io::Result<Child> {
    let mut command = Command::from(worker(id));
    // Its own process group, so that Ctrl-C only reaches the server, which then stops its workers in an orderly way.
    command.stdin(Stdio::piped()).process_group(0).kill_on_drop(true);
    command.spawn()
}

/// Waits for the end of a worker, requested or not, and cleans up after it.
async fn watch(context: &Context<'_>, mut child: Child, id: &str, timings: &WorkerTimings, stop: &CancellationToken) {
    // Kept open until the worker has ended: closing it would tell the worker that its parent is gone.
    let mut pipe = child.stdin.take();
    let ended = tokio::select! {
        ended = child.wait() => ended,
        () = stop.cancelled() => end(&mut child, pipe.as_mut(), timings.kill_after()).await,
    };
    match ended {
        Ok(status) if status.success() => tracing::info!(worker = id, "worker ended"),
        Ok(status) => {
            let crash = describe(id, status);
            tracing::error!(worker = id, "worker {}", crash.message);
            if let Err(error) = clean_up(context, &crash).await {
                tracing::error!(worker = id, %error, "cannot release the jobs of a dead worker; their leases will \
                    expire");
            }
        }
        Err(error) => tracing::error!(worker = id, %error, "cannot wait for a worker"),
    }
}

/// Asks a worker to stop, by a line through its parent pipe; kills it when it takes too long.
async fn end(child: &mut Child, pipe: Option<&mut ChildStdin>, grace: Duration) -> std::io::Result<ExitStatus> {
    let waiting = async {
        if let Some(pipe) = pipe
            && let Err(error) = pipe.write_all(b"stop\n").await
        {
            // It closed the pipe: it is about to end anyway.
            tracing::debug!(%error, "a worker has closed its pipe");
        }
        child.wait().await
    };
    if let Ok(ended) = tokio::time::timeout(grace, waiting).await {
        return ended;
    }
    child.start_kill()?;
    child.wait().await
}

fn describe(worker_id: &str, status: ExitStatus) -> CrashEvent {
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    let message = match (signal, status.code()) {
        (Some(9), _) => "was killed by signal 9 (out of memory, or `kill -9`)".to_owned(),
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, Some(code)) => format!("exited with code {code}"),
        (None, None) => "ended".to_owned(),
    };
    CrashEvent { worker_id: worker_id.to_owned(), message, exit_code: status.code(), signal }
}

/// Puts the jobs of a dead worker back into the queue at once, each with an event.
async fn clean_up(context: &Context<'_>, crash: &CrashEvent) -> Result<(), StoreError> {
    let reason = format!("its worker {} {}", crash.worker_id, crash.message);
    for job in context.store.release_worker(&crash.worker_id, &reason).await? {
        if let Err(error) = context.log.say_of(&job.id, job.attempt, &reason) {
            tracing::warn!(job = %job.id, %error, "cannot write the job's log");
        }
        let event = NewEvent {
            kind: kind::WORKER_CRASHED.to_owned(),
            job_id: Some(job.id),
            run_id: Some(job.run_id),
            project: Some(job.project),
            data: serde_json::to_value(crash).unwrap_or_default(),
        };
        context.store.append_event(event).await?;
    }
    Ok(())
}
