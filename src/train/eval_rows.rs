//! The file of an evaluation's rows, written row by row.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use crate::domain::eval_row::{EvalRow, ROWS_FILE};

use super::error::{TrainError, file_error};

/// Rows on their way to the sink, in a folder of their own.
pub(super) struct RowsFile {
    dir: PathBuf,
    path: PathBuf,
    file: BufWriter<File>,
}

impl RowsFile {
    /// An empty file in `dir`, which is created.
    pub(super) fn create(dir: PathBuf) -> Result<Self, TrainError> {
        std::fs::create_dir_all(&dir).map_err(file_error(&dir))?;
        let path = dir.join(ROWS_FILE);
        let file = BufWriter::new(File::create(&path).map_err(file_error(&path))?);
        Ok(Self { dir, path, file })
    }

    /// Adds a row.
    pub(super) fn add(&mut self, row: &EvalRow) -> Result<(), TrainError> {
        let written = serde_json::to_writer(&mut self.file, row).map_err(std::io::Error::from);
        written.and_then(|()| self.file.write_all(b"\n")).map_err(file_error(&self.path))
    }

    /// The folder, once everything is on disk.
    pub(super) fn finish(self) -> Result<PathBuf, TrainError> {
        let Self { dir, path, file } = self;
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).map_err(file_error(&path))?;
        Ok(dir)
    }
}
