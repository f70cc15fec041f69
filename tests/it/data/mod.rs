//! The data room.

mod broken;
mod digits;
mod files;
