//! Whose files are whose: nothing goes because a database does not know it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use vgpo::artifacts::ArtifactStore;
use vgpo::config::app::{AppSettings, Sources};
use vgpo::domain::checkpoint::NewCheckpoint;
use vgpo::domain::dataset::DatasetState;
use vgpo::domain::job::JobState;
use vgpo::service::admin::storage::ORPHANS_STAY;
use vgpo::service::{Service, ServiceError};

use crate::store::fixture::{self, Db, TTL, claimed, dataset, new_checkpoint};

/// A server's service on a database, with a data folder of its own, and the artifacts of all of them.
struct Place {
    data: tempfile::TempDir,
    service: Service,
    artifacts: Arc<dyn ArtifactStore>,
}

impl Place {
    fn on(db: &Db, shared: &Path) -> Self {
        let data = tempfile::tempdir().unwrap();
        let flags =
            [("data_dir", data.path().display().to_string()), ("artifacts_url", format!("file:{}", shared.display()))];
        let settings = AppSettings::load(&Sources { flags: &flags, environment: &|_| None, file: None }).unwrap();
        let artifacts = vgpo::artifacts::open(&settings.artifacts_url).unwrap();
        let service = Service::new(db.store.clone(), db.clock.clone(), settings);
        Self { data, service, artifacts }
    }

    /// Stores something under a key.
    fn publish(&self, key: &str) -> vgpo::domain::checkpoint::Manifest {
        let files = self.data.path().join("made");
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(files.join("weights"), key).unwrap();
        self.artifacts.publish_dir(&files, key).unwrap()
    }

    fn has(&self, key: &str) -> bool {
        self.artifacts.path(key).is_ok()
    }
}

async fn refused(service: &Service) -> String {
    match service.admin().own_artifacts().await {
        Err(ServiceError::Conflict(told)) => told,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_foreign_database_leaves_artifacts_alone_and_says_so() {
    let (mine, other) = (fixture::sqlite().await, fixture::sqlite().await);
    let shared = tempfile::tempdir().unwrap();
    let (a, b) = (Place::on(&mine, shared.path()), Place::on(&other, shared.path()));
    a.service.admin().own_artifacts().await.unwrap();
    mine.store.create_dataset("ds_1", dataset("one", DatasetState::Ready)).await.unwrap();
    a.publish("datasets/ds_1");

    let told = refused(&b.service).await;
    for word in
        ["another database", "VGPO_ARTIFACTS_URL", "vgpo prune --adopt", &mine.store.database_id().await.unwrap()]
    {
        assert!(told.contains(word), "{told}");
    }
    b.service.datasets().recover().await.unwrap();
    b.service.admin().finish_removals().await.unwrap();
    assert!(b.service.admin().remove_orphans(Duration::ZERO).await.is_err());
    assert!(a.has("datasets/ds_1"));
    a.service.admin().own_artifacts().await.unwrap();

    // Artifacts from before such notes: the database that knows them takes them, one that knows none does not.
    std::fs::remove_file(shared.path().join(".database.json")).unwrap();
    let told = refused(&b.service).await;
    assert!(
        told.contains("none of which is in this database")
            && told.contains("datasets/ds_1")
            && told.contains("--adopt"),
        "{told}"
    );
    a.service.admin().own_artifacts().await.unwrap();
    refused(&b.service).await;

    b.service.admin().adopt_artifacts().await.unwrap();
    b.service.admin().own_artifacts().await.unwrap();
    refused(&a.service).await;
    assert!(a.has("datasets/ds_1"), "taken over, not swept");
    mine.close().await;
    other.close().await;
}

#[tokio::test]
async fn files_of_deleted_records_go_even_after_a_crash() {
    let db = fixture::sqlite().await;
    let shared = tempfile::tempdir().unwrap();
    let place = Place::on(&db, shared.path());
    let leased = claimed(&*db.store, "w").await;
    let run = &leased.token.run_id;
    let (key, unrecorded) = (format!("checkpoints/{run}/ckpt_1"), format!("checkpoints/{run}/ckpt_2"));
    let manifest = place.publish(&key);
    let checkpoint = NewCheckpoint { key: key.clone(), manifest, ..new_checkpoint("ckpt_1", 1, None) };
    db.store.add_checkpoint(&leased.token, checkpoint).await.unwrap();
    // Published by an attempt that died before it could record it.
    place.publish(&unrecorded);
    place.publish("datasets/ds_1");
    db.store.create_dataset("ds_1", dataset("mine", DatasetState::Ready)).await.unwrap();
    db.store.complete(&leased.token, "finished").await.unwrap();
    // The server dies behind each commit.
    db.store.delete_run(run).await.unwrap();
    db.store.delete_dataset("ds_1").await.unwrap();
    for key in [key.as_str(), unrecorded.as_str(), "datasets/ds_1"] {
        assert!(place.has(key));
    }
    place.service.admin().finish_removals().await.unwrap();
    for key in [key.as_str(), unrecorded.as_str(), "datasets/ds_1"] {
        assert!(!place.has(key), "{key}");
    }
    assert!(!shared.path().join("checkpoints").join(run).exists());
    assert!(db.store.removals().await.unwrap().is_empty());
    db.close().await;
}

#[tokio::test]
async fn orphans_go_when_they_are_old() {
    let db = fixture::sqlite().await;
    let shared = tempfile::tempdir().unwrap();
    let place = Place::on(&db, shared.path());
    place.service.admin().own_artifacts().await.unwrap();
    let (ended, running) = (claimed(&*db.store, "w").await, claimed(&*db.store, "v").await);
    db.store.complete(&ended.token, "finished").await.unwrap();
    let left = format!("checkpoints/{}/ckpt_1", ended.token.run_id);
    let at_work = format!("checkpoints/{}/ckpt_2", running.token.run_id);
    db.store.create_dataset("ds_coming", dataset("coming", DatasetState::Validating)).await.unwrap();
    db.store.create_dataset("ds_ready", dataset("ready", DatasetState::Ready)).await.unwrap();
    let orphans = ["checkpoints/run_gone/ckpt_3", "datasets/ds_gone", "models/gone", "rows/run_gone/00000001"];
    let known = [at_work.as_str(), "datasets/ds_coming", "datasets/ds_ready"];
    for key in known.into_iter().chain(orphans).chain([left.as_str()]) {
        place.publish(key);
    }
    let mut expected = vec!["checkpoints/run_gone", "datasets/ds_gone", "models/gone", "rows/run_gone", &left];
    expected.sort_unstable();
    for age in [Duration::ZERO, ORPHANS_STAY - Duration::from_secs(1)] {
        db.clock.advance(age);
        let looked = place.service.admin().remove_orphans(ORPHANS_STAY).await.unwrap();
        assert_eq!((looked.keys, looked.removed), (expected.iter().map(ToString::to_string).collect(), Vec::new()));
    }
    assert!(orphans.iter().all(|key| place.has(key)));
    db.clock.advance(Duration::from_secs(1));
    let looked = place.service.admin().remove_orphans(ORPHANS_STAY).await.unwrap();
    assert_eq!(looked.removed, expected);
    assert!(orphans.iter().all(|key| !place.has(key)) && !place.has(&left));
    assert!(known.iter().all(|key| place.has(key)), "what has a record, or may get one, stays");
    db.close().await;
}

#[tokio::test]
async fn servers_leave_the_uploads_of_living_ones_alone() {
    let db = fixture::sqlite().await;
    let shared = tempfile::tempdir().unwrap();
    let (a, b) = (Place::on(&db, shared.path()), Place::on(&db, shared.path()));
    let request = |value| serde_json::from_value(value).unwrap();
    let parts = request(json!({"name": "parts", "source": {"upload": "parts"}}));
    a.service.datasets().register(parts, None).await.unwrap();
    let upload = a.service.datasets().begin_upload(request(json!({"name": "slow"})), "rows.jsonl", None).await.unwrap();
    // Published, and not recorded yet.
    db.store.create_dataset("ds_checked", dataset("checked", DatasetState::Validating)).await.unwrap();
    db.store.hold_dataset("ds_checked", "srv_elsewhere").await.unwrap();
    a.publish("datasets/ds_checked");

    b.service.admin().own_artifacts().await.unwrap();
    for _ in 0..2 {
        b.service.datasets().recover().await.unwrap();
    }
    for (name, state) in [("parts", "uploading"), ("slow", "uploading"), ("checked", "validating")] {
        assert_eq!(db.store.dataset(name).await.unwrap().state.name(), state, "{name}");
    }
    assert!(a.has("datasets/ds_checked"));

    // A server that is silent is gone. What it checked has ended; parts may wait in its folder for its return.
    b.service.datasets().recover_of(Duration::ZERO).await.unwrap();
    assert_eq!(db.store.dataset("checked").await.unwrap().state, DatasetState::Invalid);
    assert!(a.has("datasets/ds_checked"), "an orphan now, which goes when it is old");
    // It was alive after all: what it says comes too late, and nothing is ready without files.
    assert!(db.store.update_dataset("ds_checked", &dataset("checked", DatasetState::Ready)).await.is_err());
    drop(upload);
    db.close().await;
}

#[tokio::test]
async fn leases_run_out_where_no_worker_lives() {
    let db = fixture::sqlite().await;
    let shared = tempfile::tempdir().unwrap();
    let place = Place::on(&db, shared.path());
    let leased = claimed(&*db.store, "w").await;
    let service = place.service.clone();
    let watching = tokio::spawn(async move { service.admin().keep_watch("here").await });
    let ended = async {
        while db.store.job(&leased.job.id).await.unwrap().state != JobState::Queued {
            db.clock.advance(TTL / 2);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the server ends the lease");
    place.service.stopping().cancel();
    watching.await.unwrap();
    db.close().await;
}
