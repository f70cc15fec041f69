//! Models and workers; and what a model's name in a request stands for.

use std::path::PathBuf;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::config::nearest::suggestion;
use crate::domain::checkpoint::Checkpoint;
use crate::domain::model::Model;
use crate::domain::worker::WorkerRecord;
use crate::service::{Result, Service, ServiceError};
use crate::store::StoreError;

/// How many checkpoints may stand between a checkpoint and the model that it grew from.
const MAX_ANCESTORS: usize = 64;
/// Workers that were silent for longer are left out of lists.
const WORKERS_FOR: TimeDelta = TimeDelta::days(1);

/// A model in `OpenAI`'s shape, with what we know beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelEntry {
    /// Its name.
    pub id: String,
    /// Always `model`.
    pub object: String,
    /// When it was registered, in seconds since 1970.
    pub created: i64,
    /// Who owns it.
    pub owned_by: String,
    /// Model family, e.g. `qwen2_5_vl`.
    pub family: String,
    /// Number of parameters.
    pub parameters: u64,
    /// Where it came from, e.g. `builtin`.
    pub source: String,
    /// The project it belongs to.
    pub project: String,
    /// For people: task, limits, examples.
    #[schema(value_type = Object)]
    pub card: Value,
    /// Job settings that suit the model.
    #[schema(value_type = Object)]
    pub recommended: Value,
}

impl From<Model> for ModelEntry {
    fn from(model: Model) -> Self {
        Self {
            id: model.name,
            object: "model".to_owned(),
            created: model.created_at.timestamp(),
            owned_by: model.created_by.unwrap_or_else(|| "vgpo".to_owned()),
            family: model.family,
            parameters: model.parameters,
            source: model.source,
            project: model.project,
            card: model.card,
            recommended: model.recommended,
        }
    }
}

/// Every model, in `OpenAI`'s shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelList {
    /// Always `list`.
    pub object: String,
    /// The models by name.
    pub data: Vec<ModelEntry>,
    /// Always false: the list is whole.
    pub has_more: bool,
    /// Always null.
    pub next: Option<String>,
}

/// What a model's name in a request stands for.
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
pub(super) fn found<T>(result: std::result::Result<T, StoreError>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Service {
    /// Every model.
    pub async fn models(&self) -> Result<ModelList> {
        let models = self.store.models().await?;
        let data = models.into_iter().map(ModelEntry::from).collect();
        Ok(ModelList { object: "list".to_owned(), data, has_more: false, next: None })
    }

    /// One model.
    pub async fn model(&self, name: &str) -> Result<ModelEntry> {
        Ok(self.store.model(name).await?.into())
    }

    /// Workers heard of within the last day.
    pub async fn workers(&self) -> Result<Vec<WorkerRecord>> {
        Ok(self.store.workers(self.clock.now() - WORKERS_FOR).await?)
    }

    /// What `reference` stands for: a registered or promoted name, `ckpt_…`, `run_…@best` or `run_…@last`. An unknown
    /// one is a complaint about the field at `pointer`.
    pub async fn model_source(&self, reference: &str, pointer: &str) -> Result<ModelSource> {
        if let Some(base) = found(self.store.model(reference).await)? {
            return Ok(ModelSource { id: reference.to_owned(), base, checkpoint: None });
        }
        let checkpoint = match self.named_checkpoint(reference).await {
            Ok(Some(checkpoint)) => checkpoint,
            Ok(None) => return Err(self.unknown_model(reference, pointer).await?),
            Err(ServiceError::Conflict(detail)) => return Err(ServiceError::field(pointer, detail)),
            Err(error) => return Err(error),
        };
        let base = self.ancestor(&checkpoint).await?;
        Ok(ModelSource { id: checkpoint.id.clone(), base, checkpoint: Some(checkpoint) })
    }

    async fn named_checkpoint(&self, reference: &str) -> Result<Option<Checkpoint>> {
        if let Some(checkpoint) = found(self.store.checkpoint(reference).await)? {
            return Ok(Some(checkpoint));
        }
        let Some((run_id, which)) = reference.split_once('@') else {
            return Ok(self.store.promoted(reference).await?);
        };
        let Some(run) = found(self.store.run(run_id).await)? else { return Ok(None) };
        let id = match which {
            "best" => run.best_checkpoint,
            "last" => run.last_checkpoint,
            other => {
                return Err(ServiceError::Conflict(format!(
                    "`@{other}` names no checkpoint of a run; use @best or @last"
                )));
            }
        };
        let Some(id) = id else {
            return Err(ServiceError::Conflict(format!("run `{run_id}` has no checkpoint yet; it is {}", run.state)));
        };
        found(self.store.checkpoint(&id).await)
    }

    /// The registered model that a checkpoint grew from.
    async fn ancestor(&self, checkpoint: &Checkpoint) -> Result<Model> {
        let mut run_id = checkpoint.run_id.clone();
        for _ in 0..MAX_ANCESTORS {
            let start = self.store.run(&run_id).await?.model;
            if let Some(model) = found(self.store.model(&start).await)? {
                return Ok(model);
            }
            run_id = self.store.checkpoint(&start).await?.run_id;
        }
        Err(ServiceError::Conflict(format!("checkpoint `{}` grew from no registered model", checkpoint.id)))
    }

    async fn unknown_model(&self, reference: &str, pointer: &str) -> Result<ServiceError> {
        let models = self.store.models().await?;
        let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
        let detail = format!(
            "there is no model `{reference}`: {}; a checkpoint (ckpt_…) or run_…@best works as well",
            suggestion(reference, &names)
        );
        Ok(ServiceError::field(pointer, detail))
    }

    /// The folder of a registered model; a relative path counts from the data folder.
    pub fn model_dir(&self, model: &Model) -> PathBuf {
        self.settings.data_dir.join(&model.path)
    }
}
