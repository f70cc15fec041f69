//! `vgpo keys`: create, list and revoke API keys, in the database or through a server.

use std::process::ExitCode;
use std::sync::Arc;

use crate::clock::SystemClock;
use crate::domain::access::{Caller, DEFAULT_PROJECT, Role};
use crate::domain::page::Page;
use crate::service::access::keys::{self, KeyRequest};
use crate::store::{Database, Store, view};
use serde_json::{Value, json};

use super::client::{Client, SERVER};
use super::jobs::text;
use super::settings::{ListenFlags, SettingFlags, load};
use super::{block_on, fail, listing, say};

/// Keys of one page.
const PAGE: u32 = 1000;

/// Arguments of `vgpo keys`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Create a key and print its secret, only once.
    Create {
        /// Its role: viewer (reads its project), user (writes in it) or admin (everything).
        #[arg(long, value_parser = role)]
        role: Role,
        /// Its project.
        #[arg(long, default_value = DEFAULT_PROJECT)]
        project: String,
        /// Its purpose.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        location: KeyLocation,
    },
    /// List all keys, including revoked ones.
    List {
        #[command(flatten)]
        location: KeyLocation,
    },
    /// Show a key without its secret.
    Show {
        /// Its id, `key_…`.
        id: String,
        #[command(flatten)]
        location: KeyLocation,
    },
    /// Revoke a key.
    Revoke {
        /// Its id, `key_…`.
        id: String,
        #[command(flatten)]
        location: KeyLocation,
    },
}

/// Where the keys are stored.
#[derive(Debug, clap::Args)]
struct KeyLocation {
    /// Use this server, with the key in `VGPO_API_KEY` [default without --data: `VGPO_SERVER`]; else the database is
    /// opened directly.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: SettingFlags,
}

impl KeyLocation {
    /// The server to ask; none: the database is opened. A folder on the command line goes before the environment.
    fn server(&self) -> Option<String> {
        let usual = || std::env::var(SERVER).ok().filter(|server| !server.is_empty() && self.flags.data.is_none());
        self.server.clone().or_else(usual)
    }
}

fn role(name: &str) -> Result<Role, String> {
    Role::from_name(name).ok_or_else(|| "use viewer, user or admin".to_owned())
}

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Runs `vgpo keys`.
pub fn run(args: &Args) -> ExitCode {
    let done: Outcome<ExitCode> = block_on(async {
        match &args.action {
            Action::Create { role, project, name, location } => {
                let request = KeyRequest { name: name.clone(), role: *role, project: Some(project.clone()) };
                Ok(created(&Box::pin(create(request, location)).await?, location.json))
            }
            Action::List { location } => Ok(listed(&list(location).await?, location.json)),
            Action::Show { id, location } => {
                Ok(listing::thing(listing::find(&list(location).await?, id, "key")?, location.json))
            }
            Action::Revoke { id, location } => {
                let key = revoke(id, location).await?;
                Ok(if location.json { say(&key) } else { say(format!("Revoked {id} ({})", text(&key, "name"))) })
            }
        }
    });
    done.unwrap_or_else(fail)
}

async fn create(request: KeyRequest, location: &KeyLocation) -> Outcome<Value> {
    if let Some(server) = location.server() {
        let body = json!({"name": request.name, "role": request.role, "project": request.project});
        return Ok(Client::new(&server).post("/v1/keys", &body).await?);
    }
    let store = open(location).await?;
    let created = keys::create(&*as_admin(&store), &request).await;
    store.close().await;
    Ok(serde_json::to_value(created?)?)
}

async fn list(location: &KeyLocation) -> Outcome<Vec<Value>> {
    if let Some(server) = location.server() {
        let page = Client::new(&server).get(&format!("/v1/keys?limit={PAGE}")).await?;
        return Ok(page["data"].as_array().cloned().unwrap_or_default());
    }
    let store = open(location).await?;
    let keys = as_admin(&store).keys(&Page::first(PAGE)).await;
    store.close().await;
    keys?.data.into_iter().map(|key| Ok(serde_json::to_value(key)?)).collect()
}

async fn revoke(id: &str, location: &KeyLocation) -> Outcome<Value> {
    if let Some(server) = location.server() {
        return Ok(Client::new(&server).delete_answered(&format!("/v1/keys/{id}")).await?);
    }
    let store = open(location).await?;
    let revoked = as_admin(&store).revoke_key(id).await;
    store.close().await;
    Ok(serde_json::to_value(revoked?)?)
}

/// The database with the rights of an admin, whose changes are written to the audit log.
fn as_admin(database: &Arc<dyn Database>) -> Arc<dyn Store> {
    view(database.clone(), Caller::anonymous())
}

async fn open(location: &KeyLocation) -> Outcome<Arc<dyn Database>> {
    let settings = load(&location.flags, &ListenFlags::default())?;
    std::fs::create_dir_all(&settings.data_dir)
        .map_err(|error| format!("cannot create the data folder {}: {error}", settings.data_dir.display()))?;
    Ok(crate::store::open(&settings.database_url, Arc::new(SystemClock)).await?)
}

fn created(key: &Value, json: bool) -> ExitCode {
    if json {
        return say(key);
    }
    let [id, role, project, secret] = ["id", "role", "project", "secret"].map(|name| text(key, name));
    say(format!("{id}: {role} of project {project}. Save the secret now, it is not shown again:"));
    say(secret)
}

fn listed(keys: &[Value], json: bool) -> ExitCode {
    if json {
        return say(json!(keys));
    }
    let columns = [
        ("ID", "id"),
        ("NAME", "name"),
        ("ROLE", "role"),
        ("PROJECT", "project"),
        ("PREFIX", "prefix"),
        ("CREATED", "created_at"),
        ("LAST USED", "last_used_at"),
        ("REVOKED", "revoked_at"),
    ];
    listing::entries(&json!(keys), &columns)
}
