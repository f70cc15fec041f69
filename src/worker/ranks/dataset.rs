//! A data set as another process finds it.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data::{self, DataError, Dataset, FileDataset};
use crate::domain::spec::Columns;

/// Where the rows of a data set are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetSource {
    /// A built-in task.
    BuiltIn(String),
    /// A folder of indexed files.
    Files {
        /// The folder.
        dir: PathBuf,
        /// The columns to read; none: those of its check.
        columns: Option<Columns>,
        /// Rows to train on, and held-out rows.
        rows: (u64, u64),
    },
}

impl DatasetSource {
    /// Opens it.
    ///
    /// # Errors
    /// An unknown name, files that are gone or damaged.
    pub fn open(&self) -> Result<Arc<dyn Dataset>, DataError> {
        match self {
            Self::BuiltIn(name) => data::open(name),
            Self::Files { dir, columns, rows: (train, eval) } => {
                Ok(Arc::new(FileDataset::open(dir, columns.as_ref())?.with_rows(*train, *eval)?))
            }
        }
    }
}
