//! Artifacts in a bucket: what is published is whole, what broke off is invisible and gone on with.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use object_store::ObjectStoreExt as _;
use object_store::path::Path as Place;
use vgpo::artifacts::{self, ArtifactError, ArtifactStore, JobLogs};
use vgpo::domain::log::{LogLevel, LogLine, LogPage};

use super::flaky::Flaky;

const KEY: &str = "checkpoints/run_1/ckpt_1";

/// A host: its view of the bucket, and its own disk.
pub struct Host {
    pub store: Arc<dyn ArtifactStore>,
    pub disk: tempfile::TempDir,
}

impl Host {
    fn of(bucket: &Arc<Flaky>) -> Self {
        Self::keeping(bucket, 0)
    }

    /// One that keeps this number of bytes of what it fetched.
    fn keeping(bucket: &Arc<Flaky>, bytes: u64) -> Self {
        let disk = tempfile::tempdir().unwrap();
        let store = Self::process(bucket, disk.path(), bytes);
        Self { store, disk }
    }

    /// What a process on a host with this disk sees.
    fn process(bucket: &Arc<Flaky>, disk: &Path, bytes: u64) -> Arc<dyn ArtifactStore> {
        artifacts::open_bucket(bucket.clone(), "team/vgpo", &disk.join("cache"), bytes).unwrap()
    }

    /// A folder to publish.
    pub fn sample(&self, weights: usize) -> std::path::PathBuf {
        let src = self.disk.path().join("src");
        fs::create_dir_all(src.join("trainer")).unwrap();
        fs::write(src.join("model.safetensors"), pattern(weights)).unwrap();
        fs::write(src.join("trainer/state.json"), "{}").unwrap();
        src
    }

    /// Files below the cache.
    fn cached(&self) -> usize {
        files(&self.disk.path().join("cache"))
    }
}

pub fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| {
            let path = entry.unwrap().path();
            // Its own bookkeeping does not count.
            let own = [".lock", ".notes"].iter().any(|end| path.to_string_lossy().ends_with(end));
            if own {
                0
            } else if path.is_dir() {
                files(&path)
            } else {
                1
            }
        })
        .sum()
}

#[test]
fn what_one_host_publishes_another_reads() {
    let bucket = Arc::new(Flaky::default());
    let (one, two) = (Host::of(&bucket), Host::of(&bucket));
    let src = one.sample(20_000_000);
    let manifest = one.store.publish_dir(&src, KEY).unwrap();
    assert!(!src.exists(), "the store took it over");
    assert_eq!(manifest.size_bytes, 20_000_002);
    assert_eq!(two.store.list("checkpoints/run_1").unwrap(), [KEY]);
    let path = two.store.path(KEY).unwrap();
    assert!(path.starts_with(two.disk.path().canonicalize().unwrap()));
    assert!(fs::read(path.join("model.safetensors")).unwrap() == pattern(20_000_000), "every byte, in order");
    assert_eq!(fs::read(path.join("trainer/state.json")).unwrap(), b"{}");
    two.store.verify(KEY, &manifest).unwrap();
    bucket.begun.lock().unwrap().clear();
    assert_eq!(two.store.path(KEY).unwrap(), path);
    one.store.path(KEY).unwrap();
    assert!(bucket.begun.lock().unwrap().is_empty(), "what is here is not fetched again, nor what was written here");

    let again = two.store.publish_dir(&two.sample(5), KEY).unwrap_err();
    assert!(matches!(again, ArtifactError::Exists(_)), "{again}");
    one.store.delete(KEY).unwrap();
    one.store.delete(KEY).unwrap();
    assert!(matches!(two.store.path(KEY), Err(ArtifactError::NotFound(_))));
    assert!(two.store.list("checkpoints/run_1").unwrap().is_empty());
    assert_eq!(one.cached(), 0);
    for key in ["", "../x", "/x", "a/.hidden"] {
        assert!(matches!(one.store.path(key), Err(ArtifactError::Key(_))), "{key:?}");
    }
}

/// The manifest comes last: a writer that breaks off before it has published nothing, and the next one sends what is
/// missing.
#[test]
fn half_an_artifact_is_invisible_and_gone_on_with() {
    let bucket = Arc::new(Flaky::default());
    let (writer, reader) = (Host::of(&bucket), Host::of(&bucket));
    let src = writer.sample(100);
    for refused in ["state.json", "ckpt_1.json"] {
        *bucket.refuses.lock().unwrap() = Some(refused);
        let error = writer.store.publish_dir(&src, KEY).unwrap_err();
        assert!(error.to_string().contains("the line went dead"), "{error}");
        assert!(matches!(reader.store.path(KEY), Err(ArtifactError::NotFound(_))));
        assert!(reader.store.list("checkpoints/run_1").unwrap().is_empty());
        assert_eq!(reader.store.leftovers("checkpoints/run_1").unwrap(), [KEY]);
        assert!(src.join("model.safetensors").exists(), "the folder stays where it was");
    }
    *bucket.refuses.lock().unwrap() = None;
    bucket.written.lock().unwrap().clear();
    writer.store.publish_dir(&src, KEY).unwrap();
    assert_eq!(*bucket.written.lock().unwrap(), ["team/vgpo/manifests/checkpoints/run_1/ckpt_1.json"]);
    assert!(reader.store.leftovers("checkpoints/run_1").unwrap().is_empty());
    reader.store.path(KEY).unwrap();

    *bucket.refuses.lock().unwrap() = Some("state.json");
    writer.store.publish_dir(&writer.sample(100), "checkpoints/run_1/ckpt_2").unwrap_err();
    for key in reader.store.leftovers("checkpoints/run_1").unwrap() {
        reader.store.delete(&key).unwrap();
    }
    assert!(reader.store.leftovers("checkpoints/run_1").unwrap().is_empty());
}

#[test]
fn a_broken_download_goes_on_where_it_broke() {
    let bucket = Arc::new(Flaky::default());
    let (writer, reader) = (Host::of(&bucket), Host::of(&bucket));
    writer.store.publish_dir(&writer.sample(5_000), KEY).unwrap();
    bucket.breaks_after.store(1_234, Ordering::SeqCst);
    let error = reader.store.path(KEY).unwrap_err();
    assert!(matches!(error, ArtifactError::Remote { action: "fetch", .. }), "{error}");
    let path = reader.store.path(KEY).unwrap();
    assert_eq!(fs::read(path.join("model.safetensors")).unwrap(), pattern(5_000));
    assert_eq!(*bucket.begun.lock().unwrap(), [0, 1_234, 0]);
}

#[tokio::test]
async fn damage_in_the_bucket_or_on_the_disk_is_named() {
    let bucket = Arc::new(Flaky::default());
    let (writer, reader) = (Host::of(&bucket), Host::of(&bucket));
    let manifest = writer.store.publish_dir(&writer.sample(50), KEY).unwrap();
    let place = Place::from("team/vgpo/files/checkpoints/run_1/ckpt_1/trainer/state.json");
    bucket.inner.put(&place, "[]".into()).await.unwrap();
    for _ in 0..2 {
        let error = reader.store.path(KEY).unwrap_err().to_string();
        assert!(error.contains("trainer/state.json has another content"), "{error}");
        assert_eq!(reader.cached(), 0);
    }
    bucket.inner.put(&place, "{}".into()).await.unwrap();
    let path = reader.store.path(KEY).unwrap();
    assert!(fs::metadata(path.join("model.safetensors")).unwrap().permissions().readonly());
    fs::remove_file(path.join("model.safetensors")).unwrap();
    fs::write(path.join("model.safetensors"), "x").unwrap();
    let error = reader.store.verify(KEY, &manifest).unwrap_err().to_string();
    assert!(error.contains("model.safetensors has 1 bytes instead of 50"), "{error}");
    reader.store.verify(KEY, &manifest).unwrap();

    let evil = String::from_utf8(
        bucket
            .inner
            .get(&Place::from("team/vgpo/manifests/checkpoints/run_1/ckpt_1.json"))
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap()
            .to_vec(),
    )
    .unwrap();
    let evil = evil.replace("trainer/state.json", "../../../state.json");
    bucket.inner.put(&Place::from("team/vgpo/manifests/c/evil.json"), evil.into()).await.unwrap();
    assert!(matches!(reader.store.path("c/evil"), Err(ArtifactError::Damaged { .. })));
}

/// The names of artifacts `c/N` in the cache of a disk.
fn kept(disk: &Path) -> Vec<String> {
    let folders = fs::read_dir(disk.join("cache/c")).unwrap().map(|entry| entry.unwrap().path());
    let whole = folders.filter(|folder| fs::read_dir(folder).unwrap().count() > 0);
    let mut names: Vec<_> = whole.map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_cache_keeps_what_is_in_use_and_what_was_asked_for_last() {
    let bucket = Arc::new(Flaky::default());
    let writer = Host::of(&bucket);
    for name in ["c/1", "c/2", "c/3", "c/4", "c/5"] {
        writer.store.publish_dir(&writer.sample(1_000), name).unwrap();
    }
    // Room for two of 1,002 bytes.
    let reader = Host::keeping(&bucket, 2_500);
    let (store, disk) = (&reader.store, reader.disk.path());
    let fetch = |name: &str| {
        let path = store.path(name).unwrap();
        assert_eq!(fs::read(path.join("model.safetensors")).unwrap(), pattern(1_000));
        path
    };
    fetch("c/1");
    fetch("c/2");
    fetch("c/3");
    assert_eq!(kept(disk), ["1", "2", "3"], "all of it is in use");
    store.let_go(std::time::Duration::ZERO);
    fetch("c/1");
    fetch("c/4");
    assert_eq!(kept(disk), ["1", "4"], "what was used last stays");

    // Another process on this host uses `c/1`; this one needs neither any more.
    let other = Host::process(&bucket, disk, 2_500);
    let used = other.path("c/1").unwrap();
    store.let_go(std::time::Duration::ZERO);
    fetch("c/2");
    fetch("c/3");
    fetch("c/5");
    assert!(used.join("model.safetensors").exists());
    assert_eq!(kept(disk), ["1", "2", "3", "5"]);
    drop(other);
    store.let_go(std::time::Duration::ZERO);
    // What is published here is kept, too, and counts.
    store.publish_dir(&reader.sample(1_000), "c/6").unwrap();
    assert_eq!(kept(disk), ["5", "6"]);
    // What went comes again.
    fetch("c/1");
    assert_eq!(kept(disk), ["1", "6"]);
}

#[test]
fn one_artifact_larger_than_the_cache_is_still_fetched() {
    let bucket = Arc::new(Flaky::default());
    let (writer, reader) = (Host::of(&bucket), Host::keeping(&bucket, 10));
    for name in ["c/1", "c/2"] {
        writer.store.publish_dir(&writer.sample(1_000), name).unwrap();
        assert!(reader.store.path(name).unwrap().is_dir());
        reader.store.let_go(std::time::Duration::ZERO);
    }
    assert_eq!(kept(reader.disk.path()), ["2"]);
}

fn say(logs: &JobLogs, message: &str) {
    let line =
        LogLine { time: chrono::DateTime::UNIX_EPOCH, level: LogLevel::Info, attempt: 1, message: message.to_owned() };
    logs.writer("job_1").unwrap().write(&line).unwrap();
}

fn messages(page: LogPage) -> Vec<String> {
    page.data.into_iter().map(|line| line.message).collect()
}

#[test]
fn a_log_is_read_and_gone_on_with_on_other_hosts() {
    let bucket = Arc::new(Flaky::default());
    let hosts = [Host::of(&bucket), Host::of(&bucket), Host::of(&bucket)];
    let [first, second, reader] =
        hosts.each_ref().map(|host| JobLogs::new(&host.disk.path().join("logs")).shared_by(&host.store));
    say(&first, "one");
    assert!(messages(reader.tail("job_1", 9).unwrap()).is_empty(), "not shared yet");
    first.share("job_1", 0).unwrap();
    let page = reader.read("job_1", 0, 9).unwrap();
    let behind_one: u64 = page.next.parse().unwrap();
    assert_eq!((page.has_more, messages(page)), (false, vec!["one".to_owned()]));

    // The job continues on another host.
    say(&second, "two");
    second.share("job_1", 0).unwrap();
    assert_eq!(messages(reader.tail("job_1", 9).unwrap()), ["one", "two"]);
    assert_eq!(messages(reader.read("job_1", behind_one, 9).unwrap()), ["two"]);
    assert_eq!(messages(first.tail("job_1", 9).unwrap()), ["one", "two"], "the copy is longer than the local log");

    let written = bucket.written.lock().unwrap().len();
    let known = second.share("job_1", 0).unwrap();
    second.share("job_1", known).unwrap();
    first.share("job_1", 0).unwrap();
    let copies = bucket.written.lock().unwrap().len() - written;
    assert_eq!(copies, 1, "neither what has not changed nor what is shorter is copied");
    assert_eq!(messages(reader.tail("job_1", 9).unwrap()), ["one", "two"]);

    *bucket.refuses.lock().unwrap() = Some(".jsonl");
    assert!(second.share("job_1", 0).is_err());
    *bucket.refuses.lock().unwrap() = None;
    reader.remove("job_1").unwrap();
    assert!(messages(reader.tail("job_1", 9).unwrap()).is_empty());
    assert_eq!(messages(second.tail("job_1", 9).unwrap()), ["one", "two"], "logs on a host's own disk stay there");
}
