//! The data room.

mod bounds;
mod broken;
mod digits;
mod drawn;
mod files;
mod forms;
mod left_out;
mod survey;
