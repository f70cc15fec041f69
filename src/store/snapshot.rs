//! Copies of a whole database at one moment: taken while others write, and restored into an empty place.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::{Result, StoreError};
use super::{postgres, sqlite};
use crate::domain::checkpoint::Manifest;

/// What a copy names in the artifact store.
pub(super) const CHECKPOINTS: &str = "SELECT artifact_key, manifest FROM checkpoints ORDER BY artifact_key";
/// A copy of a database is another database: artifacts of the first one are not its own.
pub(super) const FORGET_ID: &str = "DELETE FROM facts WHERE name = 'database_id'";

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseKind {
    /// A file of SQLite.
    Sqlite,
    /// A dump in the custom format of `pg_dump`.
    Postgres,
}

/// A copy that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Its kind.
    pub kind: DatabaseKind,
    /// Name of its file.
    pub file: &'static str,
    /// Number of the last migration that it has seen.
    pub schema_version: i64,
    /// Keys and files of every checkpoint that it names.
    pub checkpoints: Vec<(String, Manifest)>,
}

/// The database that an address names.
enum Target<'a> {
    Sqlite(&'a Path),
    Postgres(&'a str),
}

fn target(url: &str) -> Result<Target<'_>> {
    match url.split_once(':') {
        Some(("sqlite", rest)) => Ok(Target::Sqlite(rest.strip_prefix("//").unwrap_or(rest).as_ref())),
        Some(("postgres" | "postgresql", _)) => Ok(Target::Postgres(url)),
        _ => Err(StoreError::Unsupported {
            url: url.split(':').next().unwrap_or_default().to_owned(),
            problem: "unknown kind of database; use sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE".to_owned(),
        }),
    }
}

/// Copies the database at `url` into a file in `folder`, in place of an earlier copy there.
pub async fn take(url: &str, folder: &Path) -> Result<Snapshot> {
    match target(url)? {
        Target::Sqlite(path) => sqlite::snapshot::take(path, folder).await,
        Target::Postgres(url) => postgres::snapshot::take(url, folder).await,
    }
}

/// Is there nothing at `url` that a copy of this kind could overwrite? `Unsupported` when the kinds differ.
pub async fn is_absent(url: &str, kind: DatabaseKind) -> Result<bool> {
    match (target(url)?, kind) {
        (Target::Sqlite(path), DatabaseKind::Sqlite) => Ok(!path.exists()),
        (Target::Postgres(url), DatabaseKind::Postgres) => postgres::snapshot::is_absent(url).await,
        (Target::Sqlite(_), DatabaseKind::Postgres) => Err(other_kind("sqlite", "a PostgreSQL")),
        (Target::Postgres(_), DatabaseKind::Sqlite) => Err(other_kind("postgres", "an SQLite")),
    }
}

/// Restores a copy, whole or not at all.
pub async fn put_back(url: &str, file: &Path) -> Result<()> {
    match target(url)? {
        Target::Sqlite(path) => sqlite::snapshot::put_back(path, file).await,
        Target::Postgres(url) => postgres::snapshot::put_back(url, file).await,
    }
}

fn other_kind(url: &str, backup: &str) -> StoreError {
    StoreError::Unsupported { url: url.to_owned(), problem: format!("the backup holds {backup} database") }
}

/// The error of a file operation on a copy.
pub(super) fn file_error(path: &Path, action: &str, problem: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unsupported { url: path.display().to_string(), problem: format!("cannot {action} it: {problem}") }
}
