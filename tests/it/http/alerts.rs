//! Alerts: from what a worker reports to what a webhook gets, over real sockets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hmac::{Hmac, Mac as _};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::Sha256;
use vgpo::domain::job::LeasedJob;
use vgpo::store::Failure;

use super::support::Api;

const SECRET: &str = "between us";

/// How a receiver answers.
#[derive(Clone)]
enum Reply {
    Status(u16),
    /// To an address that would take it.
    Redirect,
    /// Nothing within the time that a sender has.
    Never,
}

/// A receiver: what it got, and how it answers, one after the other; the last answer stays.
#[derive(Clone)]
struct Receiver {
    port: u16,
    got: Arc<Mutex<Vec<(String, HeaderMap, String)>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
}

async fn receive(State(receiver): State<Receiver>, uri: axum::http::Uri, headers: HeaderMap, body: String) -> Response {
    receiver.got.lock().push((uri.path().to_owned(), headers, body));
    let reply = {
        let mut replies = receiver.replies.lock();
        if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() }
    };
    match reply.unwrap_or(Reply::Status(200)) {
        Reply::Status(status) => (StatusCode::from_u16(status).unwrap(), "no_service").into_response(),
        Reply::Redirect => (StatusCode::TEMPORARY_REDIRECT, [("location", "/other")]).into_response(),
        Reply::Never => std::future::pending().await,
    }
}

impl Receiver {
    async fn start(replies: &[Reply]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver =
            Self { port, got: Arc::default(), replies: Arc::new(Mutex::new(replies.iter().cloned().collect())) };
        let router = Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook/its-secret", self.port)
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Every message of format `json`.
    fn messages(&self) -> Vec<Value> {
        self.got.lock().iter().map(|(_, _, body)| serde_json::from_str(body).unwrap()).collect()
    }

    fn rules(&self) -> Vec<String> {
        self.messages().iter().map(|message| message["rule"].as_str().unwrap().to_owned()).collect()
    }
}

/// A server that watches, and may call `hosts`.
async fn watching(hosts: &str) -> Api {
    let api = Api::with(&[("webhook_hosts", hosts), ("webhook_secret", SECRET)]).await;
    watch(&api);
    api
}

fn watch(api: &Api) -> tokio::task::JoinHandle<()> {
    let service = api.service.clone();
    tokio::spawn(async move { service.runs().keep_alerting().await })
}

/// A job with these alerts, claimed.
async fn claimed(api: &Api, alerts: Value) -> (Value, LeasedJob) {
    let job = api.submit(json!({ "alerts": alerts })).await;
    (job, api.claim().await)
}

/// Waits until something is so.
async fn until(what: &str, so: impl AsyncFn() -> bool) {
    for _ in 0..400 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what} did not happen");
}

/// The alerts of a run, as the API tells them.
async fn alerts_of(api: &Api, run: &str) -> Vec<Value> {
    let answer = api.get(&format!("/v1/runs/{run}/alerts")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_alert_reaches_its_webhook_once_and_signed() {
    let receiver = Receiver::start(&[Reply::Status(200)]).await;
    let api = watching(&receiver.host()).await;
    let (job, leased) = claimed(&api, json!({"webhook": receiver.url(), "rules": {"kl_above": 0.5}})).await;
    api.report(&leased, 1, &[("reward/mean", 0.5), ("policy/kl", 0.1)]).await;
    api.report(&leased, 2, &[("reward/mean", f64::NAN), ("policy/kl", 0.75)]).await;
    until("two alerts", async || receiver.got.lock().len() == 2).await;
    // A lost lease: the next attempt measures the same again.
    api.report(&leased, 3, &[("policy/kl", 0.9), ("reward/mean", f64::NAN)]).await;
    api.store().complete(&leased.token, "all steps are done").await.unwrap();
    until("the last alert", async || receiver.got.lock().len() == 3).await;
    let told = receiver.messages();
    let about = |rule: &str| told.iter().find(|message| message["rule"] == rule).unwrap();
    assert_eq!(about("nan")["message"], "`reward/mean` is nan at step 2");
    assert_eq!(about("finished")["message"], "all steps are done");
    let expected = json!({"version": 1, "rule": "kl_above", "severity": "warning", "step": 2, "key": "policy/kl",
        "value": 0.75, "limit": 0.5, "project": "default", "run_id": leased.token.run_id, "job_id": job["id"]});
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&about("kl_above")[key], value, "{key}");
    }
    for (path, headers, body) in receiver.got.lock().iter() {
        assert_eq!(path, "/hook/its-secret");
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(headers["x-vgpo-timestamp"].as_bytes());
        mac.update(b".");
        mac.update(body.as_bytes());
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        assert_eq!(headers["x-vgpo-signature"], signature.as_str());
        let message: Value = serde_json::from_str(body).unwrap();
        assert_eq!(headers["x-vgpo-alert"], message["id"].as_str().unwrap());
    }
    let run = &leased.token.run_id;
    let all = alerts_of(&api, run).await;
    assert_eq!(all.iter().map(|alert| alert["delivery"].as_str().unwrap()).collect::<Vec<_>>(), ["sent"; 3]);
    let stream = api.stream(&format!("/v1/jobs/{}/events/stream?types=alert", leased.job.id), None).await;
    let told: Vec<Value> = stream.rest().await.iter().map(|frame| frame.data["data"]["rule"].clone()).collect();
    assert_eq!(told, [json!("nan"), json!("kl_above"), json!("finished"), Value::Null], "the last is the end");
}

#[tokio::test]
async fn no_answer_holds_the_secret_of_a_webhook() {
    let receiver = Receiver::start(&[Reply::Status(500)]).await;
    let api = watching(&receiver.host()).await;
    let (job, leased) = claimed(&api, json!({"webhook": receiver.url()})).await;
    assert_eq!(job["spec"]["alerts"]["webhook"], format!("http://127.0.0.1:{}/…", receiver.port));
    api.report(&leased, 1, &[("reward/mean", f64::INFINITY)]).await;
    let run = &leased.token.run_id;
    until("a try", async || alerts_of(&api, run).await.iter().any(|alert| !alert["problem"].is_null())).await;
    let request = json!({"model": "tiny", "dataset": "digits", "data": {"max_prompt_tokens": 4000},
        "alerts": {"webhook": receiver.url()}});
    let plan = api.post("/v1/jobs?dry_run=true", request.clone()).await;
    assert_eq!(plan.status, 200, "{}", plan.body);
    assert_eq!(plan.body["spec"]["alerts"]["webhook"], job["spec"]["alerts"]["webhook"]);
    let sweep = api.post("/v1/sweeps", json!({"job": request, "grid": {"seed": [1, 2]}})).await;
    assert_eq!(sweep.status, 201, "{}", sweep.body);
    let mut answers = vec![job, plan.body, sweep.body.clone()];
    let sweep_id = sweep.body["id"].as_str().unwrap();
    for path in [
        format!("/v1/jobs/{}", leased.job.id),
        format!("/v1/jobs/{}/events", leased.job.id),
        format!("/v1/runs/{run}"),
        format!("/v1/runs/{run}/alerts"),
        format!("/v1/sweeps/{sweep_id}"),
        "/v1/jobs".to_owned(),
        "/v1/sweeps".to_owned(),
    ] {
        answers.push(api.get(&path).await.body);
    }
    for answer in answers {
        assert!(!answer.to_string().contains("its-secret"), "{answer}");
    }
}

#[tokio::test]
async fn an_address_that_may_not_be_called_is_refused() {
    let api = Api::with(&[("webhook_hosts", "hooks.example")]).await;
    let ask = async |url: &str| {
        let job = json!({"model": "tiny", "dataset": "digits", "data": {"max_prompt_tokens": 4000},
            "alerts": {"webhook": url}});
        api.post("/v1/jobs?dry_run=true", job).await
    };
    assert_eq!(ask("https://hooks.example/a").await.status, 200);
    for (url, word) in [
        ("https://elsewhere.example/secret", "webhook_hosts"),
        ("ftp://hooks.example/secret", "http://"),
        ("https://me:secret@hooks.example/", "user name"),
        ("https://hooks.example/…", "whole address"),
        ("secret", "http://"),
    ] {
        let answer = ask(url).await;
        let error = &answer.problem(422, "invalid_request")["errors"][0];
        assert_eq!(error["pointer"], "/alerts/webhook", "{error}");
        assert!(error["detail"].as_str().unwrap().contains(word), "{error}");
    }
    let sweep =
        json!({"job": {"model": "tiny", "dataset": "digits"}, "grid": {"alerts.webhook": ["https://hooks.example/a"]}});
    let refused = api.post("/v1/sweeps", sweep).await;
    assert!(refused.problem(422, "invalid_request").to_string().contains("cannot be varied"));
}

#[tokio::test]
async fn an_alert_is_sent_again_until_it_is_taken() {
    let receiver = Receiver::start(&[Reply::Status(500), Reply::Status(204)]).await;
    let api = watching(&receiver.host()).await;
    let (_, leased) = claimed(&api, json!({"webhook": receiver.url()})).await;
    api.store().complete(&leased.token, "done").await.unwrap();
    until("a second try", async || receiver.got.lock().len() == 2).await;
    let told = receiver.messages();
    assert_eq!(told[0], told[1], "a repeat has the same id and body");
    let run = &leased.token.run_id;
    until("it is sent", async || alerts_of(&api, run).await[0]["delivery"] == "sent").await;
    assert_eq!(alerts_of(&api, run).await[0]["tries"], 2);
}

#[tokio::test]
async fn a_webhook_that_hangs_or_is_down_costs_repeats_only() {
    let receiver = Receiver::start(&[Reply::Never]).await;
    let down = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let good = Receiver::start(&[Reply::Status(200)]).await;
    let api = watching(&format!("{},{down},{}", receiver.host(), good.host())).await;
    let mut runs = Vec::new();
    for url in [receiver.url(), format!("http://{down}/x"), good.url()] {
        let (_, leased) = claimed(&api, json!({"webhook": url})).await;
        api.store().complete(&leased.token, "done").await.unwrap();
        runs.push(leased.token.run_id);
    }
    until("the alert of another job", async || good.got.lock().len() == 1).await;
    for (run, problem) in [(&runs[0], "within 10 seconds"), (&runs[1], "refused")] {
        let found = async || alerts_of(&api, run).await[0]["problem"].as_str().unwrap_or_default().to_owned();
        until("a problem", async || !found().await.is_empty()).await;
        assert!(found().await.contains(problem), "{}", found().await);
        let alert = alerts_of(&api, run).await.remove(0);
        assert_eq!(alert["delivery"], "pending");
        assert!(!alert["next_try_at"].is_null());
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_refusal_is_the_end() {
    let redirect = Receiver::start(&[Reply::Redirect]).await;
    let gone = Receiver::start(&[Reply::Status(404)]).await;
    let api = watching(&format!("{},{}", redirect.host(), gone.host())).await;
    for (receiver, status) in [(&redirect, "307"), (&gone, "404 Not Found: no_service")] {
        let (job, leased) = claimed(&api, json!({"webhook": receiver.url()})).await;
        api.store().complete(&leased.token, "done").await.unwrap();
        let run = &leased.token.run_id;
        until("it is given up", async || {
            alerts_of(&api, run).await.first().is_some_and(|alert| alert["delivery"] == "failed")
        })
        .await;
        let problem = alerts_of(&api, run).await[0]["problem"].as_str().unwrap().to_owned();
        assert!(problem.contains(status) && problem.contains("tried 1 times"), "{problem}");
        let path = format!("/v1/jobs/{}/events?types=warning.alert_undelivered", job["id"].as_str().unwrap());
        assert_eq!(api.get(&path).await.body["data"].as_array().unwrap().len(), 1);
        assert_eq!(receiver.got.lock().len(), 1);
    }
}

#[tokio::test]
async fn what_ended_while_no_server_ran_is_told_by_the_next_one() {
    let receiver = Receiver::start(&[Reply::Status(200)]).await;
    let api = Api::with(&[("webhook_hosts", &receiver.host())]).await;
    let watching = watch(&api);
    let (_, first) = claimed(&api, json!({"webhook": receiver.url()})).await;
    api.store().complete(&first.token, "done").await.unwrap();
    until("the first alert", async || receiver.got.lock().len() == 1).await;
    let (_, leased) = claimed(&api, json!({"webhook": receiver.url()})).await;
    // The server stops; its workers elsewhere go on.
    let store = Arc::clone(api.store());
    let next = vgpo::service::Service::new(
        Arc::clone(&store),
        Arc::new(vgpo::clock::SystemClock),
        api.service.settings().clone(),
    );
    api.service.stopping().cancel();
    watching.await.unwrap();
    let failure = Failure { message: "step 7: the gradient is not finite".to_owned(), retry_after: None };
    store.fail(&leased.token, &failure).await.unwrap();
    tokio::spawn(async move { next.runs().keep_alerting().await });
    until("the second alert", async || receiver.got.lock().len() == 2).await;
    assert_eq!(receiver.rules(), ["finished", "failed"]);
    assert!(receiver.messages()[1]["message"].as_str().unwrap().contains("step 7"));
}

#[tokio::test]
async fn slack_gets_a_text() {
    let receiver = Receiver::start(&[Reply::Status(200)]).await;
    let api = watching(&receiver.host()).await;
    let alerts = json!({"webhook": receiver.url(), "format": "slack"});
    let job = api.submit(json!({"alerts": alerts, "name": "a <b> & c"})).await;
    let leased = api.claim().await;
    api.store().complete(&leased.token, "done").await.unwrap();
    until("the alert", async || receiver.got.lock().len() == 1).await;
    let text = format!("*finished* a &lt;b&gt; &amp; c ({}): done", job["run_id"].as_str().unwrap());
    assert_eq!(receiver.messages()[0], json!({ "text": text }));
}

#[tokio::test]
async fn rewards_are_remembered_over_steps_restarts_and_rewinds() {
    let api = Api::start().await;
    let rules = json!({"rules": {"reward_constant": 4, "reward_collapse": 0.5, "stalled_seconds": 1}});
    let (_, leased) = claimed(&api, rules).await;
    for step in 1..=10 {
        api.report(&leased, step, &[("reward/mean", if step % 2 == 0 { 0.8 } else { 0.6 })]).await;
    }
    watch(&api);
    until("the position is noted", async || api.store().events_watched().await.unwrap().is_some()).await;
    let run = leased.token.run_id.as_str();
    // The best ten steps were measured before this server watched.
    for step in 11..=14 {
        api.report(&leased, step, &[("reward/mean", 0.5)]).await;
    }
    until("a constant reward", async || alerts_of(&api, run).await.len() == 1).await;
    assert_eq!(alerts_of(&api, run).await[0]["rule"], "reward_constant");
    api.store().rewind(&leased.token, Some(10)).await.unwrap();
    for step in 11..=20 {
        api.report(&leased, step, &[("reward/mean", 0.01 * step as f64)]).await;
    }
    until("a collapse", async || alerts_of(&api, run).await.len() == 2).await;
    let collapse = alerts_of(&api, run).await.remove(0);
    assert_eq!((&collapse["rule"], &collapse["delivery"]), (&json!("reward_collapse"), &json!("none")));
    assert!(collapse["message"].as_str().unwrap().contains("from 0.700"), "{collapse}");
    until("silence", async || alerts_of(&api, run).await[0]["rule"] == "stalled").await;
    assert_eq!(alerts_of(&api, run).await[0]["step"], 20);
    api.store().complete(&leased.token, "done").await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(alerts_of(&api, run).await.len(), 3, "without a webhook, the job's state tells its end");
}
