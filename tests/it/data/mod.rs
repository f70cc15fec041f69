//! The data room.

mod digits;
