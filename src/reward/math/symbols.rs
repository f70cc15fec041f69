//! The spellings that `normalize` gives to what is written in many ways.

/// Opens and closes a set, once `\{` and `{` have been distinguished.
pub(super) const SET_OPEN: char = '\u{E000}';
pub(super) const SET_CLOSE: char = '\u{E001}';

/// The empty set, and the word for degrees, once they have one spelling.
pub(super) const EMPTY_SET: &str = "\\emptyset";
pub(super) const DEGREES: &str = "degrees";

/// All real numbers.
pub(super) const REALS: &str = "\\reals";
