//! Checkpoints: list and get.

use crate::domain::checkpoint::{Checkpoint, CheckpointFilter};
use crate::domain::page::{Listing, Page};
use crate::service::{Result, Service};

impl Service {
    /// Checkpoints, newest first.
    pub async fn checkpoints(&self, filter: &CheckpointFilter, page: &Page) -> Result<Listing<Checkpoint>> {
        Ok(self.store.checkpoints(filter, page).await?)
    }

    /// One checkpoint.
    pub async fn checkpoint(&self, id: &str) -> Result<Checkpoint> {
        Ok(self.store.checkpoint(id).await?)
    }
}
