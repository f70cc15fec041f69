//! Who may do what: roles, API keys, callers, and the record of what they did.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What everybody may see and only admins may change: built-in models and data sets, and what admins put there.
pub const SHARED_PROJECT: &str = "shared";
/// The project of callers without a key.
pub const DEFAULT_PROJECT: &str = "default";

/// What a key allows. Each role may do what the roles before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads what belongs to its project, and what is shared.
    Viewer,
    /// Writes in its project, generates and scores.
    User,
    /// Everything in every project, and keys.
    Admin,
}

impl Role {
    /// Every role, the weakest first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::User, Self::Admin];

    /// The name used in JSON and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::User => "user",
            Self::Admin => "admin",
        }
    }

    /// The role of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// An API key, without its secret, which cannot be retrieved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiKey {
    /// `key_…`.
    pub id: String,
    /// Its purpose.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its project; an admin's key has access to all projects, but creates objects in this one.
    pub project: String,
    /// Beginning of the secret, to identify the key.
    pub prefix: String,
    /// The key that created it; absent for keys created on the command line.
    pub created_by: Option<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A key to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// What it is for.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Where.
    pub project: String,
    /// The public part of the secret.
    pub prefix: String,
    /// SHA-256 of the whole secret in hexadecimal digits.
    pub hash: String,
    /// The key that creates it.
    pub created_by: Option<String>,
}

/// A key with the hash that its secret must have. Never leaves the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// The key.
    pub key: ApiKey,
    /// SHA-256 of the whole secret in hexadecimal digits.
    pub hash: String,
}

/// What a key was exchanged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TicketKind {
    /// A browser session, in a cookie.
    Session,
    /// One live stream, once.
    Stream,
}

impl TicketKind {
    /// The name used in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Stream => "stream",
        }
    }
}

/// A short-lived token in place of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTicket {
    /// What it is good for.
    pub kind: TicketKind,
    /// The key.
    pub key_id: String,
    /// SHA-256 of its secret in hexadecimal digits.
    pub hash: String,
    /// When it expires.
    pub expires_at: DateTime<Utc>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The key; none where the server asks for none.
    pub key_id: Option<String>,
    /// What the key is called.
    pub key_name: Option<String>,
    /// What they may do.
    pub role: Role,
    /// Where they may do it.
    pub project: String,
}

impl Caller {
    /// The caller of a server that does not require keys.
    pub fn anonymous() -> Self {
        Self { key_id: None, key_name: None, role: Role::Admin, project: DEFAULT_PROJECT.to_owned() }
    }

    /// An unauthenticated caller, who only sees shared objects.
    pub fn unauthenticated() -> Self {
        Self { key_id: None, key_name: None, role: Role::Viewer, project: String::new() }
    }

    /// May they see what belongs to `project`?
    pub fn sees(&self, project: &str) -> bool {
        self.role == Role::Admin || project == self.project || project == SHARED_PROJECT
    }

    /// May they change what belongs to `project`?
    pub fn writes(&self, project: &str) -> bool {
        self.role == Role::Admin || (self.role == Role::User && project == self.project)
    }
}

impl Caller {
    /// Why they may not change what belongs to `project`, if they may not.
    pub fn refusal(&self, project: &str) -> Option<String> {
        if self.writes(project) {
            return None;
        }
        let own = &self.project;
        Some(if self.role == Role::Viewer {
            format!("the key is a viewer's of project `{own}`, which only reads; use a key of role user")
        } else {
            format!("the key is a user's of project `{own}`; only users of project `{project}` and admins may do this")
        })
    }
}

impl From<&ApiKey> for Caller {
    fn from(key: &ApiKey) -> Self {
        Self {
            key_id: Some(key.id.clone()),
            key_name: Some(key.name.clone()),
            role: key.role,
            project: key.project.clone(),
        }
    }
}

/// The project whose limits hold for every project without limits of its own.
pub const ANY_PROJECT: &str = "*";

/// Jobs and GPUs of a project that may run at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectQuota {
    /// The project; [`ANY_PROJECT`] for those that are not named.
    pub project: String,
    /// Jobs that workers hold; none: any number.
    pub running_jobs: Option<u32>,
    /// GPUs that these jobs hold, one each; none: any number.
    pub gpus: Option<u32>,
}

/// Running jobs and GPUs of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectLoad {
    /// Jobs that workers hold.
    pub running: u64,
    /// How many that may be.
    pub most: Option<u64>,
    /// GPUs that these jobs hold.
    pub gpus: u64,
    /// How many that may be.
    pub most_gpus: Option<u64>,
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Its position in the order of all entries.
    pub seq: i64,
    /// When.
    pub time: DateTime<Utc>,
    /// The key that did it; absent without keys, and for the command line.
    pub key_id: Option<String>,
    /// The project it was done in.
    pub project: String,
    /// What was done, e.g. `job.cancel`.
    pub action: String,
    /// The object, by id or name.
    pub target: String,
    /// Details, e.g. the name that a checkpoint is served under.
    pub detail: Option<String>,
}

/// An audit entry to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAudit {
    /// The key that did it.
    pub key_id: Option<String>,
    /// The project.
    pub project: String,
    /// What was done.
    pub action: &'static str,
    /// To what.
    pub target: String,
    /// More about it.
    pub detail: Option<String>,
}
