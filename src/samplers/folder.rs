//! The shared folder through which weights reach servers: `<shared_dir>/<job>-<attempt>/<step>`.

use std::path::{Path, PathBuf};

use crate::train::EngineError;
use crate::train::TrainError;
use crate::train::publication::Publication;

/// An attempt's part of the shared folder. It goes with the attempt.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    /// Versions that are kept: servers may still read all but the newest.
    keep: usize,
    versions: parking_lot::Mutex<Vec<PathBuf>>,
}

impl Folder {
    /// A new folder for `attempt` in `shared`, without what earlier attempts of the same job left.
    pub(super) fn create(shared: &str, attempt: &str, keep: usize) -> Result<Self, EngineError> {
        let shared = Path::new(shared);
        if !shared.is_dir() {
            let problem = format!(
                "there is no folder {} on the worker's machine: create it, or mount it there and on every server under \
                 this path",
                shared.display()
            );
            return Err(EngineError::Setting { field: "shared_dir", problem });
        }
        for old in attempts_of(shared, attempt) {
            if let Err(error) = std::fs::remove_dir_all(&old) {
                tracing::warn!(folder = %old.display(), %error, "cannot remove weights of an earlier attempt");
            }
        }
        let dir = shared.join(attempt);
        std::fs::create_dir_all(&dir).map_err(|error| cannot_write(&dir, &error))?;
        Ok(Self { dir, keep, versions: parking_lot::Mutex::default() })
    }

    /// Writes weights, adapters alone or all of them, and returns their folder, which is complete once it exists.
    pub(super) fn write(&self, weights: &Publication<'_>, step: u64, adapters: bool) -> Result<PathBuf, TrainError> {
        let io = |error: &std::io::Error| TrainError::from(cannot_write(&self.dir, error));
        let target = self.dir.join(step.to_string());
        if target.exists() {
            return Ok(target);
        }
        let partial = tempfile::Builder::new().prefix(".partial-").tempdir_in(&self.dir).map_err(|e| io(&e))?;
        let written = if adapters {
            weights.write_adapter(partial.path())?
        } else {
            weights.write_weights(partial.path())?;
            true
        };
        if !written {
            return Err(EngineError::Setting {
                field: "sync",
                problem: "it is \"adapter\", but the job trains no adapters: set it to \"weights\"".to_owned(),
            }
            .into());
        }
        let partial = partial.keep();
        readable(&partial).and_then(|()| std::fs::rename(&partial, &target)).map_err(|e| io(&e))?;
        let mut versions = self.versions.lock();
        versions.push(target.clone());
        let surplus = versions.len().saturating_sub(self.keep);
        for old in versions.drain(..surplus) {
            if let Err(error) = std::fs::remove_dir_all(&old) {
                tracing::warn!(folder = %old.display(), %error, "cannot remove published weights");
            }
        }
        Ok(target)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            tracing::warn!(folder = %self.dir.display(), %error, "cannot remove published weights");
        }
    }
}

fn cannot_write(dir: &Path, error: &std::io::Error) -> EngineError {
    EngineError::Folder(format!("cannot write to {}: {error}", dir.display()))
}

/// Folders of attempts of the same job: those whose names differ in the number at the end.
fn attempts_of(shared: &Path, attempt: &str) -> Vec<PathBuf> {
    let Some((job, _)) = attempt.rsplit_once('-') else { return Vec::new() };
    let same_job = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.rsplit_once('-').filter(|(other, _)| *other == job).map(|(_, number)| number);
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let entries = std::fs::read_dir(shared).into_iter().flatten();
    entries.filter_map(Result::ok).map(|entry| entry.path()).filter(same_job).collect()
}

/// A temporary folder is its owner's alone; servers may run as another user.
#[cfg(unix)]
fn readable(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn readable(_: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_attempts_of_the_same_job_are_removed() {
        let shared = tempfile::tempdir().unwrap();
        for name in ["job_a-1", "job_a-22", "job_ab-1", "job_a-x", "job_a", "notes"] {
            std::fs::create_dir(shared.path().join(name)).unwrap();
        }
        let shared_dir = shared.path().to_str().unwrap();
        let folder = Folder::create(shared_dir, "job_a-3", 2).unwrap();
        let left = || {
            let names =
                std::fs::read_dir(shared.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        };
        assert_eq!(left(), ["job_a", "job_a-3", "job_a-x", "job_ab-1", "notes"]);
        drop(folder);
        assert_eq!(left(), ["job_a", "job_a-x", "job_ab-1", "notes"]);
        assert!(matches!(Folder::create("/nowhere/at/all", "job_a-3", 2), Err(EngineError::Setting { .. })));
    }
}
