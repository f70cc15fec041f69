//! How much of a project may be at work, and how much it stores.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::json;
use vgpo::domain::access::{ProjectLoad, ProjectQuota};
use vgpo::domain::checkpoint::Manifest;
use vgpo::domain::dataset::{DatasetState, NewDataset};
use vgpo::domain::spec::DeviceClass;
use vgpo::domain::worker::NewWorker;
use vgpo::store::ClaimRequest;

use super::fixture::{Db, TTL, claim_by, claimed, new_checkpoint, new_job};

fn quota(project: &str, running_jobs: Option<u32>) -> ProjectQuota {
    ProjectQuota { project: project.to_owned(), running_jobs, gpus: None }
}

fn load(running: u64, most: Option<u64>) -> ProjectLoad {
    ProjectLoad { running, most, gpus: 0, most_gpus: None }
}

async fn submit(db: &Db, project: &str, count: usize) {
    for _ in 0..count {
        db.store.submit(new_job(|spec| spec.project = project.to_owned())).await.unwrap();
    }
}

pub async fn a_project_has_as_many_jobs_at_work_as_it_may(db: &Db) {
    let store = &*db.store;
    store.set_quotas(&[quota("*", Some(1)), quota("alpha", Some(2)), quota("free", None)]).await.unwrap();
    for project in ["alpha", "beta", "free"] {
        submit(db, project, 3).await;
    }
    let mut held: BTreeMap<String, Vec<_>> = BTreeMap::new();
    while let Some(leased) = store.claim(&claim_by("wrk_1")).await.unwrap() {
        held.entry(leased.job.project.clone()).or_default().push(leased);
    }
    let counts: Vec<_> = held.iter().map(|(project, held)| (project.as_str(), held.len())).collect();
    assert_eq!(counts, [("alpha", 2), ("beta", 1), ("free", 3)]);
    assert!(!store.has_work(DeviceClass::Cpu, 1).await.unwrap(), "nobody need look again");
    assert_eq!(store.project_load("alpha").await.unwrap(), load(2, Some(2)));
    assert_eq!(store.project_load("free").await.unwrap(), load(3, None));
    assert_eq!(store.project_load("other").await.unwrap(), load(0, Some(1)));
    // The end of one makes room for the next.
    store.complete(&held["alpha"][0].token, "finished").await.unwrap();
    assert!(store.has_work(DeviceClass::Cpu, 1).await.unwrap());
    assert_eq!(store.claim(&claim_by("wrk_1")).await.unwrap().unwrap().job.project, "alpha");
    assert!(store.claim(&claim_by("wrk_1")).await.unwrap().is_none());
    // Without limits everything goes.
    store.set_quotas(&[]).await.unwrap();
    assert!(store.claim(&claim_by("wrk_1")).await.unwrap().is_some());
}

pub async fn claims_at_once_keep_to_the_limit(db: &Db) {
    db.store.set_quotas(&[quota("*", Some(2))]).await.unwrap();
    submit(db, "alpha", 6).await;
    let requests: Vec<_> = (0..6).map(|number| claim_by(&format!("wrk_{number}"))).collect();
    let claims = join_all(requests.iter().map(|request| db.store.claim(request))).await;
    let taken = claims.into_iter().filter(|claim| claim.as_ref().unwrap().is_some()).count();
    assert_eq!(taken, 2);
    assert_eq!(db.store.project_load("alpha").await.unwrap().running, 2);
}

fn worker(id: &str, device_class: DeviceClass) -> NewWorker {
    NewWorker {
        id: id.to_owned(),
        role: "trainer".to_owned(),
        version: "0".to_owned(),
        host: "here".to_owned(),
        pid: 1,
        device_class,
        device: id.to_owned(),
        memory_bytes: None,
        ranks: 1,
    }
}

pub async fn a_project_holds_as_many_gpus_as_it_may(db: &Db) {
    let store = &*db.store;
    let gpus = |project: &str, gpus| ProjectQuota { gpus, ..quota(project, None) };
    store.set_quotas(&[gpus("*", Some(1)), gpus("free", None)]).await.unwrap();
    for number in 0..4 {
        store.register_worker(worker(&format!("gpu{number}"), DeviceClass::Cuda)).await.unwrap();
    }
    store.register_worker(worker("cpu", DeviceClass::Cpu)).await.unwrap();
    submit(db, "alpha", 3).await;
    submit(db, "free", 2).await;
    let on = |worker: &str, device| ClaimRequest { worker_id: worker.to_owned(), device, ranks: 1, ttl: TTL };
    let mut projects = Vec::new();
    for number in 0..4 {
        if let Some(leased) = store.claim(&on(&format!("gpu{number}"), DeviceClass::Cuda)).await.unwrap() {
            projects.push(leased.job.project.clone());
        }
    }
    assert_eq!(projects, ["alpha", "free", "free"], "a second GPU is not for `alpha`");
    assert!(!store.has_work(DeviceClass::Cuda, 1).await.unwrap(), "nobody need look again");
    // Its other jobs may run where there is no GPU.
    assert!(store.has_work(DeviceClass::Cpu, 1).await.unwrap());
    let on_cpu = store.claim(&on("cpu", DeviceClass::Cpu)).await.unwrap().unwrap();
    assert_eq!(on_cpu.job.project, "alpha");
    let load = store.project_load("alpha").await.unwrap();
    assert_eq!(load, ProjectLoad { running: 2, most: None, gpus: 1, most_gpus: Some(1) });
}

pub async fn a_project_stores_its_checkpoints_and_data_sets(db: &Db) {
    let store = &*db.store;
    assert_eq!(store.project_bytes("default").await.unwrap(), 0);
    let leased = claimed(store, "w").await;
    for (id, step, size_bytes) in [("ckpt_a", 1, 5_000_000_000), ("ckpt_b", 2, 7)] {
        let mut new = new_checkpoint(id, step, None);
        new.manifest = Manifest { size_bytes, ..new.manifest };
        store.add_checkpoint(&leased.token, new).await.unwrap();
    }
    for (name, project, card) in [
        ("mine", "default", json!({"size_bytes": 100})),
        ("older", "default", json!({"description": "from before sizes were noted"})),
        ("theirs", "other", json!({"size_bytes": 1_000})),
    ] {
        let new = NewDataset {
            name: name.to_owned(),
            state: DatasetState::Ready,
            source: "upload".to_owned(),
            train_rows: 1,
            eval_rows: 0,
            fingerprint: String::new(),
            card,
            recommended: json!({}),
            project: project.to_owned(),
            created_by: None,
        };
        store.create_dataset(&format!("ds_{name}"), new).await.unwrap();
    }
    assert_eq!(store.project_bytes("default").await.unwrap(), 5_000_000_107);
    assert_eq!(store.project_bytes("other").await.unwrap(), 1_000);
    assert_eq!(store.project_bytes("nobody").await.unwrap(), 0);
}
