//! Parquet files, one row group at a time, and of it only the columns that are asked for.

use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;

use super::cell::{Cell, Row};

/// An open Parquet file.
pub(super) struct ParquetFile {
    reader: SerializedFileReader<File>,
    projection: Type,
    columns: Vec<String>,
    max_group_bytes: u64,
}

impl ParquetFile {
    /// Reads the footer; of the columns only those named in `wanted` will be read.
    pub(super) fn open(path: &Path, wanted: &[&str], max_group_bytes: u64) -> Result<Self, String> {
        let file = File::open(path).map_err(|e| format!("cannot be opened: {e}"))?;
        guarded(|| {
            let reader = SerializedFileReader::new(file)?;
            let schema = reader.metadata().file_metadata().schema();
            let fields = schema.get_fields();
            let columns = fields.iter().map(|field| field.name().to_owned()).collect();
            let chosen = fields.iter().filter(|field| wanted.contains(&field.name())).cloned().collect();
            let projection = Type::group_type_builder(schema.name()).with_fields(chosen).build()?;
            Ok(Self { reader, projection, columns, max_group_bytes })
        })
    }

    /// Every column of the file.
    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Number of row groups.
    pub(super) fn groups(&self) -> usize {
        self.reader.metadata().num_row_groups()
    }

    /// Rows of the group according to the footer.
    pub(super) fn group_rows(&self, group: usize) -> u64 {
        self.reader.metadata().row_groups().get(group).map_or(0, |group| group.num_rows().max(0) as u64)
    }

    /// All rows of a group.
    pub(super) fn read_group(&self, group: usize) -> Result<Vec<Row>, String> {
        let groups = self.reader.metadata().row_groups();
        let meta = groups.get(group).ok_or_else(|| "the file has fewer row groups than it had".to_owned())?;
        // Only the columns that are read count.
        let wanted = |path: &str| self.projection.get_fields().iter().any(|field| field.name() == path);
        let read = meta.columns().iter().filter(|c| c.column_path().parts().first().is_some_and(|name| wanted(name)));
        let bytes: u64 = read.map(|column| column.uncompressed_size().max(0) as u64).sum();
        if bytes > self.max_group_bytes {
            return Err(format!(
                "row group {} has {bytes} bytes; the limit is {}: write the file again with smaller row groups, e.g. \
                 `dataset.to_parquet(path, batch_size=100)`",
                group + 1,
                self.max_group_bytes
            ));
        }
        guarded(|| {
            let reader = self.reader.get_row_group(group)?;
            let rows = RowIter::from_row_group(Some(self.projection.clone()), reader.as_ref())?;
            rows.map(|row| Ok(row?.into_columns().into_iter().map(|(name, field)| (name, Cell::from(field))).collect()))
                .collect()
        })
    }
}

/// Turns errors, and the panics that damaged files cause inside the decoder, into text.
fn guarded<T>(work: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match std::panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("it cannot be read as Parquet: {error}")),
        Err(_) => Err("it cannot be read as Parquet: its content is damaged".to_owned()),
    }
}
