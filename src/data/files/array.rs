//! `.json` files: an array of objects, one element in memory at a time, or JSON lines under another name.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use super::cell::Row;
use super::json;
use super::jsonl::{Line, content};

/// Bytes that are read to recognize the format of a file.
const LOOKED_AT: u64 = 1 << 16;

/// What a `.json` file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An array of objects.
    Array,
    /// An object a line.
    Lines,
    /// Something else, such as settings.
    Other,
}

/// Tells what a `.json` file holds by its beginning.
pub(super) fn kind(path: &Path) -> std::io::Result<Kind> {
    let mut head = Vec::new();
    File::open(path)?.take(LOOKED_AT).read_to_end(&mut head)?;
    let text = content(&head).trim_ascii_start();
    if let Some(rest) = text.strip_prefix(b"[") {
        return Ok(if rest.trim_ascii_start().starts_with(b"{") { Kind::Array } else { Kind::Other });
    }
    // Settings are one object; rows are several.
    let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let rows = lines.next().is_some_and(json::is_object)
        && lines.next().is_some_and(|line| line.trim_ascii_start().starts_with(b"{"));
    Ok(if rows { Kind::Lines } else { Kind::Other })
}

/// The objects of an array, in order.
pub(super) struct Elements {
    reader: BufReader<File>,
    offset: u64,
    number: u64,
    max: u64,
    begun: bool,
    wanted: Option<Vec<String>>,
}

impl Elements {
    /// Objects of at most `max` bytes, of which the columns `wanted` are read, or all without it.
    pub(super) fn open(path: &Path, max: u64, wanted: Option<&[&str]>) -> std::io::Result<Self> {
        let reader = BufReader::with_capacity(1 << 18, File::open(path)?);
        let wanted = wanted.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        Ok(Self { reader, offset: 0, number: 0, max, begun: false, wanted })
    }

    /// The next element and its content.
    pub(super) fn next(&mut self) -> std::io::Result<Option<(Line, Result<Row, String>)>> {
        let Some(first) = self.skip_to_element()? else { return Ok(None) };
        self.number += 1;
        let offset = self.offset;
        let (bytes, len, whole) = self.element(first)?;
        let line = Line { number: self.number, offset, len };
        if !whole {
            return Ok(Some((line, Err("the file ends inside of this row".to_owned()))));
        }
        if len > self.max {
            let problem = format!("the row has {len} bytes; the limit is {}: keep images in files", self.max);
            return Ok(Some((line, Err(problem))));
        }
        Ok(Some((line, json::row(&bytes, self.wanted.as_deref()))))
    }

    fn peek(&mut self) -> std::io::Result<Option<u8>> {
        Ok(self.reader.fill_buf()?.first().copied())
    }

    fn pass(&mut self, count: usize) {
        self.reader.consume(count);
        self.offset += count as u64;
    }

    /// Passes over the bracket at the beginning, commas and white space; none at the end.
    fn skip_to_element(&mut self) -> std::io::Result<Option<u8>> {
        while let Some(byte) = self.peek()? {
            let between = byte.is_ascii_whitespace() || byte == b',' || (!self.begun && !byte.is_ascii());
            if !between && (self.begun || byte != b'[') {
                return Ok((byte != b']').then_some(byte));
            }
            self.begun |= byte == b'[';
            self.pass(1);
        }
        Ok(None)
    }

    /// The bytes of the element up to the limit, how many it has, and whether it came to its end.
    fn element(&mut self, first: u8) -> std::io::Result<(Vec<u8>, u64, bool)> {
        let (mut kept, mut len) = (Vec::new(), 0_u64);
        let (mut depth, mut text, mut escaped) = (0_usize, false, false);
        let nested = matches!(first, b'{' | b'[');
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok((kept, len, false));
            }
            let (mut used, mut done) = (0, false);
            for byte in buffer {
                let ends_plain = !nested && !text && matches!(byte, b',' | b']');
                if ends_plain {
                    done = true;
                    break;
                }
                used += 1;
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if text => escaped = true,
                    b'"' => text = !text,
                    b'{' | b'[' if !text => depth += 1,
                    b'}' | b']' if !text => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if nested && depth == 0 && !text {
                    done = true;
                    break;
                }
            }
            if len + used as u64 <= self.max {
                kept.extend_from_slice(&buffer[..used]);
            }
            len += used as u64;
            self.pass(used);
            if done {
                return Ok((kept, len, true));
            }
        }
    }
}
