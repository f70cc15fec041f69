//! Brings the schema up to date: all missing migrations in one transaction, one process at a time.

use chrono::{DateTime, Utc};
use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::store::error::{Result, StoreError};
use crate::store::rows::{int, text};
use crate::store::schema::{Applied, Migration, digest, oldest, pending, refuse_pending};

use super::Write;

/// Every migration, in order. A released file is never changed, only followed.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "initial", text: include_str!("../../../migrations/postgres/0001_initial.sql") },
    Migration { version: 2, name: "sweeps", text: include_str!("../../../migrations/postgres/0002_sweeps.sql") },
    Migration {
        version: 3,
        name: "checkpoint_score",
        text: include_str!("../../../migrations/postgres/0003_checkpoint_score.sql"),
    },
    Migration { version: 4, name: "access", text: include_str!("../../../migrations/postgres/0004_access.sql") },
    Migration {
        version: 5,
        name: "operations",
        text: include_str!("../../../migrations/postgres/0005_operations.sql"),
    },
    Migration { version: 6, name: "quotas", text: include_str!("../../../migrations/postgres/0006_quotas.sql") },
    Migration { version: 7, name: "engines", text: include_str!("../../../migrations/postgres/0007_engines.sql") },
    Migration {
        version: 8,
        name: "device_quotas",
        text: include_str!("../../../migrations/postgres/0008_device_quotas.sql"),
    },
    Migration { version: 9, name: "storage", text: include_str!("../../../migrations/postgres/0009_storage.sql") },
];

const LOCK: &str = "SELECT pg_advisory_xact_lock(22089::bigint << 48)";
const CREATE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version BIGINT PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at BIGINT NOT NULL)";
/// Beside the older table, so that programs from before it go on reading that one.
const CREATE_COMPATIBILITY: &str = "CREATE TABLE IF NOT EXISTS schema_compatibility (
    version BIGINT PRIMARY KEY, oldest BIGINT NOT NULL)";
const SELECT: &str = "SELECT version, name, sha256, NULL::bigint AS oldest FROM schema_migrations ORDER BY version";
const SELECT_COMPATIBLE: &str = "SELECT version, name, sha256, oldest \
    FROM schema_migrations LEFT JOIN schema_compatibility USING (version) ORDER BY version";
const RECORD_COMPATIBILITY: &str = "INSERT INTO schema_compatibility (version, oldest) VALUES ($1, $2)";
const TABLES: &str = "SELECT relname AS name FROM pg_class WHERE oid IN (to_regclass('schema_migrations'), to_regclass('schema_compatibility'))";
const RECORD: &str = "INSERT INTO schema_migrations (version, name, sha256, applied_at) VALUES ($1, $2, $3, $4)";

/// Applies what is missing. A database of a newer program, or one whose applied files differ, is refused untouched.
pub(super) async fn run(mut tx: Write, now: DateTime<Utc>) -> Result<()> {
    // Without a deadline: a large table takes its time.
    let connection = tx.connection()?;
    sqlx::query(LOCK).execute(&mut *connection).await?;
    sqlx::query(CREATE).execute(&mut *connection).await?;
    sqlx::query(CREATE_COMPATIBILITY).execute(&mut *connection).await?;
    let applied = applied(connection).await?;
    for migration in pending(MIGRATIONS, &applied)? {
        sqlx::raw_sql(migration.text).execute(&mut *connection).await?;
        sqlx::query(RECORD)
            .bind(migration.version)
            .bind(migration.name)
            .bind(digest(migration.text))
            .bind(now.timestamp_millis())
            .execute(&mut *connection)
            .await?;
        let oldest = oldest(migration.version);
        sqlx::query(RECORD_COMPATIBILITY).bind(migration.version).bind(oldest).execute(&mut *connection).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Refuses a database that is not up to date, or not for this program. Changes nothing.
pub(super) async fn check(connection: &mut PgConnection) -> Result<()> {
    refuse_pending(pending(MIGRATIONS, &applied(connection).await?)?)
}

/// The last migration that a database for this program has seen; it need not be up to date.
pub(super) async fn version(connection: &mut PgConnection) -> Result<i64> {
    let applied = applied(connection).await?;
    pending(MIGRATIONS, &applied)?;
    let nothing = || StoreError::Schema("it holds no tables of this program".to_owned());
    applied.last().map(|last| last.version).ok_or_else(nothing)
}

async fn applied(connection: &mut PgConnection) -> Result<Vec<Applied>> {
    let select = match sqlx::query(TABLES).fetch_all(&mut *connection).await?.len() {
        0 => return Ok(Vec::new()),
        1 => SELECT,
        _ => SELECT_COMPATIBLE,
    };
    let mut applied = Vec::new();
    for row in sqlx::query(select).fetch_all(connection).await? {
        applied.push(Applied {
            version: int(&row, "version")?,
            name: text(&row, "name")?,
            sha256: text(&row, "sha256")?,
            oldest: row.try_get("oldest")?,
        });
    }
    Ok(applied)
}
