//! The plan by which a model's weights are read, made from its configuration and the headers of its files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use candle_core::{DType, Device, Var};
use rayon::prelude::*;

use super::carried::Carried;
use super::decode;
use super::format::{self, Encoding};
use super::header::Stored;
use super::inventory::Inventory;
use super::matrices::{Maps, blocks_of};
use crate::model::ModelError;
use crate::model::blueprint::Blueprint;
use crate::model::family::{Folder, Names};
use crate::model::footprint::ParameterCounts;
use crate::model::holding::Holding;
use crate::model::kernels::{Number, StoredMatrix};
use crate::model::linear::LinearShape;
use crate::model::quantized::quantizes;
use crate::model::weights::VISION;

/// The output head; a tied model uses its embedding instead.
const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";
/// What the names of matrices end in.
const WEIGHT: &str = ".weight";
/// Buffers that old checkpoints contain, but which are computed here.
const COMPUTED: &str = ".rotary_emb.inv_freq";
/// Description of a PEFT adapter.
const ADAPTER: &str = "adapter_config.json";
/// Maximum number of tensors that a note or an error names.
const SHOWN: usize = 3;

/// A folder's weights in memory.
pub struct LoadedWeights {
    /// Tensors by name.
    pub vars: BTreeMap<String, Var>,
    /// Matrices that are not trained, by name.
    pub matrices: BTreeMap<String, Arc<StoredMatrix>>,
}

/// Where each weight of a model comes from.
#[derive(Debug)]
pub struct WeightPlan {
    /// Weights by the names used in the program.
    weights: BTreeMap<String, (Stored, Encoding)>,
    /// A head that must equal the embedding, since the model is tied.
    tied_head: Option<Stored>,
    /// The model's linear layers, the output head not among them.
    pub linears: Vec<LinearShape>,
    /// Notes on what the folder contains besides.
    pub notes: Vec<String>,
    /// Tensors that only checkpoints keep.
    carried: Vec<Stored>,
    names: &'static Names,
}

impl WeightPlan {
    /// Checks that the model of a folder can be built on its weights, and how.
    ///
    /// # Errors
    /// Names the setting, file or tensor that cannot be used.
    pub fn of(folder: &Folder<'_>) -> Result<Self, ModelError> {
        let dir = folder.dir();
        if dir.join(ADAPTER).exists() {
            return Err(ModelError::Config {
                path: dir.join(ADAPTER).display().to_string(),
                problem: "describes a PEFT adapter, which loads on top of these weights elsewhere: merge it \
                          (`merge_and_unload`) and save the model, or remove the file"
                    .to_owned(),
            });
        }
        let declared = folder.declared_format()?;
        let blueprint = Blueprint::of(folder)?;
        let names = folder.family.names;
        let mut inventory = Inventory::read_as(dir, Some(names))?;
        format::refuse_packed(&inventory.tensors)?;
        let is_tied = !blueprint.weights.contains_key(HEAD);
        if is_tied && !inventory.tensors.contains_key(EMBEDDING) {
            take_head_as_embedding(&mut inventory, names);
        }
        let mut weights = BTreeMap::new();
        for (name, shape) in &blueprint.weights {
            let stored = inventory.tensors.get(name).ok_or_else(|| missing(name, &blueprint, &inventory))?;
            let encoding = format::encoding(name, stored, &inventory.tensors, &declared)?;
            if stored.shape != *shape {
                return Err(ModelError::Weight {
                    name: name.clone(),
                    problem: format!("has shape {:?}, but config.json asks for {shape:?}", stored.shape),
                });
            }
            weights.insert(name.clone(), (stored.clone(), encoding));
        }
        let any_scaled = weights.values().any(|(_, encoding)| *encoding != Encoding::Plain);
        declared.check(dir, any_scaled)?;
        let tied_head = if is_tied { inventory.tensors.remove(HEAD) } else { None };
        let carried = carried(&inventory, names);
        let unread = inventory.tensors.iter().filter(|(name, stored)| {
            let expected = name.ends_with(COMPUTED) || (any_scaled && format::is_scale(name));
            !expected && !weights.contains_key(*name) && !carried.iter().any(|carried| carried.name == stored.name)
        });
        let unread: Vec<&str> = unread.map(|(_, stored)| stored.name.as_str()).collect();
        let mut notes = inventory.notes;
        if !unread.is_empty() {
            notes.push(format!("the model does not use {} of the file's tensors: {}", unread.len(), some(&unread)));
        }
        if any_scaled {
            notes.push("the weights are FP8 with scales; they are loaded as plain numbers".to_owned());
        }
        Ok(Self { weights, tied_head, linears: blueprint.linears, notes, carried, names })
    }

    /// Numbers of values.
    pub fn counts(&self) -> ParameterCounts {
        let mut counts = ParameterCounts::default();
        for (name, (stored, _)) in &self.weights {
            let values = stored.values();
            counts.all += values;
            counts.largest = counts.largest.max(values);
            if name.starts_with(VISION) {
                counts.vision += values;
            }
            if let Some(layer) = self.layer_of(name) {
                let narrow = if ["BF16", "F16"].contains(&stored.dtype.as_str()) { values } else { 0 };
                counts.matrices += values;
                counts.narrow += narrow;
                if quantizes(Number::Q8, &layer) {
                    counts.packable += values;
                    counts.narrow_packable += narrow;
                }
            }
        }
        counts
    }

    /// The linear layer of this weight, embedding and head included: a matrix that need not be a tensor.
    fn layer_of(&self, name: &str) -> Option<LinearShape> {
        let layer = name.strip_suffix(WEIGHT)?;
        if name == EMBEDDING || name == HEAD {
            let [out, inner] = *self.weights.get(name)?.0.shape.as_slice() else { return None };
            return Some(LinearShape { name: layer.to_owned(), out, inner });
        }
        self.linears.iter().find(|linear| linear.name == layer).cloned()
    }

    /// Reads every weight as `holding` says, those that are always wide as 32-bit floats.
    ///
    /// # Errors
    /// Names the tensor that cannot be used.
    pub fn read(&self, device: &Device, holding: Holding) -> Result<LoadedWeights, ModelError> {
        self.check_tied_head()?;
        let (mut matrices, mut tensors) = (Vec::new(), Vec::new());
        for (name, source) in &self.weights {
            match self.layer_of(name).filter(|_| holding.freezes(name, device)) {
                Some(layer) => matrices.push((name, layer, source)),
                None => tensors.push((name, source)),
            }
        }
        let blocks = |layer: &LinearShape| blocks_of(holding.format).filter(|blocks| quantizes(*blocks, layer));
        // What becomes blocks is read once and dropped: its pages need not stay.
        let kept = matrices.iter().filter(|(_, layer, _)| blocks(layer).is_none()).map(|(_, _, source)| &source.0);
        let (maps, unmapped) = (Maps::of(kept)?, Maps::default());
        let matrix = |(name, layer, (stored, encoding)): (&String, LinearShape, &(Stored, Encoding))| {
            let matrix = match blocks(&layer) {
                Some(blocks) => unmapped.matrix(stored, encoding, holding.dtype)?.packed(blocks)?,
                None => maps.matrix(stored, encoding, holding.dtype)?,
            };
            Ok((name.clone(), Arc::new(matrix)))
        };
        let matrices = matrices.into_par_iter().map(matrix).collect::<Result<_, ModelError>>()?;
        let read = |(name, (stored, encoding)): (&String, &(Stored, Encoding))| {
            let dtype = if self.is_wide(name, device, holding) { DType::F32 } else { holding.dtype };
            // [shape that the file names]
            Ok((name.clone(), Var::from_tensor(&decode::read(stored, encoding, device, dtype)?)?))
        };
        let vars = tensors.into_iter().map(read).collect::<Result<_, ModelError>>()?;
        Ok(LoadedWeights { vars, matrices })
    }

    /// Is a tensor held in 32 bits whatever the number format? So are the small weights of a frozen model.
    fn is_wide(&self, name: &str, device: &Device, holding: Holding) -> bool {
        self.names.is_wide(name) || holding.freezes(name, device)
    }

    /// The names that they have in the files.
    pub fn file_names(&self) -> HashMap<String, String> {
        self.weights.iter().map(|(name, (stored, _))| (name.clone(), stored.name.clone())).collect()
    }

    /// Weights that are wider in memory than in their file, and written as narrow as the others.
    pub fn narrow(&self, device: &Device, holding: Holding) -> BTreeSet<String> {
        let narrow = |(name, (stored, _)): &(&String, &(Stored, Encoding))| {
            let own = self.names.is_wide(name) && decode::candle_dtype(&stored.dtype) != DType::F32;
            own || (!self.names.is_wide(name) && holding.freezes(name, device))
        };
        self.weights.iter().filter(narrow).map(|(name, _)| name.clone()).collect()
    }

    /// Tensors that only checkpoints keep.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn carried(&self) -> Result<Vec<Carried>, ModelError> {
        Carried::open(self.carried.clone())
    }

    /// A tensor that repeats another one in the files, by both names: a tied head stored together with the embedding.
    pub fn repeated(&self) -> Option<(String, String)> {
        self.tied_head.as_ref().map(|head| (head.name.clone(), EMBEDDING.to_owned()))
    }

    /// A tied model whose file also has its own head is ambiguous; versions of transformers differ in which one they
    /// use.
    fn check_tied_head(&self) -> Result<(), ModelError> {
        let (Some(head), Some((embedding, _))) = (&self.tied_head, self.weights.get(EMBEDDING)) else { return Ok(()) };
        if decode::are_equal(head, embedding)? {
            return Ok(());
        }
        Err(ModelError::Weight {
            name: head.name.clone(),
            problem: format!(
                "differs from `{}`, but config.json says `tie_word_embeddings`: set it to false if the head counts, or remove \
                 the tensor",
                embedding.name
            ),
        })
    }
}

/// Some tools keep only the first of two equal tensors by name.
fn take_head_as_embedding(inventory: &mut Inventory, names: &Names) {
    let Some(mut head) = inventory.tensors.remove(HEAD) else { return };
    head.name = names.in_files_with(EMBEDDING, inventory.tensors.values().map(|stored| stored.name.as_str()));
    inventory.tensors.insert(EMBEDDING.to_owned(), head);
}

/// The tensors that are kept for checkpoints as they are: all or none. Packed numbers are not kept, because
/// checkpoints are written as plain numbers.
fn carried(inventory: &Inventory, names: &Names) -> Vec<Stored> {
    let found: Vec<&Stored> = inventory.tensors.values().filter(|stored| names.is_carried(&stored.name)).collect();
    let plain = found.iter().all(|stored| format::is_plain(&stored.dtype));
    if plain { found.into_iter().cloned().collect() } else { Vec::new() }
}

fn some(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    format!("{}{}", shown.join(", "), if names.len() > SHOWN { " …" } else { "" })
}

fn missing(name: &str, blueprint: &Blueprint, inventory: &Inventory) -> ModelError {
    let others = inventory.tensors.iter().filter(|(name, _)| !blueprint.weights.contains_key(*name));
    let others: Vec<&str> = others.map(|(_, stored)| stored.name.as_str()).collect();
    let hint = if others.is_empty() {
        String::new()
    } else {
        format!(" (the model does not know {} of the tensors that are there: {})", others.len(), some(&others))
    };
    let problem = format!("is missing in the checkpoint folder; copy all of its safetensors files{hint}");
    ModelError::Weight { name: name.to_owned(), problem }
}
