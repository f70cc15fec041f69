//! A served model: weights, processor and metadata.

use std::path::PathBuf;
use std::sync::Arc;

use super::card::Card;
use super::{ServingError, engine::ModelRef};
use crate::domain::device::DeviceName;
use crate::domain::weights::WeightFormat;
use crate::model::device::open_device;
use crate::model::{Holding, ModelError, ModelFolder, View, VisionLanguageModel};
use crate::prompt::Processor;

/// Everything that a request needs from a model.
pub struct ServedModel {
    /// The id used in answers.
    pub id: String,
    /// The folder it was read from.
    pub dir: PathBuf,
    /// The weights, detached: nothing is trained here.
    pub model: Arc<dyn VisionLanguageModel>,
    /// Messages and images to tokens, and back.
    pub processor: Processor,
    /// The folder's metadata.
    pub card: Card,
}

impl ServedModel {
    /// Reads a model folder in the Hugging Face layout onto a device; its weights are kept in `format`.
    ///
    /// # Errors
    /// [`ServingError::ModelFolder`] names the file or weight at fault.
    pub fn open(model: &ModelRef, device: DeviceName, format: WeightFormat) -> Result<Self, ServingError> {
        let fault = |problem: String| ServingError::ModelFolder { model: model.id.clone(), problem };
        let weights = open_weights(model, device, format).map_err(|e| fault(e.to_string()))?;
        let processor = Processor::from_dir(&model.dir, weights.info()).map_err(|e| fault(e.to_string()))?;
        let card = Card::read(&model.dir, &model.id)?;
        Ok(Self { id: model.id.clone(), dir: model.dir.clone(), model: weights, processor, card })
    }
}

fn open_weights(
    model: &ModelRef,
    device: DeviceName,
    format: WeightFormat,
) -> Result<Arc<dyn VisionLanguageModel>, ModelError> {
    let device = open_device(device)?;
    let mut folder = ModelFolder::open_with(&model.dir, &device, Holding::read_only(&device, format))?;
    match &model.adapter {
        None => folder.served(format),
        Some(adapter) => {
            folder.load_adapter(adapter)?;
            folder.model(View::Detached)
        }
    }
}
