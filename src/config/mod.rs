//! Defaults and settings.

pub mod method;
