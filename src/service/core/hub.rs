//! What models and data sets of a hub have in common: the request's words for a repository, and a first look at it.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::repository::Repository;
use crate::outbound::hub::{Hub, HubError, Kind, Snapshot};
use crate::service::core::Core;
use crate::service::{Result, ServiceError};

/// Time limit of listing a repository of a hub.
const LOOK: Duration = Duration::from_secs(30);

/// The repository that `/source/hub` and `/source/revision` name.
pub(in crate::service) fn repository(hub: &str, revision: Option<&str>) -> Result<Repository> {
    let (pointer, read) = match revision {
        Some(revision) => ("/source/revision", Repository::new(hub, Some(revision))),
        None => ("/source/hub", hub.parse()),
    };
    read.map_err(|error| ServiceError::field(pointer, error.to_string()))
}

impl Core {
    /// The files of a repository of the hub. They are listed on a thread of its own: nothing waits for it when the hub
    /// does not answer.
    pub(in crate::service) async fn look_at_hub(&self, kind: Kind, repository: Repository) -> Result<(Hub, Snapshot)> {
        let hub = Hub::new(&self.settings).map_err(|error| at_hub(&error))?;
        let (send, receive) = oneshot::channel();
        let asked = hub.clone();
        std::thread::spawn(move || send.send(asked.look(kind, &repository)));
        let silent = || HubError::Unreachable {
            endpoint: self.settings.hf_endpoint.clone(),
            problem: format!("no answer within {} seconds", LOOK.as_secs()),
        };
        let answer = tokio::time::timeout(LOOK, receive).await.map_err(|_| at_hub(&silent()))?;
        let snapshot = answer.map_err(|_| ServiceError::Internal("the hub's client failed".to_owned()))?;
        Ok((hub, snapshot.map_err(|error| at_hub(&error))?))
    }
}

/// Converts an error of the hub to a service error.
pub(in crate::service) fn at_hub(error: &HubError) -> ServiceError {
    let message = error.to_string();
    match error {
        HubError::Unreachable { .. } | HubError::Answer { .. } => ServiceError::Unavailable(message),
        HubError::Cache(_) => ServiceError::Internal(message),
        _ => ServiceError::field("/source/hub", message),
    }
}
