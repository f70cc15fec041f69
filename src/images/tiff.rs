//! Checks TIFF files for compressed data that was never written.

use super::filled::{FILLED, is_filled};

/// The tag that names the compression, and its value for none.
const COMPRESSION: u16 = 259;
const UNCOMPRESSED: u16 = 1;
/// Bytes of a directory's entry.
const ENTRY: usize = 12;

/// Fails if the file ends in zeros although its image is compressed.
pub(super) fn check(bytes: &[u8]) -> Result<(), &'static str> {
    if is_filled(bytes) && compression(bytes).is_some_and(|kind| kind != UNCOMPRESSED) {
        return Err(FILLED);
    }
    Ok(())
}

/// The compression of the first picture.
fn compression(bytes: &[u8]) -> Option<u16> {
    let little = bytes.starts_with(b"II");
    let short = |at: usize| {
        let pair = *bytes.get(at..)?.first_chunk()?;
        Some(if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) })
    };
    let long = |at: usize| {
        let four = *bytes.get(at..)?.first_chunk()?;
        Some(if little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) } as usize)
    };
    let directory = long(4)?;
    let entries = usize::from(short(directory)?);
    let mut offsets = (0..entries).map(|entry| directory + 2 + entry * ENTRY);
    let entry = offsets.find(|at| short(*at) == Some(COMPRESSION))?;
    short(entry + 8)
}
