//! Training through a server of this program, over HTTP.

use serde_json::json;
use vgpo::train::RunEnd;

use super::{ATTEMPT, is_empty, job, recorder, server, shared, train, values};
use crate::train::Recorder;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_samples_with_the_adapters_of_the_step_before() {
    let shared = shared();
    let api = server(shared.path()).await;
    let urls = [api.url.clone()];
    let (end, recorder) = train(job(&urls, shared.path(), &json!({ "steps": 3 })), recorder(&urls)).await;
    assert!(matches!(end.unwrap(), RunEnd::Finished { .. }));
    let drift = values(&recorder, "rollout/kl");
    assert!(drift.len() == 3 && drift.iter().all(|kl| kl.abs() < 1e-3), "the newest weights sample: {drift:?}");
    assert_eq!(values(&recorder, "rollout/version_lag"), [0.0; 3]);
    assert!(values(&recorder, "optimizer/grad_norm").iter().any(|norm| *norm > 0.0), "the weights move");
    assert!(values(&recorder, "attention/image").is_empty(), "servers do not tell shares of attention");
    assert_eq!(values(&recorder, "visual/focus_mean").len(), 3, "focus comes from the trainer's own pass");
    assert_eq!(values(&recorder, "time/publish").len(), 3);
    assert!(recorder.events.iter().all(|(kind, _)| kind != "warning.rollout_drift"), "{:?}", recorder.events);
    assert!(is_empty(shared.path()), "what was published goes with the attempt");
    let gone = json!({"model": format!("{ATTEMPT}-2"), "messages": [{"role": "user", "content": "What is 1 + 2 ?"}]});
    assert_eq!(api.post("/v1/chat/completions", gone).await.status, 404, "and so do adapters");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_adapters_would_be_noticed() {
    // The same job, were its adapters not applied: a local run with this learning rate moves that far in a step.
    let shared = shared();
    let api = server(shared.path()).await;
    let urls = [api.url.clone()];
    let ahead = json!({ "steps": 3, "rollout": { "engine": { "staleness": 1 } } });
    let (end, recorder) = train(job(&urls, shared.path(), &ahead), recorder(&urls)).await;
    end.unwrap();
    let drift = values(&recorder, "rollout/kl");
    assert!(drift[0].abs() < 1e-3 && drift[1..].iter().any(|kl| kl.abs() > 2e-3), "{drift:?}");
    assert_eq!(values(&recorder, "rollout/version_lag"), [0.0, 1.0, 1.0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_servers_share_a_step() {
    let shared = shared();
    let (one, two) = (server(shared.path()).await, server(shared.path()).await);
    let urls = [one.url.clone(), two.url.clone()];
    let wide = json!({ "steps": 1, "batch": { "prompts_per_step": 6, "minibatch_prompts": 6 } });
    let (end, _) = train(job(&urls, shared.path(), &wide), recorder(&urls)).await;
    end.unwrap();
    for api in [one, two] {
        let figures = api.get("/metrics").await.body.to_string();
        assert!(!figures.contains("vgpo_engine_requests_total 0"), "each server answers some of six prompts");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_opener_other_engines_are_refused() {
    let shared = shared();
    let (end, _) = train(job(&["http://127.0.0.1:9".to_owned()], shared.path(), &json!({})), Recorder::default()).await;
    let (problem, again) = super::failure(end);
    assert!(problem.contains("samples in its own process only") && !again, "{problem}");
}
