//! What every test of the store needs: an empty database, a clock that obeys, small jobs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use serde_json::json;
use vgpo::clock::FakeClock;
use vgpo::domain::checkpoint::{Manifest, NewCheckpoint};
use vgpo::domain::dataset::{DatasetState, NewDataset};
use vgpo::domain::event::{Event, EventFilter, JobChanged, kind};
use vgpo::domain::job::{LeasedJob, NewJob};
use vgpo::domain::metric::{StepMetrics, TimedMetrics};
use vgpo::domain::sample::SampleGroup;
use vgpo::domain::spec::{DeviceClass, JobSpec};
use vgpo::store::{self, ClaimRequest, Database};

use super::postgres::{self, Cluster};

pub const TTL: Duration = Duration::from_secs(30);

/// The databases that the suite runs on.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Sqlite,
    Postgres,
}

/// An empty database, with the clock it runs on.
pub struct Db {
    pub store: Arc<dyn Database>,
    pub clock: Arc<FakeClock>,
    pub url: String,
    home: Home,
}

enum Home {
    Folder(tempfile::TempDir),
    Cluster(&'static Cluster, String),
    #[allow(dead_code, reason = "for measurements")]
    Elsewhere,
}

impl Kind {
    /// An empty database of this kind; none when its server is not installed.
    pub async fn make(self) -> Option<Db> {
        let (url, home) = match self {
            Self::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                (format!("sqlite:{}", folder.path().join("data/vgpo.db").display()), Home::Folder(folder))
            }
            Self::Postgres => {
                let cluster = postgres::shared()?;
                let name = cluster.create().await;
                (cluster.url(&name), Home::Cluster(cluster, name))
            }
        };
        let clock = clock();
        let store = store::open(&url, clock.clone()).await.unwrap();
        Some(Db { store, clock, url, home })
    }
}

impl Db {
    pub fn sqlite_path(&self) -> PathBuf {
        match &self.home {
            Home::Folder(folder) => folder.path().join("data/vgpo.db"),
            Home::Cluster(..) | Home::Elsewhere => panic!("not SQLite"),
        }
    }

    /// The cluster and the name in it.
    pub fn postgres(&self) -> (&'static Cluster, &str) {
        match &self.home {
            Home::Cluster(cluster, name) => (cluster, name),
            Home::Folder(_) | Home::Elsewhere => panic!("not a database of the tests' cluster"),
        }
    }

    /// The same database, as a process of another host with a clock of its own has opened it.
    pub async fn opened_by(&self, clock: Arc<FakeClock>) -> Arc<dyn Database> {
        store::open(&self.url, clock).await.unwrap()
    }

    /// What kind of database it is.
    pub fn kind(&self) -> Kind {
        if matches!(self.home, Home::Folder(_)) { Kind::Sqlite } else { Kind::Postgres }
    }

    /// Runs a statement behind the store's back.
    pub async fn execute(&self, sql: &'static str) {
        use sqlx::Connection as _;
        if let Home::Cluster(cluster, name) = &self.home {
            return cluster.execute(name, sql).await;
        }
        let path = self.sqlite_path();
        let mut connection = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }

    /// The test has passed: nothing of the database stays.
    pub async fn close(self) {
        self.store.close().await;
        if let Home::Cluster(cluster, name) = self.home {
            cluster.drop(&name).await;
        }
    }
}

pub fn clock() -> Arc<FakeClock> {
    Arc::new(FakeClock::new(DateTime::from_timestamp(1_800_000_000, 0).unwrap()))
}

/// A database that exists already, for measurements.
#[allow(dead_code)]
pub async fn at(url: &str) -> Db {
    let clock = clock();
    let store = store::open(url, clock.clone()).await.unwrap();
    Db { store, clock, url: url.to_owned(), home: Home::Elsewhere }
}

/// An empty SQLite file.
pub async fn sqlite() -> Db {
    Kind::Sqlite.make().await.unwrap()
}

pub fn spec() -> JobSpec {
    serde_json::from_value(json!({
        "name": "digits-grpo", "model": "starter", "dataset": "digits", "eval_dataset": null, "seed": 3,
        "project": "default", "tags": {"team": "vision"},
        "method": {"type": "grpo", "clip_low": 0.2, "clip_high": 0.28, "dual_clip": 3.0, "loss_average": "token",
                   "kl_coef": 0.0, "estimator": "grpo"},
        "data": {"columns": {"prompt": "problem", "answer": "answer", "images": "images"}, "system": null,
                 "prompt_template": "{{ prompt }}", "min_pixels": null, "max_pixels": null,
                 "max_prompt_tokens": 2048, "overlong": "error", "shuffle": true},
        "reward": {"type": "math"},
        "rollout": {"group_size": 8, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 64, "filter": null},
        "batch": {"prompts_per_step": 32, "minibatch_prompts": 32, "microbatch_tokens": 4096, "epochs_per_batch": 1},
        "optimizer": {"learning_rate": 5e-5, "betas": [0.9, 0.95], "weight_decay": 0.01, "warmup_steps": 5,
                      "schedule": "constant", "schedule_floor": 0.05, "max_grad_norm": 1.0},
        "train": {"parameters": "full", "freeze_vision": false, "dtype": "f32"},
        "steps": 40, "eval_before": true, "eval_every": 8, "eval_rows": 256, "checkpoint_every": 8,
        "eval": {"samples": 1, "temperature": 0.0, "top_p": 1.0}, "best": {"metric": "eval/accuracy", "better": "higher"},
        "keep_checkpoints": 3, "log_samples_every": 8, "resources": {"device": "any", "devices": 1, "ranks": 1},
        "priority": 0, "max_attempts": 3, "after": null, "deterministic": true
    }))
    .unwrap()
}

pub fn new_job(change: impl FnOnce(&mut JobSpec)) -> NewJob {
    let mut spec = spec();
    change(&mut spec);
    NewJob { spec, origins: json!({"/seed": "request"}), created_by: None, base_model: None, alert_webhook: None }
}

pub fn claim_by(worker: &str) -> ClaimRequest {
    ClaimRequest { worker_id: worker.to_owned(), device: DeviceClass::Cpu, ranks: 1, ttl: TTL }
}

/// Submits a job and has `worker` claim it.
pub async fn claimed(store: &dyn Database, worker: &str) -> LeasedJob {
    store.submit(new_job(|_| ())).await.unwrap();
    store.claim(&claim_by(worker)).await.unwrap().unwrap()
}

/// No lease is extended for its whole time, and whoever looks has looked often enough: the next look ends them.
pub async fn leases_run_out(db: &Db) {
    for _ in 0..3 {
        assert!(db.store.expire_leases().await.unwrap().is_empty(), "they are to be watched for their whole time");
        db.clock.advance(TTL / 3);
    }
}

pub fn point(db: &Db, step: u64, values: &[(&str, f64)]) -> TimedMetrics {
    use vgpo::clock::Clock as _;
    let values: BTreeMap<_, _> = values.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
    TimedMetrics {
        time: db.clock.now(),
        metrics: StepMetrics { step, samples: step * 256, tokens: step * 10_000, values },
    }
}

pub fn group(row: u64) -> SampleGroup {
    SampleGroup {
        row,
        eval: false,
        prompt: "<|im_start|>user\nsum?".to_owned(),
        answer: "7".to_owned(),
        images: Vec::new(),
        responses: Vec::new(),
    }
}

/// A data set without rows.
pub fn dataset(name: &str, state: DatasetState) -> NewDataset {
    NewDataset {
        name: name.to_owned(),
        state,
        source: "upload".to_owned(),
        train_rows: 0,
        eval_rows: 0,
        fingerprint: String::new(),
        card: json!({}),
        recommended: json!({}),
        project: "default".to_owned(),
        created_by: None,
    }
}

pub fn new_checkpoint(id: &str, step: u64, accuracy: Option<f64>) -> NewCheckpoint {
    let manifest = Manifest { files: Vec::new(), size_bytes: 12, sha256: format!("hash of {id}") };
    NewCheckpoint {
        id: id.to_owned(),
        step,
        key: format!("checkpoints/run/{id}"),
        accuracy,
        score: accuracy,
        last: false,
        manifest,
    }
}

pub async fn all_events(store: &dyn Database) -> Vec<Event> {
    store.events_after(0, &EventFilter::default(), 10_000).await.unwrap()
}

/// The states that a job went through, with the reasons, oldest first.
pub async fn history(store: &dyn Database, job: &str) -> Vec<JobChanged> {
    let filter =
        EventFilter { jobs: vec![job.to_owned()], kinds: vec![kind::JOB.to_owned()], ..EventFilter::default() };
    let events = store.events_after(0, &filter, 10_000).await.unwrap();
    events.into_iter().map(|e| serde_json::from_value(e.data).unwrap()).collect()
}
