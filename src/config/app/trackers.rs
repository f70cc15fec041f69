//! Trackers: where they are, and what proves that a server may write there.

use super::values::value_of;
use super::{ConfigError, Setting, SettingValue};
use crate::domain::tracker::TrackerKind;

/// The trackers that jobs may report to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrackerSettings {
    /// Address of an MLflow tracking server, e.g. `http://127.0.0.1:5000`; empty: none.
    pub mlflow_url: String,
    /// Bearer token for it; empty: none is sent.
    pub mlflow_token: String,
    /// Address of a trackio server, e.g. `http://127.0.0.1:7860`; empty: none.
    pub trackio_url: String,
    /// Its write token; empty: none is sent.
    pub trackio_write_token: String,
}

impl TrackerSettings {
    /// These among the settings.
    pub(super) fn settle(values: &[(&Setting, SettingValue)]) -> Result<Self, ConfigError> {
        Ok(Self {
            mlflow_url: address(values, TrackerKind::Mlflow)?,
            mlflow_token: value_of(values, "mlflow_token").0,
            trackio_url: address(values, TrackerKind::Trackio)?,
            trackio_write_token: value_of(values, "trackio_write_token").0,
        })
    }

    /// Where a tracker is; empty: nowhere.
    pub fn url(&self, kind: TrackerKind) -> &str {
        match kind {
            TrackerKind::Mlflow => &self.mlflow_url,
            TrackerKind::Trackio => &self.trackio_url,
        }
    }
}

/// An address without a slash at its end; empty: none.
fn address(values: &[(&Setting, SettingValue)], kind: TrackerKind) -> Result<String, ConfigError> {
    let (value, source) = value_of(values, kind.setting());
    let url = value.trim().trim_end_matches('/');
    let rest = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    // Credentials would be shown with the address: tokens have settings of their own.
    let fits = rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['?', '#', '@', ' ']));
    if url.is_empty() || fits {
        return Ok(url.to_owned());
    }
    Err(ConfigError::Value {
        key: kind.setting().to_owned(),
        source_name: source.to_string(),
        value,
        problem: "it must be an address that begins with http:// or https://, without credentials".to_owned(),
    })
}
