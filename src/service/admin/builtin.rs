//! What ships with the program: the starter model and the built-in data sets, registered at every start.

use serde_json::json;

use crate::data;
use crate::domain::access::SHARED_PROJECT;
use crate::domain::dataset::{DatasetState, NewDataset};
use crate::domain::model::NewModel;
use crate::model;
use crate::service::admin::Admin;
use crate::service::{Result, ServiceError};
use crate::starter::{self, files};

const SOURCE: &str = "builtin";

impl Admin {
    /// Registers everything that ships with the program; doing it again changes nothing.
    pub async fn register_builtins(&self) -> Result<()> {
        for built_in in data::built_in() {
            let dataset = data::open(built_in.name).map_err(|error| ServiceError::Internal(error.to_string()))?;
            let record = NewDataset {
                name: built_in.name.to_owned(),
                state: DatasetState::Ready,
                source: SOURCE.to_owned(),
                train_rows: built_in.train_rows,
                eval_rows: built_in.eval_rows,
                fingerprint: dataset.fingerprint(),
                card: json!({"description": built_in.description}),
                recommended: built_in.recommended,
                project: SHARED_PROJECT.to_owned(),
                created_by: None,
            };
            self.store.upsert_dataset(record).await?;
        }
        self.register_starter().await
    }

    async fn register_starter(&self) -> Result<()> {
        let models = self.settings.models_dir();
        let laid_out = tokio::task::spawn_blocking(move || {
            let dir =
                files::lay_out(&models, files::FILES).map_err(|error| ServiceError::Internal(error.to_string()))?;
            let info = model::describe(&dir).map_err(|error| ServiceError::Internal(error.to_string()))?;
            Ok::<_, ServiceError>((dir, info))
        });
        let (dir, info) = laid_out.await.map_err(|error| ServiceError::Internal(error.to_string()))??;
        let files::Notes { card, recommended } = files::notes(files::FILES);
        let id = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = self.models().model_path(dir, &id).await?;
        let record = NewModel {
            name: starter::NAME.to_owned(),
            family: info.family,
            parameters: info.parameters as u64,
            path,
            recommended,
            card,
            source: SOURCE.to_owned(),
            project: SHARED_PROJECT.to_owned(),
            created_by: None,
        };
        self.store.upsert_model(record).await?;
        Ok(())
    }
}
