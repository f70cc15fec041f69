//! Tests of `reward`.

mod command;
mod format;
mod kinds;
mod math;
mod properties;
mod released;
mod webhook;
mod weighted;
