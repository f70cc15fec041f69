//! Registering and deleting models, from a folder of the server's machine or from a hub.

use super::described::{Described, described};
use super::download::Download;
use super::downloads::Coming;
use super::entry::ModelEntry;
use super::request::{ModelRequest, Origin};
use crate::clock::new_id;
use crate::domain::access::Role;
use crate::domain::event::{ModelChanged, NewEvent, kind};
use crate::domain::model::{DownloadProgress, Model, ModelState, NewModel};
use crate::outbound::hub::Kind;
use crate::service::core::roots::Roots;
use crate::service::models::Models;
use crate::service::models::if_exists;
use crate::service::{Result, ServiceError};

/// Source of models that ship with the program.
const BUILT_IN: &str = "builtin";
/// Source of models that are read in place.
const PATH: &str = "path";

impl Models {
    /// Registers a model: immediately for a local folder, in the background for a hub.
    pub async fn register(&self, request: ModelRequest, created_by: Option<String>) -> Result<ModelEntry> {
        let project = request.project.clone().unwrap_or_else(|| self.caller.project.clone());
        self.access().may_write(&project)?;
        let coming = |name: String, source: String| Coming { name, source, project, created_by };
        match request.origin()? {
            Origin::Hub(repository) => {
                self.may_fetch_models()?;
                let name = request.name(&repository.id)?;
                self.check_free(&name).await?;
                let (hub, snapshot) = self.look_at_hub(Kind::Model, repository).await?;
                let source = snapshot.to_string();
                Download { coming: coming(name, source), hub, snapshot }.start(self).await
            }
            Origin::Path(path) => {
                let dir = self.roots().allow(&path, "/source/path")?;
                let folder = dir.file_name().map(|name| name.to_string_lossy().into_owned());
                let name = request.name(&folder.unwrap_or_default())?;
                self.check_free(&name).await?;
                let described = described(dir).await.map_err(|problem| ServiceError::field("/source/path", problem))?;
                Ok(self.store_model(coming(name, PATH.to_owned()), described).await?.into())
            }
        }
    }

    /// The folders whose models requests may name.
    pub(in crate::service) fn roots(&self) -> Roots<'_> {
        Roots { setting: "model_roots", variable: "VGPO_MODEL_ROOTS", folders: &self.settings.model_roots }
    }

    /// A model brings a chat template, which this program and its workers run: whose template that may be is up to
    /// admins.
    fn may_fetch_models(&self) -> Result<()> {
        if self.caller.role == Role::Admin || self.settings.hub_models == Role::User {
            return Ok(());
        }
        let detail = "only admins may register models of the hub, because their chat templates run in the server; ask \
                      an admin, or set hub_models = \"user\" if all users are trusted";
        Err(ServiceError::Forbidden(detail.to_owned()))
    }

    /// Is the name free, and no model of that name being downloaded?
    async fn check_free(&self, name: &str) -> Result<()> {
        let taken = |what: &str| {
            ServiceError::Conflict(format!("there is {what} `{name}`; choose another name, or delete it first"))
        };
        if if_exists(self.store.model(name).await)?.is_some() {
            return Err(taken("a model"));
        }
        if self.store.promoted(name).await?.is_some() {
            return Err(taken("a checkpoint that is served as"));
        }
        if self.downloads.is_under_way(name) { Err(taken("a download of")) } else { Ok(()) }
    }

    /// Registers a model; `Conflict` when another request has taken its name in the meantime.
    pub(super) async fn store_model(&self, coming: Coming, described: Described) -> Result<Model> {
        let Described { dir, info, card, recommended } = described;
        let path = self.model_path(dir, &new_id("mdl")).await?;
        let record = NewModel {
            name: coming.name,
            family: info.family,
            parameters: info.parameters as u64,
            path,
            card,
            recommended,
            source: coming.source,
            project: coming.project,
            created_by: coming.created_by,
        };
        let model = self.store.create_model(record).await?;
        self.tell((&model.name, &model.project), Some(ModelState::Ready), None, None).await;
        Ok(model)
    }

    /// Forgets a model; its files stay. `Held` while unfinished jobs start from it, or checkpoints grew from it.
    pub async fn delete(&self, name: &str) -> Result<()> {
        if let Some(entry) = self.coming(name) {
            self.access().may_write(&entry.project)?;
            if self.downloads.is_under_way(name) {
                let detail = format!("model `{name}` is being downloaded; wait until it has finished");
                return Err(ServiceError::Conflict(detail));
            }
            if self.downloads.forget(name) {
                return Ok(());
            }
        }
        if let Some(checkpoint) = self.store.promoted(name).await? {
            self.demote_checkpoint(&checkpoint.id).await?;
            return Ok(());
        }
        let model = self.store.model(name).await?;
        if model.source == BUILT_IN {
            return Err(ServiceError::Conflict(format!("model `{name}` is built in and cannot be deleted")));
        }
        self.store.delete_model(name).await?;
        self.tell((name, &model.project), None, None, None).await;
        Ok(())
    }

    /// Emits an event about a model of a project; a failure is only logged.
    pub(super) async fn tell(
        &self,
        (name, project): (&str, &str),
        state: Option<ModelState>,
        progress: Option<DownloadProgress>,
        problem: Option<String>,
    ) {
        let changed = ModelChanged { model: name.to_owned(), state, progress, problem };
        let data = serde_json::to_value(&changed).unwrap_or_default();
        let event = NewEvent {
            kind: kind::MODEL.to_owned(),
            job_id: None,
            run_id: None,
            project: Some(project.to_owned()),
            data,
        };
        match self.store.append_event(event).await {
            Ok(_) => self.tell_news(),
            Err(error) => tracing::warn!(model = name, %error, "an event about a model could not be written"),
        }
    }
}
