//! Checks WebP files chunk by chunk: does the file contain what its headers declare?

use super::filled::{FILLED, is_filled};

/// Name and length.
const HEADER: usize = 8;
/// Name, length and `WEBP`.
const FILE_HEADER: usize = 12;
/// Frame of an animation: position, size, duration.
const FRAME_HEADER: usize = 16;

/// Fails if a chunk ends beyond the file, or compressed data was never written.
pub(super) fn check(bytes: &[u8]) -> Result<(), &'static str> {
    let Some(promised) = length_at(bytes, 4) else { return Err(EARLY) };
    // A last chunk of odd length may lack its padding.
    if bytes.len() + 1 < promised.saturating_add(HEADER) {
        return Err(EARLY);
    }
    let file = &bytes[..bytes.len().min(promised.saturating_add(HEADER))];
    chunks(file.get(FILE_HEADER..).unwrap_or_default(), true)
}

const EARLY: &str = "the file is damaged: it ends before its image does";

fn chunks(mut rest: &[u8], frames: bool) -> Result<(), &'static str> {
    while rest.len() >= HEADER {
        let length = length_at(rest, 4).unwrap_or_default();
        let Some(data) = rest[HEADER..].get(..length) else { return Err(EARLY) };
        match &rest[..4] {
            b"VP8 " | b"VP8L" if is_filled(data) => {
                return Err(FILLED);
            }
            b"ANMF" if frames => chunks(data.get(FRAME_HEADER..).unwrap_or_default(), false)?,
            _ => {}
        }
        rest = rest.get(HEADER + length + length % 2..).unwrap_or_default();
    }
    Ok(())
}

fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let length = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*length) as usize)
}
