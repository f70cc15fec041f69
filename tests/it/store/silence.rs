//! A PostgreSQL server that stops answering: connections that are cut without notice, a host that is frozen, callers
//! that leave in the middle of a call.
//!
//! A busy machine must not fail these tests: they count what is sent to silent connections and compare waits with each
//! other. Times of their own are limits against tests that hang.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream, UnixStream};
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

/// A call that takes longer than this hangs, even on a busy machine.
const HANGS: Duration = Duration::from_secs(120);

/// A way to the server that can fall silent; its connections stay open.
struct Proxy {
    port: u16,
    wire: watch::Sender<Wire>,
    /// Silent connections on which a statement was sent.
    asked: Arc<AtomicUsize>,
}

/// Reads what a client sends to a silent connection, until it closes. Pings (`Sync`) and farewells (`Terminate`) are
/// not statements.
async fn hear_in_silence(mut client: TcpStream, asked: &AtomicUsize) {
    let mut bytes = [0; 4096];
    let mut is_asked = false;
    while let Ok(1..) = client.read(&mut bytes).await {
        if !is_asked && !matches!(bytes[0], b'S' | b'X') {
            is_asked = true;
            asked.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Proxy {
    async fn to(server: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let wire = watch::Sender::new(Wire::Since(0));
        let asked = Arc::new(AtomicUsize::new(0));
        let (told, counted) = (wire.subscribe(), Arc::clone(&asked));
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let (mut told, server, counted) = (told.clone(), server.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    let mut upstream = UnixStream::connect(server).await.unwrap();
                    let born = *told.borrow_and_update();
                    if born != Wire::Nothing {
                        tokio::select! {
                            _ = tokio::io::copy_bidirectional(&mut client, &mut upstream) => return,
                            _ = told.wait_for(|wire| *wire != born) => {}
                        }
                    }
                    hear_in_silence(client, &counted).await;
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { port, wire, asked }
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

/// Repeats a call that may be repeated while the database is too busy for it.
async fn patiently<T, F: Future<Output = Result<T, StoreError>>>(call: impl Fn() -> F) -> T {
    let answer = async {
        loop {
            match call().await {
                Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                answer => return answer.unwrap(),
            }
        }
    };
    tokio::time::timeout(HANGS, answer).await.expect("the call ends")
}

/// Opens as many connections as a busy server has.
async fn warm(store: &Arc<dyn Database>) {
    let asked: Vec<_> = (0..24)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move { patiently(|| store.queue_depth()).await })
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
    let (job, _) = patiently(|| store.submit(new_job(|_| ()))).await;
    warm(&store).await;
    proxy.cut();
    patiently(|| store.submit(new_job(|_| ()))).await;
    for _ in 0..12 {
        patiently(|| store.job(&job.id)).await;
    }
    warm(&store).await;
    let asked = proxy.asked.load(Ordering::SeqCst);
    // None where the pool replaced them before any was used again.
    assert!(asked <= 1, "after the first silent connection, the others are not used again: {asked} were");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_to_a_frozen_server_ends() {
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
    tokio::time::timeout(HANGS, all).await.expect("every call ends");
    proxy.cut();
    patiently(|| store.submit(new_job(|_| ()))).await;
    store.close().await;
}

/// Every request begins with the question whether the server requires keys. The last answer is good enough, so that a
/// request does not wait for a silent database twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_question_for_keys_waits_less_than_a_call_of_the_store() {
    let Some(cluster) = super::postgres::shared() else { return };
    let name = cluster.create().await;
    let proxy = Proxy::to(cluster.socket()).await;
    let store = store::open(&proxy.url(&name), fixture::clock()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let flags = [("data_dir", folder.path().display().to_string())];
    let settings = AppSettings::load(&Sources { flags: &flags, environment: &|_| None, file: None }).unwrap();
    let access = Service::new(Arc::clone(&store), fixture::clock(), settings).access();
    let known = async {
        while access.asks_for_keys().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(HANGS, known).await.expect("the server answers once");
    proxy.freeze();
    for _ in 0..3 {
        tokio::select! {
            biased;
            answer = access.asks_for_keys() => assert!(!answer.unwrap()),
            depth = store.queue_depth() => panic!("a call of the store ended first: {depth:?}"),
        }
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
    tokio::time::timeout(HANGS, settled).await.expect("no connection stays inside a transaction");
    db.close().await;
}
