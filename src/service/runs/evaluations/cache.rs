//! Indexes of the evaluations that were asked for last.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::index::RowIndex;
use crate::service::core::pool::Stop;
use crate::service::{Result, ServiceError};

/// Indexes in memory: two sides of a comparison, and the steps next to them.
const MAX_INDEXES: usize = 12;
/// Rows of all of them; a row takes about 200 bytes.
const MAX_ROWS: usize = 500_000;

/// A run, and the step of its training.
type Name = (String, Option<u64>);

/// Size and time of each file: an evaluation that continues, or was done again, has others.
type Version = Vec<(u64, Option<SystemTime>)>;

/// The indexes that were used last, the newest at the end.
#[derive(Debug, Default)]
pub(in crate::service) struct IndexCache(Mutex<Vec<(Name, Version, Arc<RowIndex>)>>);

impl IndexCache {
    /// The index of the rows in `files`: the one in memory if the files are the same, or one that is read now.
    pub(super) fn index(&self, name: Name, files: Vec<PathBuf>, stop: &Stop) -> Result<Arc<RowIndex>> {
        let version = version(&files)?;
        let mut kept = self.0.lock();
        if let Some(at) = kept.iter().position(|(known, of, _)| *known == name && *of == version) {
            let entry = kept.remove(at);
            let index = Arc::clone(&entry.2);
            kept.push(entry);
            return Ok(index);
        }
        drop(kept);
        let index = Arc::new(RowIndex::read(files, stop)?);
        let mut kept = self.0.lock();
        kept.retain(|(known, ..)| *known != name);
        kept.push((name, version, Arc::clone(&index)));
        let rows = |kept: &[(Name, Version, Arc<RowIndex>)]| kept.iter().map(|entry| entry.2.rows.len()).sum::<usize>();
        while kept.len() > MAX_INDEXES || (kept.len() > 1 && rows(&kept) > MAX_ROWS) {
            kept.remove(0);
        }
        Ok(index)
    }
}

fn version(files: &[PathBuf]) -> Result<Version> {
    let of = |path: &PathBuf| {
        let known = std::fs::metadata(path);
        known.map(|known| (known.len(), known.modified().ok())).map_err(|error| {
            ServiceError::Unavailable(format!("the rows in {} cannot be read: {error}", path.display()))
        })
    };
    files.iter().map(of).collect()
}
