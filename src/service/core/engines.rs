//! The engine that answers requests for inference: the engine of this process, or engines on other servers.

use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::config::app::AppSettings;
use crate::config::serving::{ENGINE_EXPIRY, EngineLimits};
use crate::domain::engine::EngineRecord;
use crate::forward::{Directory, Forwarder};
use crate::service::core::Core;
use crate::service::{Result, ServiceError};
use crate::serving::{Engine, LocalEngine};
use crate::store::Store;

/// The engines in the database that are alive.
pub(in crate::service) struct Registered {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Directory for Registered {
    async fn engines(&self) -> std::result::Result<Vec<EngineRecord>, String> {
        self.store.engines(self.clock.now() - ENGINE_EXPIRY).await.map_err(|error| error.to_string())
    }
}

/// The engine that answers requests for inference: the engine of this process, or those that are registered. Nothing
/// else knows which.
pub(in crate::service) fn engine_of(settings: &AppSettings, registered: &Arc<dyn Directory>) -> Arc<dyn Engine> {
    if settings.roles.engine {
        return Arc::new(LocalEngine::on(
            settings.engine_device,
            settings.engine_weights,
            EngineLimits::from(&settings.limits),
        ));
    }
    Arc::new(Forwarder::new(Arc::clone(registered), &settings.engine_secret))
}

impl Core {
    /// Does an engine, here or on another server, have this in memory?
    pub(in crate::service) async fn is_in_memory(&self, model: &str) -> Result<bool> {
        if self.engine.loaded().await.iter().any(|loaded| loaded.id == model) {
            return Ok(true);
        }
        let elsewhere = self.registered.engines().await.map_err(ServiceError::Unavailable)?;
        Ok(elsewhere.iter().any(|engine| engine.models.iter().any(|loaded| loaded == model)))
    }
}
