//! Trackers that a job may report to.

use crate::config::app::TrackerSettings;
use crate::domain::tracker::TrackerKind;
use crate::service::{Result, ServiceError};

/// # Errors
/// The settings do not say where one of them is.
pub(super) fn check_trackers(kinds: &[TrackerKind], settings: &TrackerSettings) -> Result<()> {
    let Some(nowhere) = kinds.iter().find(|kind| settings.url(**kind).is_empty()) else { return Ok(()) };
    let (name, setting) = (nowhere.name(), nowhere.setting());
    let variable = setting.to_uppercase();
    let detail = format!(
        "has \"{name}\", but this server knows no such tracker: set `{setting}` (VGPO_{variable}) and restart it"
    );
    Err(ServiceError::field("/report_to", detail))
}
