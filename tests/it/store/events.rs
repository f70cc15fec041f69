//! Events, workers and idempotency keys.

use std::time::Duration;

use serde_json::json;
use vgpo::clock::Clock as _;
use vgpo::domain::access::Caller;
use vgpo::domain::event::{EventFilter, NewEvent};
use vgpo::domain::spec::DeviceClass;
use vgpo::domain::worker::{NewWorker, WorkerState};
use vgpo::store::{self, IdempotencyRequest, IdempotencyState, StoreError};

use super::fixture::{Db, all_events, claimed, new_job};

fn event(kind: &str, job: Option<&str>) -> NewEvent {
    NewEvent {
        kind: kind.to_owned(),
        job_id: job.map(str::to_owned),
        run_id: None,
        project: None,
        data: json!({"k": kind}),
    }
}

pub async fn events_are_filtered_and_ordered(db: &Db) {
    let store = &*db.store;
    for (kind, job) in [("a", None), ("warning.x", Some("j1")), ("warning.y", Some("j2")), ("warnings", Some("j1"))] {
        store.append_event(event(kind, job)).await.unwrap();
    }
    let leased = claimed(store, "w").await;
    let noted = store.append_job_event(&leased.token, "note", json!({"n": 1})).await.unwrap();
    assert_eq!(noted.run_id.as_ref(), Some(&leased.token.run_id));
    let all = all_events(store).await;
    assert!(all.windows(2).all(|w| w[0].seq < w[1].seq));
    assert_eq!(all.last(), Some(&noted));
    let kinds = async |after: i64, filter: EventFilter, limit: u32| {
        let found = store.events_after(after, &filter, limit).await.unwrap();
        found.into_iter().map(|e| e.kind).collect::<Vec<_>>()
    };
    let named = |list: &[&str]| list.iter().map(|k| (*k).to_owned()).collect::<Vec<_>>();
    let of = |jobs: &[&str], kinds: &[&str]| EventFilter {
        jobs: named(jobs),
        kinds: named(kinds),
        ..EventFilter::default()
    };
    assert_eq!(kinds(0, of(&[], &["warning.*"]), 9).await, ["warning.x", "warning.y"]);
    assert_eq!(kinds(0, of(&["j1"], &[]), 9).await, ["warning.x", "warnings"]);
    assert_eq!(kinds(0, of(&["j1", "j2"], &["warning.y", "a"]), 9).await, ["warning.y"]);
    assert_eq!(kinds(all[1].seq, of(&[], &[]), 2).await, ["warning.y", "warnings"]);
    let of_run =
        EventFilter { runs: vec![leased.token.run_id.clone()], jobs: named(&["j2"]), ..EventFilter::default() };
    assert_eq!(kinds(0, of_run, 9).await, ["warning.y", "job", "job", "note"]);
}

pub async fn pruning_keeps_sequence_numbers(db: &Db) {
    let store = &*db.store;
    assert_eq!(store.event_span().await.unwrap().first, None);
    assert_eq!(store.prune_events(db.clock.now(), 1_000).await.unwrap(), 0);
    for i in 0..4 {
        store.append_event(event(&i.to_string(), None)).await.unwrap();
        db.clock.advance(Duration::from_secs(10));
    }
    let before = store.event_span().await.unwrap();
    assert_eq!(store.prune_events(db.clock.now() - Duration::from_secs(25), 1_000).await.unwrap(), 2);
    let kept: Vec<_> = all_events(store).await.into_iter().map(|e| e.kind).collect();
    assert_eq!(kept, ["2", "3"]);
    assert_eq!(store.prune_events(db.clock.now(), 1_000).await.unwrap(), 2);
    let after = store.event_span().await.unwrap();
    assert_eq!((after.first, after.last), (None, before.last));
    let next = store.append_event(event("new", None)).await.unwrap();
    assert_eq!(next.seq, before.last + 1, "a number never comes twice");
}

pub async fn workers_register_and_beat(db: &Db) {
    let store = &*db.store;
    let new = NewWorker {
        id: "wrk_1".to_owned(),
        role: "trainer".to_owned(),
        version: "0.1.0".to_owned(),
        host: "here".to_owned(),
        pid: 42,
        device_class: DeviceClass::Cpu,
        device: "cpu".to_owned(),
        memory_bytes: Some(1 << 33),
        ranks: 1,
    };
    let worker = store.register_worker(new).await.unwrap();
    assert_eq!((worker.state, worker.pid, worker.memory_bytes), (WorkerState::Idle, 42, Some(1 << 33)));
    let then = db.clock.now();
    assert_eq!(store.idle_workers(DeviceClass::Cpu, then).await.unwrap(), 1);
    assert_eq!(store.idle_workers(DeviceClass::Cuda, then).await.unwrap(), 0, "of another class");
    db.clock.advance(Duration::from_secs(60));
    let then = db.clock.now();
    assert_eq!(store.idle_workers(DeviceClass::Cpu, then).await.unwrap(), 0, "silent for too long");
    assert!(store.workers(then).await.unwrap().is_empty());
    store.worker_heartbeat("wrk_1", WorkerState::Busy, Some("job_1")).await.unwrap();
    let seen = store.workers(then).await.unwrap();
    assert_eq!((seen.len(), seen[0].state, seen[0].job_id.as_deref()), (1, WorkerState::Busy, Some("job_1")));
    assert_eq!((seen[0].heartbeat_at, &seen[0]), (then, &store.worker("wrk_1").await.unwrap()));
    assert_eq!(store.idle_workers(DeviceClass::Cpu, then).await.unwrap(), 0, "busy");
    let unknown = store.worker_heartbeat("wrk_2", WorkerState::Idle, None).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { kind: "worker", .. })));
}

pub async fn idempotency_replays(db: &Db) {
    let store = &*db.store;
    let request = |body: &str| IdempotencyRequest {
        key: "k1".to_owned(),
        route: "POST /v1/jobs".to_owned(),
        body_hash: body.to_owned(),
        keep: Duration::from_secs(86_400),
        in_flight_for: Duration::from_secs(60),
    };
    let one = request("one");
    assert_eq!(store.begin_idempotent(&one).await.unwrap(), IdempotencyState::New);
    assert_eq!(store.begin_idempotent(&one).await.unwrap(), IdempotencyState::InFlight);
    assert_eq!(store.begin_idempotent(&request("two")).await.unwrap(), IdempotencyState::OtherBody);
    let elsewhere = IdempotencyRequest { route: "POST /v1/datasets".to_owned(), ..request("two") };
    assert_eq!(store.begin_idempotent(&elsewhere).await.unwrap(), IdempotencyState::New);
    store.forget_idempotent(&one).await.unwrap();
    assert_eq!(store.begin_idempotent(&one).await.unwrap(), IdempotencyState::New);
    store.finish_idempotent(&one, 201, b"{}").await.unwrap();
    let done = IdempotencyState::Done { status: 201, body: b"{}".to_vec() };
    assert_eq!(store.begin_idempotent(&one).await.unwrap(), done);
    store.forget_idempotent(&one).await.unwrap();
    assert_eq!(store.begin_idempotent(&one).await.unwrap(), done, "an answer is not forgotten");
    db.clock.advance(Duration::from_secs(86_399));
    assert_eq!(store.begin_idempotent(&one).await.unwrap(), done);
    db.clock.advance(Duration::from_secs(1));
    assert_eq!(store.begin_idempotent(&one).await.unwrap(), IdempotencyState::New, "kept for a day");
    db.clock.advance(Duration::from_secs(60));
    assert_eq!(store.begin_idempotent(&one).await.unwrap(), IdempotencyState::New, "its first sender died");
}

/// The server dies behind the commit and before it keeps the answer.
pub async fn what_a_key_made_is_known_after_a_crash(db: &Db) {
    let request = |key: &str| IdempotencyRequest {
        key: key.to_owned(),
        route: "POST /v1/jobs".to_owned(),
        body_hash: "one".to_owned(),
        keep: Duration::from_secs(86_400),
        in_flight_for: Duration::from_secs(60),
    };
    // As a request sees the database: what it makes is noted with its key.
    let view = store::view(db.store.clone(), Caller::anonymous());
    assert_eq!(view.begin_idempotent(&request("k1")).await.unwrap(), IdempotencyState::New);
    let (job, _) = view.submit(new_job(|_| ())).await.unwrap();
    let made = IdempotencyState::Made { target: job.id.clone() };
    let store = &*db.store;
    for pause in [0, 61, 86_000] {
        db.clock.advance(Duration::from_secs(pause));
        assert_eq!(store.begin_idempotent(&request("k1")).await.unwrap(), made);
        // A failure behind the commit frees nothing.
        store.forget_idempotent(&request("k1")).await.unwrap();
    }
    store.finish_idempotent(&request("k1"), 201, b"{}").await.unwrap();
    let done = IdempotencyState::Done { status: 201, body: b"{}".to_vec() };
    assert_eq!(store.begin_idempotent(&request("k1")).await.unwrap(), done);

    // A request whose key ran out before it came to its end makes nothing.
    let slow = store::view(db.store.clone(), Caller::anonymous());
    assert_eq!(slow.begin_idempotent(&request("k2")).await.unwrap(), IdempotencyState::New);
    db.clock.advance(Duration::from_secs(61));
    let other = store::view(db.store.clone(), Caller::anonymous());
    assert_eq!(other.begin_idempotent(&request("k2")).await.unwrap(), IdempotencyState::New);
    other.submit(new_job(|_| ())).await.unwrap();
    assert!(matches!(slow.submit(new_job(|_| ())).await, Err(StoreError::Conflict(_))));
    assert_eq!(store.queue_depth().await.unwrap(), 2);
}
