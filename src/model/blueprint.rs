//! What a family's constructor asks for, without any weights.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use parking_lot::Mutex;

use super::ModelError;
use super::family::Folder;
use super::linear::LinearShape;
use super::lora::Adapter;
use super::weights::WeightSource;

/// Names and shapes of a model's weights, and its linear layers.
#[derive(Debug, Default)]
pub(super) struct Blueprint {
    pub(super) weights: BTreeMap<String, Vec<usize>>,
    pub(super) linears: Vec<LinearShape>,
}

impl Blueprint {
    /// Collects the blueprint of the model configured by a folder.
    pub(super) fn of(folder: &Folder<'_>) -> Result<Self, ModelError> {
        let noted = Notebook::default();
        folder.visit(&noted)?;
        Ok(noted.0.into_inner())
    }
}

/// Records what a constructor asks for and gives it tensors that take no memory.
#[derive(Default)]
struct Notebook(Mutex<Blueprint>);

impl WeightSource for Notebook {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let mut noted = self.0.lock();
        noted.weights.insert(name.to_owned(), shape.to_vec());
        // One value, broadcast with zero strides.
        // [shape of the weight]
        Ok(Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as(shape)?)
    }

    fn adapter(&self, layer: &LinearShape) -> Option<Adapter> {
        self.0.lock().linears.push(layer.clone());
        None
    }
}
