//! Random interleavings of workers, people, crashes and time; the promises of the queue hold after every step.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use vgpo::domain::job::{Job, JobAction, JobState, LeaseToken};
use vgpo::domain::page::Page;
use vgpo::store::{Database, Failure, StoreError};

use super::fixture::{Db, Kind, TTL, claim_by, history, new_job, point};

#[derive(Debug, Clone)]
enum Op {
    Submit {
        after: bool,
    },
    Claim(usize),
    Heartbeat(usize),
    Write(usize),
    Complete(usize),
    Fail(usize, bool),
    Release(usize),
    /// The process dies and its supervisor tells.
    Crash(usize),
    Sweep,
    Wait(u64),
    Ask(usize, JobAction),
}

fn op() -> impl Strategy<Value = Op> {
    let worker = 0..3usize;
    prop_oneof![
        2 => any::<bool>().prop_map(|after| Op::Submit { after }),
        6 => worker.clone().prop_map(Op::Claim),
        3 => worker.clone().prop_map(Op::Heartbeat),
        3 => worker.clone().prop_map(Op::Write),
        2 => worker.clone().prop_map(Op::Complete),
        2 => (worker.clone(), any::<bool>()).prop_map(|(w, again)| Op::Fail(w, again)),
        1 => worker.clone().prop_map(Op::Release),
        1 => worker.prop_map(Op::Crash),
        1 => Just(Op::Sweep),
        4 => (1..45u64).prop_map(Op::Wait),
        3 => (0..4usize, prop::sample::select(JobAction::ALL.to_vec())).prop_map(|(j, a)| Op::Ask(j, a)),
    ]
}

/// What the test itself knows: the tokens that workers believe in, newest last, outdated ones included.
#[derive(Default)]
struct World {
    jobs: Vec<String>,
    tokens: [Vec<LeaseToken>; 3],
    attempts: BTreeMap<String, u32>,
    step: u64,
}

async fn holds(store: &dyn Database, token: &LeaseToken) -> bool {
    let job = store.job(&token.job_id).await.unwrap();
    job.attempt == token.attempt && job.state.is_leased()
}

/// A write must succeed exactly when its token still holds the job.
fn fenced<T: std::fmt::Debug>(live: bool, result: Result<T, StoreError>) {
    match result {
        Ok(_) => assert!(live, "a stale attempt wrote"),
        Err(StoreError::LeaseLost { .. }) => assert!(!live, "a live attempt was fenced"),
        Err(other) => panic!("{other}"),
    }
}

async fn perform(db: &Db, world: &mut World, op: &Op) {
    let store = &*db.store;
    match op {
        Op::Submit { after } => {
            let after = world.jobs.last().filter(|_| *after).cloned();
            match store.submit(new_job(|s| (s.after, s.max_attempts) = (after, 2))).await {
                Ok((job, _)) => world.jobs.push(job.id),
                Err(StoreError::Conflict(_)) => (),
                Err(other) => panic!("{other}"),
            }
        }
        Op::Claim(w) => {
            if let Some(leased) = store.claim(&claim_by(&format!("w{w}"))).await.unwrap() {
                let before = world.attempts.insert(leased.job.id.clone(), leased.token.attempt).unwrap_or(0);
                assert_eq!(leased.token.attempt, before + 1, "every claim is a new attempt");
                world.tokens[*w].push(leased.token);
            }
        }
        Op::Crash(w) => drop(store.release_worker(&format!("w{w}"), "crashed").await.unwrap()),
        Op::Sweep => drop(store.expire_leases().await.unwrap()),
        Op::Wait(seconds) => db.clock.advance(Duration::from_secs(*seconds)),
        Op::Ask(j, action) => {
            let Some(id) = world.jobs.get(*j) else { return };
            match store.ask(id, *action, "asked").await {
                Ok(_) | Err(StoreError::IllegalAction { .. } | StoreError::Conflict(_)) => (),
                Err(other) => panic!("{other}"),
            }
        }
        Op::Heartbeat(w) | Op::Write(w) | Op::Complete(w) | Op::Fail(w, _) | Op::Release(w) => {
            world.step += 1;
            for token in world.tokens[*w].clone() {
                let live = holds(store, &token).await;
                match op {
                    Op::Heartbeat(_) => fenced(live, store.heartbeat(&token, TTL).await),
                    Op::Write(_) => {
                        let batch = [point(db, world.step, &[("a", f64::from(token.attempt))])];
                        fenced(live, store.append_metrics(&token, &batch).await);
                    }
                    Op::Complete(_) => fenced(live, store.complete(&token, "finished").await),
                    Op::Release(_) => fenced(live, store.release(&token, "drain").await),
                    Op::Fail(_, again) => {
                        let retry_after = again.then_some(Duration::from_secs(3));
                        let failure = Failure { message: "failed".to_owned(), retry_after };
                        fenced(live, store.fail(&token, &failure).await);
                    }
                    _ => unreachable!(),
                }
            }
        }
    }
}

async fn check(db: &Db, world: &World) -> Vec<Job> {
    let store = &*db.store;
    let jobs = store.jobs(&vgpo::domain::job::JobFilter::default(), &Page::first(1000)).await.unwrap().data;
    assert_eq!(jobs.len(), world.jobs.len(), "no job is lost");
    for job in &jobs {
        assert_eq!(job.state.is_leased(), job.lease.is_some(), "{job:?}");
        assert_eq!(job.attempt, world.attempts.get(&job.id).copied().unwrap_or(0));
        let told = history(store, &job.id).await;
        assert_eq!(told[0].from, None);
        assert!(told.windows(2).all(|w| w[1].from == Some(w[0].to)), "the history has a gap: {told:?}");
        assert!(told.iter().all(|c| !c.reason.is_empty()));
        assert_eq!(told.last().unwrap().to, job.state);
        let finished = told.iter().filter(|c| c.to == JobState::Succeeded).count();
        assert!(finished <= 1, "finished twice");
    }
    for tokens in &world.tokens {
        for token in tokens {
            let job = jobs.iter().find(|j| j.id == token.job_id).unwrap();
            assert!(token.attempt <= job.attempt);
        }
    }
    jobs
}

/// Is any of `wanted` among the jobs that must succeed before `job`?
fn waits_for(jobs: &[Job], job: &Job, wanted: &[String]) -> bool {
    let Some(after) = &job.after else { return false };
    let earlier = jobs.iter().find(|j| &j.id == after).unwrap();
    wanted.contains(after) || waits_for(jobs, earlier, wanted)
}

/// Whatever happened: workers that come back bring every job to an end, unless somebody paused it.
async fn drain(db: &Db, world: &mut World) {
    for _ in 0..4 {
        db.store.expire_leases().await.unwrap();
        db.clock.advance(TTL);
    }
    db.store.expire_leases().await.unwrap();
    for _ in 0..=world.jobs.len() {
        while let Some(leased) = db.store.claim(&claim_by("w0")).await.unwrap() {
            world.attempts.insert(leased.job.id.clone(), leased.token.attempt);
            db.store.complete(&leased.token, "finished").await.unwrap();
        }
    }
    let jobs = check(db, world).await;
    let paused: Vec<_> = jobs.iter().filter(|j| j.state == JobState::Paused).map(|j| j.id.clone()).collect();
    for job in &jobs {
        let parked = job.state == JobState::Paused || (job.state == JobState::Queued && waits_for(&jobs, job, &paused));
        assert!(job.state.is_final() || parked, "{} is stuck in {}", job.id, job.state);
    }
}

fn runs_on(kind: Kind, ops: &[Op]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let Some(db) = kind.make().await else { return };
        let mut world = World::default();
        for op in ops {
            perform(&db, &mut world, op).await;
            check(&db, &world).await;
        }
        drain(&db, &mut world).await;
        db.close().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_keeps_its_promises_on_sqlite(ops in prop::collection::vec(op(), 1..60)) {
        runs_on(Kind::Sqlite, &ops);
    }

    #[test]
    fn the_queue_keeps_its_promises_on_postgres(ops in prop::collection::vec(op(), 1..60)) {
        runs_on(Kind::Postgres, &ops);
    }
}
