//! What the starter is called.

/// The starter's name.
pub const NAME: &str = "starter";
