//! Which database a store belongs to: only that one knows what its files are for.

use serde::{Deserialize, Serialize};

use super::{ArtifactError, ArtifactStore};

/// Name of the file that says so; no key looks like it.
pub(super) const FILE: &str = ".database.json";

/// What a store says about the database that is used with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// It belongs to it.
    Own,
    /// It has not been said.
    Unknown,
}

/// What the file says.
#[derive(Serialize, Deserialize)]
struct Note {
    database: String,
}

/// Does the store belong to this database?
///
/// # Errors
/// `Foreign` when it belongs to another one.
pub fn ownership(store: &dyn ArtifactStore, database: &str) -> Result<Ownership, ArtifactError> {
    match store.owner()? {
        None => Ok(Ownership::Unknown),
        Some(owner) if owner == database => Ok(Ownership::Own),
        Some(owner) => Err(ArtifactError::Foreign { owner, database: database.to_owned() }),
    }
}

/// The file's content.
pub(super) fn written(database: &str) -> Vec<u8> {
    serde_json::to_vec(&Note { database: database.to_owned() }).unwrap_or_default()
}

/// The database that the file names.
pub(super) fn read(content: &[u8]) -> Result<String, ArtifactError> {
    let note = serde_json::from_slice::<Note>(content);
    note.map(|note| note.database)
        .map_err(|error| ArtifactError::Damaged { key: FILE.to_owned(), problem: error.to_string() })
}
