//! Tests of `reward`.

mod command;
mod format;
mod math;
mod properties;
mod released;
mod weighted;
