//! Copies of an SQLite database: `VACUUM INTO` reads one moment while others write.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use crate::store::error::{Result, StoreError};
use crate::store::rows::{json, text};
use crate::store::snapshot::{CHECKPOINTS, DatabaseKind, FORGET_ID, Snapshot, file_error};

use super::common::migrate;
use super::schema;

const FILE: &str = "database.sqlite";
const BUSY: Duration = Duration::from_secs(15);

/// Copies the file at `path` into `folder`.
pub(in crate::store) async fn take(path: &Path, folder: &Path) -> Result<Snapshot> {
    if !path.is_file() {
        return Err(file_error(path, "save", &"there is no such file"));
    }
    let copy = folder.join(FILE);
    if copy.exists() {
        fs::remove_file(&copy).map_err(|e| file_error(&copy, "remove", &e))?;
    }
    let mut live = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY).connect().await?;
    sqlx::query("VACUUM INTO ?").bind(copy.display().to_string()).execute(&mut live).await?;
    live.close().await?;
    let mut copied = open(&copy).await?;
    let schema_version = migrate::version(&mut copied).await?;
    let mut checkpoints = Vec::new();
    for row in sqlx::query(CHECKPOINTS).fetch_all(&mut copied).await? {
        checkpoints.push((text(&row, "artifact_key")?, json(&row, "manifest")?));
    }
    copied.close().await?;
    Ok(Snapshot { kind: DatabaseKind::Sqlite, file: FILE, schema_version, checkpoints })
}

/// Puts the copy `file` at `path`, where nothing is.
pub(in crate::store) async fn put_back(path: &Path, file: &Path) -> Result<()> {
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|e| file_error(folder, "create", &e))?;
    }
    let _lock = schema::lock(path).await.map_err(|e| file_error(path, "lock", &e))?;
    if path.exists() {
        return Err(file_error(path, "restore", &"it exists by now"));
    }
    let mut staged = path.as_os_str().to_owned();
    staged.push(".restoring");
    let staged = Path::new(&staged);
    let checked = async {
        fs::copy(file, staged).map_err(|e| file_error(staged, "write", &e))?;
        let mut copied = open(staged).await?;
        migrate::version(&mut copied).await?;
        copied.close().await?;
        forget_id(staged).await?;
        let written = fs::File::open(staged).and_then(|file| file.sync_all());
        written.and_then(|()| fs::rename(staged, path)).map_err(|e| file_error(path, "write", &e))
    };
    let done = checked.await;
    if done.is_err() {
        // The rest of the file is useless; only the error matters.
        let _ = fs::remove_file(staged);
    }
    done
}

/// Older databases have no id.
async fn forget_id(copy: &Path) -> Result<()> {
    let mut connection = SqliteConnectOptions::new().filename(copy).connect().await?;
    let has_facts = sqlx::query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'facts'");
    if has_facts.fetch_optional(&mut connection).await?.is_some() {
        sqlx::query(FORGET_ID).execute(&mut connection).await?;
    }
    Ok(connection.close().await?)
}

/// Opens a copy for reading, and checks every page of it.
async fn open(copy: &Path) -> Result<SqliteConnection> {
    let mut connection = SqliteConnectOptions::new().filename(copy).read_only(true).immutable(true).connect().await?;
    let verdict: String = sqlx::query("PRAGMA integrity_check").fetch_one(&mut connection).await?.try_get(0)?;
    if verdict != "ok" {
        return Err(StoreError::Damaged { what: copy.display().to_string(), problem: verdict });
    }
    Ok(connection)
}
