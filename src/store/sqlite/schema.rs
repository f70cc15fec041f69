//! Statements of SQLite that migrating needs; the migrations: `migrations/sqlite`.

use std::fs::File;
use std::path::Path;

use crate::store::schema::{self, Migration};

pub(super) const MIGRATIONS: &[Migration] = schema::SQLITE;
/// Makes the tables of applied migrations.
pub(super) const PREPARE: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS schema_migrations (
    version INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS schema_compatibility (
    version INTEGER PRIMARY KEY, oldest INTEGER NOT NULL) STRICT",
];
/// Which of them are there.
pub(super) const TABLES: &str =
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('schema_migrations', 'schema_compatibility')";

/// A lock file next to the database file, held until the returned file is dropped (or its process dies).
pub(super) async fn lock(database: &Path) -> std::io::Result<File> {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    let take = move || {
        let file = File::options().create(true).truncate(false).write(true).open(&name)?;
        file.lock()?;
        Ok(file)
    };
    tokio::task::spawn_blocking(take).await.map_err(std::io::Error::other)?
}
