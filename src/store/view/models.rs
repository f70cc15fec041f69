//! Models and data sets of one caller.

use async_trait::async_trait;

use super::View;
use crate::domain::dataset::{DatasetRecord, NewDataset};
use crate::domain::model::{Model, NewModel};
use crate::store::error::{Result, StoreError};
use crate::store::traits::{ModelStore, Once, Present};

impl View {
    async fn writable_dataset(&self, name_or_id: &str) -> Result<()> {
        self.writable(&self.store.dataset(name_or_id).await?.project, "data set", name_or_id)
    }

    /// May the caller put a data set of this name in place of the one that has it?
    async fn free_dataset(&self, name: &str) -> Result<()> {
        match self.store.dataset(name).await {
            Ok(present) => self.replaceable(&present.project, name),
            Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Names are unique over all projects: a caller learns that one is taken, but not by whom.
    fn replaceable(&self, project: &str, name: &str) -> Result<()> {
        if self.caller.writes(project) {
            return Ok(());
        }
        Err(StoreError::Conflict(format!("the name `{name}` is taken; choose another one")))
    }
}

#[async_trait]
impl ModelStore for View {
    async fn put_model(&self, model: NewModel, present: Present<'_>) -> Result<Model> {
        self.may_write(&model.project)?;
        let created_by = self.signed(model.created_by);
        let present = match present {
            Present::Refuse => Present::Refuse,
            Present::Update { within } => Present::Update { within: self.within(within) },
        };
        let model = self.store.put_model(NewModel { created_by, ..model }, present).await?;
        self.did("model.create", &model.project, &model.name, Some(&model.source)).await;
        Ok(model)
    }

    async fn model(&self, name: &str) -> Result<Model> {
        let model = self.store.model(name).await?;
        self.seen(&model.project, "model", name)?;
        Ok(model)
    }

    async fn models(&self) -> Result<Vec<Model>> {
        let all = self.store.models().await?;
        Ok(all.into_iter().filter(|model| self.caller.sees(&model.project)).collect())
    }

    async fn delete_model(&self, name: &str) -> Result<Model> {
        self.writable(&self.store.model(name).await?.project, "model", name)?;
        let model = self.store.delete_model(name).await?;
        self.did("model.delete", &model.project, name, None).await;
        Ok(model)
    }

    async fn upsert_dataset(&self, dataset: NewDataset) -> Result<DatasetRecord> {
        self.may_write(&dataset.project)?;
        self.free_dataset(&dataset.name).await?;
        let created_by = self.signed(dataset.created_by);
        self.store.upsert_dataset(NewDataset { created_by, ..dataset }).await
    }

    async fn create_dataset_once(&self, id: &str, dataset: NewDataset, once: Once<'_>) -> Result<DatasetRecord> {
        self.may_write(&dataset.project)?;
        self.free_dataset(&dataset.name).await?;
        let created_by = self.signed(dataset.created_by);
        let dataset = NewDataset { created_by, ..dataset };
        let record = self.store.create_dataset_once(id, dataset, self.once(once)).await?;
        self.did("dataset.create", &record.project, &record.id, Some(&record.name)).await;
        Ok(record)
    }

    async fn update_dataset(&self, id: &str, dataset: &NewDataset) -> Result<DatasetRecord> {
        self.writable_dataset(id).await?;
        self.store.update_dataset(id, dataset).await
    }

    async fn delete_dataset(&self, id: &str) -> Result<DatasetRecord> {
        self.writable_dataset(id).await?;
        let record = self.store.delete_dataset(id).await?;
        self.did("dataset.delete", &record.project, id, Some(&record.name)).await;
        Ok(record)
    }

    async fn dataset(&self, name_or_id: &str) -> Result<DatasetRecord> {
        let record = self.store.dataset(name_or_id).await?;
        self.seen(&record.project, "data set", name_or_id)?;
        Ok(record)
    }

    async fn datasets(&self) -> Result<Vec<DatasetRecord>> {
        let all = self.store.datasets().await?;
        Ok(all.into_iter().filter(|record| self.caller.sees(&record.project)).collect())
    }
}
