//! A model as the engine holds it: weights, processor and the folder's notes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;

use super::card::Card;
use super::{ServingError, engine::ModelRef};
use crate::model::{ModelFolder, View, VisionLanguageModel};
use crate::prompt::Processor;

/// Everything a request needs of a model.
pub struct ServedModel {
    /// The id that answers name.
    pub id: String,
    /// The folder it was read from.
    pub dir: PathBuf,
    /// The weights, detached: nothing is trained here.
    pub model: Arc<dyn VisionLanguageModel>,
    /// Messages and images to tokens, and back.
    pub processor: Processor,
    /// The folder's notes.
    pub card: Card,
}

impl ServedModel {
    /// Reads a model folder in the Hugging Face layout.
    ///
    /// # Errors
    /// [`ServingError::ModelFolder`] names the file or weight at fault.
    pub fn open(model: &ModelRef, device: &Device) -> Result<Self, ServingError> {
        let fault = |problem: String| ServingError::ModelFolder { model: model.id.clone(), problem };
        let weights = open_weights(&model.dir, device).map_err(|e| fault(e.to_string()))?;
        let processor = Processor::from_dir(&model.dir, weights.info()).map_err(|e| fault(e.to_string()))?;
        let card = Card::read(&model.dir, &model.id)?;
        Ok(Self { id: model.id.clone(), dir: model.dir.clone(), model: weights, processor, card })
    }
}

fn open_weights(dir: &Path, device: &Device) -> Result<Arc<dyn VisionLanguageModel>, crate::model::ModelError> {
    ModelFolder::open(dir, device)?.model(View::Detached)
}
