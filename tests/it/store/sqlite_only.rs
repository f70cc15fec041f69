//! What is special to SQLite: the file, its schema, several openers.

use std::sync::Arc;

use sqlx::Connection as _;
use sqlx::Row as _;
use vgpo::clock::SystemClock;
use vgpo::store::{self, StoreError};

use super::fixture;

async fn rows(path: &std::path::Path, sql: &'static str) -> Vec<String> {
    let mut connection = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    sqlx::query(sql).fetch_all(&mut connection).await.unwrap().iter().map(|r| r.get(0)).collect()
}

#[tokio::test]
async fn the_schema_is_this() {
    let db = fixture::sqlite().await;
    let sql = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type, name";
    let schema = rows(&db.sqlite_path(), sql).await.join(";\n\n");
    insta::assert_snapshot!("sqlite_schema", schema);
}

#[tokio::test]
async fn the_file_is_durable_and_shared() {
    let db = fixture::sqlite().await;
    assert_eq!(rows(&db.sqlite_path(), "PRAGMA journal_mode").await, ["wal"]);
    db.store.check().await.unwrap();
    let url = format!("sqlite:{}", db.sqlite_path().display());
    let second = store::open(&url, db.clock.clone()).await.unwrap();
    let (job, _) = second.submit(fixture::new_job(|_| ())).await.unwrap();
    assert_eq!(db.store.job(&job.id).await.unwrap(), job);
    db.store.close().await;
    second.close().await;
    let third = store::open(&format!("sqlite://{}", db.sqlite_path().display()), db.clock.clone()).await.unwrap();
    assert_eq!(third.job(&job.id).await.unwrap(), job);
}

#[test]
fn many_may_open_a_new_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("new/vgpo.db").display());
    // A runtime and a connection pool each, as separate processes have them.
    let openers: Vec<_> = (0..8)
        .map(|_| {
            let url = url.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let store = store::open(&url, Arc::new(SystemClock)).await.unwrap();
                    store.submit(fixture::new_job(|_| ())).await.unwrap();
                    store.check().await.unwrap();
                });
            })
        })
        .collect();
    for opener in openers {
        opener.join().unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let path = folder.path().join("new/vgpo.db");
        assert_eq!(
            rows(&path, "SELECT name FROM schema_migrations").await,
            [
                "initial",
                "sweeps",
                "checkpoint_score",
                "access",
                "operations",
                "quotas",
                "engines",
                "device_quotas",
                "storage",
                "ranks",
                "alerts",
                "trackers"
            ]
        );
        assert_eq!(rows(&path, "SELECT id FROM jobs").await.len(), 8);
    });
}

async fn spoil(path: &std::path::Path, sql: &'static str) {
    let mut connection = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    sqlx::query(sql).execute(&mut connection).await.unwrap();
}

#[tokio::test]
async fn files_of_other_programs_are_refused() {
    let db = fixture::sqlite().await;
    db.store.close().await;
    let url = format!("sqlite:{}", db.sqlite_path().display());
    spoil(&db.sqlite_path(), "INSERT INTO schema_migrations VALUES (99, 'future', 'x', 0)").await;
    let newer = store::open(&url, db.clock.clone()).await.err().unwrap();
    assert!(newer.to_string().contains("migration 99 (future)"), "{newer}");
    spoil(&db.sqlite_path(), "DELETE FROM schema_migrations WHERE version = 99").await;
    spoil(&db.sqlite_path(), "UPDATE schema_migrations SET sha256 = 'x'").await;
    let other = store::open(&url, db.clock.clone()).await.err().unwrap();
    assert!(matches!(other, StoreError::Schema(_)), "{other}");
}

#[tokio::test]
async fn addresses_that_cannot_work_say_why() {
    let clock = fixture::clock();
    for (url, told) in [
        ("postgres://user:secret@127.0.0.1:1/db", "cannot connect"),
        ("postgres://user:secret@[::/db", "not an address like postgres://"),
        ("sqlite::memory:", "path of a file"),
        ("mysql://x", "unknown kind of database"),
        ("vgpo.db", "use sqlite:PATH"),
        ("sqlite:/proc/none/vgpo.db", "cannot create the folder"),
    ] {
        let error = store::open(url, clock.clone()).await.err().unwrap().to_string();
        assert!(error.contains(told), "{url}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("not-a-database");
    std::fs::write(&file, vec![7u8; 8192]).unwrap();
    let error = store::open(&format!("sqlite:{}", file.display()), clock).await.err().unwrap();
    assert!(matches!(&error, StoreError::Unsupported { .. }), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), vec![7u8; 8192], "left as it was");
}
