//! Calls about callers: keys and what they are exchanged for, repeated requests, and the limits of a project.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::access::{ApiKey, AuditEntry, NewAudit, NewKey, ProjectLoad};
use crate::domain::page::{Listing, Page};
use crate::store::error::Result;

/// What an `Idempotency-Key` is scoped to, and what came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRequest {
    /// The client's key.
    pub key: String,
    /// The route, e.g. `POST /v1/jobs`.
    pub route: String,
    /// Hash of the request's body.
    pub body_hash: String,
    /// How long the answer is kept.
    pub keep: Duration,
    /// After this long an unfinished first request counts as dead.
    pub in_flight_for: Duration,
}

/// The request with an idempotency key on whose behalf something is made, if it has one: what was made is noted with
/// the key in the same transaction. `Conflict` when the request took so long that its key is free again.
pub type Once<'a> = Option<&'a IdempotencyRequest>;

/// The state of an idempotent request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdempotencyState {
    /// It is new: carry it out, then call `finish_idempotent` or `forget_idempotent`.
    New,
    /// The same request is being answered right now.
    InFlight,
    /// The key came before with another body.
    OtherBody,
    /// It was carried out, and its sender died before the answer was kept.
    Made {
        /// Id of what it made.
        target: String,
    },
    /// It was answered before, with this.
    Done {
        /// HTTP status.
        status: u16,
        /// Body.
        body: Vec<u8>,
    },
}

/// `Idempotency-Key` of creating calls.
#[async_trait]
pub trait IdempotencyStore: Send + Sync {
    /// Looks a request up and marks it as in flight when it is new. Entries past their time count as absent.
    async fn begin_idempotent(&self, request: &IdempotencyRequest) -> Result<IdempotencyState>;
    /// Keeps the answer.
    async fn finish_idempotent(&self, request: &IdempotencyRequest, status: u16, body: &[u8]) -> Result<()>;
    /// The request failed and may be retried: the key is free again, unless something was made.
    async fn forget_idempotent(&self, request: &IdempotencyRequest) -> Result<()>;
}

/// API keys, what they are exchanged for, and the record of who did what.
#[async_trait]
pub trait AccessStore: Send + Sync {
    /// Stores a key.
    async fn create_key(&self, key: NewKey) -> Result<ApiKey> {
        self.create_key_once(key, None).await
    }
    /// The same, for a request with an idempotency key.
    async fn create_key_once(&self, key: NewKey, once: Once<'_>) -> Result<ApiKey>;
    /// Keys, newest first; revoked ones too.
    async fn keys(&self, page: &Page) -> Result<Listing<ApiKey>>;
    /// Revokes the key and everything that it was exchanged for; a repeat changes nothing.
    async fn revoke_key(&self, id: &str) -> Result<ApiKey>;
    /// Adds an entry to the audit log.
    async fn append_audit(&self, entry: NewAudit) -> Result<AuditEntry>;
    /// What was done, newest first; before this sequence number, if given.
    async fn audit(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditEntry>>;
}

/// The limits of a project, and how much it stores.
#[async_trait]
pub trait QuotaStore: Send + Sync {
    /// The running jobs and GPUs of a project, and their limits.
    async fn project_load(&self, project: &str) -> Result<ProjectLoad>;
    /// Bytes of the checkpoints and data sets of a project.
    async fn project_bytes(&self, project: &str) -> Result<u64>;
}
