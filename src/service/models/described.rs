//! The description of a model's folder.

use std::path::PathBuf;

use serde_json::Value;

use crate::domain::model::CARD_FILE;
use crate::model;
use crate::prompt::Processor;

/// What a folder says about itself, read on a thread of its own; otherwise what is wrong with it.
pub(super) async fn described(dir: PathBuf) -> Result<Described, String> {
    tokio::task::spawn_blocking(move || read_folder(dir)).await.map_err(|error| error.to_string())?
}

/// What a folder says about itself: whether it can be trained and served shows here, not in a job that waited for
/// hours.
fn read_folder(dir: PathBuf) -> Result<Described, String> {
    let info = model::describe(&dir).map_err(|error| error.to_string())?;
    let processor = Processor::from_dir(&dir, &info).map_err(|error| error.to_string())?;
    let warnings = [info.notes.as_slice(), processor.notes()].concat();
    let notes = match std::fs::read(dir.join(CARD_FILE)) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map_err(|error| format!("{CARD_FILE} is not valid JSON: {error}"))?
        }
        Err(_) => Value::Null,
    };
    let object = |name: &str| notes.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    let (mut card, recommended) = (object("card"), object("recommended"));
    if !warnings.is_empty() {
        card.insert("warnings".to_owned(), Value::from(warnings));
    }
    Ok(Described { dir, info, card: Value::Object(card), recommended: Value::Object(recommended) })
}

/// A folder's facts and notes.
pub(super) struct Described {
    pub(super) dir: PathBuf,
    pub(super) info: model::ModelInfo,
    /// For people; what they should know about the folder is its `warnings`.
    pub(super) card: Value,
    pub(super) recommended: Value,
}
