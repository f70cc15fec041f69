//! Checks JPEG files scan by scan: does the file contain every block of its image?
//!
//! Decoders fill missing parts of a truncated file with grey. Here every Huffman code of baseline and progressive files
//! is read and counted, without decoding pixels.

mod bits;
mod scan;

use bits::Table;
use scan::{Component, Frame};

/// More scans only occur in attacks; the decoder has the same limit.
const MAX_SCANS: usize = 100;

/// What is wrong with a file.
pub(super) type Fault = &'static str;

pub(super) const EARLY: Fault = "the file is damaged: it ends before its image does";
pub(super) const BROKEN: Fault = "the file is damaged: its image data is invalid";

/// Fails if parts of the image are missing. Forms that the decoder does not support (lossless, arithmetic) are left to
/// it.
pub(super) fn check(bytes: &[u8]) -> Result<(), Fault> {
    let mut reader = Reader { bytes, at: 2, frame: None, tables: [const { None }; 8], restart: 0, scans: 0 };
    while let Some(marker) = reader.marker() {
        match marker {
            0xd9 => return reader.finish(),
            0xda => reader.scan()?,
            0xc0..=0xc2 => {
                let segment = reader.segment()?;
                reader.frame = Frame::read(segment, marker == 0xc2);
                if reader.frame.is_none() {
                    return Ok(());
                }
            }
            // Other kinds of frames.
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => return Ok(()),
            0xc4 => reader.huffman_tables()?,
            0xdd => {
                let segment = reader.segment()?;
                reader.restart = segment.first_chunk().map_or(0, |two| u32::from(u16::from_be_bytes(*two)));
            }
            // Without a segment.
            0x01 | 0xd0..=0xd8 => {}
            _ => drop(reader.segment()?),
        }
    }
    Err(EARLY)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    frame: Option<Frame>,
    /// For the first coefficients of blocks, then for the others.
    tables: [Option<Table>; 8],
    /// Units between two restart markers; 0: there are none.
    restart: u32,
    scans: usize,
}

impl<'a> Reader<'a> {
    /// The next marker; bytes before it are skipped, as decoders do.
    fn marker(&mut self) -> Option<u8> {
        loop {
            let offset = self.bytes.get(self.at..)?.iter().position(|byte| *byte == 0xff)?;
            self.at += offset;
            while *self.bytes.get(self.at)? == 0xff {
                self.at += 1;
            }
            let marker = self.bytes[self.at];
            self.at += 1;
            if marker != 0 {
                return Some(marker);
            }
        }
    }

    /// The segment of the marker that was just read.
    fn segment(&mut self) -> Result<&'a [u8], Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.first_chunk().map_or(0, |two| usize::from(u16::from_be_bytes(*two)));
        let segment = rest.get(2..length).ok_or(if length < 2 && rest.len() > 1 { BROKEN } else { EARLY })?;
        self.at += length;
        Ok(segment)
    }

    fn huffman_tables(&mut self) -> Result<(), Fault> {
        let mut rest = self.segment()?;
        while let Some((class, tail)) = rest.split_first() {
            let (lengths, tail) = tail.split_first_chunk::<16>().ok_or(BROKEN)?;
            let symbols = lengths.iter().map(|count| usize::from(*count)).sum();
            let (symbols, tail) = tail.split_at_checked(symbols).ok_or(BROKEN)?;
            let place = usize::from(class >> 4 & 1) * 4 + usize::from(class & 3);
            self.tables[place] = Some(Table::new(lengths, symbols).ok_or(BROKEN)?);
            rest = tail;
        }
        Ok(())
    }

    fn scan(&mut self) -> Result<(), Fault> {
        self.scans += 1;
        if self.scans > MAX_SCANS {
            return Err(BROKEN);
        }
        let header = self.segment()?;
        let frame = self.frame.as_mut().ok_or(BROKEN)?;
        let used = frame.scan(header, &self.tables, self.restart, &self.bytes[self.at..])?;
        self.at += used;
        Ok(())
    }

    fn finish(&self) -> Result<(), Fault> {
        let frame = self.frame.as_ref().ok_or(EARLY)?;
        if frame.components.iter().all(Component::is_complete) { Ok(()) } else { Err(EARLY) }
    }
}
