//! Jobs of several ranks: how many a worker starts, and how.

use std::time::Duration;

use super::values::{number, value_of};
use super::{ConfigError, Setting, SettingValue};

/// What stands for the number of ranks in a launcher's command.
pub const PLACE: &str = "{ranks}";

/// How a worker starts the ranks of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankSettings {
    /// How many it may start for one job.
    pub most: u32,
    /// The launcher's command, in which [`PLACE`] is their number.
    pub launcher: String,
    /// A rank that is not heard of for this long counts as lost.
    pub silence: Duration,
}

impl RankSettings {
    /// These among the settings.
    pub(super) fn settle(values: &[(&Setting, SettingValue)]) -> Result<Self, ConfigError> {
        let (launcher, source) = value_of(values, "launcher");
        if !launcher.split_whitespace().skip(1).any(|word| word.contains(PLACE)) {
            return Err(ConfigError::Value {
                key: "launcher".to_owned(),
                source_name: source.to_string(),
                value: launcher,
                problem: "it must be a program and its arguments, one of which holds {ranks}, e.g. `mpirun -n {ranks}`"
                    .to_owned(),
            });
        }
        Ok(Self {
            most: number(values, "ranks", 1, 4096)? as u32,
            launcher,
            silence: Duration::from_secs(number(values, "rank_silence_seconds", 2, 86_400)?),
        })
    }
}
