//! The real trainer under a worker: a tiny model, a few steps.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use vgpo::domain::device::DeviceName;
use vgpo::domain::job::JobState;
use vgpo::domain::model::NewModel;
use vgpo::domain::spec::JobSpec;
use vgpo::reward::Backends;
use vgpo::worker::{self, TrainRunner};

use super::fixture::Place;

const ENDED: [JobState; 3] = [JobState::Succeeded, JobState::Failed, JobState::Cancelled];

fn tiny(spec: &mut JobSpec) {
    spec.model = "tiny".to_owned();
    (spec.steps, spec.checkpoint_every, spec.eval_every, spec.eval_rows) = (2, 1, 0, 4);
    (spec.batch.prompts_per_step, spec.batch.minibatch_prompts) = (2, 2);
    (spec.rollout.group_size, spec.rollout.max_new_tokens) = (2, 6);
    spec.log_samples_every = 1;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_trains_a_model() {
    let place = Place::new().await;
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
    let mut config = place.config("wrk_real");
    config.runner =
        Arc::new(TrainRunner::new(place.store.clone(), config.artifacts.clone(), DeviceName::CPU, Backends::default()));
    let artifacts = config.artifacts.clone();
    let drain = CancellationToken::new();
    let worker = tokio::spawn(worker::run(config, drain.clone(), CancellationToken::new()));

    let job = place.submit(tiny).await;
    let job = place.wait(&job, &ENDED).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.reason);
    let steps: Vec<_> = place.steps(&job).await.into_iter().map(|(step, _)| step).collect();
    assert_eq!(steps, [1, 2]);
    let checkpoints = place.store.run_checkpoints(&job.run_id).await.unwrap();
    assert_eq!(checkpoints.iter().map(|c| c.step).collect::<Vec<_>>(), [2, 1]);
    assert!(checkpoints[0].manifest.files.iter().any(|f| f.path == "model.safetensors"));
    assert!(!place.store.sample_steps(&job.run_id).await.unwrap().is_empty());

    let next = place.submit(|s| (tiny(s), s.model = checkpoints[0].id.clone(), s.steps = 1).0).await;
    let next = place.wait(&next, &ENDED).await;
    assert_eq!(next.state, JobState::Succeeded, "a job starts from a checkpoint: {:?}", next.reason);
    let best = place.submit(|s| (tiny(s), s.model = format!("{}@best", job.run_id), s.steps = 1).0).await;
    assert_eq!(place.wait(&best, &ENDED).await.state, JobState::Succeeded);

    let mut measured = vgpo::config::method::eval();
    measured.split = vgpo::domain::spec::RowSplit::Train;
    let eval = place
        .submit(|s| {
            tiny(s);
            (s.method, s.model) = (vgpo::domain::spec::Method::Eval(measured), checkpoints[0].id.clone());
        })
        .await;
    let eval = place.wait(&eval, &ENDED).await;
    assert_eq!(eval.state, JobState::Succeeded, "{:?}", eval.reason);
    let chunks = vgpo::artifacts::finished_chunks(&*artifacts, &eval.run_id).unwrap();
    assert_eq!(chunks.len(), 2);
    let run = place.store.run(&eval.run_id).await.unwrap();
    assert_eq!((run.last_step, run.last_accuracy.is_some()), (Some(2), true), "four rows in chunks of two");

    for (change, told) in [
        (Box::new(|s: &mut JobSpec| s.model = "gpt".to_owned()) as Box<dyn FnOnce(&mut JobSpec)>, "`model`: `gpt`"),
        (Box::new(|s: &mut JobSpec| s.dataset = "none".to_owned()), "`dataset`: no data set `none`"),
    ] {
        let wrong = place.submit(|s| (tiny(s), change(s)).0).await;
        let wrong = place.wait(&wrong, &ENDED).await;
        assert_eq!((wrong.state, wrong.attempt), (JobState::Failed, 1), "a second attempt would be no use");
        assert!(wrong.reason.as_ref().unwrap().contains(told), "{:?}", wrong.reason);
    }
    drain.cancel();
    worker.await.unwrap().unwrap();
}
