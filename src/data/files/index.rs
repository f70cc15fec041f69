//! The position of each row: fixed-size entries in a file, so that memory does not grow with the number of rows.

use std::fs::File;
use std::io::{BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use parking_lot::Mutex;

const ENTRY: usize = 32;

/// The position of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Number of the data file in the layout's list.
    pub(super) file: u64,
    /// Line or row of the file, from 1.
    pub(super) row: u64,
    /// JSONL: first byte. Parquet: row group.
    pub(super) at: u64,
    /// JSONL: bytes. Parquet: row inside the group.
    pub(super) len: u64,
}

/// Writes entries one after the other.
pub(super) struct IndexWriter {
    file: BufWriter<File>,
    /// Entries so far.
    pub(super) entries: u64,
}

impl IndexWriter {
    /// A new file.
    pub(super) fn create(path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: BufWriter::new(File::create(path)?), entries: 0 })
    }

    /// Appends an entry.
    pub(super) fn push(&mut self, entry: Entry) -> std::io::Result<()> {
        for value in [entry.file, entry.row, entry.at, entry.len] {
            self.file.write_all(&value.to_le_bytes())?;
        }
        self.entries += 1;
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Reads entries anywhere.
pub(super) struct Index {
    file: Mutex<File>,
    entries: u64,
}

impl Index {
    /// Opens a file of entries.
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let entries = file.metadata()?.len() / ENTRY as u64;
        Ok(Self { file: Mutex::new(file), entries })
    }

    /// Number of entries.
    pub(super) fn len(&self) -> u64 {
        self.entries
    }

    /// The entry at `position`, which must be below the number of entries.
    pub(super) fn get(&self, position: u64) -> std::io::Result<Entry> {
        let mut bytes = [0; ENTRY];
        let mut file = self.file.lock();
        file.seek(SeekFrom::Start(position * ENTRY as u64))?;
        file.read_exact(&mut bytes)?;
        let mut values = [0_u64; 4];
        for (value, chunk) in values.iter_mut().zip(bytes.chunks_exact(8)) {
            *value = chunk.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        }
        let [file, row, at, len] = values;
        Ok(Entry { file, row, at, len })
    }
}
