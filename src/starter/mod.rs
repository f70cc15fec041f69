//! The model that ships with the program.

pub mod files;

/// The starter's name.
pub const NAME: &str = "starter";
