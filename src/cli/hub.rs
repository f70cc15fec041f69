//! Models of a hub for commands that need no server.

use vgpo::config::app::AppSettings;
use vgpo::hub::{Hub, Kind, Reference, model_files};
use vgpo::serving::ModelRef;

/// Fetches a model into the cache folder, what is there already left out, and tells on standard error how it goes.
#[allow(clippy::print_stderr)]
pub fn fetch_model(name: &str, settings: &AppSettings) -> Result<ModelRef, String> {
    let fetch = || {
        let reference: Reference = name.parse()?;
        let hub = Hub::new(settings)?;
        let snapshot = hub.look(Kind::Model, &reference)?;
        let wanted = model_files(&snapshot)?;
        let dir = hub.fetch(&snapshot, &wanted, &mut |progress| {
            if progress.bytes == 0 {
                eprintln!("fetching {} ({} of {})", progress.file, progress.number, progress.files);
            }
        })?;
        Ok(ModelRef { id: format!("hf:{}@{}", snapshot.id, snapshot.commit), dir })
    };
    fetch().map_err(|error: vgpo::hub::HubError| error.to_string())
}
