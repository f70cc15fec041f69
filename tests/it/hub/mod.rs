//! The hub's client, against a hub on this machine.

pub mod server;

use std::path::{Path, PathBuf};

use vgpo::config::app::{AppSettings, Sources};
use vgpo::domain::model::DownloadProgress;
use vgpo::domain::repository::Repository;
use vgpo::outbound::hub::{Hub, HubError, Kind, Snapshot, model_files};

use server::{COMMIT, FakeHub, Moods, OTHER_COMMIT};

pub fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/qwen2_5_vl_tiny/checkpoint")
}

fn settings(url: &str, cache: &Path, token: &str) -> AppSettings {
    let text = |path: &Path| path.display().to_string();
    let flags = [
        ("hf_endpoint", url.to_owned()),
        ("hf_cache", text(cache)),
        ("hf_token", token.to_owned()),
        ("data_dir", text(cache)),
    ];
    AppSettings::load(&Sources { flags: &flags, environment: &|_| None, file: None }).unwrap()
}

/// Looks at `reference` and fetches its files; what was told comes along.
async fn fetch(
    settings: &AppSettings,
    reference: &str,
) -> Result<(PathBuf, Snapshot, Vec<DownloadProgress>), HubError> {
    let (settings, reference) = (settings.clone(), reference.to_owned());
    let work = move || {
        let hub = Hub::new(&settings)?;
        let snapshot = hub.look(Kind::Model, &reference.parse::<Repository>()?)?;
        let mut told = Vec::new();
        let dir = hub.fetch(&snapshot, &model_files(&snapshot)?, &mut |progress| told.push(progress))?;
        Ok((dir, snapshot, told))
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn same_files(dir: &Path) {
    for entry in std::fs::read_dir(tiny()).unwrap() {
        let path = entry.unwrap().path();
        let there = std::fs::read(dir.join(path.file_name().unwrap())).unwrap();
        assert!(there == std::fs::read(&path).unwrap(), "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_comes_whole_by_its_commit_and_only_once() {
    let (hub, cache) =
        (FakeHub::start(&[("models/org/tiny", &tiny())], Moods::default()).await, tempfile::tempdir().unwrap());
    let settings = settings(&hub.url, cache.path(), "");
    let (dir, snapshot, told) = fetch(&settings, "hf:org/tiny").await.unwrap();
    same_files(&dir);
    assert_eq!(snapshot.commit, COMMIT);
    assert!(dir.ends_with(format!("models--org--tiny/snapshots/{COMMIT}")), "{}", dir.display());
    assert_eq!(hub.asked("@main/"), 0, "files are asked for by commit");
    let last = told.last().unwrap();
    let size = std::fs::metadata(tiny().join("model.safetensors")).unwrap().len();
    assert_eq!((last.file.as_str(), last.bytes, last.size), ("model.safetensors", size, size));
    assert_eq!((last.number, last.files), (7, 7));
    let asked = hub.asked("resolve");
    fetch(&settings, "org/tiny@main").await.unwrap();
    assert_eq!(hub.asked("resolve"), asked, "what is there is not fetched again");
    let (other, ..) = fetch(&settings, "org/tiny@v2").await.unwrap();
    assert!(other.ends_with(OTHER_COMMIT));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_breaks_off_goes_on() {
    let moods = Moods { cuts: 2.into(), ..Moods::default() };
    let (hub, cache) = (FakeHub::start(&[("models/org/tiny", &tiny())], moods).await, tempfile::tempdir().unwrap());
    let (dir, ..) = fetch(&settings(&hub.url, cache.path(), ""), "org/tiny").await.unwrap();
    same_files(&dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_are_refused_and_fetched_again() {
    let moods = Moods { damages: 1.into(), ..Moods::default() };
    let (hub, cache) = (FakeHub::start(&[("models/org/tiny", &tiny())], moods).await, tempfile::tempdir().unwrap());
    let settings = settings(&hub.url, cache.path(), "");
    let error = fetch(&settings, "org/tiny").await.unwrap_err().to_string();
    assert!(error.contains("model.safetensors") && error.contains("SHA-256"), "{error}");
    same_files(&fetch(&settings, "org/tiny").await.unwrap().0);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_what_to_do() {
    let moods = Moods { token: Some("secret".to_owned()), ..Moods::default() };
    let (hub, cache) = (FakeHub::start(&[("models/org/tiny", &tiny())], moods).await, tempfile::tempdir().unwrap());
    let error = fetch(&settings(&hub.url, cache.path(), ""), "org/tiny").await.unwrap_err();
    assert!(matches!(error, HubError::Refused { .. }) && error.to_string().contains("VGPO_HF_TOKEN"), "{error}");
    let allowed = settings(&hub.url, cache.path(), "secret");
    fetch(&allowed, "org/tiny").await.unwrap();
    for unknown in ["org/other", "org/tiny@v3"] {
        let error = fetch(&allowed, unknown).await.unwrap_err();
        assert!(matches!(error, HubError::Unknown { .. }) && error.to_string().contains("org/"), "{error}");
    }
    let error = fetch(&settings("http://127.0.0.1:9", cache.path(), ""), "org/tiny").await.unwrap_err().to_string();
    assert!(
        error.contains("cannot reach the hub http://127.0.0.1:9") && error.contains("register the folder"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_cannot_write_elsewhere() {
    let moods = Moods { more_files: vec!["../../evil.json".to_owned()], ..Moods::default() };
    let (hub, cache) = (FakeHub::start(&[("models/org/tiny", &tiny())], moods).await, tempfile::tempdir().unwrap());
    let error = fetch(&settings(&hub.url, cache.path(), ""), "org/tiny").await.unwrap_err().to_string();
    assert!(error.contains("leads out of the repository"), "{error}");
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
}
