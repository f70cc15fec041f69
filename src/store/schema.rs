//! Numbered migrations, the same for every database: what was applied, and what is missing.

use sha2::{Digest as _, Sha256};

use crate::store::error::{Result, StoreError};

/// One step of the schema.
pub(super) struct Migration {
    /// Its number, from 1.
    pub version: i64,
    /// What it does.
    pub name: &'static str,
    /// Its statements.
    pub text: &'static str,
}

/// A migration that a database has seen.
pub(super) struct Applied {
    /// Its number.
    pub version: i64,
    /// What it did.
    pub name: String,
    /// Hash of its statements.
    pub sha256: String,
}

/// The migrations that are missing. `Schema` when the database has others than this program knows.
pub(super) fn pending<'a>(known: &'a [Migration], applied: &[Applied]) -> Result<&'a [Migration]> {
    for Applied { version, name, sha256 } in applied {
        let Some(migration) = known.iter().find(|m| m.version == *version) else {
            return Err(StoreError::Schema(format!(
                "the database has migration {version} ({name}), this program knows up to {}: use a newer program",
                known.last().map_or(0, |m| m.version)
            )));
        };
        if *sha256 != digest(migration.text) {
            return Err(StoreError::Schema(format!(
                "migration {version} ({name}) was applied with another text: the database belongs to another build"
            )));
        }
    }
    Ok(known.get(applied.len()..).unwrap_or_default())
}

/// Hash of a migration's statements.
pub(super) fn digest(text: &str) -> String {
    format!("{:x}", Sha256::digest(text.as_bytes()))
}
