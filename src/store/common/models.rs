//! Registered models and data sets.

use async_trait::async_trait;
use sqlx::Row as _;
use tracing::instrument;

use crate::clock::new_id;
use crate::domain::dataset::{DatasetRecord, DatasetState, NewDataset};
use crate::domain::model::{Model, NewModel};
use crate::store::change::{dataset_event, refuse_settled, taken};
use crate::store::error::{Result, StoreError};
use crate::store::json::to_json;
use crate::store::lock::Lock;
use crate::store::rows;
use crate::store::traits::{ModelStore, Once, Present};

use super::{Row, SqlStore, Write, events, existing, idempotency, ids, locks, servers};

const UPSERT_MODEL: &str = include_str!("../sql/model_upsert.sql");
const MODEL_HOLDERS: &str = include_str!("../sql/model_holders.sql");
const MODEL: &str = "SELECT * FROM models WHERE name = $1";
const PROMOTED: &str = "SELECT id FROM checkpoints WHERE promoted_as = $1";
const UPSERT_DATASET: &str = include_str!("../sql/dataset_upsert.sql");
const CREATE_DATASET: &str = include_str!("../sql/dataset_create.sql");
const UPDATE_DATASET: &str = include_str!("../sql/dataset_update.sql");
const DATASET_JOBS: &str = include_str!("../sql/dataset_jobs.sql");
const DATASET: &str = "SELECT * FROM datasets WHERE name = $1 OR id = $1";
const DELETE_DATASET: &str = "DELETE FROM datasets WHERE id = $1";

#[async_trait]
impl ModelStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(model = new.name))]
    async fn put_model(&self, new: NewModel, present: Present<'_>) -> Result<Model> {
        let (update, within) = present.parts();
        let (card, recommended) = (to_json(&new.card)?, to_json(&new.recommended)?);
        let mut tx = self.write().await?;
        locks::take(&mut tx, Lock::Names).await?;
        if let Some(row) = sqlx::query(PROMOTED).bind(&new.name).fetch_optional(&mut tx).await? {
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

    #[instrument(level = "debug", skip_all, fields(model = name))]
    async fn model(&self, name: &str) -> Result<Model> {
        let row = self.optional(|| sqlx::query(MODEL).bind(name)).await?;
        rows::model(&existing(row, "model", name)?)
    }

    #[instrument(level = "debug", skip_all)]
    async fn models(&self) -> Result<Vec<Model>> {
        self.all(|| sqlx::query("SELECT * FROM models ORDER BY name")).await?.iter().map(rows::model).collect()
    }

    #[instrument(level = "debug", skip_all, fields(model = name))]
    async fn delete_model(&self, name: &str) -> Result<Model> {
        let mut tx = self.write().await?;
        locks::take(&mut tx, Lock::Names).await?;
        let row = sqlx::query(MODEL).bind(name).fetch_optional(&mut tx).await?;
        let model = rows::model(&existing(row, "model", name)?)?;
        let holders = ids(&sqlx::query(MODEL_HOLDERS).bind(name).fetch_all(&mut tx).await?)?;
        if !holders.is_empty() {
            return Err(StoreError::Held { kind: "model", id: name.to_owned(), holders });
        }
        sqlx::query("DELETE FROM models WHERE name = $1").bind(name).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(model)
    }

    #[instrument(level = "debug", skip_all, fields(dataset = new.name))]
    async fn upsert_dataset(&self, new: NewDataset) -> Result<DatasetRecord> {
        let mut tx = self.write().await?;
        locks::take(&mut tx, Lock::Names).await?;
        let row = insert(&mut tx, UPSERT_DATASET, &new_id("ds"), &new, self.now()).await?;
        tx.commit().await?;
        rows::dataset(&row)
    }

    #[instrument(level = "debug", skip_all, fields(dataset = id, name = new.name))]
    async fn create_dataset_once(&self, id: &str, new: NewDataset, once: Once<'_>) -> Result<DatasetRecord> {
        let mut tx = self.write().await?;
        locks::take(&mut tx, Lock::Names).await?;
        if let Some(row) = sqlx::query(locks::DATASET_NAMED).bind(&new.name).fetch_optional(&mut tx).await? {
            let old = rows::dataset(&row)?;
            if old.state != DatasetState::Invalid {
                let (name, state) = (&new.name, old.state.name());
                let detail =
                    format!("there is a data set `{name}`, which is {state}; choose another name, or delete it first");
                return Err(StoreError::Conflict(detail));
            }
            sqlx::query(DELETE_DATASET).bind(&old.id).execute(&mut tx).await?;
            servers::note_removal(&mut tx, self.now(), &old.artifact_key()).await?;
            idempotency::free(&mut tx, &old.id).await?;
            tell(&mut tx, self.now(), &old, Some(old.state), None).await?;
        }
        let dataset = rows::dataset(&insert(&mut tx, CREATE_DATASET, id, &new, self.now()).await?)?;
        tell(&mut tx, self.now(), &dataset, None, Some(dataset.state)).await?;
        idempotency::note(&mut tx, self.now(), once, &dataset.id).await?;
        tx.commit().await?;
        Ok(dataset)
    }

    #[instrument(level = "debug", skip_all, fields(dataset = id))]
    async fn update_dataset(&self, id: &str, new: &NewDataset) -> Result<DatasetRecord> {
        let (card, recommended) = (to_json(&new.card)?, to_json(&new.recommended)?);
        let mut tx = self.write().await?;
        let before = lock(&mut tx, id).await?;
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

    #[instrument(level = "debug", skip_all, fields(dataset = id))]
    async fn delete_dataset(&self, id: &str) -> Result<DatasetRecord> {
        let mut tx = self.write().await?;
        let dataset = lock(&mut tx, id).await?;
        let jobs = sqlx::query(DATASET_JOBS).bind(&dataset.name).bind(&dataset.id).fetch_all(&mut tx).await?;
        let holders = ids(&jobs)?;
        if !holders.is_empty() {
            return Err(StoreError::Held { kind: "dataset", id: id.to_owned(), holders });
        }
        sqlx::query(DELETE_DATASET).bind(id).execute(&mut tx).await?;
        servers::note_removal(&mut tx, self.now(), &dataset.artifact_key()).await?;
        idempotency::free(&mut tx, id).await?;
        tell(&mut tx, self.now(), &dataset, Some(dataset.state), None).await?;
        tx.commit().await?;
        Ok(dataset)
    }

    #[instrument(level = "debug", skip_all, fields(dataset = name_or_id))]
    async fn dataset(&self, name_or_id: &str) -> Result<DatasetRecord> {
        let row = self.optional(|| sqlx::query(DATASET).bind(name_or_id)).await?;
        rows::dataset(&existing(row, "dataset", name_or_id)?)
    }

    #[instrument(level = "debug", skip_all)]
    async fn datasets(&self) -> Result<Vec<DatasetRecord>> {
        self.all(|| sqlx::query("SELECT * FROM datasets ORDER BY name")).await?.iter().map(rows::dataset).collect()
    }
}

async fn insert(tx: &mut Write, sql: &'static str, id: &str, new: &NewDataset, now: i64) -> Result<Row> {
    let query = sqlx::query(sql)
        .bind(id)
        .bind(&new.name)
        .bind(new.state.name())
        .bind(&new.source)
        .bind(new.train_rows as i64)
        .bind(new.eval_rows as i64)
        .bind(&new.fingerprint)
        .bind(to_json(&new.card)?)
        .bind(to_json(&new.recommended)?)
        .bind(&new.project)
        .bind(&new.created_by)
        .bind(now);
    Ok(query.fetch_one(&mut *tx).await?)
}

/// Reads and locks a data set.
async fn lock(tx: &mut Write, id: &str) -> Result<DatasetRecord> {
    let row = sqlx::query(locks::DATASET).bind(id).fetch_optional(&mut *tx).await?;
    rows::dataset(&existing(row, "dataset", id)?)
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
