//! Samples token by token as a Parquet file, a bounded number of rows in memory.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::Result;
use crate::domain::sample::SampleRecord;
use crate::domain::token_rows::{Cell, ColumnKind, TOKEN_COLUMNS, token_rows};

/// Rows of a row group.
const GROUP: usize = 65_536;

/// A column of the rows that are not written yet.
enum Values {
    Text(Vec<ByteArray>),
    Whole(Vec<i64>),
    Number(Vec<f64>, Vec<i16>),
    Flag(Vec<bool>, Vec<i16>),
}

impl Values {
    fn of(kind: ColumnKind) -> Self {
        match kind {
            ColumnKind::Text => Self::Text(Vec::new()),
            ColumnKind::Whole => Self::Whole(Vec::new()),
            ColumnKind::Number => Self::Number(Vec::new(), Vec::new()),
            ColumnKind::Flag => Self::Flag(Vec::new(), Vec::new()),
        }
    }

    fn push(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Self::Text(values), Cell::Text(text)) => values.push(ByteArray::from(text.as_bytes().to_vec())),
            (Self::Whole(values), Cell::Whole(number)) => values.push(number as i64),
            (Self::Number(values, levels), Cell::Number(number)) => {
                levels.push(i16::from(number.is_some()));
                values.extend(number);
            }
            (Self::Flag(values, levels), Cell::Flag(flag)) => {
                levels.push(i16::from(flag.is_some()));
                values.extend(flag);
            }
            // The cells of a row are of the kinds of their columns.
            _ => {}
        }
    }

    fn write(self, column: &mut ColumnWriter<'_>) -> std::result::Result<(), ParquetError> {
        match (self, column) {
            (Self::Text(values), ColumnWriter::ByteArrayColumnWriter(to)) => to.write_batch(&values, None, None)?,
            (Self::Whole(values), ColumnWriter::Int64ColumnWriter(to)) => to.write_batch(&values, None, None)?,
            (Self::Number(values, levels), ColumnWriter::DoubleColumnWriter(to)) => {
                to.write_batch(&values, Some(&levels), None)?
            }
            (Self::Flag(values, levels), ColumnWriter::BoolColumnWriter(to)) => {
                to.write_batch(&values, Some(&levels), None)?
            }
            _ => return Err(ParquetError::General("a column of another kind than its values".to_owned())),
        };
        Ok(())
    }
}

fn schema() -> std::result::Result<Type, ParquetError> {
    let column = |(name, kind): &(&str, ColumnKind)| {
        let (physical, repetition) = match kind {
            ColumnKind::Text => (Physical::BYTE_ARRAY, Repetition::REQUIRED),
            ColumnKind::Whole => (Physical::INT64, Repetition::REQUIRED),
            ColumnKind::Number => (Physical::DOUBLE, Repetition::OPTIONAL),
            ColumnKind::Flag => (Physical::BOOLEAN, Repetition::OPTIONAL),
        };
        let text = if *kind == ColumnKind::Text { ConvertedType::UTF8 } else { ConvertedType::NONE };
        let built = Type::primitive_type_builder(name, physical).with_repetition(repetition).with_converted_type(text);
        built.build().map(Arc::new)
    };
    let columns = TOKEN_COLUMNS.iter().map(column).collect::<std::result::Result<Vec<_>, _>>()?;
    Type::group_type_builder("tokens").with_fields(columns).build()
}

fn empty() -> Vec<Values> {
    TOKEN_COLUMNS.iter().map(|(_, kind)| Values::of(*kind)).collect()
}

/// Writes tokens as Parquet.
pub struct TokenFile<W: Write + Send> {
    file: SerializedFileWriter<W>,
    columns: Vec<Values>,
    /// Rows that are not written yet.
    waiting: usize,
    rows: u64,
}

impl<W: Write + Send> TokenFile<W> {
    /// An empty table.
    ///
    /// # Errors
    /// `to` cannot be written.
    pub fn create(to: W) -> Result<Self> {
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let file = SerializedFileWriter::new(to, Arc::new(schema()?), Arc::new(properties))?;
        Ok(Self { file, columns: empty(), waiting: 0, rows: 0 })
    }

    /// Adds the tokens of a sample.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, record: &SampleRecord) -> Result<()> {
        for row in token_rows(record) {
            for (column, cell) in self.columns.iter_mut().zip(row) {
                column.push(cell);
            }
            self.waiting += 1;
            if self.waiting >= GROUP {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.waiting == 0 {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        for values in std::mem::replace(&mut self.columns, empty()) {
            let Some(mut column) = group.next_column()? else { break };
            values.write(column.untyped())?;
            column.close()?;
        }
        group.close()?;
        self.rows += self.waiting as u64;
        self.waiting = 0;
        Ok(())
    }

    /// Writes what is left, and the end of the file; returns the number of rows.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> Result<u64> {
        self.flush()?;
        self.file.close()?;
        Ok(self.rows)
    }
}
