//! A run in the forms of other programs: TensorBoard's event files, MLflow's folders, CSV.

mod error;
pub mod mlflow;
mod run;
mod tensorboard;
mod tokens;

use std::fs;
use std::path::Path;

pub use error::ExportError;
pub use run::{ExportedRun, Row};
pub use tokens::TokenFile;

use error::io;

type Result<T> = std::result::Result<T, ExportError>;

/// What a run is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// A folder with an event file: `tensorboard --logdir FOLDER`.
    Tensorboard,
    /// A file store: `mlflow ui --backend-store-uri FOLDER`.
    Mlflow,
    /// One table: a line a step, a column a key.
    Csv,
}

/// Writes `run` into the new folder `to`; for CSV, `to` is the file. To a file store of MLflow the run is added.
///
/// # Errors
/// Nothing is left at `to`; what is there already is not touched.
pub fn write(run: &ExportedRun, format: ExportFormat, to: &Path) -> Result<()> {
    let is_store = format == ExportFormat::Mlflow && mlflow::is_store(to);
    if to.exists() && !is_store {
        return Err(ExportError::Taken(to.to_path_buf()));
    }
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(io("create", parent))?;
    // In a temporary file, so that it appears atomically.
    let staged = tempfile::Builder::new().prefix(".export").tempdir_in(parent).map_err(io("create", parent))?;
    let whole = staged.path().join("export");
    match format {
        ExportFormat::Csv => fs::write(&whole, &run.csv).map_err(io("write", &whole))?,
        ExportFormat::Tensorboard => tensorboard::write(run, &whole)?,
        ExportFormat::Mlflow => mlflow::write(run, &whole)?,
    }
    if is_store {
        return mlflow::add(run, &whole, to);
    }
    fs::rename(&whole, to).map_err(io("name", to))
}
