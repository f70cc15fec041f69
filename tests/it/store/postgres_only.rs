//! What is special to PostgreSQL: the schema, several openers, commits out of order, a server that goes and comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};
use vgpo::clock::SystemClock;
use vgpo::domain::event::{EventFilter, NewEvent};
use vgpo::domain::job::Wanted;
use vgpo::store::{self, StoreError};

use super::fixture::{self, Kind, TTL, claim_by, claimed, new_job};
use super::postgres::Cluster;

/// Tables with their columns, then everything else that migrations make, in one text.
const SCHEMA: &str = "
SELECT line FROM (
    SELECT 'table ' || table_name || E'\\n' || string_agg(
        '    ' || column_name || ' ' || data_type || CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END
            || coalesce(' default ' || column_default, '') || coalesce(' collate ' || collation_name, ''),
        E'\\n' ORDER BY ordinal_position
    ) AS line
    FROM information_schema.columns WHERE table_schema = 'public' GROUP BY table_name
    UNION ALL
    SELECT 'constraint ' || conrelid::regclass || ' ' || pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
    UNION ALL
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
) AS lines
ORDER BY line COLLATE \"C\"";

#[tokio::test]
async fn the_schema_is_this() {
    let Some(db) = Kind::Postgres.make().await else { return };
    let (cluster, name) = db.postgres();
    insta::assert_snapshot!("postgres_schema", cluster.texts(name, SCHEMA).await.join("\n"));
    db.close().await;
}

#[tokio::test]
async fn many_may_open_a_new_database_at_once() {
    let Some(cluster) = super::postgres::shared() else { return };
    let name = cluster.create().await;
    let openers: Vec<_> = (0..8)
        .map(|_| {
            let url = cluster.url(&name);
            // A runtime and a connection pool each, as separate processes have them.
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let store = store::open(&url, Arc::new(SystemClock)).await.unwrap();
                    store.submit(new_job(|_| ())).await.unwrap();
                    store.check().await.unwrap();
                    store.close().await;
                });
            })
        })
        .collect();
    for opener in openers {
        opener.join().unwrap();
    }
    assert_eq!(
        cluster.texts(&name, "SELECT name FROM schema_migrations ORDER BY version").await[..2],
        ["initial", "sweeps"]
    );
    assert_eq!(cluster.texts(&name, "SELECT id FROM jobs").await.len(), 8);
    cluster.drop(&name).await;
}

fn note(kind: &str) -> NewEvent {
    NewEvent { kind: kind.to_owned(), job_id: None, run_id: None, project: None, data: serde_json::json!({}) }
}

#[tokio::test]
async fn a_later_number_is_not_shown_before_an_earlier_one() {
    let Some(db) = Kind::Postgres.make().await else { return };
    let (cluster, name) = db.postgres();
    // A transaction that has its number and takes its time to commit.
    let mut slow = PgConnection::connect(&cluster.url(name)).await.unwrap();
    slow.execute("BEGIN").await.unwrap();
    slow.execute("INSERT INTO events (time, kind, data) VALUES (0, 'slow', '{}')").await.unwrap();
    let fast = db.store.append_event(note("fast")).await.unwrap();
    let store = db.store.clone();
    let reader = tokio::spawn(async move { store.events_after(0, &EventFilter::default(), 9).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!reader.is_finished(), "event {} must wait for the one before it", fast.seq);
    slow.execute("COMMIT").await.unwrap();
    let kinds: Vec<_> = reader.await.unwrap().into_iter().map(|e| e.kind).collect();
    assert_eq!(kinds, ["slow", "fast"]);

    // A number that is given back leaves a gap and delays no reader.
    slow.execute("BEGIN").await.unwrap();
    slow.execute("INSERT INTO events (time, kind, data) VALUES (0, 'never', '{}')").await.unwrap();
    db.store.append_event(note("next")).await.unwrap();
    slow.execute("ROLLBACK").await.unwrap();
    assert_eq!(db.store.events_after(fast.seq, &EventFilter::default(), 9).await.unwrap()[0].kind, "next");
    db.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_miss_no_event_of_concurrent_writers() {
    const WRITERS: usize = 8;
    const EACH: usize = 60;
    let Some(db) = Kind::Postgres.make().await else { return };
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (store, done) = (db.store.clone(), done.clone());
            tokio::spawn(async move {
                let mut seen = Vec::new();
                loop {
                    let last_round = done.load(Ordering::SeqCst);
                    let after = seen.last().copied().unwrap_or(0);
                    let new = store.events_after(after, &EventFilter::default(), 10_000).await.unwrap();
                    seen.extend(new.iter().map(|e| e.seq));
                    if last_round && new.is_empty() {
                        return seen;
                    }
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = db.store.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    store.append_event(note(&format!("w{writer}"))).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        let seen = reader.await.unwrap();
        assert!(seen.windows(2).all(|w| w[0] < w[1]), "numbers went backwards");
        assert_eq!(seen.len(), WRITERS * EACH, "a reader that continues after what it saw missed an event");
    }
    db.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_connections_never_claim_the_same_job() {
    const JOBS: usize = 60;
    let Some(db) = Kind::Postgres.make().await else { return };
    for _ in 0..JOBS {
        db.store.submit(new_job(|_| ())).await.unwrap();
    }
    // Stores of their own, as worker processes have them; each finishes what it claims.
    let mut workers = Vec::new();
    for w in 0..8 {
        let store = store::open(&db.url, db.clock.clone()).await.unwrap();
        workers.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            while let Some(leased) = store.claim(&claim_by(&format!("w{w}"))).await.unwrap() {
                store.complete(&leased.token, "finished").await.unwrap();
                mine.push(leased.job.id);
            }
            store.close().await;
            mine
        }));
    }
    let mut all = Vec::new();
    for worker in workers {
        all.extend(worker.await.unwrap());
    }
    all.sort();
    let claims = all.len();
    all.dedup();
    assert_eq!((all.len(), claims), (JOBS, JOBS), "every job once");
    db.close().await;
}

#[tokio::test]
async fn a_restarted_server_costs_nothing_but_time() {
    // A cluster of its own: the others must not notice.
    let Some(cluster) = Cluster::start() else { return };
    let name = cluster.create().await;
    let store = store::open(&cluster.url(&name), fixture::clock()).await.unwrap();
    let leased = claimed(&*store, "w").await;
    // Between two calls: connections of the pool are dead, unnoticed.
    cluster.stop();
    cluster.start_again();
    assert_eq!(store.heartbeat(&leased.token, TTL).await.unwrap(), Wanted::Continue);
    assert_eq!(store.job(&leased.job.id).await.unwrap().attempt, 1);
    cluster.stop();
    cluster.start_again();
    store.append_event(note("after the restart")).await.unwrap();

    // While it is away, calls wait for it, and fail in a way that says "later".
    cluster.stop();
    let refused = store.append_event(note("lost")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    let reading = store.clone();
    let reader = tokio::spawn(async move { reading.queue_depth().await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.start_again();
    assert_eq!(reader.await.unwrap().unwrap(), 0, "a read waits for the server to come back");
    assert_eq!(store.heartbeat(&leased.token, TTL).await.unwrap(), Wanted::Continue, "the lease outlasted it");
    store.close().await;
}

#[tokio::test]
async fn a_connection_that_breaks_inside_a_write_changes_nothing() {
    let Some(db) = Kind::Postgres.make().await else { return };
    let (cluster, name) = db.postgres();
    let leased = claimed(&*db.store, "w").await;
    // Another transaction holds the job's row; the write waits, and its connection is ended meanwhile.
    let mut holder = PgConnection::connect(&cluster.url(name)).await.unwrap();
    holder.execute("BEGIN").await.unwrap();
    holder.execute("SELECT 1 FROM jobs FOR UPDATE").await.unwrap();
    let (store, token) = (db.store.clone(), leased.token.clone());
    let writing = tokio::spawn(async move { store.complete(&token, "finished").await });
    // A transaction sees the activity of its first look only: this connection has none open.
    let mut watcher = PgConnection::connect(&cluster.url(name)).await.unwrap();
    let mut ended = false;
    while !ended {
        let sql = "SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity \
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        ended = watcher.fetch_one(sql).await.unwrap().get::<i64, _>("n") > 0;
    }
    let error = writing.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    watcher.close().await.unwrap();
    holder.execute("ROLLBACK").await.unwrap();
    assert_eq!(db.store.job(&leased.job.id).await.unwrap().state, leased.job.state);
    db.store.complete(&leased.token, "finished").await.unwrap();
    db.close().await;
}
