//! The data room.

mod broken;
mod digits;
mod drawn;
mod files;
