//! Requests over HTTP, compared with the same work without it: the bare engine, and one offline batch. Each figure is
//! the median of rounds that take turns, so that a slow minute hits all sides.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Value, json};
use vgpo::bench::reference::write_model;
use vgpo::bench::reference::{noise, question};
use vgpo::bench::shape::BatchShape;
use vgpo::bench::shapes::ModelShape;
use vgpo::clock::Stopwatch;

use crate::report::{Bound, Report, quantile};
use crate::server::Server;

const ROUNDS: usize = 5;
const CLIENTS: usize = 32;
/// The shape of docs/performance.md.
const SHAPE: BatchShape =
    BatchShape { groups: 1, group_size: 1, prompt_tokens: 40, response_tokens: 64, image_patches: 8 };

/// What `vgpo bench` finds, as JSON.
fn bench(model: &Path, arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpo"));
    command.arg("bench").args(arguments).arg("--json").arg("--model").arg(model);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

fn request(index: u64) -> Value {
    let mut png = std::io::Cursor::new(Vec::new());
    noise(SHAPE.image_patches, index).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let picture = base64::engine::general_purpose::STANDARD.encode(png.into_inner());
    json!({
        "model": "reference", "prompt": question(&SHAPE, index),
        "images": [format!("data:image/png;base64,{picture}")], "max_new_tokens": SHAPE.response_tokens,
    })
}

pub async fn measure(report: &mut Report) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("reference");
    std::fs::create_dir(&model).unwrap();
    write_model(&model, ModelShape::reference()).unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let root = folder.path().display().to_string();
    let server =
        Server::start(&data, "none", &[("VGPO_MODEL_ROOTS", &root), ("VGPO_MAX_CONCURRENT_ANSWERS", "0")]).await;
    let source = json!({"name": "reference", "source": {"path": model.display().to_string()}});
    server.post("/v1/models", &source).await;
    let server = Arc::new(server);
    // Loads the model, and warms up.
    let mut next = 0;
    round(&server, CLIENTS, &mut next).await;

    let (mut alone, mut bare_alone, mut many, mut offline, mut bare_many, mut maps) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for _ in 0..8 {
            alone.push(round(&server, 1, &mut next).await * 1e3);
        }
        let found = bench(&model, &["generate", "--clients", "1", "--repeats", "8"]);
        let plain = found["answer"]["median"].as_f64().unwrap();
        bare_alone.push(plain * 1e3);
        let found = bench(&model, &["generate", "--clients", "1", "--repeats", "8", "--maps"]);
        maps.push(found["answer"]["median"].as_f64().unwrap() / plain);
        let tokens = (CLIENTS * SHAPE.response_tokens) as f64;
        for _ in 0..2 {
            many.push(tokens / round(&server, CLIENTS, &mut next).await);
        }
        let found = bench(&model, &["generate", "--clients", "32", "--repeats", "2"]);
        bare_many.push(found["tokens_per_second"].as_f64().unwrap());
        let found = bench(&model, &["rollout", "--groups", "32", "--without-attention", "--repeats", "2"]);
        offline.push(found["tokens_per_second"].as_f64().unwrap());
    }
    let median = |values: &mut Vec<f64>| quantile(values, 0.5);
    let (over_http, bare) = (median(&mut alone), median(&mut bare_alone));
    println!("  one request: {over_http:.1} ms over HTTP, {bare:.1} ms in the engine");
    let what = "an answer over HTTP, beyond the bare engine (median)";
    report.row("engine", what, over_http - bare, "ms", Bound::Most(3.0));
    let (served, batch, engine) = (median(&mut many), median(&mut offline), median(&mut bare_many));
    println!(
        "  32 at once: {served:.0} tokens/s over HTTP, {engine:.0} in the engine, {batch:.0} in one offline batch"
    );
    let what = "32 clients over HTTP, as a share of one offline batch of 32";
    report.row("engine", what, served / batch, "x", Bound::Least(0.9));
    let what = "an answer with the map of every token, compared with one without";
    report.row("engine", what, median(&mut maps), "x", Bound::Most(1.2));
}

/// Seconds until this number of clients, all at once, have an answer each.
async fn round(server: &Arc<Server>, clients: usize, next: &mut u64) -> f64 {
    let requests: Vec<Value> = (0..clients as u64).map(|client| request(*next + client)).collect();
    *next += clients as u64;
    let watch = Stopwatch::start();
    let asked: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let server = Arc::clone(server);
            tokio::spawn(async move { server.post("/generate", &request).await })
        })
        .collect();
    for answer in asked {
        let answer = answer.await.unwrap();
        assert_eq!(answer["usage"]["completion_tokens"], SHAPE.response_tokens, "{answer}");
    }
    watch.seconds()
}
