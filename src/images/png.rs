//! Filters PNG files chunk by chunk: chunks that are not needed for the pixels are removed before a decoder inflates
//! them.

use std::borrow::Cow;

const SIGNATURE: usize = 8;
/// Length, name and checksum.
const FRAME: usize = 12;
/// Chunks that are kept in addition to the critical ones: transparency and EXIF rotation.
const KEPT: [&[u8]; 2] = [b"tRNS", b"eXIf"];

/// The file without colour profiles, texts and animation, which may be compressed and of any size.
pub(super) fn pixels_only(bytes: &[u8]) -> Cow<'_, [u8]> {
    if Chunks::of(bytes).all(|chunk| chunk.is_needed()) {
        return Cow::Borrowed(bytes);
    }
    let mut kept = bytes[..SIGNATURE].to_vec();
    let mut end = SIGNATURE;
    for chunk in Chunks::of(bytes) {
        end += chunk.bytes.len();
        if chunk.is_needed() {
            kept.extend_from_slice(chunk.bytes);
        }
    }
    // A chunk that is cut off is kept, so that the decoder notices.
    kept.extend_from_slice(&bytes[end..]);
    Cow::Owned(kept)
}

/// Fails if the end is missing.
pub(super) fn check(bytes: &[u8]) -> Result<(), &'static str> {
    let ends = Chunks::of(bytes).any(|chunk| chunk.name() == b"IEND");
    if ends { Ok(()) } else { Err("the file is damaged: it ends before its image does") }
}

struct Chunk<'a> {
    bytes: &'a [u8],
}

impl Chunk<'_> {
    fn name(&self) -> &[u8] {
        &self.bytes[4..8]
    }

    /// Names of critical chunks begin with a capital letter.
    fn is_needed(&self) -> bool {
        self.name()[0].is_ascii_uppercase() || KEPT.contains(&self.name())
    }
}

/// The whole chunks of a file.
struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Chunks<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes.get(SIGNATURE..).unwrap_or_default() }
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        let length = u32::from_be_bytes(*self.rest.first_chunk()?) as usize;
        let (bytes, rest) = self.rest.split_at_checked(length.checked_add(FRAME)?)?;
        self.rest = rest;
        Some(Chunk { bytes })
    }
}
