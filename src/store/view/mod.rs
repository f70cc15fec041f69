//! The database as one caller sees it: the only place that decides whose objects may be seen and changed.
//!
//! What belongs to other projects does not exist here. What is shared can be seen, and changed by admins only. Every
//! change that people ask for is written to the audit log, and carries the key that asked. What workers and servers
//! write is not here: it works on the whole database.

mod jobs;
mod models;
mod others;
mod runs;

use std::sync::{Arc, OnceLock};

use crate::domain::access::{Caller, NewAudit, Role, SHARED_PROJECT};
use crate::store::error::{Result, StoreError};
use crate::store::traits::{IdempotencyRequest, Once, Store};

/// The database as `caller` sees it.
pub fn view(store: Arc<dyn Store>, caller: Caller) -> Arc<dyn Store> {
    Arc::new(View { store, caller, once: OnceLock::new() })
}

struct View {
    store: Arc<dyn Store>,
    caller: Caller,
    /// The request with an idempotency key that was begun here: whatever it makes is noted with the key.
    once: OnceLock<IdempotencyRequest>,
}

impl View {
    fn is_admin(&self) -> bool {
        self.caller.role == Role::Admin
    }

    /// May the caller know of something of `project`?
    fn seen(&self, project: &str, kind: &'static str, id: &str) -> Result<()> {
        if self.caller.sees(project) { Ok(()) } else { Err(StoreError::NotFound { kind, id: id.to_owned() }) }
    }

    /// May the caller change something of `project`?
    fn writable(&self, project: &str, kind: &'static str, id: &str) -> Result<()> {
        self.seen(project, kind, id)?;
        self.may_write(project)
    }

    /// May the caller put something into `project`?
    fn may_write(&self, project: &str) -> Result<()> {
        self.caller.refusal(project).map_or(Ok(()), |why| Err(StoreError::Forbidden(why)))
    }

    fn admin_only(&self) -> Result<()> {
        if self.is_admin() {
            return Ok(());
        }
        Err(StoreError::Forbidden(format!("the role of the key is {}; this needs the role admin", self.caller.role)))
    }

    /// The project that a name must not leave: people move names within their own, and admins any. The database itself
    /// looks, in the transaction that gives the name: of two that ask at once, one gets it.
    fn within<'a>(&'a self, project: Option<&'a str>) -> Option<&'a str> {
        if self.is_admin() { project } else { Some(&self.caller.project) }
    }

    /// Narrows the project of a list to what the caller sees; false: there is nothing to list.
    fn narrow(&self, project: &mut Option<String>) -> bool {
        if project.is_none() && !self.is_admin() {
            *project = Some(self.caller.project.clone());
        }
        project.as_ref().is_none_or(|project| self.caller.sees(project))
    }

    /// The projects whose events the caller sees; empty: every event.
    fn projects(&self) -> Vec<String> {
        if self.is_admin() { Vec::new() } else { vec![self.caller.project.clone(), SHARED_PROJECT.to_owned()] }
    }

    /// The request that makes something now.
    fn once<'a>(&'a self, once: Once<'a>) -> Once<'a> {
        once.or(self.once.get())
    }

    /// Names in the record what the caller leaves unsaid.
    fn signed(&self, created_by: Option<String>) -> Option<String> {
        created_by.or_else(|| self.caller.key_id.clone())
    }

    /// Writes what was done into the audit log. It is done already: a failure to say so is only logged.
    async fn did(&self, action: &'static str, project: &str, target: &str, detail: Option<&str>) {
        let (key_id, project, target) = (self.caller.key_id.clone(), project.to_owned(), target.to_owned());
        let entry = NewAudit { key_id, project, action, target, detail: detail.map(ToOwned::to_owned) };
        if let Err(error) = self.store.append_audit(entry).await {
            tracing::error!(action, %error, "the audit log could not be written");
        }
    }
}

impl Store for View {}
