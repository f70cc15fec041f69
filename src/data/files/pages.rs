//! Pages of Parquet before they are inflated: the sizes in their headers are counted against a budget. A header can be
//! as wrong as a footer, and gzip may give any number of bytes.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};

use parquet::basic::Compression;

/// Deepest nesting of a header's fields.
const DEPTH: usize = 8;
/// Most bytes of a header; statistics may hold values.
const MAX_HEADER: u64 = 16 << 20;

/// What reading a column takes at once.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Need {
    /// Bytes of the dictionary.
    pub(super) dictionary: u64,
    /// Bytes of the largest other page.
    pub(super) page: u64,
}

/// Walks over the pages of a column, which are `len` bytes from `start` on. Nothing is kept, and no page is larger than
/// it says.
pub(super) fn need(file: &File, start: u64, len: u64, codec: Compression) -> Result<Need, String> {
    let mut reader = BufReader::new(file.try_clone().map_err(|e| e.to_string())?);
    reader.seek(SeekFrom::Start(start)).map_err(|e| e.to_string())?;
    let (mut need, mut at) = (Need::default(), 0);
    while at < len {
        let (header, bytes) = Header::read(&mut reader)?;
        let compressed = u64::try_from(header.compressed).map_err(|_| DAMAGED)?;
        let size = u64::try_from(header.uncompressed).map_err(|_| DAMAGED)?;
        at += bytes + compressed;
        if matches!(codec, Compression::GZIP(_)) {
            let plain = u64::try_from(header.levels).map_err(|_| DAMAGED)?;
            inflates_to(&mut reader, plain, compressed, size)?;
        } else {
            reader.seek_relative(compressed as i64).map_err(|e| e.to_string())?;
        }
        // Data that is not compressed is as large as it is in the file.
        let size = size.max(compressed);
        let place = if header.is_dictionary { &mut need.dictionary } else { &mut need.page };
        *place = (*place).max(size);
    }
    Ok(need)
}

const DAMAGED: &str = "the header of a page is damaged";

/// Fails where a page of gzip holds more than `size` bytes; the first `plain` of them are not compressed.
fn inflates_to(reader: &mut BufReader<File>, plain: u64, compressed: u64, size: u64) -> Result<(), String> {
    let mut page = reader.by_ref().take(compressed);
    std::io::copy(&mut page.by_ref().take(plain), &mut std::io::sink()).map_err(|e| e.to_string())?;
    let most = size.saturating_sub(plain);
    let mut inflated = flate2::read::MultiGzDecoder::new(page.by_ref()).take(most + 1);
    // The reader of the page reports damage.
    let inflated_bytes = std::io::copy(&mut inflated, &mut std::io::sink()).unwrap_or(most);
    if inflated_bytes > most {
        return Err(format!("a page holds more than the {size} bytes that its header promises"));
    }
    std::io::copy(&mut page, &mut std::io::sink()).map_err(|e| e.to_string())?;
    Ok(())
}

/// What matters of a page's header.
#[derive(Debug, Default)]
struct Header {
    is_dictionary: bool,
    uncompressed: i64,
    compressed: i64,
    /// Bytes of levels before the compressed data (version 2).
    levels: i64,
}

impl Header {
    /// The header, and the bytes it takes.
    fn read(reader: &mut BufReader<File>) -> Result<(Self, u64), String> {
        let mut thrift = Thrift { reader: reader.by_ref().take(MAX_HEADER) };
        let mut header = Self::default();
        let mut last = 0;
        while let Some((field, kind)) = thrift.field(&mut last)? {
            match (field, kind) {
                (1, Thrift::I32) => header.is_dictionary = thrift.signed()? == 2,
                (2, Thrift::I32) => header.uncompressed = thrift.signed()?,
                (3, Thrift::I32) => header.compressed = thrift.signed()?,
                (8, Thrift::STRUCT) => header.levels = thrift.levels()?,
                (_, kind) => thrift.skip(kind, DEPTH)?,
            }
        }
        let used = MAX_HEADER - thrift.reader.limit();
        Ok((header, used))
    }
}

/// The compact form of Thrift, as far as headers of pages use it.
struct Thrift<'a> {
    reader: std::io::Take<&'a mut BufReader<File>>,
}

impl Thrift<'_> {
    const I32: u8 = 5;
    const STRUCT: u8 = 12;

    fn byte(&mut self) -> Result<u8, String> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte).map_err(|_| DAMAGED)?;
        Ok(byte[0])
    }

    fn unsigned(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DAMAGED.to_owned())
    }

    fn signed(&mut self) -> Result<i64, String> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Number and kind of the next field of a structure; none at its end.
    fn field(&mut self, last: &mut i64) -> Result<Option<(i64, u8)>, String> {
        let head = self.byte()?;
        if head == 0 {
            return Ok(None);
        }
        *last = if head >> 4 == 0 { self.signed()? } else { last.saturating_add(i64::from(head >> 4)) };
        Ok(Some((*last, head & 15)))
    }

    /// Bytes of both levels in the header of a data page of version 2.
    fn levels(&mut self) -> Result<i64, String> {
        let (mut last, mut bytes) = (0, 0_i64);
        while let Some((field, kind)) = self.field(&mut last)? {
            match (field, kind) {
                (5 | 6, Self::I32) => bytes = bytes.saturating_add(self.signed()?),
                (_, kind) => self.skip(kind, DEPTH)?,
            }
        }
        Ok(bytes)
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Result<(), String> {
        let depth = depth.checked_sub(1).ok_or(DAMAGED)?;
        match kind {
            1 | 2 => {}
            3 => self.pass(1)?,
            4..=6 => {
                self.unsigned()?;
            }
            7 => self.pass(8)?,
            8 => {
                let length = self.unsigned()?;
                self.pass(length)?;
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = if head >> 4 == 15 { self.unsigned()? } else { u64::from(head >> 4) };
                for _ in 0..count {
                    // Truth values of a list are a byte each.
                    let kind = if matches!(head & 15, 1 | 2) { 3 } else { head & 15 };
                    self.skip(kind, depth)?;
                }
            }
            Self::STRUCT => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, depth)?;
                }
            }
            _ => return Err(DAMAGED.to_owned()),
        }
        Ok(())
    }

    fn pass(&mut self, bytes: u64) -> Result<(), String> {
        let passed = std::io::copy(&mut self.reader.by_ref().take(bytes), &mut std::io::sink());
        if passed.is_ok_and(|passed| passed == bytes) { Ok(()) } else { Err(DAMAGED.to_owned()) }
    }
}
