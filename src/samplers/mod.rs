//! Rollouts on servers of other programs, or of this one: what the trainer asks of a `RolloutEngine`, over HTTP.
//!
//! | module | what it does |
//! |---|---|
//! | `sampler` | the engine: publishes weights, spreads prompts over servers, gathers groups |
//! | `server` | one server: which weights it has, how busy it is, how long it rests after a failure |
//! | `folder` | the shared folder through which weights travel |
//! | `protocol` | what the programs have in common; `vllm` and `sglang`: how each of them is spoken to |
//! | `exchange` | one request with its deadline, and what a failure means |
//! | `reply` | an answer, held against what was asked |

mod exchange;
mod folder;
mod protocol;
mod question;
mod reply;
mod sampler;
mod server;
mod sglang;
mod vllm;

use std::sync::Arc;

use self::protocol::Protocol;
use crate::config::app::AppSettings;
use crate::domain::spec::EngineKind;
use crate::outbound::RolloutHosts;
use crate::train::EngineError;
use crate::train::engine::{EngineOpener, EngineSetup, RolloutEngine};

/// Opens engines on the servers that the settings allow.
pub struct Samplers {
    hosts: RolloutHosts,
    key: String,
}

impl Samplers {
    /// Under the settings `rollout_hosts` and `rollout_key`.
    pub fn of(settings: &AppSettings) -> Arc<dyn EngineOpener> {
        Arc::new(Self { hosts: RolloutHosts::of(settings), key: settings.rollout_key.clone() })
    }
}

impl EngineOpener for Samplers {
    fn open(&self, setup: EngineSetup) -> Result<Arc<dyn RolloutEngine>, EngineError> {
        for url in setup.spec.rollout.engine.urls.iter().flatten() {
            self.hosts.check(url).map_err(|problem| EngineError::Setting { field: "urls", problem })?;
        }
        let kind = setup.spec.rollout.engine.kind;
        let protocol = protocol_of(kind).ok_or_else(|| EngineError::Setting {
            field: "type",
            problem: format!("\"{}\" samples in the worker itself", kind.name()),
        })?;
        Ok(Arc::new(sampler::Sampler::open(setup, protocol, &self.key)?))
    }
}

/// How the program that a job names is spoken to.
fn protocol_of(kind: EngineKind) -> Option<Box<dyn Protocol>> {
    match kind {
        EngineKind::Local => None,
        EngineKind::Vllm => Some(Box::new(vllm::Vllm)),
        EngineKind::Sglang => Some(Box::new(sglang::Sglang)),
    }
}
