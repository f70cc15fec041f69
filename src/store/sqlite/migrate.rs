//! Brings the schema up to date: numbered files, each applied once, all of them in one transaction.

use std::fs::File;
use std::path::Path;

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use sqlx::Row as _;
use sqlx::sqlite::SqlitePool;

use crate::store::error::{Result, StoreError};

/// Version, name and text of every migration, in order. A released file is never changed, only followed.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "initial", include_str!("../../../migrations/sqlite/0001_initial.sql")),
    (2, "sweeps", include_str!("../../../migrations/sqlite/0002_sweeps.sql")),
    (3, "checkpoint_score", include_str!("../../../migrations/sqlite/0003_checkpoint_score.sql")),
];

const CREATE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT";

/// The newest version this program knows.
pub(super) fn latest() -> i64 {
    MIGRATIONS.last().map_or(0, |(version, ..)| *version)
}

/// A lock beside the database file, held until the returned file is dropped (or its process dies).
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

/// Applies what is missing. A database of a newer program, or one whose applied files differ, is refused untouched.
pub(super) async fn run(pool: &SqlitePool, now: DateTime<Utc>) -> Result<()> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(CREATE).execute(&mut *tx).await?;
    let applied =
        sqlx::query("SELECT version, name, sha256 FROM schema_migrations ORDER BY version").fetch_all(&mut *tx).await?;
    for row in &applied {
        let (version, name, hash): (i64, String, String) =
            (row.try_get("version")?, row.try_get("name")?, row.try_get("sha256")?);
        let Some((.., text)) = MIGRATIONS.iter().find(|(known, ..)| *known == version) else {
            return Err(StoreError::Schema(format!(
                "the file has migration {version} ({name}), this program knows up to {}: use a newer program",
                latest()
            )));
        };
        if hash != digest(text) {
            return Err(StoreError::Schema(format!(
                "migration {version} ({name}) was applied with another text: the file belongs to another build"
            )));
        }
    }
    for (version, name, text) in MIGRATIONS.iter().skip(applied.len()) {
        sqlx::raw_sql(*text).execute(&mut *tx).await?;
        sqlx::query("INSERT INTO schema_migrations (version, name, sha256, applied_at) VALUES (?, ?, ?, ?)")
            .bind(version)
            .bind(*name)
            .bind(digest(text))
            .bind(now.timestamp_millis())
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

fn digest(text: &str) -> String {
    format!("{:x}", Sha256::digest(text.as_bytes()))
}
