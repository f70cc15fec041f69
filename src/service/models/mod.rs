//! Models and checkpoints, and what a model's name in a request refers to.

mod checkpoints;
mod described;
mod download;
pub(in crate::service) mod downloads;
mod entry;
mod register;
mod request;

use std::collections::HashSet;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use crate::artifacts::{ArtifactError, publish_copy};
use crate::domain::checkpoint::Checkpoint;
use crate::domain::job::{Job, JobState};
use crate::domain::model::{ARTIFACT, Model};
use crate::domain::model_reference::ModelReference;
use crate::domain::nearest::suggestion;
use crate::domain::repository::Repository;
use crate::service::core::Core;
use crate::service::{Result, ServiceError};
use crate::store::StoreError;

pub use entry::{ModelEntry, ModelList, TrainedFrom};
pub use request::{ModelOrigin, ModelRequest};

/// Maximum number of checkpoints between a checkpoint and the registered model that it was trained from.
const MAX_ANCESTORS: usize = 64;

/// The resolved model of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSource {
    /// Its one id: a registered model's name, or `ckpt_…`.
    pub id: String,
    /// The registered model itself, or the one that the checkpoint grew from.
    pub base: Model,
    /// The checkpoint, if it is one.
    pub checkpoint: Option<Checkpoint>,
}

/// A `NotFound` as none.
pub(super) fn if_exists<T>(result: std::result::Result<T, StoreError>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Models and checkpoints. A handle that is cheap to make: everything it works with is shared.
#[derive(Clone)]
pub struct Models(Arc<Core>);

impl Deref for Models {
    type Target = Arc<Core>;

    fn deref(&self) -> &Arc<Core> {
        &self.0
    }
}

impl Core {
    pub(in crate::service) fn models(self: &Arc<Self>) -> Models {
        Models(Arc::clone(self))
    }
}

impl Models {
    /// Every model, and those that are being downloaded.
    pub async fn list(&self) -> Result<ModelList> {
        let coming = self.downloads.all().into_iter().filter(|entry| self.caller.sees(&entry.project));
        let models = self.store.models().await?;
        let mut data: Vec<ModelEntry> = models.into_iter().map(ModelEntry::from).collect();
        for checkpoint in self.store.promotions().await? {
            data.push(self.promoted_entry(checkpoint).await?);
        }
        let known: HashSet<String> = data.iter().map(|model| model.id.clone()).collect();
        data.extend(coming.filter(|entry| !known.contains(&entry.id)));
        data.sort_by(|one, two| one.id.cmp(&two.id));
        Ok(ModelList { object: "list".to_owned(), data, has_more: false, next: None })
    }

    /// One model.
    pub async fn get(&self, name: &str) -> Result<ModelEntry> {
        // Downloads first: they are forgotten only after the model was registered.
        let coming = self.coming(name);
        if let Some(model) = if_exists(self.store.model(name).await)? {
            return Ok(model.into());
        }
        match (self.store.promoted(name).await?, coming) {
            (Some(checkpoint), _) => self.promoted_entry(checkpoint).await,
            (None, Some(entry)) => Ok(entry),
            (None, None) => Err(ServiceError::NotFound { kind: "model", id: name.to_owned() }),
        }
    }

    /// A model that is being downloaded, or whose download failed.
    pub(super) fn coming(&self, name: &str) -> Option<ModelEntry> {
        self.downloads.get(name).filter(|entry| self.caller.sees(&entry.project))
    }

    /// A served checkpoint: what the model that it grew from is, under its own name.
    async fn promoted_entry(&self, checkpoint: Checkpoint) -> Result<ModelEntry> {
        let base = self.ancestor(&checkpoint.run_id).await?;
        let trained = TrainedFrom {
            model: base.name.clone(),
            run: self.store.run(&checkpoint.run_id).await?.name,
            run_id: checkpoint.run_id,
            step: checkpoint.step,
            accuracy: checkpoint.accuracy,
        };
        Ok(ModelEntry {
            trained: Some(trained),
            id: checkpoint.promoted_as.unwrap_or_default(),
            created: checkpoint.created_at.timestamp(),
            owned_by: checkpoint.created_by.unwrap_or_else(|| "vgpo".to_owned()),
            source: checkpoint.id,
            project: checkpoint.project,
            ..base.into()
        })
    }

    /// Resolves `reference`: a registered or promoted name, `hf:org/name@revision` of a registered model,
    /// `ckpt_…`, `run_…@best` or `run_…@last`. An unknown one is a complaint about the field at `pointer`.
    pub async fn source(&self, reference: &str, pointer: &str) -> Result<ModelSource> {
        if let Some(base) = if_exists(self.store.model(reference).await)? {
            return Ok(ModelSource { id: reference.to_owned(), base, checkpoint: None });
        }
        let parsed = reference.parse::<ModelReference>();
        let parsed = parsed.map_err(|error| ServiceError::field(pointer, error.to_string()))?;
        if let ModelReference::Hub(repository) = &parsed {
            let base = self.model_of_hub(repository, pointer).await?;
            return Ok(ModelSource { id: base.name.clone(), base, checkpoint: None });
        }
        let checkpoint = match self.named_checkpoint(&parsed).await {
            Ok(Some(checkpoint)) => checkpoint,
            Ok(None) => return Err(self.unknown_model(reference, pointer).await?),
            Err(ServiceError::Conflict(detail)) => return Err(ServiceError::field(pointer, detail)),
            Err(error) => return Err(error),
        };
        let base = self.ancestor(&checkpoint.run_id).await?;
        Ok(ModelSource { id: checkpoint.id.clone(), base, checkpoint: Some(checkpoint) })
    }

    /// The model that was registered from a repository of the hub; any commit of it where none is named.
    async fn model_of_hub(&self, wanted: &Repository, pointer: &str) -> Result<Model> {
        let fits = |model: &Model| {
            model.repository().is_some_and(|origin| {
                origin.id == wanted.id && (wanted.revision.is_none() || wanted.revision == origin.revision)
            })
        };
        let models = self.store.models().await?;
        models.into_iter().filter(fits).max_by_key(|model| model.created_at).ok_or_else(|| {
            let revision =
                wanted.revision.as_ref().map(|name| format!(", \"revision\": \"{name}\"")).unwrap_or_default();
            let reference = ModelReference::Hub(wanted.clone());
            let detail = format!(
                "no model was registered from `{reference}`: POST /v1/models {{\"source\": {{\"hub\": \
                 \"{}\"{revision}}}}}, or `vgpo models add {reference}`, then use its name, or the commit as revision",
                wanted.id
            );
            ServiceError::field(pointer, detail)
        })
    }

    async fn named_checkpoint(&self, reference: &ModelReference) -> Result<Option<Checkpoint>> {
        let (run_id, which) = match reference {
            ModelReference::Checkpoint(id) => return if_exists(self.store.checkpoint(id).await),
            ModelReference::Name(name) => return Ok(self.store.promoted(name).await?),
            ModelReference::Run { run, which } => (run, which),
            ModelReference::Hub(_) | ModelReference::Job(_) => return Ok(None),
        };
        let Some(run) = if_exists(self.store.run(run_id).await)? else { return Ok(None) };
        let (state, job) = (run.state, run.job_id.clone());
        let Some(id) = which.of(run) else {
            return Err(ServiceError::Conflict(format!(
                "run `{run_id}` has no checkpoint yet; it is {state}; a job that waits for it names it as `after`: \
                `{job}`"
            )));
        };
        if_exists(self.store.checkpoint(&id).await)
    }

    /// The registered model that a run grew from. Runs know it by name; those of older databases are followed back
    /// from checkpoint to checkpoint.
    async fn ancestor(&self, run_id: &str) -> Result<Model> {
        let mut run = self.store.run(run_id).await?;
        for _ in 0..MAX_ANCESTORS {
            let name = run.base_model.as_ref().unwrap_or(&run.model);
            if let Some(model) = if_exists(self.store.model(name).await)? {
                return Ok(model);
            }
            let Some(start) = if_exists(self.store.checkpoint(&run.model).await)? else { break };
            run = self.store.run(&start.run_id).await?;
        }
        Err(ServiceError::Conflict(format!("run `{run_id}` was not trained from a registered model")))
    }

    /// What a new job starts from, and the job that it has to wait for: `job_…` is the checkpoint with which that job
    /// ends, and so are `run_…@best` and `run_…@last` of a run whose job is named as `after`, once that has ended.
    pub(in crate::service) async fn start_of_job(
        &self,
        reference: &str,
        after: Option<&str>,
    ) -> Result<(ModelSource, Option<String>)> {
        let registered = if_exists(self.store.model(reference).await)?.is_some();
        let parsed = reference.parse::<ModelReference>().ok().filter(|_| !registered);
        let job = match &parsed {
            Some(parsed) => self.named_job(parsed, after).await?,
            None => None,
        };
        let Some(job) = job else {
            return Ok((self.source(reference, "/model").await?, None));
        };
        let left = ModelReference::last_of(&job.run_id);
        if job.state == JobState::Succeeded {
            let checkpoint = parsed.filter(|parsed| matches!(parsed, ModelReference::Run { .. })).unwrap_or(left);
            return Ok((self.source(&checkpoint.to_string(), "/model").await?, None));
        }
        let unusable = |detail: String| Err(ServiceError::field("/model", detail));
        if job.state.is_final() {
            let (id, state) = (&job.id, job.state);
            return unusable(format!("job `{id}` is {state}; retry it, or start from `{left}` if it left one"));
        }
        if after.is_some_and(|after| after != job.id) {
            return unusable(format!("`{reference}` comes from job `{}`, but `after` names another one", job.id));
        }
        let base = self.ancestor(&job.run_id).await?;
        Ok((ModelSource { id: reference.to_owned(), base, checkpoint: None }, Some(job.id)))
    }

    /// The job whose result `reference` names, if it may not have finished yet.
    async fn named_job(&self, reference: &ModelReference, after: Option<&str>) -> Result<Option<Job>> {
        match reference {
            ModelReference::Job(id) => if_exists(self.store.job(id).await),
            ModelReference::Run { run, .. } => {
                let run = if_exists(self.store.run(run).await)?.filter(|run| after == Some(run.job_id.as_str()));
                match run {
                    Some(run) => if_exists(self.store.job(&run.job_id).await),
                    None => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    async fn unknown_model(&self, reference: &str, pointer: &str) -> Result<ServiceError> {
        match self.coming(reference) {
            Some(ModelEntry { problem: Some(problem), .. }) => {
                return Ok(ServiceError::field(
                    pointer,
                    format!("model `{reference}` could not be downloaded: {problem}"),
                ));
            }
            Some(_) => {
                let detail = format!("model `{reference}` is being downloaded; see GET /v1/models/{reference}");
                return Ok(ServiceError::field(pointer, detail));
            }
            None => {}
        }
        let models = self.store.models().await?;
        let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
        let detail = format!(
            "there is no model `{reference}`, and it is not of the form ckpt_…, run_…@best or job_…: {}",
            suggestion(reference, &names)
        );
        Ok(ServiceError::field(pointer, detail))
    }

    /// The folder of a registered model; a relative path counts from the data folder, an artifact may have to be
    /// fetched.
    pub async fn dir(&self, model: &Model) -> Result<PathBuf> {
        let Some(key) = model.artifact_key() else { return Ok(self.settings.data_dir.join(&model.path)) };
        self.artifact_path(key).await?.map_err(|error| {
            ServiceError::Unavailable(format!("the files of model `{}` cannot be fetched: {error}", model.name))
        })
    }

    /// What the record of a model says about its folder. Where hosts share a store of artifacts, the files are copied
    /// into it, as `models/<id>`, so that workers elsewhere find them.
    pub(in crate::service) async fn model_path(&self, dir: PathBuf, id: &str) -> Result<String> {
        let artifacts = Arc::clone(self.artifacts().await?);
        if !artifacts.is_shared() {
            // Absolute, because workers may have another working directory; a moved folder is found again at the next
            // start.
            return Ok(std::path::absolute(&dir).unwrap_or(dir).display().to_string());
        }
        let (key, scratch) = (format!("models/{id}"), self.settings.models_dir());
        let path = format!("{ARTIFACT}{key}");
        let publish = move || {
            if artifacts.list("models")?.contains(&key) {
                return Ok(());
            }
            match publish_copy(&*artifacts, &dir, &key, &scratch) {
                // Another server was faster.
                Ok(_) | Err(ArtifactError::Exists(_)) => Ok(()),
                Err(error) => Err(error),
            }
        };
        let published = tokio::task::spawn_blocking(publish).await;
        let published = published.map_err(|error| ServiceError::Internal(error.to_string()))?;
        published.map(|()| path).map_err(|error| ServiceError::Unavailable(error.to_string()))
    }
}
