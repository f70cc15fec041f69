//! Figures of the store, measured on demand: `cargo bench --bench store`.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::pedantic, missing_docs)]

#[allow(dead_code, reason = "the tests' own helpers; a measurement needs a few of them")]
#[path = "../tests/it/store/fixture.rs"]
mod fixture;

use vgpo::clock::Stopwatch;
use vgpo::domain::metric::SeriesQuery;

use fixture::{claim_by, claimed, new_job, point};

#[tokio::main]
async fn main() {
    let db = fixture::sqlite().await;
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    let keys: Vec<String> = (0..50).map(|k| format!("group/key_{k}")).collect();
    let values: Vec<_> = keys.iter().map(|k| (k.as_str(), 0.25)).collect();
    let watch = Stopwatch::start();
    for batch in 0..100u64 {
        let points: Vec<_> = (0..100).map(|s| point(&db, batch * 100 + s, &values)).collect();
        store.append_metrics(&leased.token, &points).await.unwrap();
    }
    println!("metrics ingest: {:.0} points/s", 500_000.0 / watch.seconds());
    for max_points in [None, Some(500)] {
        let query = SeriesQuery { from_step: None, to_step: None, max_points };
        let watch = Stopwatch::start();
        let n = store.metric_series(&leased.token.run_id, "group/key_7", &query).await.unwrap().len();
        println!("10,000 steps as {n} points: {:.1} ms", watch.seconds() * 1e3);
    }
    let watch = Stopwatch::start();
    for _ in 0..300 {
        store.submit(new_job(|_| ())).await.unwrap();
    }
    println!("submit: {:.0} jobs/s", 300.0 / watch.seconds());
    let watch = Stopwatch::start();
    for _ in 0..300 {
        let leased = store.claim(&claim_by("w")).await.unwrap().unwrap();
        store.complete(&leased.token, "finished").await.unwrap();
    }
    println!("claim + finish: {:.0} jobs/s", 300.0 / watch.seconds());
}
