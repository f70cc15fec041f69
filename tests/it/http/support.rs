//! A server in this process, and a client that reads what it says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use vgpo::clock::{Clock, SystemClock};
use vgpo::config::app::{AppSettings, Sources};
use vgpo::domain::job::LeasedJob;
use vgpo::domain::metric::{StepMetrics, TimedMetrics};
use vgpo::domain::model::NewModel;
use vgpo::domain::spec::DeviceClass;
use vgpo::domain::worker::NewWorker;
use vgpo::http::{AppState, Connections, router};
use vgpo::service::Service;
use vgpo::serving::Engine;
use vgpo::store::{self, ClaimRequest, Database};

pub struct Api {
    pub service: Service,
    pub url: String,
    pub http: reqwest::Client,
    _folder: tempfile::TempDir,
}

/// An answer, taken apart.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        assert!(headers.contains_key("x-request-id"), "every answer has a request id");
        Self { status, headers, body }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body of a problem, after the checks that hold for every problem.
    pub fn problem(&self, status: u16, code: &str) -> &Value {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], format!("/problems/{code}"));
        assert_eq!(self.body["request_id"], self.header("x-request-id"));
        &self.body
    }
}

pub fn tiny_model() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/qwen2_5_vl_tiny/checkpoint")
}

impl Api {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A server with settings of its own; it has the model `tiny` and the built-in data sets.
    pub async fn with(settings: &[(&'static str, &str)]) -> Self {
        Self::changed(settings, |service| service).await
    }

    /// A server with an engine of its own.
    pub async fn with_engine(engine: Arc<dyn Engine>) -> Self {
        Self::changed(&[], |service| service.with_engine(engine)).await
    }

    /// A server that waits this long for the head of a request.
    pub async fn with_head(head: Duration) -> Self {
        Self::served(&[], |service| service, |connections| Connections { head, ..connections }).await
    }

    /// A server with a service of its own.
    pub async fn changed(settings: &[(&'static str, &str)], change: impl FnOnce(Service) -> Service) -> Self {
        Self::served(settings, change, |connections| connections).await
    }

    async fn served(
        settings: &[(&'static str, &str)],
        change: impl FnOnce(Service) -> Service,
        connections: impl FnOnce(Connections) -> Connections,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut flags = vec![("data_dir", folder.path().display().to_string()), ("port", "0".to_owned())];
        flags.extend(settings.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let settings = AppSettings::load(&Sources { flags: &flags, environment: &|_| None, file: None }).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = store::open(&settings.database_url, clock.clone()).await.unwrap();
        let connections = connections(Connections::at_most(settings.limits.connections));
        let service = change(Service::new(store, clock, settings));
        service.admin().register_builtins().await.unwrap();
        service.database().upsert_model(model("tiny", json!({"steps": 7}))).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = router(AppState::new(service.clone()));
        let stopping = service.stopping().clone();
        tokio::spawn(vgpo::http::serve(listener, router, connections, stopping));
        Self { service, url, http: reqwest::Client::new(), _folder: folder }
    }

    pub fn store(&self) -> &Arc<dyn Database> {
        self.service.database()
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method.parse().unwrap(), format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request("GET", path).send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request("POST", path).json(&body).send().await.unwrap()).await
    }

    /// Submits a small job and returns it.
    pub async fn submit(&self, change: Value) -> Value {
        let mut job = json!({"model": "tiny", "dataset": "digits", "data": {"max_prompt_tokens": 4000}});
        job.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = self.post("/v1/jobs", job).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body
    }

    /// A worker takes the next job.
    pub async fn claim(&self) -> LeasedJob {
        let request = ClaimRequest {
            worker_id: "wrk_test".into(),
            device: DeviceClass::Cpu,
            ranks: 1,
            ttl: Duration::from_secs(60),
        };
        self.store().claim(&request).await.unwrap().expect("a job waits")
    }

    /// The worker reports a step.
    pub async fn report(&self, leased: &LeasedJob, step: u64, values: &[(&str, f64)]) {
        let values: BTreeMap<_, _> = values.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        let metrics = StepMetrics { step, samples: step * 8, tokens: step * 80, values };
        let timed = TimedMetrics { time: SystemClock.now(), metrics };
        self.store().append_metrics(&leased.token, &[timed]).await.unwrap();
    }

    /// Opens a live stream.
    pub async fn stream(&self, path: &str, last_event_id: Option<&str>) -> Stream {
        let mut request = self.request("GET", path).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-cache");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Stream { response, text: String::new() }
    }
}

/// A live stream that is being read.
pub struct Stream {
    response: reqwest::Response,
    text: String,
}

#[derive(Debug, Clone)]
pub struct Frame {
    pub id: String,
    pub event: String,
    pub data: Value,
}

impl Stream {
    /// Reads a response's events.
    pub fn of(response: reqwest::Response) -> Self {
        Self { response, text: String::new() }
    }

    /// The next frame; none when the stream has ended. Fails when nothing comes for ten seconds.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let line = frame.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    line.unwrap_or_default().to_owned()
                };
                if frame.lines().any(|line| line.starts_with("data")) {
                    let data = serde_json::from_str(&field("data")).unwrap();
                    return Some(Frame { id: field("id"), event: field("event"), data });
                }
                continue;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(10), self.response.chunk()).await;
            let chunk = chunk.expect("the stream says something").unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Every frame up to the end of the stream.
    pub async fn rest(mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}

pub fn model(name: &str, recommended: Value) -> NewModel {
    NewModel {
        name: name.to_owned(),
        family: "qwen2_5_vl".to_owned(),
        parameters: 100_000,
        path: tiny_model().display().to_string(),
        card: json!({}),
        recommended,
        source: "test".to_owned(),
        project: "default".to_owned(),
        created_by: None,
    }
}

/// A worker that can start two ranks.
pub fn worker(id: &str) -> NewWorker {
    NewWorker {
        id: id.to_owned(),
        role: "trainer".to_owned(),
        version: "0.1.0".to_owned(),
        host: "host".to_owned(),
        pid: 1,
        device_class: DeviceClass::Cpu,
        device: "cpu".to_owned(),
        memory_bytes: None,
        ranks: 2,
    }
}
