//! Files that were preallocated, but whose data was never written.

/// No encoder ends compressed data with as many zero bytes.
const ZEROS: usize = 64;
/// What is wrong with such a file.
pub(super) const FILLED: &str = "the file is damaged: it contains zeros instead of the image's data";

/// Does compressed data end in zeros only?
pub(super) fn is_filled(data: &[u8]) -> bool {
    data.iter().rev().take(ZEROS).filter(|byte| **byte == 0).count() == ZEROS
}
