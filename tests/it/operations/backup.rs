//! Backups: taken while others write, whole or refused, restored into an empty place.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vgpo::artifacts::{self, ArtifactStore};
use vgpo::backup::{self, BackupError, Location, TakeOptions};
use vgpo::clock::SystemClock;
use vgpo::domain::checkpoint::NewCheckpoint;
use vgpo::domain::job::JobFilter;
use vgpo::domain::metric::SeriesQuery;
use vgpo::domain::page::Page;
use vgpo::domain::run::RunFilter;
use vgpo::store::{self, Database};

use crate::store::fixture::{Db, Kind, claimed, group, new_job, point};

/// What is done to a backup.
type Spoiler<'a> = &'a dyn Fn(&Path);

struct Source {
    db: Db,
    folder: tempfile::TempDir,
    artifacts: Arc<dyn ArtifactStore>,
    place: Location,
    checkpoint: String,
}

fn place_in(folder: &Path, database_url: &str) -> Location {
    Location {
        database_url: database_url.to_owned(),
        artifacts: artifacts::open(&format!("file:{}", folder.join("artifacts").display())).unwrap(),
        logs: folder.join("logs"),
    }
}

fn publish(artifacts: &dyn ArtifactStore, work: &Path, key: &str, text: &str) -> vgpo::domain::checkpoint::Manifest {
    std::fs::create_dir_all(work.join("trainer")).unwrap();
    std::fs::write(work.join("model.safetensors"), text).unwrap();
    std::fs::write(work.join("trainer/state.json"), "{}").unwrap();
    artifacts.publish_dir(work, key).unwrap()
}

/// A database with a job, metrics, samples and a checkpoint, a data set's files and a log.
async fn source(kind: Kind) -> Option<Source> {
    let db = kind.make().await?;
    let folder = tempfile::tempdir().unwrap();
    let place = place_in(folder.path(), &db.url);
    let artifacts = place.artifacts.clone();
    let leased = claimed(&*db.store, "w").await;
    db.store.append_metrics(&leased.token, &[point(&db, 1, &[("loss", 0.5)])]).await.unwrap();
    db.store.append_samples(&leased.token, 1, &[group(1)]).await.unwrap();
    let key = format!("checkpoints/{}/ckpt_1", leased.token.run_id);
    let manifest = publish(&*artifacts, &folder.path().join("work"), &key, "weights");
    let new = NewCheckpoint {
        id: "ckpt_1".into(),
        step: 1,
        key: key.clone(),
        accuracy: None,
        score: None,
        last: false,
        manifest,
    };
    db.store.add_checkpoint(&leased.token, new).await.unwrap();
    publish(&*artifacts, &folder.path().join("work"), "datasets/ds_1", "rows");
    publish(&*artifacts, &folder.path().join("work"), &format!("rows/{}/00000001", leased.token.run_id), "answers");
    std::fs::create_dir_all(&place.logs).unwrap();
    std::fs::write(place.logs.join("job.jsonl"), "{}\n").unwrap();
    Some(Source { db, folder, artifacts, place, checkpoint: key })
}

async fn take(source: &Source, name: &str) -> PathBuf {
    let to = source.folder.path().join(name);
    backup::take(&source.place, &to, TakeOptions::default(), &SystemClock).await.unwrap();
    to
}

/// Everything that readers see of the database's jobs and runs.
async fn contents(store: &dyn Database) -> (Vec<String>, Vec<String>, usize) {
    let page = Page { limit: 500, after: None };
    let jobs = store.jobs(&JobFilter::default(), &page).await.unwrap().data;
    let runs = store.runs(&RunFilter::default(), &page).await.unwrap().data;
    let points = match runs.last() {
        Some(run) => store
            .metric_series(&run.id, "loss", &SeriesQuery { from_step: None, to_step: None, max_points: None })
            .await
            .unwrap()
            .len(),
        None => 0,
    };
    (jobs.iter().map(|j| format!("{j:?}")).collect(), runs.iter().map(|r| format!("{r:?}")).collect(), points)
}

async fn comes_back_whole(kind: Kind, empty: impl AsyncFn(&Path) -> String) {
    let Some(source) = source(kind).await else { return };
    let backup = take(&source, "saved").await;
    let elsewhere = tempfile::tempdir().unwrap();
    let place = place_in(elsewhere.path(), &empty(elsewhere.path()).await);
    let manifest = backup::restore(&backup, &place).await.unwrap();
    assert_eq!(manifest.artifacts.len(), 3);
    let restored = store::open(&place.database_url, source.db.clock.clone()).await.unwrap();
    assert_eq!(contents(&*restored).await, contents(&*source.db.store).await);
    let checkpoint = restored.checkpoint("ckpt_1").await.unwrap();
    place.artifacts.verify(&checkpoint.key, &checkpoint.manifest).unwrap();
    assert!(place.artifacts.path("datasets/ds_1").is_ok());
    assert_eq!(std::fs::read_to_string(place.logs.join("job.jsonl")).unwrap(), "{}\n");
    // The restored database is one to work with.
    restored.submit(new_job(|_| ())).await.unwrap();
    restored.check().await.unwrap();
    let taken = backup::restore(&backup, &place).await.unwrap_err();
    assert!(matches!(taken, BackupError::NotEmpty { .. }), "{taken}");
    restored.close().await;
    source.db.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_sqlite_backup_comes_back_whole() {
    let empty = async |folder: &Path| format!("sqlite:{}", folder.join("new/vgpo.db").display());
    comes_back_whole(Kind::Sqlite, empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_backup_comes_back_whole() {
    let empty = async |_: &Path| {
        let cluster = crate::store::postgres::shared().unwrap();
        cluster.url(&cluster.create().await)
    };
    comes_back_whole(Kind::Postgres, empty).await;
}

async fn shows_one_moment(kind: Kind) {
    let Some(source) = source(kind).await else { return };
    let done = Arc::new(AtomicBool::new(false));
    let (store, stop) = (source.db.store.clone(), done.clone());
    // A job and its run are inserted in one transaction: a copy with one of them alone would show no single moment.
    let writing = tokio::spawn(async move {
        let mut written = 0;
        while !stop.load(Ordering::Relaxed) {
            store.submit(new_job(|_| ())).await.unwrap();
            written += 1;
        }
        written
    });
    let mut counts = Vec::new();
    for name in ["a", "b", "c"] {
        let manifest = backup::BackupManifest::read(&take(&source, name).await).unwrap();
        counts.push(manifest.database_file.size_bytes);
    }
    done.store(true, Ordering::Relaxed);
    assert!(writing.await.unwrap() > 0, "writes went on");
    if let Kind::Sqlite = kind {
        let copy = format!("sqlite:{}", source.folder.path().join("c/database.sqlite").display());
        let copied = store::open(&copy, source.db.clock.clone()).await.unwrap();
        let (jobs, runs, points) = contents(&*copied).await;
        assert_eq!((jobs.len(), points), (runs.len(), 1));
        copied.close().await;
    }
    source.db.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_sqlite_backup_during_writes_shows_one_moment() {
    shows_one_moment(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_backup_during_writes_shows_one_moment() {
    shows_one_moment(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_and_incomplete_backups_are_refused_and_nothing_is_written() {
    let source = source(Kind::Sqlite).await.unwrap();
    let spoilers: [(&str, Spoiler); 5] = [
        ("backup.json", &|dir| std::fs::remove_file(dir.join("backup.json")).unwrap()),
        ("another content", &|dir| {
            let path = dir.join("database.sqlite");
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }),
        ("database.sqlite is missing", &|dir| std::fs::remove_file(dir.join("database.sqlite")).unwrap()),
        ("datasets/ds_1", &|dir| std::fs::remove_dir_all(dir.join("artifacts/datasets/ds_1")).unwrap()),
        ("model.safetensors", &|dir| {
            let path = dir.join("artifacts").join(&source.checkpoint).join("model.safetensors");
            std::fs::remove_file(&path).unwrap();
            std::fs::write(path, "wei").unwrap();
        }),
    ];
    for (number, (word, spoil)) in spoilers.into_iter().enumerate() {
        let backup = take(&source, &format!("saved{number}")).await;
        spoil(&backup);
        let elsewhere = tempfile::tempdir().unwrap();
        let place = place_in(elsewhere.path(), &format!("sqlite:{}", elsewhere.path().join("vgpo.db").display()));
        let error = backup::restore(&backup, &place).await.unwrap_err();
        assert!(matches!(error, BackupError::Incomplete { .. }) && error.to_string().contains(word), "{error}");
        let left: Vec<_> = std::fs::read_dir(elsewhere.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.is_empty(), "nothing was written, and nothing is left: {word}: {left:?}");
    }
    source.db.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_source_is_told_and_leaves_no_backup() {
    let source = source(Kind::Sqlite).await.unwrap();
    let file = source.artifacts.path(&source.checkpoint).unwrap().join("model.safetensors");
    std::fs::write(file, "other").unwrap();
    let to = source.folder.path().join("saved");
    let error = backup::take(&source.place, &to, TakeOptions::default(), &SystemClock).await.unwrap_err();
    assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
    assert!(!to.exists() && !source.folder.path().join("saved.partial").exists());
    let options = TakeOptions { allow_damaged: true };
    let manifest = backup::take(&source.place, &to, options, &SystemClock).await.unwrap();
    assert_eq!(manifest.damaged, std::slice::from_ref(&source.checkpoint));
    let again = backup::take(&source.place, &to, options, &SystemClock).await.unwrap_err();
    assert!(matches!(again, BackupError::Taken(_)), "a backup is never written over: {again}");
    source.db.close().await;
}
