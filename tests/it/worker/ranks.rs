//! Jobs of several ranks under a worker: started, stored, killed, stopped.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use vgpo::domain::device::DeviceName;
use vgpo::domain::job::{Job, JobAction, JobState};
use vgpo::domain::model::NewModel;
use vgpo::domain::spec::JobSpec;
use vgpo::reward::Backends;
use vgpo::worker::ranks::Launcher;
use vgpo::worker::{self, TrainRunner};

use super::fixture::Place;
use crate::train::mpi::{launcher, process, signal, wait_until};

const ENDED: [JobState; 3] = [JobState::Succeeded, JobState::Failed, JobState::Cancelled];

fn tiny(spec: &mut JobSpec) {
    spec.model = "tiny".to_owned();
    (spec.steps, spec.checkpoint_every, spec.eval_every, spec.eval_rows) = (40, 2, 0, 4);
    (spec.batch.prompts_per_step, spec.batch.minibatch_prompts) = (2, 2);
    (spec.rollout.group_size, spec.rollout.max_new_tokens) = (2, 6);
    spec.log_samples_every = 4;
    spec.resources.ranks = 2;
}

/// A place with a worker that starts up to two ranks; none where MPI is not installed.
async fn with_worker() -> Option<(Place, CancellationToken, tokio::task::JoinHandle<()>)> {
    let command = launcher("{ranks}")?.join(" ");
    let place = Place::new().await;
    Some(with_launcher(place, &command).await)
}

async fn with_launcher(place: Place, command: &str) -> (Place, CancellationToken, tokio::task::JoinHandle<()>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/qwen2_5_vl_tiny/checkpoint");
    let model = NewModel {
        name: "tiny".to_owned(),
        family: "qwen2_5_vl".to_owned(),
        parameters: 1,
        path: folder.display().to_string(),
        card: json!({}),
        recommended: json!({}),
        source: "test".to_owned(),
        project: "default".to_owned(),
        created_by: None,
    };
    place.store.upsert_model(model).await.unwrap();
    let environment = vec![("VGPO_RANK_SILENCE_SECONDS", "3".to_owned())];
    let launcher = Launcher::new(command, 2, env!("CARGO_BIN_EXE_vgpo").into(), &place.root, environment).unwrap();
    let mut config = place.config("wrk_ranks");
    config.ranks = 2;
    let runner = TrainRunner::new(place.store.clone(), config.artifacts.clone(), DeviceName::CPU, Backends::default());
    config.runner = Arc::new(runner.with_launcher(Some(launcher)));
    let drain = CancellationToken::new();
    let worker = worker::run(config, drain.clone(), CancellationToken::new());
    let worker = tokio::spawn(async move { worker.await.unwrap() });
    (place, drain, worker)
}

/// Waits for the end of a job: ranks take longer than a worker's own trainer.
async fn ended(place: &Place, job: &Job) -> Job {
    for _ in 0..1200 {
        let now = place.store.job(&job.id).await.unwrap();
        if ENDED.contains(&now.state) {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the job does not end: {:?}", place.reasons(job).await);
}

async fn all_steps(place: &Place, job: &Job) {
    let steps: Vec<u64> = place.steps(job).await.into_iter().map(|(step, _)| step).collect();
    assert_eq!(steps, (1..=40).collect::<Vec<_>>());
    let newest = &place.store.run_checkpoints(&job.run_id).await.unwrap()[0];
    assert_eq!(newest.step, 40);
    assert!(newest.manifest.files.iter().any(|file| file.path == "trainer/optimizer.safetensors"));
}

/// Its process.
async fn rank_1(place: &Place) -> u32 {
    let root = place.root.clone();
    let pid = tokio::task::spawn_blocking(move || {
        let mut pid = None;
        wait_until("rank 1", || {
            pid = process(1, &root);
            pid.is_some()
        });
        pid.unwrap()
    });
    pid.await.unwrap()
}

fn write_script(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_rank_ends_the_attempt_and_the_job_resumes() {
    let Some((place, drain, worker)) = with_worker().await else { return };
    for (sent, told) in [("-KILL", "signal 9"), ("-STOP", "is silent for 3 s")] {
        let job = place.submit(tiny).await;
        place.wait_for_step(&job, 4).await;
        let pid = rank_1(&place).await;
        signal(pid, sent);
        let job = ended(&place, &job).await;
        let reasons = place.reasons(&job).await;
        assert_eq!((job.state, job.attempt), (JobState::Succeeded, 2), "{reasons:?}");
        assert!(reasons.iter().any(|reason| reason.contains(told)), "{reasons:?}");
        if sent == "-STOP" {
            assert!(reasons.iter().any(|reason| reason.contains(&format!("process {pid}"))), "{reasons:?}");
        }
        all_steps(&place, &job).await;
        assert!(!place.store.sample_steps(&job.run_id).await.unwrap().is_empty());
        let lines = place.logs().tail(&job.id, 1000).unwrap().data;
        assert!(lines.iter().any(|line| line.attempt == 2 && line.message.contains("resuming")), "{lines:?}");
    }
    drain.cancel();
    worker.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranks_are_cancelled_and_saved_like_any_job() {
    let Some((place, drain, worker)) = with_worker().await else { return };
    let job = place.submit(|spec| (tiny(spec), spec.steps = 10_000).0).await;
    place.wait_for_step(&job, 3).await;
    place.store.ask(&job.id, JobAction::Cancel, "enough").await.unwrap();
    assert_eq!(ended(&place, &job).await.state, JobState::Cancelled);
    let root = place.root.clone();
    let gone = move || wait_until("the ranks to be gone", || process(0, &root).or(process(1, &root)).is_none());
    tokio::task::spawn_blocking(gone).await.unwrap();

    let job = place.submit(|spec| (tiny(spec), spec.steps = 10_000).0).await;
    place.wait_for_step(&job, 3).await;
    drain.cancel();
    worker.await.unwrap();
    let saved = place.store.job(&job.id).await.unwrap();
    assert_eq!((saved.state, saved.attempts_used), (JobState::Queued, 0), "{:?}", saved.reason);
    let at = place.store.run_checkpoints(&job.run_id).await.unwrap()[0].step;
    assert_eq!(Some(at), place.store.run(&job.run_id).await.unwrap().last_step);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_a_rank_is_the_reason_of_the_job() {
    let Some((place, drain, worker)) = with_worker().await else { return };
    // No prompt fits: every rank notices, and rank 0 reports it.
    let job = place.submit(|spec| (tiny(spec), spec.data.max_prompt_tokens = 1).0).await;
    let job = ended(&place, &job).await;
    assert_eq!((job.state, job.attempt), (JobState::Failed, 1));
    assert!(job.reason.as_deref().is_some_and(|reason| reason.contains("tokens")), "{:?}", job.reason);
    drain.cancel();
    worker.await.unwrap();
}

/// As the connection to a host that is cut off does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_ends_with_its_launcher_whatever_else_holds_the_pipes() {
    // Only a program with MPI starts a launcher.
    if launcher("{ranks}").is_none() {
        return;
    }
    let place = Place::new().await;
    let (script, holder) = (place.root.join("launcher"), place.root.join("holder"));
    write_script(&script, &format!("setsid sleep 600 &\necho $! > {}\necho host gone >&2\nexit 3", holder.display()));
    let (place, drain, worker) = with_launcher(place, &script.display().to_string()).await;
    let job = place.submit(|spec| (tiny(spec), spec.max_attempts = 1).0).await;
    let job = ended(&place, &job).await;
    let pid = std::fs::read_to_string(holder).unwrap();
    assert!(Path::new("/proc").join(pid.trim()).exists(), "it was not waited for");
    signal(pid.trim().parse().unwrap(), "-KILL");
    let reason = job.reason.unwrap();
    assert!(reason.contains("exit status: 3") && reason.contains("host gone"), "{reason}");
    drain.cancel();
    worker.await.unwrap();
}

/// A machine that is started anew takes longer than all attempts of a job.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_had_ranks_waits_for_hosts_that_are_gone() {
    let Some(command) = launcher("{ranks}") else { return };
    let place = Place::new().await;
    let (script, down) = (place.root.join("launcher"), place.root.join("down"));
    let (gone, command) = (down.display(), command.join(" ").replace("{ranks}", "2"));
    write_script(&script, &format!("[ -e {gone} ] && echo no route to host 2 >&2 && exit 255\nexec {command} \"$@\""));
    let (place, drain, worker) = with_launcher(place, &script.display().to_string()).await;
    std::fs::write(&down, "").unwrap();
    let first = place.submit(|spec| (tiny(spec), spec.max_attempts = 1).0).await;
    let first = ended(&place, &first).await;
    assert_eq!(first.state, JobState::Failed, "it never had any");
    std::fs::remove_file(&down).unwrap();

    let job = place.submit(tiny).await;
    place.wait_for_step(&job, 4).await;
    let pid = rank_1(&place).await;
    std::fs::write(&down, "").unwrap();
    signal(pid, "-KILL");
    let waits =
        || place.logs().tail(&job.id, 1000).unwrap().data.iter().any(|line| line.message.contains("trying again"));
    for _ in 0..600 {
        if waits() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let told: Vec<String> =
        place.logs().tail(&job.id, 1000).unwrap().data.into_iter().map(|line| line.message).collect();
    assert!(told.iter().any(|line| line.contains("no route to host 2; trying again in 2 s")), "{told:?}");
    std::fs::remove_file(&down).unwrap();
    let job = ended(&place, &job).await;
    assert_eq!((job.state, job.attempt), (JobState::Succeeded, 2));
    all_steps(&place, &job).await;
    drain.cancel();
    worker.await.unwrap();
}
