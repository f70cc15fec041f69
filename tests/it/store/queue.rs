//! The queue as workers see it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;
use vgpo::clock::{Clock as _, FakeClock};
use vgpo::domain::job::{JobAction, JobState, Wanted};
use vgpo::domain::page::Page;
use vgpo::domain::run::RunFilter;
use vgpo::domain::spec::DeviceClass;
use vgpo::domain::worker::{NewWorker, WorkerState};
use vgpo::store::{ClaimRequest, Failure, StoreError};

use super::fixture::{
    Db, TTL, all_events, claim_by, claimed, group, history, leases_run_out, new_checkpoint, new_job, point,
};

fn lost<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::LeaseLost { .. })), "{result:?}");
}

fn transient() -> Failure {
    Failure { message: "disk full".to_owned(), retry_after: Some(Duration::from_secs(5)) }
}

pub async fn claims_follow_priority_then_submission(db: &Db) {
    let mut ids = Vec::new();
    for priority in [0, 5, 0, 5, -1] {
        ids.push(db.store.submit(new_job(|s| s.priority = priority)).await.unwrap().0.id);
    }
    for expected in [1, 3, 0, 2, 4] {
        let leased = db.store.claim(&claim_by("w")).await.unwrap().unwrap();
        assert_eq!(leased.job.id, ids[expected]);
        assert_eq!((leased.job.state, leased.job.attempt, leased.token.attempt), (JobState::Running, 1, 1));
        assert_eq!(leased.job.lease.unwrap().worker_id, "w");
        assert!(leased.job.started_at.is_some());
    }
    assert!(!db.store.has_work(DeviceClass::Cpu, 1).await.unwrap());
    assert!(db.store.claim(&claim_by("w")).await.unwrap().is_none());
}

pub async fn claims_match_the_device(db: &Db) {
    let (job, _) = db.store.submit(new_job(|s| s.resources.device = DeviceClass::Cuda)).await.unwrap();
    assert!(!db.store.has_work(DeviceClass::Cpu, 1).await.unwrap());
    assert!(db.store.claim(&claim_by("w")).await.unwrap().is_none());
    assert!(db.store.has_work(DeviceClass::Cuda, 1).await.unwrap());
    let request = ClaimRequest { device: DeviceClass::Cuda, ..claim_by("gpu") };
    assert_eq!(db.store.claim(&request).await.unwrap().unwrap().job.id, job.id);
}

pub async fn claims_respect_the_ranks_a_worker_can_start(db: &Db) {
    let (job, _) = db.store.submit(new_job(|s| s.resources.ranks = 4)).await.unwrap();
    assert!(!db.store.has_work(DeviceClass::Cpu, 3).await.unwrap());
    assert!(db.store.claim(&ClaimRequest { ranks: 3, ..claim_by("few") }).await.unwrap().is_none());
    assert!(db.store.has_work(DeviceClass::Cpu, 4).await.unwrap());
    let request = ClaimRequest { ranks: 4, ..claim_by("many") };
    assert_eq!(db.store.claim(&request).await.unwrap().unwrap().job.id, job.id);
}

pub async fn claims_wait_for_after_and_back_off(db: &Db) {
    let store = &*db.store;
    let first = claimed(store, "w").await;
    let (second, _) = store.submit(new_job(|s| s.after = Some(first.job.id.clone()))).await.unwrap();
    assert!(!store.has_work(DeviceClass::Cpu, 1).await.unwrap());
    assert!(store.claim(&claim_by("w")).await.unwrap().is_none(), "its predecessor still runs");
    let job = store.fail(&first.token, &transient()).await.unwrap();
    assert_eq!((job.state, job.reason.as_deref()), (JobState::Queued, Some("disk full")));
    assert!(!store.has_work(DeviceClass::Cpu, 1).await.unwrap());
    assert!(store.claim(&claim_by("w")).await.unwrap().is_none(), "the pause is not over");
    db.clock.advance(Duration::from_secs(5));
    let again = store.claim(&claim_by("w")).await.unwrap().unwrap();
    assert_eq!(again.job.not_before, None);
    store.complete(&again.token, "finished").await.unwrap();
    assert_eq!(store.claim(&claim_by("w")).await.unwrap().unwrap().job.id, second.id);
}

pub async fn a_heartbeat_extends_and_tells_what_is_wanted(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    for _ in 0..4 {
        db.clock.advance(TTL * 2 / 3);
        assert_eq!(store.heartbeat(&leased.token, TTL).await.unwrap(), Wanted::Continue);
        assert!(store.expire_leases().await.unwrap().is_empty());
    }
    store.ask(&leased.job.id, JobAction::Pause, "p").await.unwrap();
    assert_eq!(store.heartbeat(&leased.token, TTL).await.unwrap(), Wanted::Pause);
    store.ask(&leased.job.id, JobAction::Cancel, "c").await.unwrap();
    assert_eq!(store.heartbeat(&leased.token, TTL).await.unwrap(), Wanted::Cancel);
}

pub async fn an_expired_lease_goes_back_and_fences(db: &Db) {
    let store = &*db.store;
    let first = claimed(store, "w1").await;
    for part in [TTL / 3, TTL / 3, TTL / 3 - Duration::from_secs(1)] {
        assert!(!store.has_work(DeviceClass::Cpu, 1).await.unwrap());
        db.clock.advance(part);
    }
    assert!(!store.has_work(DeviceClass::Cpu, 1).await.unwrap());
    assert!(store.claim(&claim_by("w2")).await.unwrap().is_none(), "the lease still holds");
    db.clock.advance(Duration::from_secs(1));
    assert!(store.has_work(DeviceClass::Cpu, 1).await.unwrap());
    let second = store.claim(&claim_by("w2")).await.unwrap().unwrap();
    assert_eq!((second.job.id.as_str(), second.token.attempt), (first.job.id.as_str(), 2));
    lost(store.heartbeat(&first.token, TTL).await);
    lost(store.complete(&first.token, "finished").await);
    assert_eq!(store.complete(&second.token, "finished").await.unwrap().state, JobState::Succeeded);
    let told = history(store, &first.job.id).await;
    assert_eq!(told.len(), 5);
    assert_eq!((told[2].to, told[2].worker_id.as_deref()), (JobState::Queued, Some("w1")));
    assert!(told[2].reason.contains("lease expired") && told[2].reason.contains("w1"), "{}", told[2].reason);
}

pub async fn a_clock_that_jumps_ends_no_lease(db: &Db) {
    let store = &*db.store;
    store.submit(new_job(|s| s.max_attempts = 1)).await.unwrap();
    let leased = store.claim(&claim_by("w1")).await.unwrap().unwrap();
    for hours in [2, -3, 26, 0, -26] {
        db.clock.jump(TimeDelta::hours(hours));
        // An idle worker and a server look before the busy worker's next heartbeat, and once a second after it.
        for second in 0..60 {
            assert!(!store.has_work(DeviceClass::Cpu, 1).await.unwrap());
            assert!(store.claim(&claim_by("w2")).await.unwrap().is_none());
            assert!(store.expire_leases().await.unwrap().is_empty(), "{hours} h, {second} s");
            db.clock.advance(Duration::from_secs(1));
            assert_eq!(store.heartbeat(&leased.token, TTL).await.unwrap(), Wanted::Continue);
        }
    }
    // One that is silent loses it all the same, whatever the clock says.
    leases_run_out(db).await;
    db.clock.jump(TimeDelta::hours(-5));
    assert_eq!(store.expire_leases().await.unwrap().len(), 1);
    lost(store.heartbeat(&leased.token, TTL).await);
}

pub async fn hosts_whose_clocks_differ_agree_on_leases(db: &Db) {
    let store = &*db.store;
    for hours in [-5, 5] {
        let (job, _) = store.submit(new_job(|s| s.max_attempts = 1)).await.unwrap();
        let leased = store.claim(&claim_by("w1")).await.unwrap().unwrap();
        let clock = Arc::new(FakeClock::new(db.clock.now() + TimeDelta::hours(hours)));
        let other = db.opened_by(clock.clone()).await;
        for _ in 0..60 {
            assert!(other.expire_leases().await.unwrap().is_empty(), "{hours} h");
            store.heartbeat(&leased.token, TTL).await.unwrap();
            db.clock.advance(Duration::from_secs(1));
            clock.advance(Duration::from_secs(1));
        }
        // Its holder dies: the other host ends the lease after its time, neither at once nor in hours.
        let mut silent = 0;
        while other.expire_leases().await.unwrap().is_empty() {
            silent += 1;
            assert!(silent < 60, "{hours} h: the lease never ends");
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!(silent, TTL.as_secs(), "{hours} h");
        assert_eq!(store.job(&job.id).await.unwrap().state, JobState::Failed);
        other.close().await;
    }
}

pub async fn a_database_that_stood_still_ends_no_lease(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w1").await;
    assert!(store.expire_leases().await.unwrap().is_empty());
    // Nobody could look, and nobody could send a heartbeat: whoever comes first, the holder has time for one.
    db.clock.advance(Duration::from_hours(1));
    assert!(store.expire_leases().await.unwrap().is_empty());
    db.clock.advance(Duration::from_secs(2));
    assert!(store.expire_leases().await.unwrap().is_empty());
    assert_eq!(store.heartbeat(&leased.token, TTL).await.unwrap(), Wanted::Continue);
}

pub async fn a_pause_by_a_clock_that_is_ahead_is_over(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w1").await;
    let ahead = db.opened_by(Arc::new(FakeClock::new(db.clock.now() + TimeDelta::hours(5)))).await;
    ahead.fail(&leased.token, &transient()).await.unwrap();
    ahead.close().await;
    let again = store.claim(&claim_by("w2")).await.unwrap().unwrap();
    assert_eq!((again.job.id, again.token.attempt), (leased.job.id, 2));
}

pub async fn attempts_run_out(db: &Db) {
    let store = &*db.store;
    let (job, _) = store.submit(new_job(|s| s.max_attempts = 2)).await.unwrap();
    for attempt in 1..=2 {
        assert_eq!(store.claim(&claim_by("w")).await.unwrap().unwrap().token.attempt, attempt);
        leases_run_out(db).await;
        assert_eq!(store.expire_leases().await.unwrap().len(), 1);
    }
    let job = store.job(&job.id).await.unwrap();
    assert_eq!((job.state, job.attempts_used), (JobState::Failed, 2));
    assert!(job.reason.as_ref().unwrap().contains("attempt 2 of 2"), "{:?}", job.reason);
    assert!(store.claim(&claim_by("w")).await.unwrap().is_none());

    let leased = {
        store.submit(new_job(|s| s.max_attempts = 1)).await.unwrap();
        store.claim(&claim_by("w")).await.unwrap().unwrap()
    };
    assert_eq!(store.fail(&leased.token, &transient()).await.unwrap().state, JobState::Failed);
}

pub async fn a_pausing_or_cancelling_job_ends_there_when_its_worker_dies(db: &Db) {
    let store = &*db.store;
    let pausing = claimed(store, "w1").await;
    let cancelling = claimed(store, "w2").await;
    store.ask(&pausing.job.id, JobAction::Pause, "p").await.unwrap();
    store.ask(&cancelling.job.id, JobAction::Cancel, "c").await.unwrap();
    leases_run_out(db).await;
    store.expire_leases().await.unwrap();
    assert_eq!(store.job(&pausing.job.id).await.unwrap().state, JobState::Paused);
    assert_eq!(store.job(&cancelling.job.id).await.unwrap().state, JobState::Cancelled);
}

pub async fn a_release_gives_the_attempt_back(db: &Db) {
    let store = &*db.store;
    store.submit(new_job(|s| s.max_attempts = 1)).await.unwrap();
    for attempt in 1..=4 {
        let leased = store.claim(&claim_by("w")).await.unwrap().unwrap();
        assert_eq!((leased.token.attempt, leased.job.attempts_used), (attempt, 1));
        let job = store.release(&leased.token, "the worker drains").await.unwrap();
        assert_eq!((job.state, job.attempts_used, job.lease), (JobState::Queued, 0, None));
        lost(store.heartbeat(&leased.token, TTL).await);
    }
}

pub async fn a_dead_worker_is_released_at_once(db: &Db) {
    let store = &*db.store;
    let worker = NewWorker {
        id: "w1".to_owned(),
        role: "trainer".to_owned(),
        version: "0".to_owned(),
        host: "here".to_owned(),
        pid: 7,
        device_class: DeviceClass::Cpu,
        device: "cpu".to_owned(),
        memory_bytes: None,
        ranks: 1,
    };
    store.register_worker(worker).await.unwrap();
    let (mine, other) = (claimed(store, "w1").await, claimed(store, "w2").await);
    let released = store.release_worker("w1", "killed by signal 9").await.unwrap();
    assert_eq!(released.iter().map(|j| &j.id).collect::<Vec<_>>(), [&mine.job.id]);
    assert_eq!((released[0].state, released[0].reason.as_deref()), (JobState::Queued, Some("killed by signal 9")));
    assert_eq!(store.worker("w1").await.unwrap().state, WorkerState::Crashed);
    assert_eq!(store.heartbeat(&other.token, TTL).await.unwrap(), Wanted::Continue);
    let again = store.claim(&claim_by("w3")).await.unwrap().unwrap();
    assert_eq!((again.job.id, again.token.attempt), (mine.job.id.clone(), 2));
    lost(store.append_job_event(&mine.token, "note", json!({})).await);
    assert!(store.release_worker("w1", "again").await.unwrap().is_empty());
}

pub async fn finishing_twice_is_refused(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    assert_eq!(store.complete(&leased.token, "finished").await.unwrap().state, JobState::Succeeded);
    lost(store.complete(&leased.token, "finished").await);
    lost(store.fail(&leased.token, &transient()).await);
    lost(store.release(&leased.token, "late").await);
    let job = store.job(&leased.job.id).await.unwrap();
    assert_eq!((job.state, job.lease.is_none(), job.finished_at.is_some()), (JobState::Succeeded, true, true));
}

pub async fn every_write_of_a_stale_attempt_is_refused(db: &Db) {
    let store = &*db.store;
    let old = claimed(store, "w1").await;
    store.release_worker("w1", "died").await.unwrap();
    let new = store.claim(&claim_by("w2")).await.unwrap().unwrap();
    let before = all_events(store).await.len();
    lost(store.append_metrics(&old.token, &[point(db, 1, &[("accuracy", 0.5)])]).await);
    lost(store.append_samples(&old.token, 1, &[group(1)]).await);
    lost(store.append_job_event(&old.token, "note", json!({})).await);
    lost(store.add_checkpoint(&old.token, new_checkpoint("ckpt_old", 1, None)).await);
    lost(store.rewind(&old.token, Some(0)).await);
    lost(store.fail(&old.token, &transient()).await);
    lost(store.release(&old.token, "x").await);
    assert_eq!(all_events(store).await.len(), before, "not even an event was written");
    assert!(store.metric_keys(&old.token.run_id).await.unwrap().is_empty());
    store.append_metrics(&new.token, &[point(db, 1, &[("accuracy", 0.5)])]).await.unwrap();
}

pub async fn concurrent_claims_never_share_a_job(db: &Db) {
    for _ in 0..12 {
        db.store.submit(new_job(|_| ())).await.unwrap();
    }
    let tasks: Vec<_> = (0..16)
        .map(|i| {
            let store = db.store.clone();
            tokio::spawn(async move { store.claim(&claim_by(&format!("w{i}"))).await.unwrap() })
        })
        .collect();
    let mut taken = HashSet::new();
    let mut none = 0;
    for task in tasks {
        match task.await.unwrap() {
            Some(leased) => assert!(taken.insert(leased.job.id), "a job was claimed twice"),
            None => none += 1,
        }
    }
    assert_eq!((taken.len(), none), (12, 4));
    let running = RunFilter { states: vec![JobState::Running], ..RunFilter::default() };
    assert_eq!(db.store.runs(&running, &Page::first(50)).await.unwrap().data.len(), 12);
}
