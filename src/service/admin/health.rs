//! Can this server do its work?

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::service::admin::Admin;
use crate::service::admin::readiness::{Check, Readiness};
use crate::store::StoreError;

/// Bytes that a disk must have room for to be called ready.
const PROBE: usize = 256 << 10;
/// How long the parts that are checked may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How old an answer may be.
const FRESH_SECONDS: f64 = 1.0;

impl Admin {
    /// Checks database, schema and storage. Callers of one second share a look: it writes to the disk, and anybody may
    /// ask for it.
    pub async fn readiness(&self) -> Readiness {
        let mut last = self.last_look.lock().await;
        if let Some((since, seen)) = &*last
            && since.seconds() < FRESH_SECONDS
        {
            return seen.clone();
        }
        let seen = self.look().await;
        *last = Some((Stopwatch::start(), seen.clone()));
        seen
    }

    async fn look(&self) -> Readiness {
        let database = match tokio::time::timeout(PATIENCE, self.database.check()).await {
            Ok(checked) => checked.map_err(|error| {
                tracing::error!(%error, "the database is not ready");
                match error {
                    StoreError::Unavailable(_) => "the database cannot be reached or cannot write (a full disk?)",
                    _ => "the database has another schema",
                }
            }),
            Err(_) => Err("the database does not answer"),
        };
        let database = database.map_err(|problem| format!("{problem}; see the server's log"));
        let dir = self.settings.data_dir.clone();
        let storage = tokio::task::spawn_blocking(move || write_something(&dir))
            .await
            .map_err(|error| error.to_string())
            .and_then(|written| written.map_err(|error| format!("the data folder cannot be written: {error}")));
        let storage = match storage {
            Ok(()) => self.reach_artifacts().await,
            Err(problem) => Err(problem),
        };
        let checks = vec![check("database", database), check("storage", storage)];
        Readiness { ready: checks.iter().all(|check| check.ok), checks }
    }

    /// Asks a store of artifacts on other machines for something small.
    async fn reach_artifacts(&self) -> Result<(), String> {
        let away = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "the store of artifacts is not ready");
            "the store of artifacts does not answer; see the server's log".to_owned()
        };
        let artifacts = Arc::clone(self.artifacts().await.map_err(|error| away(&error))?);
        if !artifacts.is_shared() {
            return Ok(());
        }
        let listed = tokio::task::spawn_blocking(move || artifacts.list("models"));
        let listed = tokio::time::timeout(PATIENCE, listed).await.map_err(|error| away(&error))?;
        listed.map_err(|error| away(&error))?.map(drop).map_err(|error| away(&error))
    }
}

/// Writes a file as large as the smallest things that requests write; it is removed again.
fn write_something(dir: &Path) -> std::io::Result<()> {
    let mut file = tempfile::tempfile_in(dir)?;
    file.write_all(&vec![0; PROBE])?;
    file.sync_all()
}

fn check(name: &str, result: Result<(), String>) -> Check {
    Check { name: name.to_owned(), ok: result.is_ok(), detail: result.err() }
}
