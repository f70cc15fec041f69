//! Trackers: what a run that trains leaves at MLflow and trackio, over real sockets. Their servers are stand-ins that
//! answer as the real ones did when they were recorded (MLflow 3.17.2, trackio 0.43.0); where `VGPO_TEST_TRACKERS`
//! names a folder with `mlflow` and `python` of an environment that has both, the same checks run on those.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use parking_lot::Mutex;
use serde_json::{Value, json};
use vgpo::domain::job::LeasedJob;

use super::support::Api;

const TOKEN: &str = "between us";

/// What a stand-in has.
#[derive(Default)]
struct Kept {
    experiments: Vec<String>,
    run: Option<Value>,
    params: BTreeMap<String, String>,
    /// By key: step, value.
    metrics: BTreeMap<String, Vec<(u64, Value)>>,
    status: Vec<String>,
    /// By id.
    entries: BTreeMap<String, Value>,
    down: bool,
    requests: usize,
}

type Shared = Arc<Mutex<Kept>>;
type Reply = (StatusCode, String);

fn good(body: &Value) -> Reply {
    (StatusCode::OK, body.to_string())
}

fn bad(status: u16, code: &str, message: &str) -> Reply {
    (StatusCode::from_u16(status).unwrap(), json!({"error_code": code, "message": message}).to_string())
}

async fn answer(State(kept): State<Shared>, uri: Uri, headers: HeaderMap, body: String) -> Reply {
    let mut kept = kept.lock();
    kept.requests += 1;
    if kept.down {
        return (StatusCode::BAD_GATEWAY, "<html>".to_owned());
    }
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let path = uri.path();
    match path.strip_prefix("/api/2.0/mlflow/") {
        Some(_) if headers.get("authorization").is_none_or(|token| token != "Bearer between us") => {
            bad(401, "UNAUTHENTICATED", "no")
        }
        Some(what) => mlflow(&mut kept, what, &body),
        None if path == "/version" => good(&json!({"version": "0.43.0", "api_version": 1})),
        None if headers.get("x-trackio-write-token").is_none_or(|token| token != TOKEN) => {
            (StatusCode::BAD_REQUEST, json!({"error": "A write_token is required to log metrics"}).to_string())
        }
        None => {
            assert_eq!(path, "/api/bulk_log");
            for entry in body["kwargs"]["logs"].as_array().unwrap() {
                // INSERT OR IGNORE, by the id.
                kept.entries.entry(entry["log_id"].as_str().unwrap().to_owned()).or_insert_with(|| entry.clone());
            }
            good(&json!({"data": null}))
        }
    }
}

fn mlflow(kept: &mut Kept, what: &str, body: &Value) -> Reply {
    match what {
        "experiments/create" => {
            let name = body["name"].as_str().unwrap().to_owned();
            if kept.experiments.contains(&name) {
                return bad(400, "RESOURCE_ALREADY_EXISTS", "Experiment(name=default) already exists.");
            }
            kept.experiments.push(name);
            good(&json!({"experiment_id": "1"}))
        }
        "experiments/get-by-name" => good(&json!({"experiment": {"experiment_id": "1", "lifecycle_stage": "active"}})),
        "runs/search" => match &kept.run {
            Some(run) => good(&json!({ "runs": [run] })),
            None => good(&json!({})),
        },
        "runs/create" => {
            assert!(kept.run.is_none(), "a run is made once");
            let run = json!({"info": {"run_id": "b1c5", "run_name": body["run_name"]}, "data": {"tags": body["tags"]}});
            kept.run = Some(run.clone());
            good(&json!({ "run": run }))
        }
        "runs/log-batch" => {
            assert_eq!(body["run_id"], "b1c5");
            for param in body["params"].as_array().into_iter().flatten() {
                let (key, value) = (param["key"].as_str().unwrap(), param["value"].as_str().unwrap());
                if kept.params.insert(key.to_owned(), value.to_owned()).is_some_and(|old| old != value) {
                    return bad(400, "INVALID_PARAMETER_VALUE", "Changing param values is not allowed.");
                }
            }
            for point in body["metrics"].as_array().into_iter().flatten() {
                let series = kept.metrics.entry(point["key"].as_str().unwrap().to_owned()).or_default();
                let point = (point["step"].as_u64().unwrap(), point["value"].clone());
                // The same point twice is one: time and step are part of its key.
                if !series.contains(&point) {
                    series.push(point);
                }
            }
            good(&json!({}))
        }
        "runs/update" => {
            kept.status.push(body["status"].as_str().unwrap().to_owned());
            good(&json!({"run_info": {"run_id": "b1c5"}}))
        }
        other => panic!("{other} is not asked for"),
    }
}

async fn stand_in() -> (String, Shared) {
    let kept = Shared::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(kept.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, kept)
}

/// A server whose trackers are at these addresses.
async fn api(mlflow: &str, trackio: &str) -> Api {
    Api::with(&[
        ("mlflow_url", mlflow),
        ("mlflow_token", TOKEN),
        ("trackio_url", trackio),
        ("trackio_write_token", TOKEN),
    ])
    .await
}

fn track(api: &Api) -> tokio::task::JoinHandle<()> {
    let service = api.service.clone();
    tokio::spawn(async move { service.runs().keep_tracking().await })
}

async fn claimed(api: &Api) -> LeasedJob {
    api.submit(json!({"report_to": ["mlflow", "trackio"], "tags": {"team": "vision"}})).await;
    api.claim().await
}

async fn step(api: &Api, leased: &LeasedJob, step: u64) {
    let reward = if step == 3 { f64::NAN } else { 0.1 * step as f64 };
    let mut values = vec![("reward/mean", reward), ("optimizer/grad_norm", f64::INFINITY)];
    if step.is_multiple_of(2) {
        values.extend([("eval/accuracy", 0.5), ("eval/accuracy/sum", 0.25)]);
    }
    api.report(leased, step, &values).await;
}

async fn until(what: &str, so: impl AsyncFn() -> bool) {
    for _ in 0..600 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what} did not happen");
}

/// What the API tells of a run's trackers.
async fn trackers(api: &Api, leased: &LeasedJob) -> Vec<Value> {
    let answer = api.get(&format!("/v1/runs/{}/trackers", leased.token.run_id)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["data"].as_array().unwrap().clone()
}

async fn all_sent(api: &Api, leased: &LeasedJob) {
    until("everything is sent", async || trackers(api, leased).await.iter().all(|one| one["next_at"].is_null())).await;
}

#[tokio::test]
async fn a_run_appears_at_its_trackers_while_it_trains() {
    let (url, kept) = stand_in().await;
    let api = api(&url, &url).await;
    track(&api);
    let leased = claimed(&api).await;
    step(&api, &leased, 1).await;
    until("the first step", async || {
        kept.lock().metrics.contains_key("reward/mean") && !kept.lock().entries.is_empty()
    })
    .await;
    for n in 2..=3 {
        step(&api, &leased, n).await;
    }
    api.store().complete(&leased.token, "done").await.unwrap();
    all_sent(&api, &leased).await;
    let kept = kept.lock();
    assert_eq!(kept.experiments, ["default"]);
    assert_eq!(kept.metrics["reward/mean"], [(1, json!(0.1)), (2, json!(0.2)), (3, json!("NaN"))]);
    assert_eq!(kept.metrics["optimizer/grad_norm"][0], (1, json!("Infinity")));
    assert_eq!(kept.metrics["eval/accuracy.sum"], [(2, json!(0.25))], "the names of the export");
    assert_eq!(kept.metrics["progress/samples"], [(1, json!(8)), (2, json!(16)), (3, json!(24))]);
    assert_eq!((kept.params["dataset"].as_str(), kept.params["method/type"].as_str()), ("digits", "vgpo"));
    let tags = kept.run.as_ref().unwrap()["data"]["tags"].as_array().unwrap();
    for (key, value) in [("vgpo.run", leased.token.run_id.as_str()), ("team", "vision")] {
        assert!(tags.contains(&json!({"key": key, "value": value})), "{tags:?}");
    }
    assert_eq!(kept.status.last().map(String::as_str), Some("FINISHED"));
    let entries: Vec<&Value> = kept.entries.values().collect();
    assert_eq!(entries.iter().map(|entry| &entry["step"]).collect::<Vec<_>>(), [&json!(1), &json!(2), &json!(3)]);
    assert_eq!(entries[0]["config"]["dataset"], "digits");
    assert_eq!((&entries[2]["metrics"]["reward/mean"], &entries[2]["project"]), (&json!("NaN"), &json!("default")));
}

#[tokio::test]
async fn a_tracker_that_was_down_misses_nothing() {
    let (url, kept) = stand_in().await;
    kept.lock().down = true;
    let api = api(&url, "http://127.0.0.1:9").await;
    let watching = track(&api);
    let leased = claimed(&api).await;
    step(&api, &leased, 1).await;
    until("a problem", async || trackers(&api, &leased).await.iter().all(|one| !one["problem"].is_null())).await;
    let told = trackers(&api, &leased).await;
    assert_eq!((&told[0]["tracker"], &told[1]["tracker"]), (&json!("mlflow"), &json!("trackio")));
    assert!(told[0]["problem"].as_str().unwrap().contains("502"), "{told:?}");
    assert!(told[1]["problem"].as_str().unwrap().contains("refused"), "{told:?}");
    for n in 2..=120 {
        step(&api, &leased, n).await;
    }
    api.store().complete(&leased.token, "done").await.unwrap();
    // The server goes, and the next one finds the tracker well.
    api.service.stopping().cancel();
    watching.await.unwrap();
    kept.lock().down = false;
    let settings = api.service.settings().clone();
    let store = Arc::clone(api.store());
    let next = vgpo::service::Service::new(store.clone(), Arc::new(vgpo::clock::SystemClock), settings);
    tokio::spawn(async move { next.runs().keep_tracking().await });
    let sent = async || store.trackers(&leased.token.run_id).await.unwrap()[0].next_at.is_none();
    until("everything is sent", sent).await;
    let kept = kept.lock();
    let steps: Vec<u64> = kept.metrics["reward/mean"].iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, (1..=120).collect::<Vec<_>>());
    assert_eq!(kept.status.last().map(String::as_str), Some("FINISHED"));
}

#[tokio::test]
async fn a_server_that_died_halfway_leaves_one_run() {
    let (url, kept) = stand_in().await;
    let api = api(&url, &url).await;
    let watching = track(&api);
    let leased = claimed(&api).await;
    for n in 1..=3 {
        step(&api, &leased, n).await;
    }
    until("the steps", async || kept.lock().metrics.get("reward/mean").is_some_and(|points| points.len() == 3)).await;
    watching.abort();
    // What it sent is not noted.
    for mut one in api.store().trackers(&leased.token.run_id).await.unwrap() {
        api.store().delete_run(&one.run_id).await.unwrap_err();
        (one.remote_id, one.next_at) = (None, Some(chrono::DateTime::UNIX_EPOCH));
        api.store().settle_tracking(&one).await.unwrap();
    }
    api.store().complete(&leased.token, "done").await.unwrap();
    track(&api);
    all_sent(&api, &leased).await;
    let kept = kept.lock();
    assert_eq!(kept.metrics["reward/mean"].len(), 3);
    assert_eq!(kept.entries.len(), 3);
}

#[tokio::test]
async fn trackers_are_those_of_the_settings() {
    let api = api("http://127.0.0.1:9", "").await;
    let ask = async |names: Value| {
        let job =
            json!({"model": "tiny", "dataset": "digits", "data": {"max_prompt_tokens": 4000}, "report_to": names});
        api.post("/v1/jobs?dry_run=true", job).await
    };
    let plan = ask(json!(["mlflow"])).await;
    assert_eq!((plan.status, &plan.body["spec"]["report_to"]), (200, &json!(["mlflow"])), "{}", plan.body);
    for (names, word) in [
        (json!(["trackio"]), "trackio_url"),
        (json!(["wandb"]), "wandb_sync.py"),
        (json!(["mlflow", "mlflow"]), "twice"),
        (json!(["http://127.0.0.1"]), "mlflow"),
        (json!("mlflow"), "a list"),
    ] {
        let answer = ask(names).await;
        let error = &answer.problem(422, "invalid_request")["errors"][0];
        assert!(error["pointer"].as_str().unwrap().starts_with("/report_to"), "{error}");
        assert!(error["detail"].as_str().unwrap().contains(word), "{error}");
    }
}

/// The environment with the real packages; none: the tests that need it are skipped, loudly.
#[allow(clippy::print_stdout, reason = "a skipped test must be seen")]
fn environment() -> Option<PathBuf> {
    let named = std::env::var_os("VGPO_TEST_TRACKERS").map(PathBuf::from);
    if named.is_none() {
        let required = std::env::var("VGPO_TEST_REQUIRE").unwrap_or_default();
        let wanted = required.split(',').any(|part| part == "trackers");
        assert!(!wanted, "VGPO_TEST_REQUIRE asks for trackers, but VGPO_TEST_TRACKERS names no environment");
        println!("SKIPPED: there are no real trackers (pip install mlflow trackio, VGPO_TEST_TRACKERS=…/bin)");
    }
    named
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // MLflow serves in a process of its own.
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.0.wait();
    }
}

/// A program of the environment that serves at a port, once it answers `path`.
async fn serve(mut command: Command, port: u16, path: &str) -> (Running, String) {
    let child =
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let up = async || reqwest::get(format!("{url}{path}")).await.is_ok_and(|answer| answer.status().is_success());
    until("the tracker serves", up).await;
    (Running(child), url)
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn the_real_trackers_have_every_point() {
    let Some(programs) = environment() else { return };
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = Command::new(programs.join("mlflow"));
    command.args(["server", "--workers", "1", "--host", "127.0.0.1", "--port", &port.to_string()]);
    command.arg("--backend-store-uri").arg(format!("sqlite:///{}", folder.path().join("mlflow.db").display()));
    command.arg("--artifacts-destination").arg(folder.path().join("artifacts"));
    let (_mlflow, mlflow) = serve(command, port, "/health").await;
    let port = free_port();
    let script = format!(
        "import trackio; trackio.show(open_browser=False, block_thread=True, host='127.0.0.1', server_port={port})"
    );
    let mut command = Command::new(programs.join("python"));
    command.args(["-c", &script]).env("TRACKIO_WRITE_TOKEN", TOKEN).env("HF_HUB_OFFLINE", "1");
    command.env("TRACKIO_DIR", folder.path().join("trackio"));
    let (_trackio, trackio) = serve(command, port, "/version").await;
    let api = api(&mlflow, &trackio).await;
    track(&api);
    let leased = claimed(&api).await;
    for n in 1..=130 {
        step(&api, &leased, n).await;
    }
    api.store().complete(&leased.token, "done").await.unwrap();
    all_sent(&api, &leased).await;
    let told = trackers(&api, &leased).await;
    let (remote, run) = (told[0]["remote_id"].as_str().unwrap(), leased.token.run_id.as_str());
    let ask = async |path: String| reqwest::get(format!("{mlflow}/api/2.0/mlflow/{path}")).await.unwrap();
    let history: Value =
        ask(format!("metrics/get-history?run_id={remote}&metric_key=reward/mean")).await.json().await.unwrap();
    let points = history["metrics"].as_array().unwrap();
    let steps: Vec<u64> = points.iter().map(|point| point["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (1..=130).collect::<Vec<_>>());
    assert_eq!((&points[0]["value"], &points[2]["value"]), (&json!(0.1), &json!("NaN")));
    let found: Value = ask(format!("runs/get?run_id={remote}")).await.json().await.unwrap();
    assert_eq!(found["run"]["info"]["status"], "FINISHED");
    assert!(found["run"]["data"]["params"].as_array().unwrap().contains(&json!({"key": "dataset", "value": "digits"})));
    let http = reqwest::Client::new();
    let request = json!({"kwargs": {"project": "default", "run": leased.job.name, "run_id": run}});
    let answer = http.post(format!("{trackio}/api/get_logs")).json(&request).send().await.unwrap();
    let logs: Value = answer.json().await.unwrap();
    let steps: Vec<u64> = logs["data"].as_array().unwrap().iter().map(|row| row["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (1..=130).collect::<Vec<_>>());
}
