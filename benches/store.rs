//! Figures of the store on both databases, measured on demand: `cargo bench --bench store`. With
//! `VGPO_BENCH_POSTGRES=postgres://…` the second one is that (empty) database, with its own settings of durability;
//! without it, a throw-away cluster that does not wait for the disk.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::pedantic, missing_docs)]

#[allow(dead_code, reason = "the tests' own helpers; a measurement needs a few of them")]
#[path = "../tests/it/store/fixture.rs"]
mod fixture;
#[allow(dead_code, reason = "the tests' own helpers; a measurement needs a few of them")]
#[path = "../tests/it/store/postgres.rs"]
mod postgres;

use std::sync::Arc;
use std::time::Duration;

use vgpo::clock::{Stopwatch, SystemClock};
use vgpo::domain::metric::SeriesQuery;
use vgpo::domain::spec::DeviceClass;
use vgpo::store::{self, Store};

use fixture::{Db, Kind, claim_by, claimed, new_job, point};

/// Processes that claim at the same time, each with a store of its own.
const WORKERS: usize = 8;

#[tokio::main]
async fn main() {
    println!("SQLite");
    measure(&Kind::Sqlite.make().await.unwrap()).await;
    println!("PostgreSQL");
    if let Ok(url) = std::env::var("VGPO_BENCH_POSTGRES") {
        measure(&fixture::at(&url).await).await;
    } else if let Some(db) = Kind::Postgres.make().await {
        measure(&db).await;
    }
}

async fn measure(db: &Db) {
    wide_run(db).await;
    histories(db).await;
    queue(db).await;
    latency(db).await;
}

/// 1,000 keys, 10,000 steps: one run with ten million points.
async fn wide_run(db: &Db) {
    let (keys, steps) = (1_000, 10_000u64);
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    let keys: Vec<String> = (0..keys).map(|k| format!("group/key_{k}")).collect();
    let values: Vec<_> = keys.iter().enumerate().map(|(i, k)| (k.as_str(), 1.0 / (i + 1) as f64)).collect();
    let watch = Stopwatch::start();
    for batch in 0..steps / 50 {
        let points: Vec<_> = (0..50).map(|s| point(db, batch * 50 + s, &values)).collect();
        store.append_metrics(&leased.token, &points).await.unwrap();
    }
    println!("  metrics ingest, 1,000 keys a step: {:.0} points/s", (steps * 1_000) as f64 / watch.seconds());
    let run = &leased.token.run_id;
    let keys = store.metric_keys(run).await.unwrap();
    let query = SeriesQuery { from_step: None, to_step: None, max_points: Some(500) };
    let mut times = Vec::new();
    for key in keys.iter().take(50) {
        let watch = Stopwatch::start();
        assert_eq!(store.metric_series(run, &key.key, &query).await.unwrap().len(), 500);
        times.push(watch.seconds() * 1e3);
    }
    println!("  one of 1,000 keys, 10,000 steps as 500 points: {}", quantiles(&mut times));
    store.complete(&leased.token, "finished").await.unwrap();
}

/// What a trainer writes: a few dozen keys a step, flushed in batches.
async fn histories(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    let keys: Vec<String> = (0..50).map(|k| format!("group/key_{k}")).collect();
    let values: Vec<_> = keys.iter().map(|k| (k.as_str(), 0.25)).collect();
    let watch = Stopwatch::start();
    for batch in 0..100u64 {
        let points: Vec<_> = (0..100).map(|s| point(db, batch * 100 + s, &values)).collect();
        store.append_metrics(&leased.token, &points).await.unwrap();
    }
    println!("  metrics ingest, 50 keys a step: {:.0} points/s", 500_000.0 / watch.seconds());
    let query = SeriesQuery { from_step: None, to_step: None, max_points: None };
    let mut times = Vec::new();
    for _ in 0..30 {
        let watch = Stopwatch::start();
        assert_eq!(store.metric_series(&leased.token.run_id, "group/key_7", &query).await.unwrap().len(), 10_000);
        times.push(watch.seconds() * 1e3);
    }
    println!("  a history of 10,000 points: {}", quantiles(&mut times));
    store.complete(&leased.token, "finished").await.unwrap();
}

async fn queue(db: &Db) {
    const JOBS: usize = 2_000;
    let mut times = Vec::new();
    let watch = Stopwatch::start();
    for _ in 0..JOBS {
        let one = Stopwatch::start();
        db.store.submit(new_job(|_| ())).await.unwrap();
        times.push(one.seconds() * 1e3);
    }
    println!("  submit: {:.0} jobs/s, {}", JOBS as f64 / watch.seconds(), quantiles(&mut times));
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..WORKERS {
        stores.push(store::open(&db.url, db.clock.clone()).await.unwrap());
    }
    let watch = Stopwatch::start();
    let mut tasks = Vec::new();
    for (w, store) in stores.into_iter().enumerate() {
        tasks.push(tokio::spawn(async move {
            while let Some(leased) = store.claim(&claim_by(&format!("w{w}"))).await.unwrap() {
                store.complete(&leased.token, "finished").await.unwrap();
            }
            store.close().await;
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    println!("  claim + finish, {WORKERS} workers: {:.0} jobs/s", JOBS as f64 / watch.seconds());
}

/// From the submission to the claim of a worker that looks every 50 ms, as workers do.
async fn latency(db: &Db) {
    let worker = store::open(&db.url, Arc::new(SystemClock)).await.unwrap();
    let (told, mut claims) = tokio::sync::mpsc::channel(1);
    let polling = tokio::spawn(async move {
        loop {
            if worker.has_work(DeviceClass::Cpu).await.unwrap()
                && let Some(leased) = worker.claim(&claim_by("w")).await.unwrap()
            {
                if told.send(()).await.is_err() {
                    return;
                }
                worker.complete(&leased.token, "finished").await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut times = Vec::new();
    for i in 0..100u64 {
        // Not in step with the worker's looks.
        tokio::time::sleep(Duration::from_millis(i * 13 % 50)).await;
        let watch = Stopwatch::start();
        db.store.submit(new_job(|_| ())).await.unwrap();
        claims.recv().await.unwrap();
        times.push(watch.seconds() * 1e3);
    }
    polling.abort();
    println!("  submit to claim: {}", quantiles(&mut times));
}

fn quantiles(times: &mut [f64]) -> String {
    times.sort_by(f64::total_cmp);
    let at = |q: f64| times[((times.len() - 1) as f64 * q).round() as usize];
    format!("p50 {:.1} ms, p99 {:.1} ms", at(0.5), at(0.99))
}
