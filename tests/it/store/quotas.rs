//! How many jobs of a project may be at work.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use vgpo::domain::access::{ProjectLoad, ProjectQuota};
use vgpo::domain::spec::DeviceClass;

use super::fixture::{Db, claim_by, new_job};

fn quota(project: &str, running_jobs: Option<u32>) -> ProjectQuota {
    ProjectQuota { project: project.to_owned(), running_jobs }
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
    assert!(!store.has_work(DeviceClass::Cpu).await.unwrap(), "nobody need look again");
    assert_eq!(store.project_load("alpha").await.unwrap(), ProjectLoad { running: 2, most: Some(2) });
    assert_eq!(store.project_load("free").await.unwrap(), ProjectLoad { running: 3, most: None });
    assert_eq!(store.project_load("other").await.unwrap(), ProjectLoad { running: 0, most: Some(1) });
    // The end of one makes room for the next.
    store.complete(&held["alpha"][0].token, "finished").await.unwrap();
    assert!(store.has_work(DeviceClass::Cpu).await.unwrap());
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
