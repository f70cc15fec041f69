//! What the database does: metrics of a wide run, histories, the queue.

use std::sync::Arc;

use vgpo::clock::Stopwatch;
use vgpo::domain::metric::SeriesQuery;
use vgpo::store::{self, Database};

use crate::fixture::{Db, claim_by, claimed, new_job, point};
use crate::report::{Bound, Report, quantile};

/// Processes that claim at the same time, each with a store of its own.
const WORKERS: usize = 8;
/// Runs that are created one by one, and jobs that are claimed.
const JOBS: usize = 2_000;

/// Measures one database, and reports under its name.
pub async fn measure(name: &'static str, db: &Db, report: &mut Report) {
    wide_run(name, db, report).await;
    histories(name, db, report).await;
    queue(name, db, report).await;
}

/// 1,000 keys, 10,000 steps: one run with ten million points.
async fn wide_run(name: &str, db: &Db, report: &mut Report) {
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
    let speed = (steps * 1_000) as f64 / watch.seconds();
    report.row(name, "metrics, 1,000 keys a step, straight into the store", speed, "points/s", Bound::Least(50_000.0));
    let run = &leased.token.run_id;
    let keys = store.metric_keys(run).await.unwrap();
    let query = SeriesQuery { from_step: None, to_step: None, max_points: Some(500) };
    let mut times = Vec::new();
    for key in keys.iter().take(50) {
        let watch = Stopwatch::start();
        assert_eq!(store.metric_series(run, &key.key, &query).await.unwrap().len(), 500);
        times.push(watch.seconds() * 1e3);
    }
    let what = "one of 1,000 keys over 10,000 steps, as 500 points (median)";
    report.row(name, what, quantile(&mut times, 0.5), "ms", Bound::Most(50.0));
    store.complete(&leased.token, "finished").await.unwrap();
}

/// A history of 10,000 points among 49 others.
async fn histories(name: &str, db: &Db, report: &mut Report) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    let keys: Vec<String> = (0..50).map(|k| format!("group/key_{k}")).collect();
    let values: Vec<_> = keys.iter().map(|k| (k.as_str(), 0.25)).collect();
    for batch in 0..100u64 {
        let points: Vec<_> = (0..100).map(|s| point(db, batch * 100 + s, &values)).collect();
        store.append_metrics(&leased.token, &points).await.unwrap();
    }
    let query = SeriesQuery { from_step: None, to_step: None, max_points: None };
    let mut times = Vec::new();
    for _ in 0..30 {
        let watch = Stopwatch::start();
        assert_eq!(store.metric_series(&leased.token.run_id, "group/key_7", &query).await.unwrap().len(), 10_000);
        times.push(watch.seconds() * 1e3);
    }
    report.row(name, "a history of 10,000 points (median)", quantile(&mut times, 0.5), "ms", Bound::Most(20.0));
    store.complete(&leased.token, "finished").await.unwrap();
}

async fn queue(name: &str, db: &Db, report: &mut Report) {
    let mut times = Vec::new();
    for _ in 0..JOBS {
        let one = Stopwatch::start();
        db.store.submit(new_job(|_| ())).await.unwrap();
        times.push(one.seconds() * 1e3);
    }
    report.row(name, "create a run with its job (median)", quantile(&mut times, 0.5), "ms", Bound::Most(5.0));
    let mut stores: Vec<Arc<dyn Database>> = Vec::new();
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
    let least = if db.url.starts_with("sqlite") { 300.0 } else { 1_000.0 };
    let what = "claim and finish jobs, 8 workers";
    report.row(name, what, JOBS as f64 / watch.seconds(), "jobs/s", Bound::Least(least));
}
