//! Brings the schema up to date: numbered files, each applied once, all of them in one transaction.

use std::fs::File;
use std::path::Path;

use chrono::{DateTime, Utc};
use sqlx::sqlite::SqlitePool;

use crate::store::error::Result;
use crate::store::rows::{int, text};
use crate::store::schema::{Applied, Migration, digest, pending};

/// Every migration, in order. A released file is never changed, only followed.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "initial", text: include_str!("../../../migrations/sqlite/0001_initial.sql") },
    Migration { version: 2, name: "sweeps", text: include_str!("../../../migrations/sqlite/0002_sweeps.sql") },
    Migration {
        version: 3,
        name: "checkpoint_score",
        text: include_str!("../../../migrations/sqlite/0003_checkpoint_score.sql"),
    },
    Migration { version: 4, name: "access", text: include_str!("../../../migrations/sqlite/0004_access.sql") },
    Migration { version: 5, name: "operations", text: include_str!("../../../migrations/sqlite/0005_operations.sql") },
];

const CREATE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT";
const SELECT: &str = "SELECT version, name, sha256 FROM schema_migrations ORDER BY version";
const RECORD: &str = "INSERT INTO schema_migrations (version, name, sha256, applied_at) VALUES (?, ?, ?, ?)";

/// The newest version this program knows.
pub(super) fn latest() -> i64 {
    MIGRATIONS.last().map_or(0, |m| m.version)
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
    let mut applied = Vec::new();
    for row in sqlx::query(SELECT).fetch_all(&mut *tx).await? {
        applied.push(Applied {
            version: int(&row, "version")?,
            name: text(&row, "name")?,
            sha256: text(&row, "sha256")?,
        });
    }
    for migration in pending(MIGRATIONS, &applied)? {
        sqlx::raw_sql(migration.text).execute(&mut *tx).await?;
        sqlx::query(RECORD)
            .bind(migration.version)
            .bind(migration.name)
            .bind(digest(migration.text))
            .bind(now.timestamp_millis())
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}
