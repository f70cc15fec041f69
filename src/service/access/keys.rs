//! API keys: create, list, revoke.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::secret::{self, Secret};
use crate::domain::access::{ApiKey, DEFAULT_PROJECT, NewKey, Role, SHARED_PROJECT};
use crate::domain::brief::is_printable;
use crate::domain::field_error::FieldError;
use crate::domain::page::{Listing, Page};
use crate::service::access::Access;
use crate::service::{Result, ServiceError};
use crate::store::Store;

const MAX_NAME: usize = 200;
const MAX_PROJECT: usize = 100;

/// Body of `POST /v1/keys`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "ci of team vision", "role": "user", "project": "vision"}))]
pub struct KeyRequest {
    /// Its purpose; by default the role and the project.
    pub name: Option<String>,
    /// Its role.
    pub role: Role,
    /// Its project; by default `default`.
    pub project: Option<String>,
}

/// A new key with its secret, which is shown only once.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CreatedKey {
    /// The key.
    #[serde(flatten)]
    pub key: ApiKey,
    /// Value of `Authorization: Bearer …`; it cannot be retrieved again. Null in a repeated answer.
    pub secret: Option<String>,
}

impl Access {
    /// Makes a key.
    pub async fn create_key(&self, request: &KeyRequest) -> Result<CreatedKey> {
        self.first_must_be_an_admins(request.role)?;
        create(&*self.store, request).await
    }

    /// From its first key on a server asks for one, and only an admin's key makes others.
    fn first_must_be_an_admins(&self, role: Role) -> Result<()> {
        if role == Role::Admin || !self.identity(None).protectable {
            return Ok(());
        }
        let detail = "must be `admin` for the first key: from then on the server asks for keys, and no other role can \
                      create them";
        Err(ServiceError::field("/role", detail))
    }

    /// Keys, newest first, without their secrets.
    pub async fn keys(&self, page: &Page) -> Result<Listing<ApiKey>> {
        Ok(self.store.keys(page).await?)
    }

    /// One key, without its secret.
    pub async fn key(&self, id: &str) -> Result<ApiKey> {
        let all = self.store.keys(&Page { after: None, limit: u32::MAX >> 1 }).await?;
        let key = all.data.into_iter().find(|key| key.id == id);
        key.ok_or_else(|| ServiceError::NotFound { kind: "key", id: id.to_owned() })
    }

    /// Refuses a key from now on; a repeat changes nothing.
    pub async fn revoke_key(&self, id: &str) -> Result<ApiKey> {
        Ok(self.store.revoke_key(id).await?)
    }
}

/// Makes a key in a database; the first one is made where no server runs yet.
pub async fn create(store: &dyn Store, request: &KeyRequest) -> Result<CreatedKey> {
    let project = request.project.clone().unwrap_or_else(|| DEFAULT_PROJECT.to_owned());
    let name = request.name.clone().unwrap_or_else(|| format!("{} of {project}", request.role));
    check(&name, &project, request.role)?;
    let secret = Secret::of_key()?;
    let new = NewKey {
        name,
        role: request.role,
        project,
        prefix: secret.prefix().to_owned(),
        hash: secret::hash(secret.reveal()),
        created_by: None,
    };
    let key = store.create_key(new).await?;
    Ok(CreatedKey { key, secret: Some(secret.reveal().to_owned()) })
}

fn check(name: &str, project: &str, role: Role) -> Result<()> {
    let mut errors = Vec::new();
    for (pointer, value, most) in [("/name", name, MAX_NAME), ("/project", project, MAX_PROJECT)] {
        let length = value.chars().count();
        if value.trim().is_empty() || length > most || !value.chars().all(is_printable) {
            let field = pointer.trim_start_matches('/');
            errors.push(FieldError::new(
                pointer,
                format!("`{field}` must be a string of 1 to {most} printable characters"),
            ));
        }
    }
    if project == SHARED_PROJECT && role != Role::Admin {
        let detail =
            format!("the project `{SHARED_PROJECT}` is shared by all users, so only admins may have keys of it");
        errors.push(FieldError::new("/project", detail));
    }
    if errors.is_empty() { Ok(()) } else { Err(ServiceError::invalid(errors)) }
}
