//! JSON lines: one object a line, found again by its byte offset.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::cell::Row;
use super::json;

/// The position of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    /// Number of the line, from 1.
    pub(super) number: u64,
    /// First byte.
    pub(super) offset: u64,
    /// Bytes, without the line end.
    pub(super) len: u64,
}

/// The lines of a file that are not blank, in order; memory holds one line at a time.
pub(super) struct Lines {
    reader: BufReader<File>,
    number: u64,
    offset: u64,
    max: u64,
    wanted: Option<Vec<String>>,
}

impl Lines {
    /// Lines of at most `max` bytes, of which the columns `wanted` are read, or all without it.
    pub(super) fn open(path: &Path, max: u64, wanted: Option<&[&str]>) -> std::io::Result<Self> {
        let wanted = wanted.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        Ok(Self { reader: BufReader::with_capacity(1 << 18, File::open(path)?), number: 0, offset: 0, max, wanted })
    }

    /// The next line and its content; an overlong one is skipped and reported as a fault.
    pub(super) fn next(&mut self) -> std::io::Result<Option<(Line, Result<Row, String>)>> {
        let mut bytes = Vec::new();
        loop {
            let offset = self.offset;
            let (read, len) = self.read_line(&mut bytes)?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.offset += read;
            let line = Line { number: self.number, offset, len };
            if len > self.max {
                let problem = format!("the line has {len} bytes; the limit is {}: keep images in files", self.max);
                return Ok(Some((line, Err(problem))));
            }
            if !content(&bytes).iter().all(u8::is_ascii_whitespace) {
                return Ok(Some((line, json::row(content(&bytes), self.wanted.as_deref()))));
            }
        }
    }

    /// Reads to the end of the line, but keeps no more than the limit. Bytes read, and bytes without the line end.
    fn read_line(&mut self, kept: &mut Vec<u8>) -> std::io::Result<(u64, u64)> {
        kept.clear();
        let (mut read, mut len) = (0, 0);
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok((read, len));
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let piece = &buffer[..end.unwrap_or(buffer.len())];
            if len + piece.len() as u64 <= self.max {
                kept.extend_from_slice(piece);
            }
            len += piece.len() as u64;
            let used = piece.len() + usize::from(end.is_some());
            read += used as u64;
            self.reader.consume(used);
            if end.is_some() {
                return Ok((read, len));
            }
        }
    }
}

/// Reads one line, or one object of an array, again.
pub(super) fn read(path: &Path, line: Line, wanted: &[&str]) -> Result<Row, String> {
    json::row(content(&bytes(path, line)?), Some(wanted))
}

/// The bytes of a row.
pub(super) fn bytes(path: &Path, line: Line) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(|e| format!("cannot be opened: {e}"))?;
    file.seek(SeekFrom::Start(line.offset)).map_err(|e| e.to_string())?;
    file.take(line.len).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 == line.len { Ok(bytes) } else { Err("the file ends before this row".to_owned()) }
}

/// The line without the byte order mark that some editors put at the beginning of a file.
pub(super) fn content(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
}
