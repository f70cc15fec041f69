//! Worker processes: killed, supervised, orphaned.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use vgpo::domain::event::{CrashEvent, EventFilter, kind};
use vgpo::domain::job::{Job, JobState, LeaseToken};
use vgpo::domain::worker::WorkerState;
use vgpo::store::StoreError;
use vgpo::worker::supervisor::{self, SupervisorConfig, WorkerCommand};

use super::fixture::{Place, TIMINGS, child};

const ENDED: [JobState; 3] = [JobState::Succeeded, JobState::Failed, JobState::Cancelled];

fn slow(spec: &mut vgpo::domain::spec::JobSpec) {
    spec.tags.insert("ms".to_owned(), "40".to_owned());
}

fn whole() -> Vec<(u64, f64)> {
    (1..=12).map(|s| (s, (s * (s + 1) / 2) as f64)).collect()
}

/// The process that works on the job.
async fn process_of(place: &Place, job: &Job) -> u32 {
    let lease = place.store.job(&job.id).await.unwrap().lease.unwrap();
    place.store.worker(&lease.worker_id).await.unwrap().pid
}

/// Sends a signal (0: only asks whether the process is there); false when there is no such process.
fn signal(pid: u32, signal: &str) -> bool {
    let status = std::process::Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status();
    status.unwrap().success()
}

fn supervise(place: &Place) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let root = place.root.clone();
    let command: WorkerCommand = Arc::new(move |id| child(&root, id));
    let stop = CancellationToken::new();
    let config =
        SupervisorConfig { store: place.store.clone(), workers: vec![command], log: place.log(), timings: TIMINGS };
    (stop.clone(), tokio::spawn(supervisor::run(config, stop)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_is_an_event_and_its_job_goes_on() {
    let place = Place::new().await;
    let (stop, supervisor) = supervise(&place);
    let job = place.submit(slow).await;
    place.wait_for_step(&job, 5).await;
    let worker_id = place.store.job(&job.id).await.unwrap().lease.unwrap().worker_id;
    assert!(signal(process_of(&place, &job).await, "-9"));
    // The lease would hold for two minutes: only the supervisor can have ended it.
    let job = place.wait(&job, &ENDED).await;
    assert_eq!((job.state, job.attempt), (JobState::Succeeded, 2), "{:?}", place.reasons(&job).await);
    assert_eq!(place.steps(&job).await, whole());
    let reasons = place.reasons(&job).await;
    assert!(reasons[2].contains("killed by signal 9") && reasons[2].contains(&worker_id), "{reasons:?}");
    let lines = place.logs().tail(&job.id, 1000).unwrap().data;
    let lines: Vec<_> = lines.iter().map(|line| (line.attempt, line.message.as_str())).collect();
    assert!(lines[0].1.starts_with("attempt 1 of 3 on cpu") && lines[0].1.contains("from the beginning"), "{lines:?}");
    assert!(lines.iter().any(|line| line.0 == 1 && line.1.contains("was killed by signal 9")), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.0 == 2 && line.1.contains("resuming from the checkpoint at step")),
        "{lines:?}"
    );
    assert_eq!(lines.last().unwrap(), &(2, "finished"));
    let filter = EventFilter {
        jobs: vec![job.id.clone()],
        kinds: vec![kind::WORKER_CRASHED.to_owned()],
        ..EventFilter::default()
    };
    let crashes = place.store.events_after(0, &filter, 9).await.unwrap();
    assert_eq!(crashes.len(), 1);
    let crash: CrashEvent = serde_json::from_value(crashes[0].data.clone()).unwrap();
    assert_eq!((crash.worker_id, crash.signal, crash.exit_code), (worker_id.clone(), Some(9), None));
    assert_eq!(place.store.worker(&worker_id).await.unwrap().state, WorkerState::Crashed);
    let old = LeaseToken { job_id: job.id.clone(), run_id: job.run_id.clone(), attempt: 1 };
    assert!(matches!(place.store.complete(&old, "finished").await, Err(StoreError::LeaseLost { .. })));
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), supervisor).await.expect("it stops").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_the_supervisor_saves_the_job() {
    let place = Place::new().await;
    let (stop, supervisor) = supervise(&place);
    let job = place.submit(slow).await;
    place.wait_for_step(&job, 4).await;
    let pid = process_of(&place, &job).await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), supervisor).await.expect("it stops").unwrap();
    assert!(!signal(pid, "-0"), "the worker process is gone");
    let saved = place.store.job(&job.id).await.unwrap();
    assert_eq!((saved.state, saved.attempts_used), (JobState::Queued, 0), "{:?}", saved.reason);
    let at = place.store.run_checkpoints(&job.run_id).await.unwrap()[0].step;
    assert_eq!(Some(at), place.store.run(&job.run_id).await.unwrap().last_step);
    let (stop, supervisor) = supervise(&place);
    let job = place.wait(&job, &ENDED).await;
    assert_eq!(job.state, JobState::Succeeded);
    assert_eq!(place.steps(&job).await, whole());
    stop.cancel();
    supervisor.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_makes_a_worker_save_its_job_and_end() {
    let place = Place::new().await;
    let job = place.submit(slow).await;
    let mut worker = child(&place.root, "wrk_alone").stdin(Stdio::piped()).spawn().unwrap();
    place.wait_for_step(&job, 4).await;
    // `wait` would close it, and the worker would take its parent for dead.
    let _pipe = worker.stdin.take();
    assert!(signal(worker.id(), "-TERM"));
    let ended = tokio::task::spawn_blocking(move || worker.wait().unwrap());
    let status = tokio::time::timeout(Duration::from_secs(10), ended).await.expect("it ends").unwrap();
    assert!(status.success());
    let job = place.store.job(&job.id).await.unwrap();
    assert_eq!((job.state, job.attempts_used), (JobState::Queued, 0), "{:?}", job.reason);
    let saved = place.store.run_checkpoints(&job.run_id).await.unwrap()[0].step;
    assert_eq!(Some(saved), place.store.run(&job.run_id).await.unwrap().last_step);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_dies_with_its_parent() {
    let place = Place::new().await;
    let job = place.submit(|s| drop(s.tags.insert("ms".to_owned(), "60000".to_owned()))).await;
    let mut worker = child(&place.root, "wrk_orphan").stdin(Stdio::piped()).spawn().unwrap();
    place.wait(&job, &[JobState::Running]).await;
    // The kernel closes the pipe of a parent that was killed, as this does.
    drop(worker.stdin.take());
    let ended = tokio::task::spawn_blocking(move || worker.wait().unwrap());
    let status = tokio::time::timeout(Duration::from_secs(10), ended).await.expect("it ends").unwrap();
    assert!(!status.success());
    let job = place.store.job(&job.id).await.unwrap();
    assert_eq!((job.state, job.attempts_used), (JobState::Queued, 0), "{:?}", job.reason);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_worker_of_a_device_cleans_up_after_a_dead_one() {
    let place = Place::new().await;
    let job = place.submit(slow).await;
    let mut worker = child(&place.root, "wrk_first").stdin(Stdio::piped()).spawn().unwrap();
    place.wait_for_step(&job, 4).await;
    // No process supervises it, as after a power cut or a `kill -9` of everything.
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert_eq!(place.store.job(&job.id).await.unwrap().state, JobState::Running, "the death is unnoticed");
    let next = place.start();
    let job = place.wait(&job, &ENDED).await;
    assert_eq!((job.state, job.attempt), (JobState::Succeeded, 2), "long before the lease ran out");
    assert_eq!(place.steps(&job).await, whole());
    assert!(place.reasons(&job).await[2].contains("wrk_first died"), "{:?}", place.reasons(&job).await);
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_cannot_start_is_tried_again_with_pauses() {
    let place = Place::new().await;
    let starts = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = starts.clone();
    let command: WorkerCommand = Arc::new(move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "exit 5"]);
        command
    });
    let stop = CancellationToken::new();
    let missing: WorkerCommand = Arc::new(|_| std::process::Command::new("/no/such/program"));
    let config = SupervisorConfig {
        store: place.store.clone(),
        workers: vec![command, missing],
        log: place.log(),
        timings: TIMINGS,
    };
    let task = tokio::spawn(supervisor::run(config, stop.clone()));
    tokio::time::sleep(Duration::from_millis(700)).await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), task).await.expect("it stops").unwrap();
    // 20, 40, 80, 160, 320 ms: five or six starts, not dozens.
    let starts = starts.load(std::sync::atomic::Ordering::SeqCst);
    assert!((2..=7).contains(&starts), "{starts}");
}
