//! One worker and its jobs, in this process.

use std::fs;
use std::time::Duration;

use vgpo::domain::device::DeviceName;
use vgpo::domain::event::{EventFilter, kind};
use vgpo::domain::job::{JobAction, JobState, LeaseToken};
use vgpo::domain::worker::WorkerState;
use vgpo::store::StoreError;
use vgpo::worker::{self, WorkerError};

use tokio_util::sync::CancellationToken;

use super::fixture::Place;

const ENDED: [JobState; 3] = [JobState::Succeeded, JobState::Failed, JobState::Cancelled];

/// What an undisturbed run of twelve steps has on record.
fn whole() -> Vec<(u64, f64)> {
    (1..=12).map(|s| (s, (s * (s + 1) / 2) as f64)).collect()
}

fn tag(spec: &mut vgpo::domain::spec::JobSpec, name: &str, value: &str) {
    spec.tags.insert(name.to_owned(), value.to_owned());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_to_its_end_and_is_on_record() {
    let place = Place::new().await;
    let worker = place.start();
    let job = place.submit(|_| ()).await;
    let job = place.wait(&job, &ENDED).await;
    assert_eq!((job.state, job.attempt), (JobState::Succeeded, 1), "{:?}", job.reason);
    assert_eq!(place.steps(&job).await, whole());
    let steps: Vec<_> = place.store.sample_steps(&job.run_id).await.unwrap().iter().map(|s| s.step).collect();
    assert_eq!(steps, [4, 8, 12]);
    let kept = place.store.run_checkpoints(&job.run_id).await.unwrap();
    assert_eq!(kept.iter().map(|c| c.step).collect::<Vec<_>>(), [12, 9, 3], "the newest two and the best");
    let artifacts = place.config("x").artifacts;
    for checkpoint in &kept {
        artifacts.verify(&checkpoint.key, &checkpoint.manifest).unwrap();
    }
    assert_eq!(artifacts.list(&format!("checkpoints/{}", job.run_id)).unwrap().len(), 3, "pruned files are gone");
    let run = place.store.run(&job.run_id).await.unwrap();
    assert_eq!(run.best_checkpoint.as_ref(), Some(&kept[2].id));
    assert_eq!(run.last_checkpoint.as_ref(), Some(&kept[0].id));
    assert!(kept[0].last);
    let notes = EventFilter { kinds: vec!["note.*".to_owned()], ..EventFilter::default() };
    let notes = place.store.events_after(0, &notes, 10).await.unwrap();
    assert_eq!((notes.len(), notes[0].data["message"].as_str()), (1, Some("starting")));
    assert_eq!(fs::read_dir(place.root.join("work/cpu")).unwrap().count(), 0, "work folders are removed");
    let id = worker.id.clone();
    assert_eq!(place.store.worker(&id).await.unwrap().device, "cpu");
    worker.stop().await;
    assert_eq!(place.store.worker(&id).await.unwrap().state, WorkerState::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_a_failed_attempt_not_a_dead_worker() {
    let place = Place::new().await;
    let worker = place.start();
    let once = place.submit(|s| (tag(s, "do", "panic"), tag(s, "at", "8")).0).await;
    let always = place
        .submit(|s| {
            s.max_attempts = 2;
            tag(s, "do", "panic");
            tag(s, "at", "5");
            tag(s, "always", "");
        })
        .await;
    let once = place.wait(&once, &ENDED).await;
    assert_eq!((once.state, once.attempt), (JobState::Succeeded, 2));
    assert_eq!(place.steps(&once).await, whole(), "the second attempt resumed from the checkpoint");
    let always = place.wait(&always, &ENDED).await;
    assert_eq!((always.state, always.attempt), (JobState::Failed, 2));
    let reason = always.reason.unwrap();
    assert!(reason.contains("the trainer panicked: step 5 went off the rails"), "{reason}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_that_may_pass_are_tried_again_and_others_are_not() {
    let place = Place::new().await;
    let worker = place.start();
    let permanent = place.submit(|s| (tag(s, "do", "permanent"), tag(s, "at", "2")).0).await;
    let transient = place.submit(|s| (tag(s, "do", "transient"), tag(s, "at", "2")).0).await;
    let permanent = place.wait(&permanent, &ENDED).await;
    assert_eq!((permanent.state, permanent.attempt), (JobState::Failed, 1));
    assert_eq!(permanent.reason.as_deref(), Some("`data.columns.answer`: no such column"));
    let transient = place.wait(&transient, &ENDED).await;
    assert_eq!((transient.state, transient.attempt), (JobState::Succeeded, 2));
    assert_eq!(place.steps(&transient).await, whole());
    assert!(place.reasons(&transient).await.contains(&"queued: disk full".to_owned()));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_cancel_and_pause_a_running_job() {
    let place = Place::new().await;
    let worker = place.start();
    let job = place.submit(|s| (s.steps = 10_000, tag(s, "ms", "5")).1).await;
    place.wait_for_step(&job, 2).await;
    place.store.ask(&job.id, JobAction::Cancel, "wrong data").await.unwrap();
    assert_eq!(place.wait(&job, &ENDED).await.state, JobState::Cancelled);

    let job = place.submit(|s| tag(s, "ms", "40")).await;
    place.wait_for_step(&job, 4).await;
    place.store.ask(&job.id, JobAction::Pause, "lunch").await.unwrap();
    let paused = place.wait(&job, &[JobState::Paused]).await;
    assert_eq!((paused.lease, paused.attempts_used), (None, 0));
    let saved = place.store.run_checkpoints(&job.run_id).await.unwrap()[0].step;
    assert_eq!(Some(saved), place.store.run(&job.run_id).await.unwrap().last_step, "it saved where it stood");
    place.store.ask(&job.id, JobAction::Resume, "back").await.unwrap();
    let job = place.wait(&job, &ENDED).await;
    assert_eq!((job.state, job.attempt), (JobState::Succeeded, 2));
    assert_eq!(place.steps(&job).await, whole());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_worker_gives_its_job_back() {
    let place = Place::new().await;
    let worker = place.start();
    let job = place.submit(|s| (s.max_attempts = 1, tag(s, "ms", "40")).1).await;
    place.wait_for_step(&job, 5).await;
    worker.stop().await;
    let waiting = place.store.job(&job.id).await.unwrap();
    assert_eq!((waiting.state, waiting.attempts_used), (JobState::Queued, 0));
    assert!(waiting.reason.unwrap().contains("its worker stopped"));
    let next = place.start();
    let job = place.wait(&job, &ENDED).await;
    assert_eq!(job.state, JobState::Succeeded, "draining did not burn the only attempt: {:?}", job.reason);
    assert_eq!(place.steps(&job).await, whole());
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_cannot_be_saved_in_time_is_given_back() {
    let place = Place::new().await;
    let mut config = place.config("wrk_hasty");
    config.timings.stop_grace = Duration::from_millis(50);
    let drain = CancellationToken::new();
    // A step takes longer than the grace: the trainer does not come to ask what is wanted.
    let job = place.submit(|s| (s.max_attempts = 1, tag(s, "ms", "2000")).1).await;
    let task = tokio::spawn(worker::run(config, drain.clone(), CancellationToken::new()));
    place.wait(&job, &[JobState::Running]).await;
    drain.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(20), task).await.expect("it does not wait").unwrap();
    assert!(matches!(ended, Err(WorkerError::OutOfGrace)), "{ended:?}");
    let waiting = place.store.job(&job.id).await.unwrap();
    assert_eq!((waiting.state, waiting.attempts_used), (JobState::Queued, 0), "{:?}", waiting.reason);
    assert!(waiting.reason.unwrap().contains("before it could save it"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_checkpoint_is_skipped() {
    let place = Place::new().await;
    let worker = place.start();
    let job = place.submit(|s| tag(s, "ms", "40")).await;
    place.wait_for_step(&job, 7).await;
    worker.stop().await;
    let checkpoints = place.store.run_checkpoints(&job.run_id).await.unwrap();
    let artifacts = place.config("x").artifacts;
    let newest = &checkpoints[0];
    fs::write(artifacts.path(&newest.key).unwrap().join("sum"), "garbage").unwrap();
    // As left by an attempt that died between storing the files and recording them.
    let orphan = place.root.join("orphan");
    fs::create_dir(&orphan).unwrap();
    artifacts.publish_dir(&orphan, &format!("checkpoints/{}/ckpt_orphan", job.run_id)).unwrap();
    let worker = place.start();
    let job = place.wait(&job, &ENDED).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.reason);
    assert_eq!(place.steps(&job).await, whole(), "steps after the older checkpoint were done again");
    let of = |k: &str| EventFilter { kinds: vec![k.to_owned()], ..EventFilter::default() };
    let damaged = place.store.events_after(0, &of(kind::CHECKPOINT_DAMAGED), 9).await.unwrap();
    assert_eq!((damaged.len(), damaged[0].data["checkpoint_id"].as_str()), (1, Some(newest.id.as_str())));
    assert!(damaged[0].data["reason"].as_str().unwrap().contains("sum has 7 bytes"), "{}", damaged[0].data);
    let rewinds = place.store.events_after(0, &of(kind::REWIND), 9).await.unwrap();
    assert_eq!(rewinds.len(), 1);
    assert_eq!(rewinds[0].data["to_step"], checkpoints[1].step);
    assert!(matches!(place.store.checkpoint(&newest.id).await, Err(StoreError::NotFound { .. })));
    let stored = artifacts.list(&format!("checkpoints/{}", job.run_id)).unwrap();
    let known: Vec<_> = place.store.run_checkpoints(&job.run_id).await.unwrap().into_iter().map(|c| c.key).collect();
    assert_eq!(stored.len(), known.len(), "no files without a record: {stored:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_lost_its_lease_writes_nothing_more() {
    let place = Place::new().await;
    let worker = place.start();
    let job = place.submit(|s| (s.steps = 60, tag(s, "ms", "10")).1).await;
    place.wait_for_step(&job, 4).await;
    // As if the lease had run out while the process was suspended; another worker may have the job now.
    place.store.release_worker(&worker.id, "silent for too long").await.unwrap();
    let old = LeaseToken { job_id: job.id.clone(), run_id: job.run_id.clone(), attempt: 1 };
    let late = place.store.append_job_event(&old, "note", serde_json::json!({})).await;
    assert!(matches!(late, Err(StoreError::LeaseLost { attempt: 1, .. })));
    let job = place.wait(&job, &ENDED).await;
    assert_eq!((job.state, job.attempt), (JobState::Succeeded, 2), "{:?}", place.reasons(&job).await);
    let expected: Vec<_> = (1..=60).map(|s| (s, (s * (s + 1) / 2) as f64)).collect();
    assert_eq!(place.steps(&job).await, expected);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_job_is_given_back_at_once() {
    let place = Place::new().await;
    let worker = place.start();
    let job = place.submit(|s| tag(s, "ms", "3000")).await;
    place.wait(&job, &[JobState::Running]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    worker.abandon.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(2), worker.task).await.expect("does not wait for the trainer");
    assert!(matches!(ended.unwrap(), Err(WorkerError::Orphaned)));
    let job = place.store.job(&job.id).await.unwrap();
    assert_eq!((job.state, job.attempts_used), (JobState::Queued, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_local_workers_never_share_a_device() {
    let place = Place::new().await;
    let first = place.start();
    let job = place.submit(|_| ()).await;
    place.wait(&job, &ENDED).await;
    let second = worker::run(place.config("wrk_2"), CancellationToken::new(), CancellationToken::new()).await;
    let refused = second.unwrap_err();
    assert!(matches!(&refused, WorkerError::DeviceTaken { device, .. } if device == "cpu"), "{refused}");
    assert!(refused.to_string().contains(&first.id), "{refused}");
    first.stop().await;
    place.start().stop().await;
}

#[test]
fn devices_are_read() {
    let name = |text: &str| text.parse::<DeviceName>().map(|d| d.to_string());
    assert_eq!(name("cpu").unwrap(), "cpu");
    assert_eq!(name("cuda").unwrap(), "cuda:0");
    assert_eq!(name("cuda:3").unwrap(), "cuda:3");
    for wrong in ["", "gpu", "cpu:1", "cuda:", "cuda:-1", "cuda:x"] {
        assert!(name(wrong).unwrap_err().to_string().contains("use cpu, cuda:N or metal:N"), "{wrong}");
    }
}
