//! A server that asks for keys, with two projects and one thing of every kind in the first.

use serde_json::{Value, json};
use vgpo::domain::access::Role;
use vgpo::domain::checkpoint::NewCheckpoint;
use vgpo::domain::sample::SampleGroup;
use vgpo::service::access::keys::KeyRequest;

use crate::http::support::{Answer, Api, model, tiny_model};

/// The project with everything in it, and another one.
pub const OWN: &str = "alpha";
pub const OTHER: &str = "beta";

pub struct Place {
    pub api: Api,
}

/// Ids of one thing of every kind, all of project `alpha`.
pub struct Things {
    pub job: String,
    pub run: String,
    pub sample: String,
    pub checkpoint: String,
    pub dataset: String,
    pub upload: String,
    pub model: String,
    pub sweep: String,
}

impl Things {
    pub fn all(&self) -> [&str; 8] {
        let Self { job, run, sample, checkpoint, dataset, upload, model, sweep } = self;
        [job, run, sample, checkpoint, dataset, upload, model, sweep]
    }
}

impl Place {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(settings: &[(&'static str, &str)]) -> Self {
        let mut all = vec![("auth", "required")];
        all.extend_from_slice(settings);
        let api = Api::with(&all).await;
        // What everybody may start from.
        let mut shared = model("tiny", json!({"steps": 7}));
        shared.project = "shared".to_owned();
        api.store().upsert_model(shared).await.unwrap();
        Self { api }
    }

    /// A new key's secret.
    pub async fn key(&self, role: Role, project: &str) -> String {
        let request = KeyRequest { name: None, role, project: Some(project.to_owned()) };
        self.api.service.access().create_key(&request).await.unwrap().secret.unwrap()
    }

    pub async fn send(&self, key: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.api.request(method, path).bearer_auth(key).header("accept", "application/json");
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    pub async fn get(&self, key: &str, path: &str) -> Answer {
        self.send(key, "GET", path, None).await
    }

    /// The answer of a call that must succeed.
    pub async fn done(&self, key: &str, method: &str, path: &str, body: Value) -> Value {
        let answer = self.send(key, method, path, Some(body)).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
        answer.body
    }

    /// A user of `alpha` fills the project.
    pub async fn fill(&self, key: &str) -> Things {
        let text = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
        let job = json!({"model": "tiny", "dataset": "digits", "data": {"max_prompt_tokens": 4000}});
        let submitted = self.done(key, "POST", "/v1/jobs", job.clone()).await;
        let (job_id, run) = (text(&submitted, "id"), text(&submitted, "run_id"));
        let leased = self.api.claim().await;
        assert_eq!(leased.job.id, job_id);
        self.api.report(&leased, 1, &[("reward/mean", 0.5)]).await;
        let group = SampleGroup {
            row: 3,
            eval: false,
            prompt: "a secret prompt".to_owned(),
            answer: "7".to_owned(),
            images: Vec::new(),
            responses: Vec::new(),
        };
        self.api.store().append_samples(&leased.token, 1, &[group]).await.unwrap();
        let checkpoint = self.checkpoint(&leased.token, &run).await;
        let samples = self.done(key, "GET", &format!("/v1/runs/{run}/samples"), json!(null)).await;
        let sweep = self.done(key, "POST", "/v1/sweeps", json!({"job": job, "grid": {"seed": [1, 2]}})).await;
        let parts = json!({"name": "alpha-upload", "source": {"upload": "parts"}});
        let upload = self.done(key, "POST", "/v1/datasets", parts).await;
        let mut own = model("alpha-model", json!({}));
        own.project = OWN.to_owned();
        let own = self.api.store().upsert_model(own).await.unwrap();
        Things {
            job: job_id,
            run,
            sample: text(&samples["data"][0], "id"),
            checkpoint,
            dataset: self.dataset(key).await,
            upload: text(&upload, "id"),
            model: own.name,
            sweep: text(&sweep, "id"),
        }
    }

    async fn checkpoint(&self, token: &vgpo::domain::job::LeaseToken, run: &str) -> String {
        let artifacts = vgpo::artifacts::open(&self.api.service.settings().artifacts_url).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("model");
        std::fs::create_dir_all(&dir).unwrap();
        for entry in std::fs::read_dir(tiny_model()).unwrap().map(Result::unwrap) {
            std::fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
        }
        let id = "ckpt_alpha".to_owned();
        let key = format!("checkpoints/{run}/{id}");
        let manifest = artifacts.publish_dir(&dir, &key).unwrap();
        let new = NewCheckpoint { id: id.clone(), step: 1, key, score: None, accuracy: None, last: false, manifest };
        self.api.store().add_checkpoint(token, new).await.unwrap();
        id
    }

    async fn dataset(&self, key: &str) -> String {
        let row = "{\"problem\": \"1 + 1?\", \"answer\": \"2\"}\n";
        let request = self.api.request("POST", "/v1/datasets?name=alpha-data").bearer_auth(key);
        let request = request.header("content-type", "application/x-ndjson").body(row.repeat(3));
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let id = answer.body["id"].as_str().unwrap().to_owned();
        for _ in 0..400 {
            let state = self.get(key, &format!("/v1/datasets/{id}")).await.body;
            if state["state"] == "ready" {
                return id;
            }
            assert_eq!(state["state"], "validating", "{state}");
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        panic!("the data set is never ready");
    }
}
