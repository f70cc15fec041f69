//! When the server requires an API key.

use super::values::value_of;
use super::{ConfigError, Setting, SettingValue};

/// When the server requires an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// Once a key exists, and whenever other hosts can reach the server.
    Auto,
    /// Never: every client that can connect may do everything.
    Off,
    /// Always.
    Required,
}

impl AuthMode {
    /// The mode among the settings.
    pub(super) fn settle(values: &[(&Setting, SettingValue)]) -> Result<Self, ConfigError> {
        let (value, source) = value_of(values, "auth");
        match value.trim() {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            "required" => Ok(Self::Required),
            _ => Err(ConfigError::Value {
                key: "auth".to_owned(),
                source_name: source.to_string(),
                value,
                problem: "it must be auto, off or required".to_owned(),
            }),
        }
    }
}
