//! Servers in this process over one database: what is forwarded, to whom, and what comes back.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use vgpo::domain::engine::{EngineBeat, NewEngine};
use vgpo::serving::Engine;

use crate::http::support::{Answer, Api, Frame, Stream};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A database that servers share.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn server(&self, roles: &str, engine: Option<Arc<dyn Engine>>) -> Api {
        let database = format!("sqlite:{}", self.0.path().join("vgpo.db").display());
        let settings = [("roles", roles), ("engine_secret", SECRET), ("database_url", &database)];
        Api::changed(&settings, |service| match engine {
            Some(engine) => service.with_engine(engine),
            None => service,
        })
        .await
    }

    async fn api(&self) -> Api {
        self.server("api", None).await
    }
}

/// An engine with its entry in the database.
struct Registered {
    api: Api,
    entry: JoinHandle<()>,
}

impl Registered {
    async fn start(place: &Place, engine: Option<Arc<dyn Engine>>) -> Self {
        let api = place.server("engine", engine).await;
        let entry = tokio::spawn({
            let (service, url) = (api.service.clone(), api.url.clone());
            async move { service.inference().keep_registered(url, "here".to_owned()).await }
        });
        let registered = Self { api, entry };
        registered.wait_for_entry().await;
        registered
    }

    async fn wait_for_entry(&self) {
        until("the engine's entry", async || {
            self.api.service.inference().engines().await.unwrap().iter().any(|engine| engine.address == self.api.url)
        })
        .await;
    }

    /// What is asked of the engine itself.
    async fn ask(&self, path: &str, secret: &str, request: &Value) -> Answer {
        let request = self.api.request("POST", path).bearer_auth(secret).json(request);
        Answer::of(request.send().await.unwrap()).await
    }

    async fn leave(self) {
        self.api.service.stopping().cancel();
        self.entry.await.unwrap();
    }
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..1200 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("waited too long for {what}");
}

fn question(more: Value) -> Value {
    let mut request = json!({"model": "tiny", "prompt": "What is 2 + 3?", "max_new_tokens": 5, "seed": 3});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// An answer without what differs between two answers to the same request.
fn lasting(mut answer: Value) -> Value {
    for key in ["id", "timings", "created"] {
        answer.as_object_mut().unwrap().remove(key);
    }
    answer
}

async fn frames(api: &Api, request: Value) -> Vec<Frame> {
    let response = api.request("POST", "/generate").json(&request).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    Stream::of(response).rest().await
}

#[tokio::test]
async fn answers_are_those_of_the_engine() {
    let place = Place::new();
    let (whole, api) = (place.server("api,engine", None).await, place.api().await);
    let engine = Registered::start(&place, None).await;
    let picture = std::fs::read(crate::http::support::tiny_model().parent().unwrap().join("images/a_56x84.png"));
    let picture = crate::serving::data_url(&picture.unwrap());

    let generation = question(json!({"images": [picture], "temperature": 1.0, "n": 2, "logprobs": 1,
        "attention": {"maps": "tokens", "format": "values"}}));
    let score = json!({"model": "tiny", "prompt": "What?", "images": [picture], "responses": ["red", "5"],
        "rewards": [1, 0], "ablate": "image"});
    let chat = json!({"model": "tiny", "messages": [{"role": "user", "content": "2 + 3?"}], "seed": 5,
        "max_completion_tokens": 5, "logprobs": true});
    for (path, request) in [("/generate", &generation), ("/v1/score", &score), ("/v1/chat/completions", &chat)] {
        let (here, there) = (whole.post(path, request.clone()).await, api.post(path, request.clone()).await);
        assert_eq!((here.status, there.status), (200, 200), "{path}: {} {}", here.body, there.body);
        assert_eq!(lasting(here.body), lasting(there.body), "{path}");
    }
    let direct = engine.ask("/engine/generate", SECRET, &generation).await;
    let lines: Vec<Value> =
        direct.body.as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]), (2, &json!("accepted")));
    assert_eq!(lasting(lines[1]["done"].clone()), lasting(api.post("/generate", generation).await.body));

    let streaming = question(json!({"stream": true}));
    let (here, there) = (frames(&whole, streaming.clone()).await, frames(&api, streaming).await);
    let told = |frames: &[Frame]| -> Vec<(String, Value)> {
        frames.iter().map(|frame| (frame.event.clone(), lasting(frame.data.clone()))).collect()
    };
    assert_eq!(told(&here), told(&there));
    assert!(there.len() > 1 && there.last().unwrap().event == "done");
    assert!(api.service.inference().engines().await.unwrap()[0].address == engine.api.url);
}

#[tokio::test]
async fn without_an_engine_everything_says_so() {
    let place = Place::new();
    let api = place.api().await;
    let refused = api.post("/generate", question(json!({}))).await;
    let problem = refused.problem(503, "no_engine");
    assert!(problem["detail"].as_str().unwrap().contains("--roles engine"), "{problem}");
    assert_eq!(refused.header("retry-after"), "5");
    api.post("/v1/generate", question(json!({"stream": true}))).await.problem(503, "no_engine");
    api.post("/v1/score", json!({"model": "tiny", "prompt": "x", "responses": ["y"]})).await.problem(503, "no_engine");
    let chat = json!({"model": "tiny", "messages": [{"role": "user", "content": "x"}]});
    let chat = api.post("/v1/chat/completions", chat).await;
    assert_eq!((chat.status, &chat.body["error"]["code"]), (503, &json!("no_engine")));
    // What is wrong without an engine is told all the same.
    api.post("/generate", question(json!({"model": "tinny"}))).await.problem(422, "invalid_request");

    let engine = Registered::start(&place, None).await;
    assert_eq!(api.post("/generate", question(json!({}))).await.status, 200);
    let bad = api.post("/generate", question(json!({"max_new_tokens": 5000, "stream": true}))).await;
    assert_eq!(bad.problem(422, "invalid_request")["errors"][0]["pointer"], "/max_new_tokens");
    engine.leave().await;
    api.post("/generate", question(json!({}))).await.problem(503, "no_engine");
}

#[tokio::test]
async fn an_engine_is_closed_to_everybody_else() {
    let place = Place::new();
    let (api, engine) = (place.api().await, Registered::start(&place, None).await);
    for path in ["/engine/generate", "/engine/score"] {
        for secret in ["", "vgpo_0123456789ab_cd", &SECRET[1..], &format!("{SECRET}0")] {
            engine.ask(path, secret, &question(json!({}))).await.problem(401, "unauthorized");
        }
        engine.api.post(path, question(json!({}))).await.problem(401, "unauthorized");
        api.post(path, question(json!({}))).await.problem(404, "unknown_route");
    }
    for path in ["/generate", "/v1/chat/completions", "/v1/jobs"] {
        let answer = engine.api.post(path, json!({})).await;
        assert_eq!(answer.status, 404, "the API is elsewhere: {}", answer.body);
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(engine.api.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_wrong_secret_is_no_engine() {
    let place = Place::new();
    let engine = Registered::start(&place, None).await;
    let database = format!("sqlite:{}", place.0.path().join("vgpo.db").display());
    let other = "f".repeat(32);
    let api = Api::with(&[("roles", "api"), ("engine_secret", &other), ("database_url", &database)]).await;
    let refused = api.post("/generate", question(json!({}))).await;
    assert!(refused.problem(503, "no_engine")["detail"].as_str().unwrap().contains("none of the 1"));
    engine.leave().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_the_engine_elsewhere() {
    let place = Place::new();
    let (engine, watch) = crate::serving::watched_engine(4);
    let (api, _registered) = (place.api().await, Registered::start(&place, Some(engine.clone())).await);
    for stream in [false, true] {
        watch.close();
        let seen = watch.rows().len();
        let long = json!({"max_new_tokens": 3000, "temperature": 1.0, "seed": 2, "n": 8, "stream": stream});
        let request = api.request("POST", "/generate").json(&question(long)).send();
        let request = tokio::spawn(async move {
            let mut response = request.await.unwrap();
            while response.chunk().await.unwrap().is_some() {}
        });
        watch.pass(1).await;
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        // Two closed connections have to be noticed.
        tokio::time::sleep(Duration::from_millis(500)).await;
        watch.open();
        until("the engine to be free", async || engine.usage().models.iter().all(|model| model.rows == 0)).await;
        assert_eq!(api.post("/generate", question(json!({}))).await.status, 200);
        assert!(watch.rows().len() - seen < 20, "stream {stream}: {}", watch.rows().len() - seen);
    }
}

#[tokio::test]
async fn a_full_engine_leaves_requests_to_the_next() {
    let place = Place::new();
    let (full, watch) = crate::serving::watched_engine(1);
    let (api, first) = (place.api().await, Registered::start(&place, Some(full.clone())).await);
    assert_eq!(api.post("/generate", question(json!({}))).await.status, 200, "it has the model in memory now");
    watch.close();
    let send = || {
        let request = api.request("POST", "/generate").json(&question(json!({})));
        tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
    };
    let running = send();
    watch.pass(1).await;
    let waiting = send();
    crate::serving::queued(full.as_ref(), 1).await;
    let refused = api.post("/generate", question(json!({}))).await;
    refused.problem(429, "overloaded");
    let second = Registered::start(&place, None).await;
    assert_eq!(api.post("/generate", question(json!({}))).await.status, 200, "the second engine takes it");
    watch.open();
    assert_eq!((running.await.unwrap(), waiting.await.unwrap()), (200, 200));
    first.leave().await;
    second.leave().await;
}

/// Enters an engine that says `lines` to whatever it is asked, and then breaks off. It claims to hold the model.
async fn enter_broken_engine(api: &Api, lines: String) {
    let answer = move || std::future::ready(lines.clone());
    let router = axum::Router::new().route("/engine/generate", axum::routing::post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (id, text) = ("eng_broken".to_owned(), String::new);
    let engine = NewEngine { id, address, version: text(), host: text(), device: text() };
    api.store().register_engine(engine).await.unwrap();
    let beat = EngineBeat { models: vec!["tiny".to_owned()], load: 0 };
    api.store().engine_heartbeat("eng_broken", &beat).await.unwrap();
}

#[tokio::test]
async fn an_engine_that_breaks_off_before_its_first_token_leaves_the_request_to_the_next() {
    let place = Place::new();
    let (api, engine) = (place.api().await, Registered::start(&place, None).await);
    for (silent, lines) in [("", ""), ("accepted", "\n\"accepted\"\n")] {
        enter_broken_engine(&api, lines.to_owned()).await;
        let frames = frames(&api, question(json!({"stream": true}))).await;
        assert_eq!(frames.last().unwrap().event, "done", "{silent}: {frames:?}");
        assert!(frames.len() > 1);
    }
    engine.leave().await;
}

#[tokio::test]
async fn an_engine_that_breaks_off_later_is_an_error_and_no_second_beginning() {
    let place = Place::new();
    let (api, engine) = (place.api().await, Registered::start(&place, None).await);
    let streaming = question(json!({"stream": true}));
    let token = frames(&api, streaming.clone()).await.remove(0).data;
    enter_broken_engine(&api, format!("\"accepted\"\n{}\n", json!({"token": token}))).await;
    let frames = frames(&api, streaming).await;
    let told: Vec<&str> = frames.iter().map(|frame| frame.event.as_str()).collect();
    assert_eq!((told, &frames[1].data["code"]), (vec!["token", "error"], &json!("unavailable")));
    engine.leave().await;
}

#[tokio::test]
async fn what_an_engine_elsewhere_holds_is_not_deleted() {
    let place = Place::new();
    let (api, engine) = (place.api().await, Registered::start(&place, None).await);
    assert_eq!(api.post("/generate", question(json!({}))).await.status, 200);
    let listed = async || api.get("/v1/engines").await.body["data"][0].clone();
    until("the engine to tell what it holds", async || listed().await["models"] == json!(["tiny"])).await;
    let told = listed().await;
    assert_eq!((&told["address"], &told["device"]), (&json!(engine.api.url), &json!("cpu")));
}
