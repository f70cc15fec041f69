//! Webhooks: the protocol, over real sockets, and the Python server that wraps people's own functions.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use vgpo::clock::SystemClock;
use vgpo::config::app::{AppSettings, Sources};
use vgpo::config::job;
use vgpo::outbound::HttpWebhooks;
use vgpo::reward::{Backends, Reward, RewardBatch, RewardError, RewardInput, Verdict, WebhookClient, build_with};

use crate::printed::printed_address;

const SECRET: &str = "between us";

fn client(hosts: &str) -> Arc<dyn WebhookClient> {
    let flags = [("webhook_hosts", hosts.to_owned()), ("webhook_secret", SECRET.to_owned())];
    let settings = AppSettings::load(&Sources { flags: &flags, environment: &|_| None, file: None }).unwrap();
    HttpWebhooks::of(&settings, Arc::new(SystemClock)).unwrap()
}

/// The one host and port of an address of this machine.
fn hosts_of(url: &str) -> String {
    url.split('/').find(|part| part.starts_with("127.0.0.1:")).unwrap_or("127.0.0.1").to_owned()
}

fn reward(url: &str, more: Value) -> Result<Box<dyn Reward>, RewardError> {
    let mut spec = json!({"type": "webhook", "url": url, "retries": 2, "timeout_seconds": 5.0});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let backends = Backends { webhooks: Some(client(&hosts_of(url))), ..Backends::default() };
    build_with(&job::reward(&spec).unwrap(), &backends)
}

fn judge(reward: &dyn Reward, responses: &[&str]) -> Result<Vec<Option<Verdict>>, RewardError> {
    let ids: Vec<String> = (0..responses.len()).map(|i| format!("7-{i}")).collect();
    let inputs: Vec<RewardInput<'_>> = ids.iter().zip(responses).map(|(id, response)| input(id, response)).collect();
    reward.judge_all(&RewardBatch { run: "run_1", step: 3, id: "run_1:3:0", inputs: &inputs })
}

fn input<'a>(id: &'a str, response: &'a str) -> RewardInput<'a> {
    RewardInput { id, prompt: "What?", response, ground_truth: "5", row: 7, ..RewardInput::default() }
}

/// What a server saw, and the answers it gives one after the other (the last one forever).
#[derive(Clone, Default)]
struct Script {
    seen: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    answers: Arc<Mutex<Vec<(u16, String)>>>,
}

async fn answer(State(script): State<Script>, headers: HeaderMap, body: String) -> (StatusCode, String) {
    script.seen.lock().unwrap().push((headers, body));
    let mut answers = script.answers.lock().unwrap();
    let (status, text) = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
    (StatusCode::from_u16(status).unwrap(), text)
}

fn serve(answers: &[(u16, Value)]) -> (String, Script, tokio::runtime::Runtime) {
    let script = Script::default();
    *script.answers.lock().unwrap() = answers.iter().map(|(status, body)| (*status, body.to_string())).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}/judge", listener.local_addr().unwrap());
    let router = Router::new().route("/judge", post(answer)).with_state(script.clone());
    runtime.spawn(async move { axum::serve(listener, router).await });
    (url, script, runtime)
}

#[test]
fn a_batch_is_asked_once_and_signed() {
    let good = json!({"items": [{"id": "7-1", "reward": 0.25, "parts": {"style": 0.5}}, {"id": "7-0", "reward": 1.0}]});
    let (url, script, _runtime) = serve(&[(200, good)]);
    let verdicts = judge(reward(&url, json!({})).unwrap().as_ref(), &["five", "six"]).unwrap();
    let (first, second) = (verdicts[0].clone().unwrap(), verdicts[1].clone().unwrap());
    assert_eq!((first.reward, first.accuracy, second.reward, second.accuracy), (1.0, Some(1.0), 0.25, Some(0.0)));
    assert_eq!((second.parts["style"], second.parts["webhook"]), (0.5, 0.25));
    let seen = script.seen.lock().unwrap();
    assert_eq!(seen.len(), 1);
    let (headers, body) = &seen[0];
    let request: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&request["version"], &request["run"], &request["step"]), (&json!(1), &json!("run_1"), &json!(3)));
    assert_eq!(
        request["items"][1],
        json!({"id": "7-1", "prompt": "What?", "response": "six", "ground_truth": "5", "row": 7})
    );
    assert_eq!(headers["x-vgpo-batch"], "run_1:3:0");
    assert!(headers["x-vgpo-signature"].to_str().unwrap().starts_with("sha256="));
}

#[test]
fn what_the_answer_leaves_out_has_no_verdict() {
    let partial =
        json!({"items": [{"id": "7-1", "reward": 1.0}, {"id": "7-2", "reward": null}, {"id": "9-9", "reward": 1.0}]});
    let (url, _, _runtime) = serve(&[(200, partial)]);
    let verdicts = judge(reward(&url, json!({})).unwrap().as_ref(), &["a", "b", "c"]).unwrap();
    assert_eq!(verdicts.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn failures_that_may_pass_are_repeated_under_the_same_name() {
    let good = json!({"items": [{"id": "7-0", "reward": 1.0}]});
    let (url, script, _runtime) = serve(&[(503, json!("busy")), (200, good)]);
    assert!(judge(reward(&url, json!({})).unwrap().as_ref(), &["a"]).unwrap()[0].is_some());
    let seen = script.seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].0["x-vgpo-batch"], seen[1].0["x-vgpo-batch"]);
    assert_eq!(seen[0].1, seen[1].1);
}

#[test]
fn failures_that_stay_are_told_apart() {
    let (url, script, _runtime) = serve(&[(400, json!("no"))]);
    let error = judge(reward(&url, json!({})).unwrap().as_ref(), &["a"]).unwrap_err();
    assert!(!error.may_pass() && error.to_string().contains("400"), "{error}");
    assert_eq!(script.seen.lock().unwrap().len(), 1, "a refusal is not repeated");
    let (url, _, _runtime) = serve(&[(200, json!({"rewards": [1]}))]);
    let error = judge(reward(&url, json!({})).unwrap().as_ref(), &["a"]).unwrap_err();
    assert!(!error.may_pass() && error.to_string().contains("items"), "{error}");
    let unreachable = reward("http://127.0.0.1:9/judge", json!({"retries": 0})).unwrap();
    let error = judge(unreachable.as_ref(), &["a"]).unwrap_err();
    assert!(error.may_pass(), "a server that is down may come back: {error}");
}

#[test]
fn only_allowed_hosts_are_asked() {
    for url in
        ["http://example.com/x", "file:///etc/passwd", "http://user@127.0.0.1/x", "127.0.0.1", "ftp://127.0.0.1/"]
    {
        let error = reward(url, json!({})).err().unwrap_or_else(|| panic!("{url} must be refused"));
        assert!(error.to_string().contains(url), "{error}");
    }
    // A host alone means its usual ports, as for images: other services on that host are not for users to ask.
    let usual = client("127.0.0.1,localhost:9000");
    for url in ["http://127.0.0.1/", "http://127.0.0.1:443/", "https://127.0.0.1/x", "http://localhost:9000/"] {
        usual.check(url).unwrap();
    }
    for url in ["http://127.0.0.1:8080/", "http://127.0.0.1:22/", "http://localhost/", "http://localhost:9001/"] {
        assert!(usual.check(url).unwrap_err().to_string().contains("webhook_hosts"), "{url}");
    }
    // A redirect does not lead past the list.
    let (url, script, _runtime) = serve(&[(302, json!(""))]);
    assert!(judge(reward(&url, json!({})).unwrap().as_ref(), &["a"]).is_err());
    assert_eq!(script.seen.lock().unwrap().len(), 1);
}

struct Python(Child, String);

impl Drop for Python {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn python(dir: &std::path::Path, code: &str, function: &str) -> Python {
    std::fs::write(dir.join("mine.py"), code).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/reward_server.py");
    let mut child = Command::new("python3")
        .args([script, &format!("{}:{function}", dir.join("mine.py").display()), "--port", "0"])
        .env("VGPO_WEBHOOK_SECRET", SECRET)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let url = printed_address(&mut child);
    Python(child, url)
}

#[test]
fn the_python_server_wraps_the_functions_people_have() {
    let dir = tempfile::tempdir().unwrap();
    let code = "
def easy(predict, ground_truth):
    if predict == 'boom': raise ValueError('boom')
    return {'overall': float(predict == ground_truth), 'format': 0.5}
def batch(reward_inputs):
    return [{'overall': float(len(i['response'])), 'accuracy': 1.0} for i in reward_inputs]
def trl(completions, ground_truth, **kwargs):
    return [None if c == 'skip' else float(c == t) for c, t in zip(completions, ground_truth)]
";
    let found = |function: &str, responses: &[&str]| {
        let server = python(dir.path(), code, function);
        judge(reward(&server.1, json!({})).unwrap().as_ref(), responses).unwrap()
    };
    let easy = found("easy", &["5", "boom", "6"]);
    assert_eq!(easy[0].as_ref().unwrap().parts["format"], 0.5);
    assert_eq!(easy[2].as_ref().unwrap().reward, 0.0);
    assert!(easy[1].is_none(), "a response on which the function fails has no verdict");
    let batch = found("batch", &["abc"]);
    assert_eq!((batch[0].as_ref().unwrap().reward, batch[0].as_ref().unwrap().accuracy), (3.0, Some(1.0)));
    let trl = found("trl", &["5", "skip"]);
    assert_eq!((trl[0].as_ref().unwrap().reward, trl[1].is_none()), (1.0, true));
}

#[test]
fn the_python_server_refuses_the_wrong_secret() {
    let dir = tempfile::tempdir().unwrap();
    let server = python(dir.path(), "def f(predict, ground_truth):\n    return 1.0\n", "f");
    let flags = [("webhook_hosts", hosts_of(&server.1)), ("webhook_secret", "a guess".to_owned())];
    let settings = AppSettings::load(&Sources { flags: &flags, environment: &|_| None, file: None }).unwrap();
    let guess = HttpWebhooks::of(&settings, Arc::new(SystemClock)).unwrap();
    let spec = job::reward(&json!({"type": "webhook", "url": server.1, "retries": 0})).unwrap();
    let error =
        judge(build_with(&spec, &Backends { webhooks: Some(guess), ..Backends::default() }).unwrap().as_ref(), &["a"])
            .unwrap_err();
    assert!(error.to_string().contains("401"), "{error}");
}
