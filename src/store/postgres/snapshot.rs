//! Copies of a PostgreSQL database by its own programs: `pg_dump` reads the moment that a transaction of ours has
//! exported, `pg_restore` writes all or nothing.

use std::path::Path;
use std::process::Stdio;

use percent_encoding::percent_decode_str;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::process::Command;

use crate::store::error::{Result, StoreError};
use crate::store::rows::{json, text};
use crate::store::snapshot::{CHECKPOINTS, DatabaseKind, FORGET_ID, Snapshot};

use super::common::migrate;

const FILE: &str = "database.dump";
const RELATIONS: &str = "SELECT count(*) AS n FROM pg_class WHERE relnamespace = current_schema()::regnamespace";

/// Copies the database into a file in `folder`.
pub(in crate::store) async fn take(url: &str, folder: &Path) -> Result<Snapshot> {
    let mut connection = PgConnection::connect(url).await?;
    let mut tx = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let moment: String = sqlx::query("SELECT pg_export_snapshot() AS moment").fetch_one(&mut *tx).await?.try_get(0)?;
    let schema_version = migrate::version(&mut tx).await?;
    let mut checkpoints = Vec::new();
    for row in sqlx::query(CHECKPOINTS).fetch_all(&mut *tx).await? {
        checkpoints.push((text(&row, "artifact_key")?, json(&row, "manifest")?));
    }
    let copy = folder.join(FILE);
    let mut dump = program("pg_dump", url);
    dump.args(["--format=custom", "--no-owner", "--no-privileges"]).arg(format!("--snapshot={moment}"));
    run(dump.arg("--file").arg(&copy), "pg_dump").await?;
    tx.rollback().await?;
    connection.close().await?;
    Ok(Snapshot { kind: DatabaseKind::Postgres, file: FILE, schema_version, checkpoints })
}

/// Older databases have no id.
const HAS_FACTS: &str = "SELECT to_regclass('facts') IS NOT NULL AS has_facts";

/// Has the database nothing in it?
pub(in crate::store) async fn is_absent(url: &str) -> Result<bool> {
    let mut connection = PgConnection::connect(url).await?;
    let relations: i64 = sqlx::query(RELATIONS).fetch_one(&mut connection).await?.try_get("n")?;
    connection.close().await?;
    Ok(relations == 0)
}

/// Puts the copy `file` into an empty database, in one transaction.
pub(in crate::store) async fn put_back(url: &str, file: &Path) -> Result<()> {
    let mut restore = program("pg_restore", url);
    restore.args(["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]);
    run(restore.arg(file), "pg_restore").await?;
    let mut connection = PgConnection::connect(url).await?;
    if sqlx::query(HAS_FACTS).fetch_one(&mut connection).await?.try_get("has_facts")? {
        sqlx::query(FORGET_ID).execute(&mut connection).await?;
    }
    Ok(connection.close().await?)
}

/// A program of PostgreSQL's that works on the database; its password travels in the environment, not in the process
/// list.
fn program(name: &str, url: &str) -> Command {
    let mut command = Command::new(name);
    let (shown, password) = without_password(url);
    command.arg("--dbname").arg(shown).arg("--no-password").stdin(Stdio::null());
    if let Some(password) = password {
        command.env("PGPASSWORD", password);
    }
    command
}

async fn run(command: &mut Command, name: &str) -> Result<()> {
    let failed = |problem: String| StoreError::Unsupported { url: "postgres://…".to_owned(), problem };
    let output = command.output().await;
    let output = output.map_err(|e| {
        failed(format!("cannot run {name}, which is needed: {e}; install PostgreSQL's client programs"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{name} failed: {}", told.trim())))
}

/// The address without its password, and the password as it is meant.
fn without_password(url: &str) -> (String, Option<String>) {
    let whole = || (url.to_owned(), None);
    let Some((scheme, rest)) = url.split_once("://") else { return whole() };
    let authority = rest.find(['/', '?']).map_or(rest, |end| &rest[..end]);
    let Some((credentials, _)) = authority.rsplit_once('@') else { return whole() };
    let Some((user, password)) = credentials.split_once(':') else { return whole() };
    let password = percent_decode_str(password).decode_utf8_lossy().into_owned();
    (format!("{scheme}://{user}{}", &rest[credentials.len()..]), Some(password))
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn passwords_leave_the_address() {
        let (shown, password) = without_password("postgres://vgpo:p%40ss%3A1@db:5432/vgpo?sslmode=require");
        assert_eq!(shown, "postgres://vgpo@db:5432/vgpo?sslmode=require");
        assert_eq!(password.as_deref(), Some("p@ss:1"));
        assert_eq!(without_password("postgres://vgpo@db/vgpo"), ("postgres://vgpo@db/vgpo".to_owned(), None));
    }
}
