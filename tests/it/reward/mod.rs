//! Tests of `reward`.

mod command;
mod format;
pub mod image_text;
mod kinds;
mod math;
mod properties;
mod released;
mod webhook;
mod weighted;
