//! Facts about a model folder without reading its weights. A folder whose weights cannot be loaded is already an error
//! here.

use std::path::Path;

use super::files::WeightPlan;
use super::footprint::ModelSize;
use super::linear::LinearShape;
use super::load::with_folder;
use super::{ModelError, ModelInfo};

/// What [`ModelInfo`] says about the folder: its configuration, and the headers of its weight files.
pub fn describe(dir: &Path) -> Result<ModelInfo, ModelError> {
    with_folder(dir, |folder| Ok(described(folder.info(0)?, &WeightPlan::of(folder)?)))
}

/// The same, with the activation memory of the model's passes.
pub fn size(dir: &Path) -> Result<ModelSize, ModelError> {
    with_folder(dir, |folder| {
        let plan = WeightPlan::of(folder)?;
        let info = described(folder.info(0)?, &plan);
        Ok(ModelSize { passes: folder.footprint()?, info, parameters: plan.counts(), linears: plan.linears })
    })
}

/// Checks a folder's settings alone, so that its weights need not be there yet.
pub fn check_settings(dir: &Path) -> Result<ModelInfo, ModelError> {
    with_folder(dir, |folder| {
        folder.declared_format()?;
        folder.info(0)
    })
}

fn described(info: ModelInfo, plan: &WeightPlan) -> ModelInfo {
    let notes = [info.notes, plan.notes.clone()].concat();
    ModelInfo { parameters: plan.counts().all, notes, ..info }
}

/// Name and size of every linear layer of the folder's model, the output head not among them.
pub fn linear_layers(dir: &Path) -> Result<Vec<LinearShape>, ModelError> {
    with_folder(dir, |folder| Ok(super::blueprint::Blueprint::of(folder)?.linears))
}
