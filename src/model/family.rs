//! The seam between a model family and the rest of the program. A family's folder holds one [`Family`] for each
//! `model_type`: what the program asks about its configuration, its weights and their names is answered there and
//! nowhere else. What a model computes with (how images enter, which positions tokens have, where attention can be
//! looked at) comes with its [`ModelInfo`], and what a shared prefix hands to its suffixes with its
//! [`super::KvCache`].

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use serde_json::Value;

use super::files::{Declared, declared_format};
use super::footprint::Footprint;
use super::weights::WeightSource;
use super::{ModelError, ModelInfo, VisionLanguageModel};

/// A family: how a folder of its `model_type` is described and built.
#[derive(Debug)]
pub struct Family {
    /// `model_type` of the configuration.
    pub model_type: &'static str,
    /// Facts about the configured model, which has this number of parameters.
    pub(super) info: fn(&Folder<'_>, usize) -> Result<ModelInfo, ModelError>,
    /// Builds the model.
    pub(super) build: Build,
    /// Activation memory of its passes.
    pub(super) footprint: fn(&Folder<'_>) -> Result<Box<dyn Footprint>, ModelError>,
    /// How its weights are called.
    pub names: &'static Names,
    /// Similar `model_type`s that are something else, and what they are.
    pub(super) others: &'static [(&'static str, &'static str)],
    /// What a weight of a new model starts as, by name and shape; none: as in every family.
    pub(super) fresh: fn(&str, &[usize]) -> Option<Start>,
}

/// What a weight of a new model starts as.
pub(super) enum Start {
    /// These values.
    Values(Vec<f32>),
    /// This one everywhere.
    Constant(f32),
    /// Random ones around 0 with this standard deviation.
    Spread(f64),
}

/// A family's constructor: configuration, number of parameters, weights, device.
pub(super) type Build =
    fn(&Folder<'_>, usize, &dyn WeightSource, &Device) -> Result<Arc<dyn VisionLanguageModel>, ModelError>;

/// For [`Family::fresh`]: every weight starts as usual.
pub(super) fn as_usual(_: &str, _: &[usize]) -> Option<Start> {
    None
}

/// How the weights of a family are called in files, inside the program and in transformers.
///
/// Inside the program the vision tower's names begin with `visual.`, and embedding, last norm and head are
/// `model.embed_tokens.weight`, `model.norm.weight` and `lm_head.weight`.
#[derive(Debug)]
pub struct Names {
    /// Beginnings of names in files, and what they are inside the program. Other names are the same in both.
    pub files: &'static [(&'static str, &'static str)],
    /// Beginnings of names inside the program, and what they are in the files that the family's authors publish: a new
    /// model is written so. The first that fits counts. Other names are the same in both.
    pub published: &'static [(&'static str, &'static str)],
    /// Beginnings of names inside the program, and of the modules that they are in transformers, where adapters are
    /// looked up. The first that fits counts.
    pub modules: &'static [(&'static str, &'static str)],
    /// Beginnings of the names of tensors that the model does not compute with, but that belong to its files:
    /// checkpoints keep them as they are.
    pub carried: &'static [&'static str],
    /// Ends of the names of weights that are 32 bits wide in memory, whatever the others are.
    pub wide: &'static [&'static str],
    /// Beginnings of names in layouts whose numbers mean something else, and which ones those are.
    pub refused: &'static [(&'static str, &'static str)],
}

impl Names {
    /// The name inside the program of a tensor of a file.
    pub fn canonical(&self, file_name: &str) -> String {
        let known = self.files.iter().find_map(|(file, own)| Some((file_name.strip_prefix(file)?, own)));
        known.map_or_else(|| file_name.to_owned(), |(rest, own)| format!("{own}{rest}"))
    }

    /// The name in published files of a tensor that the program calls `name`.
    pub fn published_name(&self, name: &str) -> String {
        let known = self.published.iter().find_map(|(own, file)| Some((name.strip_prefix(own)?, file)));
        known.map_or_else(|| name.to_owned(), |(rest, file)| format!("{file}{rest}"))
    }

    /// The module in transformers of a linear layer.
    pub fn module(&self, layer: &str) -> String {
        let known = self.modules.iter().find_map(|(own, module)| Some((layer.strip_prefix(own)?, module)));
        known.map_or_else(|| layer.to_owned(), |(rest, module)| format!("{module}{rest}"))
    }

    /// The name in files with `others` of a tensor that the program calls `name`.
    pub(super) fn in_files_with<'a>(&self, name: &str, mut others: impl Iterator<Item = &'a str>) -> String {
        let fits = |(file, own): &&(&str, &str)| name.starts_with(own) && others.any(|other| other.starts_with(file));
        match self.files.iter().find(fits) {
            Some((file, own)) => format!("{file}{}", &name[own.len()..]),
            None => name.to_owned(),
        }
    }

    /// Is a tensor only kept for checkpoints?
    pub fn is_carried(&self, file_name: &str) -> bool {
        self.carried.iter().any(|beginning| file_name.starts_with(beginning))
    }

    /// Is a weight always 32 bits wide in memory?
    pub fn is_wide(&self, name: &str) -> bool {
        self.wide.iter().any(|end| name.ends_with(end))
    }

    /// What layout a tensor's name tells of, if its numbers would mean something else there.
    pub(super) fn refusal(&self, file_name: &str) -> Option<&'static str> {
        self.refused.iter().find(|(beginning, _)| file_name.starts_with(beginning)).map(|(_, layout)| *layout)
    }
}

/// The configuration files of a model folder.
#[derive(Clone, Copy)]
pub(super) struct Folder<'a> {
    pub(super) config_path: &'a Path,
    pub(super) config: &'a Value,
    pub(super) generation: Option<&'a Value>,
    /// The family that `model_type` names.
    pub(super) family: &'static Family,
}

impl Folder<'_> {
    /// The folder.
    pub(super) fn dir(&self) -> &Path {
        self.config_path.parent().unwrap_or(Path::new(""))
    }

    /// What the settings say about the number format of the weights.
    pub(super) fn declared_format(&self) -> Result<Declared, ModelError> {
        declared_format(self.dir(), self.config_path, self.config)
    }

    /// Facts about the configured model, which has this number of parameters.
    pub(super) fn info(&self, parameters: usize) -> Result<ModelInfo, ModelError> {
        (self.family.info)(self, parameters)
    }

    /// Activation memory of the model's passes.
    pub(super) fn footprint(&self) -> Result<Box<dyn Footprint>, ModelError> {
        (self.family.footprint)(self)
    }

    /// Asks `source` for every weight of the model, and for the adapter of every linear layer.
    pub(super) fn visit(&self, source: &dyn WeightSource) -> Result<(), ModelError> {
        (self.family.build)(self, 0, source, &Device::Cpu).map(drop)
    }
}
