//! Figures of the service, measured on demand: `cargo bench --bench service` (or `just bench-service`), which writes
//! docs/performance-service.md. Databases are durable as they are in use: SQLite as the program opens it, PostgreSQL
//! with its own defaults, in a throw-away cluster. `VGPO_BENCH_ONLY=store|worker|http|engine` measures a part and
//! writes nothing.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::pedantic, missing_docs)]

mod engine;
#[allow(dead_code, reason = "the tests' own helpers; a measurement needs a few of them")]
#[path = "../../tests/it/store/fixture.rs"]
mod fixture;
#[allow(dead_code, reason = "the tests' own helpers; a measurement needs a few of them")]
#[path = "../../tests/it/store/postgres.rs"]
mod postgres;
mod report;
mod server;
mod store;
mod worker;

use std::path::Path;

use fixture::{Db, Kind};
use postgres::Cluster;
use report::Report;

#[tokio::main]
async fn main() {
    let only = std::env::var("VGPO_BENCH_ONLY").ok();
    let wanted = |part: &str| only.as_ref().is_none_or(|only| only == part);
    let mut report = Report::new();
    // Quick to end, and the least disturbed: nothing has warmed up or filled the disk before.
    if wanted("http") {
        server::starts(&mut report).await;
    }
    let cluster = Cluster::durable();
    for name in ["SQLite", "PostgreSQL"] {
        let Some(db) = database(name, cluster.as_ref()).await else {
            report.skipped(name, "PostgreSQL is not installed");
            continue;
        };
        if wanted("http") {
            server::submits(name, &db.url, &mut report).await;
        }
        if wanted("worker") {
            worker::ingests(name, &db, &mut report).await;
        }
        if wanted("store") {
            store::measure(name, &db, &mut report).await;
        }
        db.close().await;
    }
    if wanted("engine") {
        engine::measure(&mut report).await;
    }
    if only.is_none() {
        report.write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance-service.md"));
    }
}

/// An empty database of that name; none where there is no server for it.
async fn database(name: &str, cluster: Option<&Cluster>) -> Option<Db> {
    if name == "SQLite" {
        return Kind::Sqlite.make().await;
    }
    let cluster = cluster?;
    Some(fixture::at(&cluster.url(&cluster.create().await)).await)
}
