//! Parquet files row by row, of which only the needed columns are read.

use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::schema::types::{SchemaDescriptor, Type};

use super::cell::{Cell, Row, size};
use super::guard::Guarded;
use super::{json, pages};
use crate::domain::dataset::DatasetLimits;

/// Values of a column that are made ahead of their rows.
const AHEAD: usize = 64;
/// Most columns that are read, nested ones included.
const MAX_COLUMNS: usize = 1000;

/// An open Parquet file.
pub(super) struct ParquetFile {
    file: File,
    reader: SerializedFileReader<File>,
    schema: Arc<SchemaDescriptor>,
    columns: Vec<String>,
    limits: DatasetLimits,
}

/// The rows of a row group, one at a time.
pub(super) struct Rows {
    reader: ReaderIter,
    max: u64,
}

impl ParquetFile {
    /// Reads the footer; of the columns only those that `wanted` names will be read.
    pub(super) fn open(path: &Path, wanted: &[&str], limits: &DatasetLimits) -> Result<Self, String> {
        let file = File::open(path).map_err(|e| format!("cannot be opened: {e}"))?;
        let again = file.try_clone().map_err(|e| format!("cannot be opened: {e}"))?;
        guarded(|| {
            let reader = SerializedFileReader::new(again)?;
            let schema = reader.metadata().file_metadata().schema();
            let fields = schema.get_fields();
            let columns = fields.iter().flat_map(|field| names(field)).take(MAX_COLUMNS).collect();
            let is_wanted = |name: &str| wanted.iter().any(|column| json::is_head(column, name));
            let chosen = fields.iter().filter(|field| is_wanted(field.name())).cloned().collect();
            let projection = Type::group_type_builder(schema.name()).with_fields(chosen).build()?;
            if !schema.check_contains(&projection) {
                return Err(ParquetError::General("its schema is damaged".to_owned()));
            }
            let schema = Arc::new(SchemaDescriptor::new(Arc::new(projection)));
            if schema.num_columns() > MAX_COLUMNS {
                let count = schema.num_columns();
                return Err(ParquetError::General(format!(
                    "{count} columns would be read; the limit is {MAX_COLUMNS}"
                )));
            }
            Ok(Self { file, reader, schema, columns, limits: *limits })
        })
    }

    /// Every column of the file, and the fields of those that are objects as `column.field`.
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

    /// The rows of a group.
    pub(super) fn rows(&self, group: usize) -> Result<Rows, String> {
        if group >= self.groups() {
            return Err("the file has fewer row groups than it had".to_owned());
        }
        self.judge(group)?;
        guarded(|| {
            let inner = self.reader.get_row_group(group)?;
            let group = Guarded { inner, row_bytes: self.limits.row_bytes };
            let reader = TreeBuilder::new().with_batch_size(AHEAD).as_iter(Arc::clone(&self.schema), &group)?;
            Ok(Rows { reader, max: self.limits.row_bytes })
        })
    }

    /// Fails where the pages that are read at once are too large, before any of them is inflated.
    fn judge(&self, group: usize) -> Result<(), String> {
        let columns = guarded(|| {
            let columns = self.reader.metadata().row_group(group).columns();
            let read = columns.iter().filter(|column| {
                let head = column.column_path().parts().first();
                let fields = self.schema.root_schema().get_fields();
                head.is_some_and(|head| fields.iter().any(|field| field.name() == head))
            });
            Ok(read.map(|column| (column.byte_range(), column.compression())).collect::<Vec<_>>())
        })?;
        let mut bytes = 0;
        for ((start, len), codec) in columns {
            let need = pages::need(&self.file, start, len, codec)
                .map_err(|problem| format!("it cannot be read as Parquet: {problem}"))?;
            bytes += need.dictionary + need.page;
        }
        let limit = self.limits.row_group_bytes;
        if bytes > limit {
            return Err(format!(
                "row group {} needs {bytes} bytes for its pages at once; the limit is {limit}: write the file again \
                 with smaller row groups, e.g. `dataset.to_parquet(path, batch_size=100)`",
                group + 1
            ));
        }
        Ok(())
    }
}

/// A column's name, and those of the fields of an object.
fn names(field: &Type) -> Vec<String> {
    let name = field.name().to_owned();
    let inside = if field.is_group() { field.get_fields() } else { &[] };
    let inside: Vec<String> = inside.iter().map(|inner| format!("{name}.{}", inner.name())).collect();
    std::iter::once(name).chain(inside).collect()
}

impl Rows {
    /// The next row; after an error there is none.
    pub(super) fn next(&mut self) -> Option<Result<Row, String>> {
        let row = guarded(|| self.reader.next().transpose()).transpose()?;
        Some(row.and_then(|row| {
            let row: Row = row.into_columns().into_iter().map(|(name, field)| (name, Cell::from(field))).collect();
            let bytes = size(&row) as u64;
            if bytes > self.max {
                return Err(format!("the row has {bytes} bytes; the limit is {}: keep images in files", self.max));
            }
            Ok(row)
        }))
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
