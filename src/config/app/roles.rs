//! What a server does: the API, the engine, workers, or all of it.

use super::table::Setting;
use super::values::{list, value_of};
use super::{AppSettings, ConfigError, SettingValue};
use crate::domain::device::DeviceName;

/// What a server does. At least one of them is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Answers the HTTP API and the dashboard.
    pub api: bool,
    /// Holds models in memory; without it, inference is forwarded to servers that have it.
    pub engine: bool,
    /// Keeps a worker process alive for each of its devices.
    pub worker: bool,
}

const NAMES: [&str; 3] = ["api", "engine", "worker"];
/// Shorter secrets could be guessed.
const LEAST_SECRET: usize = 32;

/// Settings that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// The engine and a worker would take the same GPU.
    #[error(
        "engine_device and devices both name {0}, and a GPU that trains has no memory left for serving: give them \
         different devices, leave one of the roles engine and worker out (--roles), or set share_gpu = true"
    )]
    SharedGpu(String),
    /// There is no secret that proves that server and engine belong together.
    #[error(
        "a server with the roles `{0}` works with servers elsewhere and needs the secret that all of them share: set \
         engine_secret (VGPO_ENGINE_SECRET or VGPO_ENGINE_SECRET_FILE) to at least {LEAST_SECRET} characters, e.g. \
         those of `openssl rand -hex 32`"
    )]
    NoSecret(Roles),
    /// Other servers could not find the engine.
    #[error(
        "an engine at the host {0} cannot tell others where it is: set advertise (VGPO_ADVERTISE) to the address under \
         which servers reach it, e.g. http://gpu-1:8080"
    )]
    NoAddress(String),
}

impl Roles {
    /// All roles.
    pub const ALL: Self = Self { api: true, engine: true, worker: true };

    pub(super) fn settle(values: &[(&Setting, SettingValue)]) -> Result<Self, ConfigError> {
        let (value, source) = value_of(values, "roles");
        let names = list(&value);
        let on = |name: &str| names.iter().any(|given| given == name);
        if names.is_empty() || names.iter().any(|name| !NAMES.contains(&name.as_str())) {
            return Err(ConfigError::Value {
                key: "roles".to_owned(),
                source_name: source.to_string(),
                value,
                problem: format!("it must be one or more of {}, separated by commas", NAMES.join(", ")),
            });
        }
        Ok(Self { api: on("api"), engine: on("engine"), worker: on("worker") })
    }

    /// Does inference go to engines of other servers?
    pub fn forwards(self) -> bool {
        self.api && !self.engine
    }

    /// Is its engine there for other servers only?
    pub fn serves_others_only(self) -> bool {
        self.engine && !self.api
    }
}

impl std::fmt::Display for Roles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let on = NAMES.into_iter().zip([self.api, self.engine, self.worker]).filter(|(_, on)| *on);
        f.write_str(&on.map(|(name, _)| name).collect::<Vec<_>>().join(","))
    }
}

impl AppSettings {
    /// Refuses settings of roles that contradict each other.
    ///
    /// # Errors
    /// The contradiction, and how to resolve it.
    pub fn check_roles(&self) -> Result<(), RoleError> {
        let both = self.roles.engine && self.roles.worker && self.engine_device != DeviceName::CPU;
        let is_engine = |device: &String| device.parse().is_ok_and(|device: DeviceName| device == self.engine_device);
        if both && !self.share_gpu && self.devices.iter().any(is_engine) {
            return Err(RoleError::SharedGpu(self.engine_device.to_string()));
        }
        let joins = self.roles.forwards() || self.roles.serves_others_only() || !self.advertise.is_empty();
        if joins && self.engine_secret.is_empty() {
            return Err(RoleError::NoSecret(self.roles));
        }
        let host = self.host.trim_matches(['[', ']']);
        let nowhere = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_unspecified());
        if self.roles.serves_others_only() && self.advertise.is_empty() && nowhere {
            return Err(RoleError::NoAddress(self.host.clone()));
        }
        Ok(())
    }

    /// Does the engine of this server serve others?
    pub fn serves_others(&self) -> bool {
        self.roles.engine && (self.roles.serves_others_only() || !self.advertise.is_empty())
    }
}

/// The address of the engine, without a slash at its end.
pub(super) fn advertised(values: &[(&Setting, SettingValue)]) -> Result<String, ConfigError> {
    let (value, source) = value_of(values, "advertise");
    let address = value.trim().trim_end_matches('/');
    let rest = address.strip_prefix("http://").unwrap_or_default();
    if !address.is_empty() && (rest.is_empty() || rest.contains(['/', '?', '#', '@', ' '])) {
        return Err(ConfigError::Value {
            key: "advertise".to_owned(),
            source_name: source.to_string(),
            problem: "it must be an address such as http://gpu-1:8080, without a path".to_owned(),
            value,
        });
    }
    Ok(address.to_owned())
}

/// The shared secret, which must be hard to guess.
pub(super) fn secret(values: &[(&Setting, SettingValue)]) -> Result<String, ConfigError> {
    let (value, source) = value_of(values, "engine_secret");
    let short = !value.is_empty() && value.len() < LEAST_SECRET;
    if short || value.chars().any(|c| !c.is_ascii_graphic()) {
        return Err(ConfigError::Value {
            key: "engine_secret".to_owned(),
            source_name: source.to_string(),
            value: "***".to_owned(),
            problem: format!("it must be at least {LEAST_SECRET} letters, digits and signs without spaces"),
        });
    }
    Ok(value)
}
