//! References to a hub on the command line, and models of it for commands that need no server.

use crate::config::app::AppSettings;
use crate::domain::repository::Repository;
use crate::outbound::hub::{Hub, HubError, Kind, model_files};
use crate::prompt::Processor;
use crate::serving::ModelRef;
use serde_json::{Value, json};

/// Downloads missing files of a model into the cache folder, with progress on standard error.
#[allow(clippy::print_stderr)]
pub fn fetch_model(repository: &Repository, settings: &AppSettings) -> Result<ModelRef, String> {
    let fetch = || {
        let hub = Hub::new(settings)?;
        let snapshot = hub.look(Kind::Model, repository)?;
        let wanted = model_files(&snapshot)?;
        let dir = hub.fetch_model(&snapshot, &wanted, &Processor::check_folder, &mut |progress| {
            if progress.bytes == 0 {
                eprintln!("fetching {} ({} of {})", progress.file, progress.number, progress.files);
            }
        })?;
        Ok(ModelRef { id: snapshot.to_string(), dir, adapter: None })
    };
    fetch().map_err(|error: HubError| error.to_string())
}

/// The `source` of a registration: `hf:org/name@revision` is a repository of a hub, everything else a path on the
/// server.
pub fn origin(source: &str) -> Result<Value, String> {
    let Some(repository) = Repository::with_scheme(source) else {
        return Ok(json!({"path": source}));
    };
    let repository = repository.map_err(|error| error.to_string())?;
    let mut origin = json!({"hub": repository.id});
    if let Some(revision) = repository.revision {
        origin["revision"] = json!(revision);
    }
    Ok(origin)
}
