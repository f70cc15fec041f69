//! The local artifact store: complete or absent, never anything between.

use std::fs;
use std::path::Path;

use vgpo::artifacts::{self, ArtifactError, ArtifactStore};

fn store(root: &Path) -> std::sync::Arc<dyn ArtifactStore> {
    artifacts::open(&format!("file:{}", root.display())).unwrap()
}

fn sample(folder: &Path) {
    fs::create_dir_all(folder.join("trainer")).unwrap();
    fs::write(folder.join("model.safetensors"), vec![1u8; 3_000_000]).unwrap();
    fs::write(folder.join("trainer/state.json"), "{}").unwrap();
}

/// Everything below a folder.
fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        found.extend(tree(&path));
    }
    found.sort();
    found
}

#[test]
fn a_folder_is_published_whole() {
    let root = tempfile::tempdir().unwrap();
    let store = store(&root.path().join("artifacts"));
    let src = root.path().join("src");
    sample(&src);
    let manifest = store.publish_dir(&src, "checkpoints/run_1/ckpt_1").unwrap();
    assert!(!src.exists(), "the store took it over");
    let listed: Vec<_> = manifest.files.iter().map(|f| (f.path.as_str(), f.size_bytes)).collect();
    assert_eq!(listed, [("model.safetensors", 3_000_000), ("trainer/state.json", 2)]);
    assert_eq!(manifest.size_bytes, 3_000_002);
    let empty_object = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!(manifest.files[1].sha256, empty_object, "SHA-256 of {{}}");
    let path = store.path("checkpoints/run_1/ckpt_1").unwrap();
    assert_eq!(fs::read(path.join("model.safetensors")).unwrap().len(), 3_000_000);
    store.verify("checkpoints/run_1/ckpt_1", &manifest).unwrap();
    assert_eq!(store.list("checkpoints/run_1").unwrap(), ["checkpoints/run_1/ckpt_1"]);
    assert!(store.list("checkpoints/run_2").unwrap().is_empty());

    sample(&src);
    let again = store.publish_dir(&src, "checkpoints/run_1/ckpt_1").unwrap_err();
    assert!(matches!(again, ArtifactError::Exists(_)), "{again}");
    assert!(src.exists(), "a refused folder stays where it was");
    let twin = store.publish_dir(&src, "checkpoints/run_1/ckpt_2").unwrap();
    assert_eq!(twin.sha256, manifest.sha256);
}

#[test]
fn damage_is_named() {
    let root = tempfile::tempdir().unwrap();
    let store = store(&root.path().join("artifacts"));
    let src = root.path().join("src");
    sample(&src);
    let manifest = store.publish_dir(&src, "c/1").unwrap();
    let path = store.path("c/1").unwrap();
    let problem = || store.verify("c/1", &manifest).unwrap_err().to_string();
    fs::write(path.join("extra"), "x").unwrap();
    assert!(problem().contains("extra does not belong to it"), "{}", problem());
    fs::remove_file(path.join("extra")).unwrap();
    fs::write(path.join("trainer/state.json"), "[]").unwrap();
    assert!(problem().contains("trainer/state.json has another content"), "{}", problem());
    // Published weights are write-protected; a change takes another file.
    assert!(fs::metadata(path.join("model.safetensors")).unwrap().permissions().readonly());
    fs::remove_file(path.join("model.safetensors")).unwrap();
    fs::write(path.join("model.safetensors"), "short").unwrap();
    assert!(problem().contains("has 5 bytes instead of 3000000"), "{}", problem());
    fs::remove_file(path.join("model.safetensors")).unwrap();
    assert!(problem().contains("model.safetensors is missing"), "{}", problem());
    store.delete("c/1").unwrap();
    assert!(matches!(store.verify("c/1", &manifest), Err(ArtifactError::NotFound(_))));
    assert!(matches!(store.path("c/1"), Err(ArtifactError::NotFound(_))));
    store.delete("c/1").unwrap();
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_stored_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("artifacts");
    let store = store(&folder);
    let src = root.path().join("src");
    sample(&src);
    std::os::unix::fs::symlink("/etc/hostname", src.join("link")).unwrap();
    let refused = store.publish_dir(&src, "c/1").unwrap_err();
    assert!(refused.to_string().contains("neither a file nor a folder"), "{refused}");
    assert!(store.list("c").unwrap().is_empty());
    assert!(src.join("model.safetensors").exists());
    assert!(store.publish_dir(&root.path().join("none"), "c/2").is_err());
    assert!(store.list("c").unwrap().is_empty());
}

#[test]
fn keys_cannot_leave_the_store() {
    let root = tempfile::tempdir().unwrap();
    let store = store(&root.path().join("artifacts"));
    for key in ["", "..", "a/../b", "/etc", "a//b", ".staging/x", "a/.hidden", "a\\b", "a/ b", "a/"] {
        assert!(matches!(store.path(key), Err(ArtifactError::Key(_))), "{key:?}");
        assert!(matches!(store.delete(key), Err(ArtifactError::Key(_))), "{key:?}");
    }
}

#[test]
fn only_what_dead_writers_left_is_swept() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("artifacts");
    let living = store(&folder);
    let staging = folder.join(".staging");
    let mine = tree(&staging);
    // A writer that died in the middle: its lock file is there, but no process holds it.
    fs::create_dir_all(staging.join("999-0/0")).unwrap();
    fs::write(staging.join("999-0/0/half"), "x").unwrap();
    fs::write(staging.join("999-0/lock"), "").unwrap();
    fs::create_dir_all(staging.join("998-0")).unwrap();
    let second = store(&folder);
    let left = tree(&staging);
    assert!(!left.iter().any(|name| name == "999-0" || name == "998-0" || name == "half"), "{left:?}");
    assert!(mine.iter().all(|name| left.contains(name)), "a living writer's area stays");
    for (i, store) in [living, second].iter().enumerate() {
        let src = root.path().join("src");
        sample(&src);
        store.publish_dir(&src, &format!("c/{i}")).unwrap();
    }
}

#[test]
fn addresses_that_cannot_work_say_why() {
    for (url, told) in [("s3://bucket", "use file:FOLDER"), ("file:", "give a folder"), ("x", "use file:FOLDER")] {
        let error = artifacts::open(url).err().unwrap().to_string();
        assert!(error.contains(told), "{error}");
    }
}
