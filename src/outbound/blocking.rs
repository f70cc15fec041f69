//! How threads ask another machine and wait for its answer.

use std::time::Duration;

use ureq::config::Config;

/// Settings of a short call: a time for everything, no redirect (it could lead past a list of hosts), no proxy of the
/// environment (it would look names up itself), and every status is an answer.
pub(super) fn settings(time: Duration) -> Config {
    ureq::Agent::config_builder()
        .timeout_global(Some(time))
        .max_redirects(0)
        .http_status_as_error(false)
        .proxy(None)
        .build()
}

/// An agent under those settings.
pub(super) fn guarded(time: Duration) -> ureq::Agent {
    ureq::Agent::new_with_config(settings(time))
}

/// An agent for addresses that the operator chose: it follows redirects and uses the proxy of the environment.
pub fn trusting(time: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(time)).http_status_as_error(false);
    ureq::Agent::new_with_config(config.build())
}
