//! `.tsv` and `.csv` files: the first line names the columns.

use std::cell::Cell as Shared;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use csv::{ByteRecord, Reader, ReaderBuilder};

use super::cell::{Cell, Row};
use super::jsonl::{self, Line};

/// Most columns of a table.
const MAX_COLUMNS: usize = 1000;
/// Most bytes of a row, whatever a line of JSON may have: every value of it costs some more.
const MAX_ROW: u64 = 16 << 20;
/// What a reader may have read ahead.
const AHEAD: u64 = 1 << 17;

/// A file that gives no more bytes than it is allowed: a quote that is never closed would be read to the end of the
/// file.
struct Metered {
    file: BufReader<File>,
    left: Rc<Shared<u64>>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(self.left.get() as usize);
        if most == 0 && !buffer.is_empty() {
            return Err(std::io::Error::other("a row is longer than the limit; is a quotation mark not closed?"));
        }
        let read = self.file.read(&mut buffer[..most])?;
        self.left.set(self.left.get() - read as u64);
        Ok(read)
    }
}

/// The rows of a table, in order.
pub(super) struct Table {
    reader: Reader<Metered>,
    left: Rc<Shared<u64>>,
    header: Vec<String>,
    record: ByteRecord,
    path: PathBuf,
    max: u64,
    /// Lines end with two bytes, of which a reader leaves the second one to the next line.
    two_ends: bool,
}

fn builder(path: &Path) -> ReaderBuilder {
    let tabs = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("tsv"));
    let mut builder = ReaderBuilder::new();
    builder.delimiter(if tabs { b'\t' } else { b',' }).flexible(true).has_headers(false);
    builder
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(jsonl::content(bytes)).into_owned()
}

impl Table {
    /// Rows of at most `max` bytes.
    pub(super) fn open(path: &Path, max: u64) -> std::io::Result<Self> {
        let max = max.min(MAX_ROW);
        let left = Rc::new(Shared::new(max.saturating_add(AHEAD)));
        let file = Metered { file: BufReader::new(File::open(path)?), left: Rc::clone(&left) };
        let mut reader = builder(path).from_reader(file);
        let mut record = ByteRecord::new();
        reader.read_byte_record(&mut record).map_err(std::io::Error::other)?;
        if record.len() > MAX_COLUMNS {
            let problem = format!("the first line names {} columns; the limit is {MAX_COLUMNS}", record.len());
            return Err(std::io::Error::other(problem));
        }
        let header = record.iter().map(text).collect();
        let end = Line { number: 1, offset: reader.position().byte(), len: 1 };
        let two_ends = jsonl::bytes(path, end).is_ok_and(|byte| byte == b"\n");
        Ok(Self { reader, left, header, record, path: path.to_owned(), max, two_ends })
    }

    /// The names of the columns.
    pub(super) fn columns(&self) -> &[String] {
        &self.header
    }

    /// The next row.
    pub(super) fn next(&mut self) -> std::io::Result<Option<(Line, Result<Row, String>)>> {
        self.left.set(self.max.saturating_add(AHEAD));
        let more = self.reader.read_byte_record(&mut self.record).map_err(std::io::Error::other)?;
        if !more {
            return Ok(None);
        }
        let (number, offset) = self.record.position().map_or((0, 0), |at| (at.line(), at.byte()));
        let end = self.reader.position().byte();
        let number = number + u64::from(self.two_ends);
        let line = Line { number, offset, len: end.saturating_sub(offset) };
        if self.record.iter().any(|value| value.contains(&b'\n')) && !is_closed(&self.path, line) {
            return Ok(Some((line, Err("a quotation mark in the row is not closed".to_owned()))));
        }
        Ok(Some((line, row(&self.header, &self.record))))
    }
}

/// Does every quotation mark that begins a value have one that ends it? Otherwise the value continues to the end of the
/// file.
fn is_closed(path: &Path, line: Line) -> bool {
    let is_open = |bytes: Vec<u8>| bytes.iter().fold(false, |open, byte| open ^ (*byte == b'"'));
    jsonl::bytes(path, line).is_ok_and(|bytes| !is_open(bytes))
}

/// Reads one row again.
pub(super) fn read(path: &Path, line: Line, max: u64) -> Result<Row, String> {
    let table = Table::open(path, max).map_err(|error| error.to_string())?;
    let bytes = jsonl::bytes(path, line)?;
    let (mut reader, mut record) = (builder(path).from_reader(&bytes[..]), ByteRecord::new());
    reader.read_byte_record(&mut record).map_err(|error| error.to_string())?;
    row(&table.header, &record)
}

fn row(header: &[String], record: &ByteRecord) -> Result<Row, String> {
    if record.len() != header.len() {
        return Err(format!("the row has {} values, but the first line names {} columns", record.len(), header.len()));
    }
    let cell = |value: &[u8]| String::from_utf8(value.to_vec()).map(Cell::Text);
    let cells = header.iter().zip(record).map(|(name, value)| {
        let value = cell(value).map_err(|_| format!("column `{name}` holds bytes that are not valid UTF-8 text"))?;
        Ok((name.clone(), value))
    });
    cells.collect()
}
