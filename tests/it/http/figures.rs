//! `/metrics` as Prometheus reads it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::support::Api;

/// Samples by name with labels, after the checks that hold for every exposition: a type for every name, no sample
/// twice.
fn read(text: &str) -> BTreeMap<String, f64> {
    let mut types = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is declared twice");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let base = name.split('{').next().unwrap();
            let stem = ["_bucket", "_sum", "_count"].into_iter().find_map(|end| base.strip_suffix(end));
            assert!(types.contains_key(base) || stem.is_some_and(|stem| types.contains_key(stem)), "{line}");
            assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{name} comes twice");
        }
    }
    samples
}

async fn scrape(api: &Api) -> BTreeMap<String, f64> {
    let answer = api.get("/metrics").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    read(answer.body.as_str().unwrap())
}

#[tokio::test]
async fn requests_are_counted_by_route_and_status() {
    let api = Api::start().await;
    let job = api.submit(json!({})).await;
    for _ in 0..3 {
        api.get(&format!("/v1/jobs/{}", job["id"].as_str().unwrap())).await;
    }
    api.get("/v1/jobs/job_nobody").await;
    api.get("/nowhere/at/all").await;
    let figures = scrape(&api).await;
    let counted = |method: &str, route: &str, status: u16| {
        let labels = format!("{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}");
        figures.get(&format!("vgpo_http_requests_total{labels}")).copied()
    };
    assert_eq!(counted("GET", "/v1/jobs/{id}", 200), Some(3.0));
    assert_eq!(counted("GET", "/v1/jobs/{id}", 404), Some(1.0));
    assert_eq!(counted("POST", "/v1/jobs", 201), Some(1.0));
    assert_eq!(counted("GET", "none", 404), Some(1.0), "addresses that anybody may invent make no labels");
    assert_eq!(figures["vgpo_http_request_seconds_count{method=\"GET\",route=\"/v1/jobs/{id}\"}"], 4.0);
    assert_eq!(figures["vgpo_http_requests_in_flight"], 1.0, "this very request");
}

#[tokio::test]
async fn the_queue_and_running_jobs_are_told() {
    let api = Api::start().await;
    api.submit(json!({})).await;
    api.submit(json!({})).await;
    let leased = api.claim().await;
    api.report(&leased, 4, &[("time/rollout", 1.5), ("loss", 0.5)]).await;
    let figures = scrape(&api).await;
    assert_eq!(figures["vgpo_database_up"], 1.0);
    assert_eq!(figures["vgpo_jobs{state=\"queued\"}"], 1.0);
    assert_eq!(figures["vgpo_jobs{state=\"running\"}"], 1.0);
    assert_eq!(figures["vgpo_jobs{state=\"failed\"}"], 0.0, "states without jobs are zero, not absent");
    assert!(figures["vgpo_queue_oldest_seconds"] >= 0.0);
    assert_eq!(figures["vgpo_lease_losses_total{how=\"expired\"}"], 0.0);
    let labels = format!("run=\"{}\",job=\"{}\"", leased.token.run_id, leased.token.job_id);
    assert_eq!(figures[&format!("vgpo_run_step{{{labels}}}")], 4.0);
    assert_eq!(figures[&format!("vgpo_run_tokens{{{labels}}}")], 320.0);
    assert_eq!(figures[&format!("vgpo_run_phase_seconds{{{labels},phase=\"rollout\"}}")], 1.5);
}

#[tokio::test]
async fn the_engine_tells_tokens_batches_and_caches() {
    let api = Api::start().await;
    let request = json!({"model": "tiny", "prompt": "hello", "max_new_tokens": 5, "n": 2});
    let answer = api.post("/generate", request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let usage = &answer.body["usage"];
    // The engine counts a step after it has handed its tokens on.
    let mut figures = scrape(&api).await;
    for _ in 0..100 {
        if figures["vgpo_engine_generated_tokens_total"] == usage["completion_tokens"].as_f64().unwrap() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        figures = scrape(&api).await;
    }
    assert_eq!(figures["vgpo_engine_requests_total"], 1.0);
    assert_eq!(figures["vgpo_engine_prompt_tokens_total"], usage["prompt_tokens"].as_f64().unwrap());
    let (tokens, steps) = (figures["vgpo_engine_generated_tokens_total"], figures["vgpo_engine_decode_steps_total"]);
    assert_eq!(tokens, usage["completion_tokens"].as_f64().unwrap());
    assert!(steps >= tokens / 2.0 && steps <= tokens, "two rows share steps: {steps} steps, {tokens} tokens");
    assert!(figures["vgpo_engine_phase_seconds_total{phase=\"decode\"}"] > 0.0);
    assert!(figures["vgpo_engine_prompt_memory_bytes{model=\"tiny\"}"] > 0.0, "the prompt is remembered");
}

#[tokio::test]
async fn a_lost_database_does_not_blind_the_watch() {
    let api = Api::start().await;
    scrape(&api).await;
    api.store().close().await;
    let figures = scrape(&api).await;
    assert_eq!(figures["vgpo_database_up"], 0.0);
    assert!(!figures.keys().any(|name| name.starts_with("vgpo_jobs")), "nothing is made up");
}

#[tokio::test]
async fn on_a_listener_of_their_own_figures_are_not_served_here() {
    let api = Api::with(&[("metrics_listen", "127.0.0.1:0")]).await;
    api.get("/metrics").await.problem(404, "unknown_route");
}
