//! Events, workers, repeated requests and keys, as one caller sees them.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::View;
use crate::domain::access::{ApiKey, AuditEntry, NewAudit, NewKey, ProjectLoad};
use crate::domain::engine::EngineRecord;
use crate::domain::event::{Event, EventFilter, EventSpan, NewEvent};
use crate::domain::figures::Figures;
use crate::domain::page::{Listing, Page};
use crate::domain::worker::WorkerRecord;
use crate::store::error::{Result, StoreError};
use crate::store::traits::{
    AccessStore, EngineStore, EventStore, FigureStore, IdempotencyRequest, IdempotencyState, IdempotencyStore, Once,
    QuotaStore, WorkerStore,
};

impl View {
    /// A worker is everybody's; the job it holds may be another project's.
    async fn discreet(&self, mut worker: WorkerRecord) -> Result<WorkerRecord> {
        if let Some(job) = worker.job_id.as_ref().filter(|_| !self.is_admin()) {
            let project = match self.store.job(job).await {
                Ok(job) => Some(job.project),
                Err(StoreError::NotFound { .. }) => None,
                Err(error) => return Err(error),
            };
            worker.job_id = worker.job_id.filter(|_| project.is_some_and(|project| self.caller.sees(&project)));
        }
        Ok(worker)
    }

    /// Two keys may send the same `Idempotency-Key`: neither gets the other's answer.
    fn own(&self, request: &IdempotencyRequest) -> IdempotencyRequest {
        let mut request = request.clone();
        if let Some(key) = &self.caller.key_id {
            request.route = format!("{} by {key}", request.route);
        }
        request
    }
}

#[async_trait]
impl EventStore for View {
    async fn append_event(&self, event: NewEvent) -> Result<Event> {
        self.store.append_event(event).await
    }

    async fn events_after(&self, seq: i64, filter: &EventFilter, limit: u32) -> Result<Vec<Event>> {
        self.store.events_after(seq, &EventFilter { projects: self.projects(), ..filter.clone() }, limit).await
    }

    async fn event_span(&self) -> Result<EventSpan> {
        self.store.event_span().await
    }
}

#[async_trait]
impl WorkerStore for View {
    async fn worker(&self, id: &str) -> Result<WorkerRecord> {
        self.discreet(self.store.worker(id).await?).await
    }

    async fn workers(&self, since: DateTime<Utc>) -> Result<Vec<WorkerRecord>> {
        let mut workers = Vec::new();
        for worker in self.store.workers(since).await? {
            workers.push(self.discreet(worker).await?);
        }
        Ok(workers)
    }
}

#[async_trait]
impl EngineStore for View {
    async fn engines(&self, since: DateTime<Utc>) -> Result<Vec<EngineRecord>> {
        self.admin_only()?;
        self.store.engines(since).await
    }
}

#[async_trait]
impl FigureStore for View {
    async fn figures(&self) -> Result<Figures> {
        self.admin_only()?;
        self.store.figures().await
    }
}

#[async_trait]
impl IdempotencyStore for View {
    async fn begin_idempotent(&self, request: &IdempotencyRequest) -> Result<IdempotencyState> {
        let own = self.own(request);
        let state = self.store.begin_idempotent(&own).await?;
        if state == IdempotencyState::New {
            // A view is made for one request; a second one that is begun here is not guarded twice.
            let _ = self.once.set(own);
        }
        Ok(state)
    }

    async fn finish_idempotent(&self, request: &IdempotencyRequest, status: u16, body: &[u8]) -> Result<()> {
        self.store.finish_idempotent(&self.own(request), status, body).await
    }

    async fn forget_idempotent(&self, request: &IdempotencyRequest) -> Result<()> {
        self.store.forget_idempotent(&self.own(request)).await
    }
}

#[async_trait]
impl QuotaStore for View {
    async fn project_load(&self, project: &str) -> Result<ProjectLoad> {
        self.seen(project, "project", project)?;
        self.store.project_load(project).await
    }

    async fn project_bytes(&self, project: &str) -> Result<u64> {
        self.seen(project, "project", project)?;
        self.store.project_bytes(project).await
    }
}

#[async_trait]
impl AccessStore for View {
    async fn create_key_once(&self, key: NewKey, once: Once<'_>) -> Result<ApiKey> {
        self.admin_only()?;
        let created_by = self.signed(key.created_by);
        let key = self.store.create_key_once(NewKey { created_by, ..key }, self.once(once)).await?;
        self.did("key.create", &key.project, &key.id, Some(key.role.name())).await;
        Ok(key)
    }

    async fn keys(&self, page: &Page) -> Result<Listing<ApiKey>> {
        self.admin_only()?;
        self.store.keys(page).await
    }

    async fn revoke_key(&self, id: &str) -> Result<ApiKey> {
        self.admin_only()?;
        let key = self.store.revoke_key(id).await?;
        self.did("key.revoke", &key.project, id, None).await;
        Ok(key)
    }

    async fn append_audit(&self, entry: NewAudit) -> Result<AuditEntry> {
        self.store.append_audit(entry).await
    }

    async fn audit(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditEntry>> {
        self.admin_only()?;
        self.store.audit(before, limit).await
    }
}
