//! Brings the schema up to date: numbered files, each applied once, all that are missing in one transaction.

use chrono::{DateTime, Utc};
use sqlx::{Database, Row as _};

use crate::store::error::{Result, StoreError};
use crate::store::rows::{int, text};
use crate::store::schema::{Applied, digest, oldest, pending, refuse_pending};

use super::schema::{MIGRATIONS, PREPARE, TABLES};
use super::{Db, Write};

type Connection = <Db as Database>::Connection;

const SELECT: &str =
    "SELECT version, name, sha256, CAST(NULL AS BIGINT) AS oldest FROM schema_migrations ORDER BY version";
const SELECT_COMPATIBLE: &str = "SELECT version, name, sha256, oldest \
    FROM schema_migrations LEFT JOIN schema_compatibility USING (version) ORDER BY version";
const RECORD: &str = "INSERT INTO schema_migrations (version, name, sha256, applied_at) VALUES ($1, $2, $3, $4)";
/// In a table of its own, so that programs from before it still read the older one.
const RECORD_COMPATIBILITY: &str = "INSERT INTO schema_compatibility (version, oldest) VALUES ($1, $2)";

/// Applies what is missing. A database of a newer program, or one whose applied files differ, is refused untouched.
pub(in super::super) async fn run(mut tx: Write, now: DateTime<Utc>) -> Result<()> {
    // Without a deadline: a large table takes its time.
    let connection = tx.connection()?;
    for statement in PREPARE {
        sqlx::query(*statement).execute(&mut *connection).await?;
    }
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
pub(in super::super) async fn check(connection: &mut Connection) -> Result<()> {
    refuse_pending(pending(MIGRATIONS, &applied(connection).await?)?)
}

/// The last migration that a database for this program has seen; it need not be up to date.
pub(in super::super) async fn version(connection: &mut Connection) -> Result<i64> {
    let applied = applied(connection).await?;
    pending(MIGRATIONS, &applied)?;
    let nothing = || StoreError::Schema("it holds no tables of this program".to_owned());
    applied.last().map(|last| last.version).ok_or_else(nothing)
}

async fn applied(connection: &mut Connection) -> Result<Vec<Applied>> {
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
