//! Authentication, and the caller on whose behalf the service works.

pub mod idempotency;
pub mod keys;
mod quotas;
pub mod secret;
pub mod tickets;

pub(in crate::service) use quotas::over;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::app::AuthMode;
use crate::domain::access::{ApiKey, AuditEntry, Caller, Role};
use crate::domain::page::{Listing, Page};
use crate::service::core::Core;
use crate::service::{Result, ServiceError};

/// How often the last use of a key is written.
const LAST_USE: Duration = Duration::from_mins(1);

/// How long the database is waited for where it was known before whether there are keys.
const KNOWN: Duration = Duration::from_secs(1);

/// The authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// The key; absent if the server does not require one.
    pub key_id: Option<String>,
    /// Its name; absent if the server does not require one.
    #[serde(default)]
    pub key_name: Option<String>,
    /// Its role.
    pub role: Role,
    /// Its project.
    pub project: String,
    /// Token to send as `X-CSRF-Token` with every request that changes something; absent without a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csrf: Option<String>,
    /// Does the server start to ask for keys with the first one?
    #[serde(default)]
    pub protectable: bool,
}

impl Identity {
    /// Who a caller is.
    fn of(caller: &Caller, csrf: Option<String>, auth: AuthMode) -> Self {
        Self {
            key_id: caller.key_id.clone(),
            key_name: caller.key_name.clone(),
            role: caller.role,
            project: caller.project.clone(),
            csrf,
            protectable: caller.key_id.is_none() && auth == AuthMode::Auto,
        }
    }
}

/// Keys, sessions, quotas, and requests that are sent twice. A handle that is cheap to make:
/// everything it works with is shared.
#[derive(Clone)]
pub struct Access(Arc<Core>);

impl Deref for Access {
    type Target = Arc<Core>;

    fn deref(&self) -> &Arc<Core> {
        &self.0
    }
}

impl Core {
    pub(in crate::service) fn access(self: &Arc<Self>) -> Access {
        Access(Arc::clone(self))
    }
}

impl Access {
    /// Who sends this secret.
    pub async fn authenticate(&self, sent: &str) -> Result<Caller> {
        let unknown = || ServiceError::Unauthorized("the key is unknown; see `vgpo keys list`".to_owned());
        let prefix = secret::prefix(sent).ok_or_else(unknown)?;
        let stored = self.database.key_by_prefix(prefix).await?.filter(|stored| secret::matches(sent, &stored.hash));
        let key = stored.ok_or_else(unknown)?.key;
        if let Some(at) = key.revoked_at {
            return Err(ServiceError::Unauthorized(format!("the key `{}` was revoked at {at}", key.id)));
        }
        self.used(&key).await?;
        Ok(Caller::from(&key))
    }

    /// Who the caller is; `session` is the secret of their session.
    pub fn identity(&self, session: Option<&str>) -> Identity {
        Identity::of(&self.caller, session.map(tickets::csrf), self.settings.auth)
    }

    /// Is there a key that opens this server?
    pub async fn has_keys(&self) -> Result<bool> {
        Ok(self.database.has_keys().await?)
    }

    /// Does the server ask for keys? By default it does when others can reach it, and from its first key on: when the
    /// last one is revoked, every request is refused, instead of none.
    pub async fn asks_for_keys(&self) -> Result<bool> {
        match self.settings.auth {
            AuthMode::Off => Ok(false),
            AuthMode::Required => Ok(true),
            AuthMode::Auto => Ok(self.settings.is_off_host() || self.had_keys().await?),
        }
    }

    /// Does this key still open the server; without one: does the server ask for no key?
    pub async fn opens(&self, key: Option<&str>) -> Result<bool> {
        match key {
            Some(id) => Ok(self.database.is_open_key(id).await?),
            None => Ok(!self.asks_for_keys().await?),
        }
    }

    /// Was there ever a key? While the database is unreachable, the last answer holds; and a yes stays one.
    async fn had_keys(&self) -> Result<bool> {
        let known = || *self.keyed.lock();
        if known() == Some(true) {
            return Ok(true);
        }
        let asked = self.database.had_keys();
        let answer = match known() {
            // The request itself will call the database, and waits for that.
            Some(known) => tokio::time::timeout(KNOWN, asked).await.unwrap_or(Ok(known)),
            None => asked.await,
        };
        match answer {
            Ok(had_keys) => Ok(*self.keyed.lock().insert(had_keys)),
            Err(error) => known().ok_or_else(|| error.into()),
        }
    }

    /// What was done, newest first.
    pub async fn audit(&self, page: &Page) -> Result<Listing<AuditEntry>> {
        let before = match page.after.as_deref().map(str::parse) {
            None => None,
            Some(Ok(before)) => Some(before),
            Some(Err(_)) => return Err(ServiceError::field("?after", "`after` must be the `next` of the page before")),
        };
        let entries = self.store.audit(before, page.limit + 1).await?;
        Ok(Listing::from_overfull(entries, page.limit, |entry| entry.seq.to_string()))
    }

    /// May the caller put something into `project`?
    pub(in crate::service) fn may_write(&self, project: &str) -> Result<()> {
        self.caller.refusal(project).map_or(Ok(()), |why| Err(ServiceError::Forbidden(why)))
    }

    async fn used(&self, key: &ApiKey) -> Result<()> {
        let fresh = |last: DateTime<Utc>| (self.clock.now() - last).to_std().is_ok_and(|age| age < LAST_USE);
        if !key.last_used_at.is_some_and(fresh) {
            self.database.touch_key(&key.id, LAST_USE).await?;
        }
        Ok(())
    }
}
