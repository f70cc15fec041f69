//! Weights on their way to engines on other servers: written as a checkpoint is, without the trainer's state.

use std::path::Path;

use crate::domain::spec::DataSpec;
use crate::model::Parameters;
use crate::model::lora::peft::{self, BaseModel};

use super::error::TrainError;
use super::model_files::{ModelFiles, write_model};

/// The weights as they are.
pub struct Publication<'a> {
    pub(super) parameters: &'a Parameters,
    pub(super) files: &'a ModelFiles,
    pub(super) base: &'a BaseModel,
    pub(super) data: &'a DataSpec,
}

impl Publication<'_> {
    /// Writes a model folder in the Hugging Face layout into the empty folder `dir`; adapters are merged.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn write_weights(&self, dir: &Path) -> Result<(), TrainError> {
        write_model(dir, self.files, self.parameters, self.data)
    }

    /// Writes the adapters alone into the empty folder `dir`, as PEFT does. Returns false where there are none.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn write_adapter(&self, dir: &Path) -> Result<bool, TrainError> {
        let Some(adapters) = self.parameters.adapters() else { return Ok(false) };
        peft::write(dir, adapters, self.base)?;
        Ok(true)
    }
}
