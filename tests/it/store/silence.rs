//! A PostgreSQL server that says nothing any more: connections that are cut without a word, a host that is frozen, callers that
//! leave in the middle of a call.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;
use vgpo::config::app::{AppSettings, Sources};
use vgpo::service::Service;
use vgpo::store::{self, Database, StoreError};

use super::fixture::{self, Kind, new_job};

/// What passes between a client and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    /// Everything, on connections of this generation or later.
    Since(u64),
    /// Nothing, and new connections get no answer.
    Nothing,
}

/// A way to the server that can fall silent; its connections stay open.
struct Proxy {
    port: u16,
    wire: watch::Sender<Wire>,
}

impl Proxy {
    async fn to(server: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let wire = watch::Sender::new(Wire::Since(0));
        let told = wire.subscribe();
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let (mut told, server) = (told.clone(), server.clone());
                tokio::spawn(async move {
                    let mut upstream = UnixStream::connect(server).await.unwrap();
                    let born = *told.borrow_and_update();
                    if born != Wire::Nothing {
                        tokio::select! {
                            _ = tokio::io::copy_bidirectional(&mut client, &mut upstream) => return,
                            _ = told.wait_for(|wire| *wire != born) => {}
                        }
                    }
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { port, wire }
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://vgpo@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Every connection falls silent; new ones work, as after a fail-over without a reset.
    fn cut(&self) {
        self.wire.send_modify(|wire| {
            *wire = match wire {
                Wire::Since(generation) => Wire::Since(*generation + 1),
                Wire::Nothing => Wire::Since(u64::MAX),
            }
        });
    }

    fn freeze(&self) {
        self.wire.send_replace(Wire::Nothing);
    }
}

/// Opens as many connections as a busy server has.
async fn warm(store: &Arc<dyn Database>) {
    let asked: Vec<_> = (0..24)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move { store.queue_depth().await.unwrap() })
        })
        .collect();
    for one in asked {
        one.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_fell_silent_cost_one_deadline() {
    let Some(cluster) = super::postgres::shared() else { return };
    let name = cluster.create().await;
    let proxy = Proxy::to(cluster.socket()).await;
    let store = store::open(&proxy.url(&name), fixture::clock()).await.unwrap();
    let (job, _) = store.submit(new_job(|_| ())).await.unwrap();
    warm(&store).await;
    proxy.cut();
    let written = tokio::time::timeout(Duration::from_secs(20), store.submit(new_job(|_| ()))).await;
    written.expect("a write finds a new connection within its deadlines").unwrap();
    // Connections that nobody has asked since then are not asked any more.
    for _ in 0..12 {
        let read = tokio::time::timeout(Duration::from_secs(5), store.job(&job.id)).await;
        read.expect("one silent connection is enough").unwrap();
    }
    warm(&store).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_told_in_time() {
    let Some(cluster) = super::postgres::shared() else { return };
    let name = cluster.create().await;
    let proxy = Proxy::to(cluster.socket()).await;
    let store = store::open(&proxy.url(&name), fixture::clock()).await.unwrap();
    warm(&store).await;
    proxy.freeze();
    let mut asked = Vec::new();
    for _ in 0..40 {
        let (reader, writer) = (Arc::clone(&store), Arc::clone(&store));
        asked.push(tokio::spawn(async move { reader.queue_depth().await.map(drop) }));
        asked.push(tokio::spawn(async move { writer.submit(new_job(|_| ())).await.map(drop) }));
    }
    let all = async {
        for one in asked {
            let told = one.await.unwrap();
            assert!(matches!(told, Err(StoreError::Unavailable(_))), "{told:?}");
        }
    };
    tokio::time::timeout(Duration::from_secs(40), all).await.expect("every call ends");
    proxy.cut();
    let again = tokio::time::timeout(Duration::from_secs(20), store.submit(new_job(|_| ()))).await;
    again.expect("the store finds its server again").unwrap();
    store.close().await;
}

/// Every request asks first whether the server wants keys: what was known holds, so that it does not wait twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whether_keys_are_wanted_is_not_waited_for() {
    let Some(cluster) = super::postgres::shared() else { return };
    let name = cluster.create().await;
    let proxy = Proxy::to(cluster.socket()).await;
    let store = store::open(&proxy.url(&name), fixture::clock()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let flags = [("data_dir", folder.path().display().to_string())];
    let settings = AppSettings::load(&Sources { flags: &flags, environment: &|_| None, file: None }).unwrap();
    let access = Service::new(Arc::clone(&store), fixture::clock(), settings).access();
    assert!(!access.asks_for_keys().await.unwrap());
    proxy.freeze();
    for _ in 0..3 {
        let told = tokio::time::timeout(Duration::from_secs(4), access.asks_for_keys()).await;
        assert!(!told.expect("it is told at once").unwrap());
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_holds_no_transaction() {
    let Some(db) = Kind::Postgres.make().await else { return };
    for patience in 0..400 {
        let call = db.store.submit(new_job(|_| ()));
        let _ = tokio::time::timeout(Duration::from_micros(patience * 5), call).await;
    }
    let (cluster, name) = db.postgres();
    let open = "SELECT pid::text FROM pg_stat_activity \
        WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    let settled = async {
        while !cluster.texts(name, open).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), settled).await.expect("no connection stays inside a transaction");
    db.close().await;
}
