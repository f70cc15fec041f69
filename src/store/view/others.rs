//! Events, workers, repeated requests and keys, as one caller sees them.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{View, workers_only};
use crate::domain::access::{
    ApiKey, AuditEntry, NewAudit, NewKey, NewTicket, ProjectLoad, ProjectQuota, StoredKey, TicketKind,
};
use crate::domain::engine::{EngineBeat, EngineRecord, NewEngine};
use crate::domain::event::{Event, EventFilter, EventSpan, NewEvent};
use crate::domain::figures::Figures;
use crate::domain::job::LeaseToken;
use crate::domain::page::{Listing, Page};
use crate::domain::worker::{NewWorker, WorkerRecord, WorkerState};
use crate::store::error::{Result, StoreError};
use crate::store::traits::{
    AccessStore, DatasetHolder, EngineStore, EventStore, FigureStore, IdempotencyRequest, IdempotencyState,
    IdempotencyStore, Once, QuotaStore, RetentionStore, ServerStore, WorkerStore,
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

    async fn append_job_event(&self, _token: &LeaseToken, _kind: &str, _data: serde_json::Value) -> Result<Event> {
        workers_only()
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
    async fn register_worker(&self, _worker: NewWorker) -> Result<WorkerRecord> {
        workers_only()
    }

    async fn worker_heartbeat(&self, _id: &str, _state: WorkerState, _job_id: Option<&str>) -> Result<()> {
        workers_only()
    }

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
    async fn register_engine(&self, _engine: NewEngine) -> Result<EngineRecord> {
        workers_only()
    }

    async fn engine_heartbeat(&self, _id: &str, _beat: &EngineBeat) -> Result<()> {
        workers_only()
    }

    async fn engines(&self, since: DateTime<Utc>) -> Result<Vec<EngineRecord>> {
        self.admin_only()?;
        self.store.engines(since).await
    }

    async fn remove_engine(&self, _id: &str) -> Result<()> {
        workers_only()
    }

    async fn forget_engines(&self, before: DateTime<Utc>) -> Result<u64> {
        self.admin_only()?;
        self.store.forget_engines(before).await
    }
}

#[async_trait]
impl RetentionStore for View {
    async fn prune_events(&self, before: DateTime<Utc>, most: u32) -> Result<u64> {
        self.admin_only()?;
        self.store.prune_events(before, most).await
    }

    async fn prune_samples(&self, ended_before: DateTime<Utc>, most: u32) -> Result<u64> {
        self.admin_only()?;
        self.store.prune_samples(ended_before, most).await
    }

    async fn prune_points(&self, ended_before: DateTime<Utc>, most: u32) -> Result<u64> {
        self.admin_only()?;
        self.store.prune_points(ended_before, most).await
    }

    async fn prunable_checkpoints(&self, ended_before: DateTime<Utc>, after: &str, most: u32) -> Result<Vec<String>> {
        self.admin_only()?;
        self.store.prunable_checkpoints(ended_before, after, most).await
    }
}

#[async_trait]
impl ServerStore for View {
    async fn database_id(&self) -> Result<String> {
        self.store.database_id().await
    }

    async fn server_heartbeat(&self, _id: &str, _host: &str) -> Result<()> {
        workers_only()
    }

    async fn hold_dataset(&self, id: &str, server_id: &str) -> Result<()> {
        self.store.hold_dataset(id, server_id).await
    }

    async fn dataset_holders(&self) -> Result<Vec<DatasetHolder>> {
        self.admin_only()?;
        self.store.dataset_holders().await
    }

    async fn removals(&self) -> Result<Vec<String>> {
        self.admin_only()?;
        self.store.removals().await
    }

    async fn removed(&self, key: &str) -> Result<()> {
        self.store.removed(key).await
    }

    async fn note_orphans(&self, found: &[String], age: Duration) -> Result<Vec<String>> {
        self.admin_only()?;
        self.store.note_orphans(found, age).await
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
    async fn set_quotas(&self, quotas: &[ProjectQuota]) -> Result<()> {
        self.admin_only()?;
        self.store.set_quotas(quotas).await
    }

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

    async fn key_by_prefix(&self, prefix: &str) -> Result<Option<StoredKey>> {
        self.admin_only()?;
        self.store.key_by_prefix(prefix).await
    }

    async fn touch_key(&self, id: &str, every: Duration) -> Result<()> {
        self.store.touch_key(id, every).await
    }

    async fn revoke_key(&self, id: &str) -> Result<ApiKey> {
        self.admin_only()?;
        let key = self.store.revoke_key(id).await?;
        self.did("key.revoke", &key.project, id, None).await;
        Ok(key)
    }

    async fn has_keys(&self) -> Result<bool> {
        self.store.has_keys().await
    }

    async fn had_keys(&self) -> Result<bool> {
        self.store.had_keys().await
    }

    async fn is_open_key(&self, id: &str) -> Result<bool> {
        self.store.is_open_key(id).await
    }

    async fn issue_ticket(&self, ticket: NewTicket) -> Result<()> {
        // Nobody lends another one's key.
        if self.caller.key_id.as_deref() != Some(ticket.key_id.as_str()) {
            return Err(StoreError::Forbidden("a ticket stands for the caller's own key only".to_owned()));
        }
        self.store.issue_ticket(ticket).await
    }

    async fn ticket(&self, kind: TicketKind, hash: &str) -> Result<Option<ApiKey>> {
        self.store.ticket(kind, hash).await
    }

    async fn take_ticket(&self, kind: TicketKind, hash: &str) -> Result<Option<ApiKey>> {
        self.store.take_ticket(kind, hash).await
    }

    async fn append_audit(&self, entry: NewAudit) -> Result<AuditEntry> {
        self.store.append_audit(entry).await
    }

    async fn audit(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditEntry>> {
        self.admin_only()?;
        self.store.audit(before, limit).await
    }
}
