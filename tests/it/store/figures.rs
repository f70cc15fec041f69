//! Figures for those who watch the program.

use std::time::Duration;

use vgpo::clock::Clock as _;
use vgpo::domain::figures::LeaseLoss;
use vgpo::domain::job::JobState;

use super::fixture::{Db, claim_by, leases_run_out, new_job, point};

pub async fn figures_follow_the_queue(db: &Db) {
    let store = &*db.store;
    let empty = store.figures().await.unwrap();
    assert!(empty.jobs.is_empty() && empty.runs.is_empty() && empty.waiting_since.is_none(), "{empty:?}");

    let submitted = db.clock.now();
    let (first, run) = store.submit(new_job(|s| s.priority = 1)).await.unwrap();
    store.submit(new_job(|s| s.after = Some(first.id.clone()))).await.unwrap();
    db.clock.advance(Duration::from_secs(5));
    let late = db.clock.now();
    store.submit(new_job(|_| ())).await.unwrap();
    let figures = store.figures().await.unwrap();
    assert_eq!(figures.jobs[&JobState::Queued], 3);
    assert_eq!(figures.waiting_since, Some(submitted));

    let leased = store.claim(&claim_by("w")).await.unwrap().unwrap();
    let values = [("time/rollout", 2.5), ("time/update", 1.25), ("loss", 9.0)];
    store.append_metrics(&leased.token, &[point(db, 3, &values)]).await.unwrap();
    let figures = store.figures().await.unwrap();
    assert_eq!((figures.jobs[&JobState::Queued], figures.jobs[&JobState::Running]), (2, 1));
    assert_eq!(figures.waiting_since, Some(late), "a job that waits for another one could not be claimed");
    assert_eq!(figures.claims, 1);
    let [running] = &figures.runs[..] else { panic!("{figures:?}") };
    assert_eq!((&running.run_id, &running.job_id), (&run.id, &first.id));
    assert_eq!((running.step, running.samples, running.tokens), (3, 768, 30_000));
    let phases: Vec<_> = running.phases.iter().map(|(phase, seconds)| (phase.as_str(), *seconds)).collect();
    assert_eq!(phases, [("rollout", 2.5), ("update", 1.25)]);

    store.complete(&leased.token, "done").await.unwrap();
    let figures = store.figures().await.unwrap();
    assert!(figures.runs.is_empty());
    assert_eq!(figures.waiting_since, Some(submitted), "its turn has come");
}

pub async fn lost_leases_are_counted(db: &Db) {
    let store = &*db.store;
    store.submit(new_job(|_| ())).await.unwrap();
    store.claim(&claim_by("w")).await.unwrap().unwrap();
    leases_run_out(db).await;
    store.expire_leases().await.unwrap();
    store.expire_leases().await.unwrap();
    store.claim(&claim_by("x")).await.unwrap().unwrap();
    store.release_worker("x", "it died").await.unwrap();
    let leased = store.claim(&claim_by("y")).await.unwrap().unwrap();
    store.release(&leased.token, "drained").await.unwrap();
    let losses = store.figures().await.unwrap().lost_leases;
    assert_eq!(losses.get(&LeaseLoss::Expired), Some(&1));
    assert_eq!(losses.get(&LeaseLoss::WorkerDied), Some(&1), "an orderly release is no loss");
}

pub async fn jobs_of_a_later_form_are_left_to_later_programs(db: &Db) {
    let (later, _) = db.store.submit(new_job(|s| s.priority = 9)).await.unwrap();
    db.execute("UPDATE jobs SET spec_version = 1000").await;
    assert!(!db.store.has_work(vgpo::domain::spec::DeviceClass::Cpu, 1).await.unwrap());
    assert!(db.store.claim(&claim_by("w")).await.unwrap().is_none());
    let (known, _) = db.store.submit(new_job(|_| ())).await.unwrap();
    assert_eq!(db.store.claim(&claim_by("w")).await.unwrap().unwrap().job.id, known.id);
    assert_eq!(db.store.job(&later.id).await.unwrap().state, JobState::Queued);
}
