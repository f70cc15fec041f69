//! Registered models and data sets.

use async_trait::async_trait;
use sqlx::Row as _;

use crate::clock::new_id;
use crate::domain::dataset::{DatasetRecord, DatasetState, NewDataset};
use crate::domain::model::{Model, NewModel};
use crate::store::change::{dataset_event, refuse_settled, taken};
use crate::store::error::{Result, StoreError};
use crate::store::rows;
use crate::store::traits::{ModelStore, Once, Present};

use super::{SqliteStore, Write, events, idempotency, servers};

const UPSERT_MODEL: &str = include_str!("sql/model_upsert.sql");
const MODEL_HOLDERS: &str = include_str!("sql/model_holders.sql");
const UPSERT_DATASET: &str = include_str!("sql/dataset_upsert.sql");
const CREATE_DATASET: &str = include_str!("sql/dataset_create.sql");
const UPDATE_DATASET: &str = include_str!("sql/dataset_update.sql");
const DATASET_JOBS: &str = include_str!("sql/dataset_jobs.sql");

#[async_trait]
impl ModelStore for SqliteStore {
    async fn put_model(&self, new: NewModel, present: Present<'_>) -> Result<Model> {
        let (update, within) = present.parts();
        let (card, recommended) = (rows::to_json(&new.card)?, rows::to_json(&new.recommended)?);
        let mut tx = self.write().await?;
        let promoted = sqlx::query("SELECT id FROM checkpoints WHERE promoted_as = ?")
            .bind(&new.name)
            .fetch_optional(&mut tx)
            .await?;
        if let Some(row) = promoted {
            let id: &str = row.try_get("id")?;
            return Err(StoreError::Conflict(format!("`{}` is the served name of checkpoint {id}", new.name)));
        }
        let row = sqlx::query(UPSERT_MODEL)
            .bind(&new.name)
            .bind(&new.family)
            .bind(new.parameters as i64)
            .bind(&new.path)
            .bind(card)
            .bind(recommended)
            .bind(&new.source)
            .bind(&new.project)
            .bind(&new.created_by)
            .bind(self.now())
            .bind(within)
            .bind(update)
            .fetch_optional(&mut tx)
            .await?;
        let row = row.ok_or_else(|| taken(&new.name))?;
        tx.commit().await?;
        rows::model(&row)
    }

    async fn model(&self, name: &str) -> Result<Model> {
        let row = sqlx::query("SELECT * FROM models WHERE name = ?").bind(name).fetch_optional(&self.readers).await?;
        rows::model(&row.ok_or_else(|| StoreError::NotFound { kind: "model", id: name.to_owned() })?)
    }

    async fn models(&self) -> Result<Vec<Model>> {
        let found = sqlx::query("SELECT * FROM models ORDER BY name").fetch_all(&self.readers).await?;
        found.iter().map(rows::model).collect()
    }

    async fn delete_model(&self, name: &str) -> Result<Model> {
        let mut tx = self.write().await?;
        let row = sqlx::query("SELECT * FROM models WHERE name = ?").bind(name).fetch_optional(&mut tx).await?;
        let model = rows::model(&row.ok_or_else(|| StoreError::NotFound { kind: "model", id: name.to_owned() })?)?;
        let held = sqlx::query(MODEL_HOLDERS).bind(name).fetch_all(&mut tx).await?;
        let holders = held.iter().map(|row| Ok(row.try_get("id")?)).collect::<Result<Vec<String>>>()?;
        if !holders.is_empty() {
            return Err(StoreError::Held { kind: "model", id: name.to_owned(), holders });
        }
        sqlx::query("DELETE FROM models WHERE name = ?").bind(name).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(model)
    }

    async fn upsert_dataset(&self, new: NewDataset) -> Result<DatasetRecord> {
        let (card, recommended) = (rows::to_json(&new.card)?, rows::to_json(&new.recommended)?);
        let mut tx = self.write().await?;
        let row = sqlx::query(UPSERT_DATASET)
            .bind(new_id("ds"))
            .bind(&new.name)
            .bind(new.state.name())
            .bind(&new.source)
            .bind(new.train_rows as i64)
            .bind(new.eval_rows as i64)
            .bind(&new.fingerprint)
            .bind(card)
            .bind(recommended)
            .bind(&new.project)
            .bind(&new.created_by)
            .bind(self.now())
            .fetch_one(&mut tx)
            .await?;
        tx.commit().await?;
        rows::dataset(&row)
    }

    async fn create_dataset_once(&self, id: &str, new: NewDataset, once: Once<'_>) -> Result<DatasetRecord> {
        let (card, recommended) = (rows::to_json(&new.card)?, rows::to_json(&new.recommended)?);
        let mut tx = self.write().await?;
        let taken =
            sqlx::query("SELECT * FROM datasets WHERE name = ?").bind(&new.name).fetch_optional(&mut tx).await?;
        if let Some(row) = taken {
            let old = rows::dataset(&row)?;
            if old.state != DatasetState::Invalid {
                let (name, state) = (&new.name, old.state.name());
                let detail =
                    format!("there is a data set `{name}`, which is {state}; choose another name, or delete it first");
                return Err(StoreError::Conflict(detail));
            }
            sqlx::query("DELETE FROM datasets WHERE name = ?").bind(&new.name).execute(&mut tx).await?;
            servers::note_removal(&mut tx, self.now(), &old.artifact_key()).await?;
            idempotency::free(&mut tx, &old.id).await?;
            tell(&mut tx, self.now(), &old, Some(old.state), None).await?;
        }
        let row = sqlx::query(CREATE_DATASET)
            .bind(id)
            .bind(&new.name)
            .bind(new.state.name())
            .bind(&new.source)
            .bind(new.train_rows as i64)
            .bind(new.eval_rows as i64)
            .bind(&new.fingerprint)
            .bind(card)
            .bind(recommended)
            .bind(&new.project)
            .bind(&new.created_by)
            .bind(self.now())
            .fetch_one(&mut tx)
            .await?;
        let dataset = rows::dataset(&row)?;
        tell(&mut tx, self.now(), &dataset, None, Some(dataset.state)).await?;
        idempotency::note(&mut tx, self.now(), once, &dataset.id).await?;
        tx.commit().await?;
        Ok(dataset)
    }

    async fn update_dataset(&self, id: &str, new: &NewDataset) -> Result<DatasetRecord> {
        let (card, recommended) = (rows::to_json(&new.card)?, rows::to_json(&new.recommended)?);
        let mut tx = self.write().await?;
        let unknown = || StoreError::NotFound { kind: "dataset", id: id.to_owned() };
        let before = sqlx::query("SELECT * FROM datasets WHERE id = ?").bind(id).fetch_optional(&mut tx).await?;
        let before = rows::dataset(&before.ok_or_else(unknown)?)?;
        refuse_settled(&before)?;
        let before = before.state;
        let row = sqlx::query(UPDATE_DATASET)
            .bind(id)
            .bind(new.state.name())
            .bind(&new.source)
            .bind(new.train_rows as i64)
            .bind(new.eval_rows as i64)
            .bind(&new.fingerprint)
            .bind(card)
            .bind(recommended)
            .fetch_one(&mut tx)
            .await?;
        let dataset = rows::dataset(&row)?;
        if dataset.state == DatasetState::Invalid {
            idempotency::free(&mut tx, id).await?;
        }
        if dataset.state != before {
            tell(&mut tx, self.now(), &dataset, Some(before), Some(dataset.state)).await?;
        }
        tx.commit().await?;
        Ok(dataset)
    }

    async fn delete_dataset(&self, id: &str) -> Result<DatasetRecord> {
        let mut tx = self.write().await?;
        let row = sqlx::query("SELECT * FROM datasets WHERE id = ?").bind(id).fetch_optional(&mut tx).await?;
        let dataset = rows::dataset(&row.ok_or_else(|| StoreError::NotFound { kind: "dataset", id: id.to_owned() })?)?;
        let jobs = sqlx::query(DATASET_JOBS).bind(&dataset.name).bind(&dataset.id).fetch_all(&mut tx).await?;
        let holders = jobs.iter().map(|row| Ok(row.try_get("id")?)).collect::<Result<Vec<String>>>()?;
        if !holders.is_empty() {
            return Err(StoreError::Held { kind: "dataset", id: id.to_owned(), holders });
        }
        sqlx::query("DELETE FROM datasets WHERE id = ?").bind(id).execute(&mut tx).await?;
        servers::note_removal(&mut tx, self.now(), &dataset.artifact_key()).await?;
        idempotency::free(&mut tx, id).await?;
        tell(&mut tx, self.now(), &dataset, Some(dataset.state), None).await?;
        tx.commit().await?;
        Ok(dataset)
    }

    async fn dataset(&self, name_or_id: &str) -> Result<DatasetRecord> {
        let row = sqlx::query("SELECT * FROM datasets WHERE name = ?1 OR id = ?1")
            .bind(name_or_id)
            .fetch_optional(&self.readers)
            .await?;
        rows::dataset(&row.ok_or_else(|| StoreError::NotFound { kind: "dataset", id: name_or_id.to_owned() })?)
    }

    async fn datasets(&self) -> Result<Vec<DatasetRecord>> {
        let found = sqlx::query("SELECT * FROM datasets ORDER BY name").fetch_all(&self.readers).await?;
        found.iter().map(rows::dataset).collect()
    }
}

async fn tell(
    tx: &mut Write,
    now: i64,
    dataset: &DatasetRecord,
    from: Option<DatasetState>,
    to: Option<DatasetState>,
) -> Result<()> {
    events::insert(tx, now, &dataset_event(dataset, from, to)?).await?;
    Ok(())
}
