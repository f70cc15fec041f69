//! Which servers may sample for jobs: those that the setting `rollout_hosts` lists.

use super::hosts::{HostError, Hosts};
use crate::config::app::AppSettings;

/// The servers that may sample.
#[derive(Debug, Clone)]
pub struct RolloutHosts(Hosts);

impl RolloutHosts {
    /// Those that the settings list.
    pub fn of(settings: &AppSettings) -> Self {
        Self(Hosts::new(&settings.rollout_hosts))
    }

    /// May the server at this address sample? It must be plain http(s) and name a listed `host` or `host:port`.
    ///
    /// # Errors
    /// Says why not, and the way out.
    pub fn check(&self, url: &str) -> Result<(), String> {
        let uri = url.parse().map_err(|_| format!("`{url}` is not a URL"))?;
        self.0.check(&uri).map_err(|error| match error {
            HostError::Scheme => format!("`{url}` must begin with http:// or https://"),
            HostError::NoHost => format!("`{url}` names no host"),
            HostError::UserName => {
                format!("`{url}` holds a user name; the key of the servers is the setting rollout_key")
            }
            HostError::Unlisted(host) => format!(
                "`{url}` is not allowed; add `{host}` to the setting rollout_hosts (VGPO_ROLLOUT_HOSTS): `host` for \
                 ports 80 and 443, `host:port` for another one"
            ),
        })
    }
}
