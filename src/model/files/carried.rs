//! Tensors of a model's files that the model does not compute with: a checkpoint keeps them as they are.

use std::fs::File;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use parking_lot::Mutex;

use super::decode;
use super::header::Stored;
use crate::model::ModelError;
use crate::model::weights::file_error;

/// A tensor that is read when it is written again. Its file is held open: the folder that a run resumed from may be
/// removed before the run saves.
#[derive(Debug, Clone)]
pub struct Carried {
    stored: Stored,
    file: Arc<Mutex<File>>,
}

impl Carried {
    /// Opens the files of tensors, each once.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open(tensors: Vec<Stored>) -> Result<Vec<Self>, ModelError> {
        let mut all: Vec<Self> = Vec::with_capacity(tensors.len());
        for stored in tensors {
            let known = all.iter().find(|one| one.stored.file == stored.file).map(|one| Arc::clone(&one.file));
            let file = match known {
                Some(file) => file,
                None => Arc::new(Mutex::new(File::open(&stored.file).map_err(|e| file_error(&stored.file, e))?)),
            };
            all.push(Self { stored, file });
        }
        Ok(all)
    }

    /// Its name in the file.
    pub fn name(&self) -> &str {
        &self.stored.name
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.stored.shape
    }

    /// The number format of the file.
    pub fn dtype(&self) -> DType {
        decode::candle_dtype(&self.stored.dtype)
    }

    /// Its values in main memory, in the number format of the file.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn tensor(&self) -> Result<Tensor, ModelError> {
        let bytes = decode::bytes_of(&self.stored, &mut self.file.lock())?;
        // [shape that the file names]
        Ok(Tensor::from_raw_buffer(&bytes, self.dtype(), self.shape(), &Device::Cpu)?)
    }
}
