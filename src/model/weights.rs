//! Parameters by name: the tracked and the detached view, what is written of them, initialisation.
//!
//! A family's [`super::family::Names`] say what weights are called inside the program; they are written under the names
//! that they were read with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Shape, Tensor, Var};
use parking_lot::Mutex;

use super::error::ModelError;
use super::family::Names;
use super::features::FeatureCache;
use super::files::{Carried, LoadedWeights, WeightPlan};
use super::holding::Holding;
use super::kernels::StoredMatrix;
use super::linear::LinearShape;
use super::load::with_folder;
use super::lora::{Adapter, Adapters};
use super::outgoing::{Outgoing, one_by_one};

/// Where a family's constructor gets its weights from.
pub trait WeightSource {
    /// The weight `name`, which must have exactly this shape.
    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError>;

    /// The low-rank adapter of a linear layer, if it has one.
    fn adapter(&self, _layer: &LinearShape) -> Option<Adapter> {
        None
    }

    /// The weight of a linear layer, or the token embedding, if it is held as a matrix that is not trained.
    fn stored(&self, _layer: &LinearShape) -> Result<Option<Arc<StoredMatrix>>, ModelError> {
        Ok(None)
    }

    /// The quantised weight of a linear layer, if it is quantised on another device than the CPU.
    fn quantized(&self, _layer: &LinearShape) -> Result<Option<Arc<QTensor>>, ModelError> {
        Ok(None)
    }

    /// The cache of image features, if the vision tower is frozen.
    fn feature_cache(&self) -> Option<Arc<FeatureCache>> {
        None
    }
}

/// All parameters of a model: variables that training changes in place, and matrices that it does not change.
#[derive(Debug, Clone)]
pub struct Parameters {
    vars: BTreeMap<String, Var>,
    /// What is not trained, and stays as its file has it.
    matrices: BTreeMap<String, Arc<StoredMatrix>>,
    /// Gets the vision tower no adapters?
    frozen_vision: bool,
    /// Those that are trained, adapters among them: all until some are frozen.
    trained: BTreeMap<String, Var>,
    adapters: Option<Adapters>,
    /// Cached image features, used while the vision tower is frozen.
    features: Arc<FeatureCache>,
    /// Name in the file for each name used here.
    file_names: HashMap<String, String>,
    /// The number format of all but those that are always wide.
    dtype: DType,
    /// Weights that are wider here than in the file, and written in the number format of the others.
    narrow: Arc<BTreeSet<String>>,
    /// Tensors that the model does not use and that are written as they were read.
    carried: Arc<Vec<Carried>>,
    /// A second name in the file for one of the variables, and that variable's own name.
    repeated: Option<(String, String)>,
}

/// How a model sees the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// As variables: operations are recorded for the backward pass.
    Tracked,
    /// As plain tensors that share the variables' storage: nothing is recorded.
    Detached,
    /// Like [`View::Detached`], without adapters: the base model.
    Base,
}

/// Prefix of the vision tower's names, its mergers included.
pub(super) const VISION: &str = "visual.";

pub(super) fn file_error(path: &Path, source: std::io::Error) -> ModelError {
    ModelError::File { path: path.display().to_string(), source }
}

impl Parameters {
    /// Reads the weights of a model folder in the number format `dtype`.
    pub fn read(dir: &Path, device: &Device, dtype: DType) -> Result<Self, ModelError> {
        let holding = Holding::variables(dtype);
        with_folder(dir, |folder| Self::read_planned(&WeightPlan::of(folder)?, device, holding))
    }

    /// Reads the weights that a plan names. Tensors that the model does not use are dropped, and so never written back,
    /// unless the family carries them along.
    pub(super) fn read_planned(plan: &WeightPlan, device: &Device, holding: Holding) -> Result<Self, ModelError> {
        let read = Self::new(plan.read(device, holding)?, plan.file_names());
        let (narrow, carried) = (Arc::new(plan.narrow(device, holding)), Arc::new(plan.carried()?));
        Ok(Self { dtype: holding.dtype, narrow, carried, repeated: plan.repeated(), ..read })
    }

    fn new(loaded: LoadedWeights, file_names: HashMap<String, String>) -> Self {
        let LoadedWeights { vars, matrices } = loaded;
        Self {
            trained: vars.clone(),
            vars,
            matrices,
            frozen_vision: false,
            adapters: None,
            features: Arc::default(),
            file_names,
            dtype: DType::F32,
            narrow: Arc::default(),
            carried: Arc::default(),
            repeated: None,
        }
    }

    /// The model's own variables by name, in name order: adapters are not among them.
    pub fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    /// The matrices that are not trained, in name order.
    pub fn matrices(&self) -> &BTreeMap<String, Arc<StoredMatrix>> {
        &self.matrices
    }

    /// The variables that are trained, in name order: only they are recorded and get gradients.
    pub fn trained(&self) -> &BTreeMap<String, Var> {
        &self.trained
    }

    /// Number of values of the model itself.
    pub fn count(&self) -> usize {
        let matrices = self.matrices.values().map(|matrix| matrix.dims().iter().product::<usize>());
        self.vars.values().map(|v| v.elem_count()).chain(matrices).sum()
    }

    /// The number format of the weights as configurations name it, e.g. `bfloat16`.
    pub fn number_format(&self) -> &'static str {
        match self.dtype {
            DType::BF16 => "bfloat16",
            DType::F16 => "float16",
            _ => "float32",
        }
    }

    /// Freezes the vision tower and its mergers. Models that were built before are not affected.
    pub fn freeze_vision(&mut self) {
        self.frozen_vision = true;
        self.trained.retain(|name, _| !name.starts_with(VISION));
    }

    /// Is nothing of the vision tower trained?
    pub fn vision_is_frozen(&self) -> bool {
        !self.trained.keys().any(|name| name.starts_with(VISION))
    }

    /// Features of images, which all models of these parameters share while nothing of the vision tower is trained.
    pub fn features(&self) -> &FeatureCache {
        &self.features
    }

    /// Those of `layers` that may get an adapter.
    pub(super) fn adaptable(&self, mut layers: Vec<LinearShape>) -> Vec<LinearShape> {
        layers.retain(|layer| !(self.frozen_vision && layer.is_vision()));
        layers
    }

    /// From now on only these adapters are trained. Models that were built before are not affected.
    pub(super) fn adapt(&mut self, adapters: Adapters) {
        self.trained = adapters.vars().map(|(name, var)| (name, var.clone())).collect();
        self.adapters = Some(adapters);
    }

    /// The adapters, if there are any.
    pub fn adapters(&self) -> Option<&Adapters> {
        self.adapters.as_ref()
    }

    /// A view to build a model on.
    pub fn view(&self, view: View) -> ParameterView<'_> {
        ParameterView { parameters: self, view }
    }

    /// Writes all parameters, adapters merged into them, to one safetensors file, under the names they were read with.
    /// Equal values give equal bytes.
    pub fn write(&self, path: &Path) -> Result<(), ModelError> {
        one_by_one(self.outgoing(), |tensors| write_tensors(tensors, path))
    }

    /// What is written: every weight, its adapter merged into it, under the name it was read with. Each is made when it
    /// is written, so that one at a time takes memory.
    pub(super) fn outgoing(&self) -> Vec<Outgoing<'_>> {
        let file_name = |name: &String| self.file_names.get(name).unwrap_or(name).clone();
        let mut all: Vec<Outgoing<'_>> = Vec::new();
        for (name, var) in &self.vars {
            let dtype = if self.narrow.contains(name) { self.dtype } else { var.dtype() };
            all.push(if self.is_adapted(name) || var.rank() == 0 {
                let value = || self.merged(name, var.as_detached_tensor());
                Outgoing::new(file_name(name), var.dims(), dtype, value)
            } else {
                let rows = |rows: Range<usize>| Ok(var.as_detached_tensor().narrow(0, rows.start, rows.len())?);
                Outgoing::by_rows(file_name(name), var.dims(), dtype, rows)
            });
        }
        for (name, matrix) in &self.matrices {
            all.push(if self.is_adapted(name) {
                Outgoing::new(file_name(name), &matrix.dims(), self.dtype, || self.merged(name, matrix.widened()?))
            } else {
                let rows = |rows: Range<usize>| Ok(matrix.rows(&rows.map(|row| row as u32).collect::<Vec<_>>())?);
                Outgoing::by_rows(file_name(name), &matrix.dims(), self.dtype, rows)
            });
        }
        let repeated = self.repeated.iter().filter_map(|(name, of)| {
            let own = all.iter().find(|outgoing| outgoing.name == file_name(of))?;
            Some(own.called(name.clone()))
        });
        let repeated: Vec<Outgoing<'_>> = repeated.collect();
        all.extend(repeated);
        for carried in self.carried.iter() {
            all.push(Outgoing::new(carried.name().to_owned(), carried.shape(), carried.dtype(), || carried.tensor()));
        }
        all
    }

    /// Does the layer of the weight `name` have an adapter?
    fn is_adapted(&self, name: &str) -> bool {
        let layer = name.strip_suffix(".weight");
        layer.is_some_and(|layer| self.adapters.as_ref().is_some_and(|adapters| adapters.has(layer)))
    }

    /// The weight `name` with what its layer's adapter adds, in the same number format.
    fn merged(&self, name: &str, weight: Tensor) -> Result<Tensor, ModelError> {
        let layer = name.strip_suffix(".weight");
        match layer.and_then(|layer| self.adapters.as_ref()?.delta(layer)) {
            Some(delta) => Ok((weight.to_dtype(DType::F32)? + delta?)?.to_dtype(weight.dtype())?),
            None => Ok(weight),
        }
    }

    /// These parameters plus further variables, e.g. a temporary head that is trained with them.
    #[must_use]
    pub fn with<'a>(&self, more: impl IntoIterator<Item = (&'a str, &'a Var)>) -> Self {
        let mut all = self.clone();
        for (name, var) in more {
            all.vars.insert(name.to_owned(), var.clone());
            all.trained.insert(name.to_owned(), var.clone());
        }
        all
    }
}

/// Writes tensors, each of which is asked for its values once, to one safetensors file. Equal values give equal bytes.
pub(super) fn write_tensors<V: safetensors::View>(
    tensors: impl IntoIterator<Item = (String, V)>,
    path: &Path,
) -> Result<(), ModelError> {
    let metadata = Some(HashMap::from([("format".to_owned(), "pt".to_owned())]));
    safetensors::serialize_to_file(tensors, metadata, path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(source) => file_error(path, source),
        other => {
            ModelError::Config { path: path.display().to_string(), problem: format!("could not be written: {other}") }
        }
    })
}

fn missing(name: &str) -> ModelError {
    ModelError::Weight {
        name: name.to_owned(),
        problem: "is missing in the checkpoint folder; copy all of its safetensors files".to_owned(),
    }
}

fn misshapen(name: &str, found: &[usize], wanted: &[usize]) -> ModelError {
    let problem = format!("has shape {found:?}, but config.json asks for {wanted:?}");
    ModelError::Weight { name: name.to_owned(), problem }
}

/// One [`View`] of [`Parameters`].
#[derive(Debug, Clone, Copy)]
pub struct ParameterView<'a> {
    parameters: &'a Parameters,
    view: View,
}

impl WeightSource for ParameterView<'_> {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let var = self.parameters.vars.get(name).ok_or_else(|| missing(name))?;
        if var.dims() != shape {
            return Err(misshapen(name, var.dims(), shape));
        }
        let recorded = self.view == View::Tracked && self.parameters.trained.contains_key(name);
        Ok(if recorded { var.as_tensor().clone() } else { var.as_detached_tensor() })
    }

    fn stored(&self, layer: &LinearShape) -> Result<Option<Arc<StoredMatrix>>, ModelError> {
        let name = format!("{}.weight", layer.name);
        let Some(matrix) = self.parameters.matrices.get(&name) else { return Ok(None) };
        let (found, wanted) = (matrix.dims(), [layer.out, layer.inner]);
        if found != wanted {
            return Err(misshapen(&name, &found, &wanted));
        }
        Ok(Some(Arc::clone(matrix)))
    }

    fn adapter(&self, layer: &LinearShape) -> Option<Adapter> {
        let adapters = self.parameters.adapters.as_ref().filter(|_| self.view != View::Base)?;
        adapters.of(&layer.name, self.view == View::Tracked)
    }

    fn feature_cache(&self) -> Option<Arc<FeatureCache>> {
        self.parameters.vision_is_frozen().then(|| Arc::clone(&self.parameters.features))
    }
}

/// Creates parameters as a constructor asks for them, for a new model.
pub struct Initializer<F> {
    fill: F,
    device: Device,
    vars: Mutex<BTreeMap<String, Var>>,
}

impl<F: Fn(&str, &[usize]) -> Vec<f32>> Initializer<F> {
    /// `fill` gives the values of the weight of that name and shape.
    pub fn new(device: Device, fill: F) -> Self {
        Self { fill, device, vars: Mutex::new(BTreeMap::new()) }
    }

    /// What was created, under the names of published files.
    pub fn into_parameters(self, names: &Names) -> Parameters {
        let vars = self.vars.into_inner();
        let file_names = vars.keys().map(|name| (name.clone(), names.published_name(name))).collect();
        Parameters::new(LoadedWeights { vars, matrices: BTreeMap::new() }, file_names)
    }
}

impl<F: Fn(&str, &[usize]) -> Vec<f32>> WeightSource for Initializer<F> {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        // [shape of the weight]
        let var = Var::from_vec((self.fill)(name, shape), Shape::from(shape), &self.device)?;
        let tensor = var.as_tensor().clone();
        self.vars.lock().insert(name.to_owned(), var);
        Ok(tensor)
    }
}
