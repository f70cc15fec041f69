//! Rollouts that are sampled ahead.

use serde_json::json;
use vgpo::train::RunEnd;
use vgpo::train::sink::{Control, ResumePoint};

use super::{job, recorder, server, shared, train, values};
use crate::train::run;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_rollout_is_older_than_the_job_allows() {
    let shared = shared();
    let api = server(shared.path()).await;
    let urls = [api.url.clone()];
    let ahead = json!({ "steps": 4, "rollout": { "engine": { "staleness": 2 } } });
    let (end, recorder) = train(job(&urls, shared.path(), &ahead), recorder(&urls)).await;
    end.unwrap();
    assert_eq!(values(&recorder, "rollout/version_lag"), [0.0, 1.0, 2.0, 2.0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prompts_that_were_only_sampled_are_read_again_after_a_stop() {
    let shared = shared();
    let api = server(shared.path()).await;
    let urls = [api.url.clone()];
    let ahead = json!({ "steps": 3, "checkpoint_every": 1, "rollout": { "engine": { "staleness": 1 } } });
    let spec = job(&urls, shared.path(), &ahead);
    let work = move || {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, mut second) = (recorder(&urls), recorder(&urls));
        // Asked after the first step, while the rollouts of the second are being sampled.
        first.stop_after = Some((1, Control::Yield));
        let end = run(&spec, dir.path(), None, &mut first).unwrap();
        let (step, from) = first.checkpoints.last().cloned().expect("a checkpoint is written before it stops");
        let state = std::fs::read_to_string(from.join("trainer/state.json")).unwrap();
        run(&spec, dir.path(), Some(ResumePoint { dir: from, step }), &mut second).unwrap();
        (end, step, state, second)
    };
    let (end, step, state, second) = tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(end, RunEnd::Yielded);
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["cursor"], 2 * step, "two prompts a step, and none of those ahead");
    assert_eq!(second.metrics.last().unwrap().step, 3);
}
