//! Estimates the memory of a job by part before it runs, and suggests settings that need less.
//!
//! The parts follow the trainer (`train`): a step samples, scores under the old policy, computes gradients and updates,
//! one after the other; micro-batches and rollout chunks run on one thread per core, each with its own graph. The
//! activation memory of a pass comes from the model ([`crate::model::footprint`]).

pub mod advice;
pub mod machine;
mod sampling;
mod update;

use serde::Serialize;

use crate::algorithm::{self, Algorithm};
use crate::config::rollout::UPDATED_AT_ONCE;
use crate::domain::spec::{DType, JobSpec, Method};
use crate::model::footprint::{Arithmetic, ModelSize, SamplingRoom};
use crate::model::linear::LinearShape;
use crate::model::lora::select;
use crate::model::{Grid, ImageInput, graphs_at_once};
use update::Update;

/// Bytes of a gradient or a moment, whatever the number format of the weights.
const WIDE: u64 = 4;
/// Memory of a trainer's process before it loads a model: program, tokenizer, data set, database (measured,
/// docs/memory.md).
const BASE_BYTES: u64 = 112 << 20;
/// Pages that the allocator keeps beyond what is in use, in percent (measured, docs/memory.md).
const RETAINED_PERCENT: u64 = 16;
/// What a GPU holds before a model is loaded: the driver's context, kernels, work space of matrix products (assumed).
const GPU_BASE_BYTES: u64 = 768 << 20;
/// Gaps between tensors in a GPU's memory, in percent (assumed).
const GPU_RETAINED_PERCENT: u64 = 6;
/// Temporary copies of values in an update of `AdamW`.
const UPDATE_COPIES: u64 = 8;

/// A row of the data set with its longest response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowShape {
    /// Tokens of the prompt, image tokens included.
    pub prompt_tokens: usize,
    /// Image tokens among them.
    pub image_tokens: usize,
    /// Maximum number of tokens of the response.
    pub response_tokens: usize,
    /// Its images.
    pub images: Vec<Grid>,
}

/// The device that would run the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// Is it a CPU?
    pub cpu: bool,
    /// Threads that can run a micro-batch each: one per core of a CPU, one on a GPU.
    pub threads: usize,
    /// Bytes of memory, where they are known: sampling runs in as many rows as fit.
    pub memory: Option<u64>,
}

impl Site {
    /// A device of this machine with this much memory.
    pub fn new(cpu: bool, memory: Option<u64>) -> Self {
        Self { cpu, threads: if cpu { machine::threads() } else { 1 }, memory }
    }

    /// What a process takes before it opens a model.
    fn base(self) -> u64 {
        if self.cpu { BASE_BYTES } else { GPU_BASE_BYTES }
    }

    /// Bytes that are taken where `held` are in use.
    fn with_retained(self, held: u64) -> u64 {
        held + held * self.retained_percent() / 100
    }

    fn retained_percent(self) -> u64 {
        if self.cpu { RETAINED_PERCENT } else { GPU_RETAINED_PERCENT }
    }

    /// Bytes of its memory that may be in use.
    fn usable(self) -> Option<u64> {
        Some(self.memory?.saturating_sub(self.base()) * 100 / (100 + self.retained_percent()))
    }
}

/// Memory by part, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Estimate {
    /// Program, tokenizer, data set.
    pub base: u64,
    /// Weights, including those of adapters and of the reference model.
    pub weights: u64,
    /// Gradients of the micro-batches that run in parallel, and their sum.
    pub gradients: u64,
    /// Moments of the optimizer, and 32-bit master copies of narrow weights.
    pub optimizer: u64,
    /// Graphs of the micro-batches that run in parallel, and the buffers of their backward.
    pub activations: u64,
    /// Logits of the positions that are computed at a time.
    pub logits: u64,
    /// Keys and values while sampling, or while evaluating.
    pub kv_cache: u64,
    /// Pixels of the prompts in memory.
    pub images: u64,
    /// The largest tensor of a checkpoint on its way into the file.
    pub checkpoint: u64,
    /// The largest sum of parts that are needed at the same time.
    pub peak: u64,
}

impl Estimate {
    /// The parts by name, without the peak.
    pub fn parts(&self) -> [(&'static str, u64); 9] {
        [
            ("base", self.base),
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("activations", self.activations),
            ("logits", self.logits),
            ("kv_cache", self.kv_cache),
            ("images", self.images),
            ("checkpoint", self.checkpoint),
        ]
    }
}

/// The peak memory of a job on `site`, if every row is like `row` and every response has the maximum length.
pub fn estimate(model: &ModelSize, spec: &JobSpec, row: &RowShape, site: Site) -> Estimate {
    let plan = Plan::new(model, spec, row, site);
    let update = if spec.method.trains() { Update::of(&plan) } else { Update::default() };
    let weights = plan.weights();
    let optimizer = plan.optimizer();
    let gradients = update.gradient_sets * plan.trained * WIDE + update.gradients_of_block;
    let copied = UPDATE_COPIES * (model.parameters.largest.min(UPDATED_AT_ONCE) as u64).min(plan.trained) * WIDE;
    let images = plan.images();
    let lasting = weights + plan.resident_optimizer() + images;
    let room = site.usable().map(|usable| usable.saturating_sub(lasting) as usize);
    let sampling = sampling::largest(&plan, room);
    let checkpoint = plan.checkpoint();
    let phases = [
        gradients + update.graph + update.backward.max(update.logits),
        update.scoring,
        if plan.audits() { update::comparing(&plan) } else { 0 },
        sampling.bytes() as u64,
        if spec.method.trains() { plan.trained * WIDE + copied } else { 0 },
        checkpoint,
    ];
    // Frozen weights are there from the beginning to the end: the allocator holds no more pages than theirs.
    let fixed = plan.frozen();
    let held = lasting - fixed + phases.into_iter().max().unwrap_or(0);
    Estimate {
        base: site.base(),
        weights,
        gradients,
        optimizer,
        activations: (update.graph + update.backward).max(update.reading).max(sampling.reading as u64),
        logits: update.logits.max(sampling.logits as u64),
        kv_cache: sampling.cache as u64,
        images,
        checkpoint,
        peak: site.base() + fixed + site.with_retained(held),
    }
}

/// What a job's sampling may use on `site`, for the trainer; none if the memory is unknown.
pub fn sampling_room(model: ModelSize, spec: &JobSpec, site: Site) -> Option<SamplingRoom> {
    let usable = site.usable()?;
    let row = RowShape { prompt_tokens: 0, image_tokens: 0, response_tokens: 0, images: Vec::new() };
    let plan = Plan::new(&model, spec, &row, site);
    let bytes = usable.saturating_sub(plan.weights() + plan.resident_optimizer()) as usize;
    let arithmetic = plan.arithmetic;
    Some(SamplingRoom { bytes, size: model, arithmetic })
}

/// A job and its model, as input of every part of the estimate.
struct Plan<'a> {
    model: &'a ModelSize,
    spec: &'a JobSpec,
    row: &'a RowShape,
    site: Site,
    arithmetic: Arithmetic,
    /// None if nothing is trained.
    objective: Option<Box<dyn Algorithm>>,
    /// Linear layers with an adapter, and its rank.
    adapted: Vec<&'a LinearShape>,
    rank: usize,
    /// Parameters that get gradients and moments.
    trained: u64,
}

impl<'a> Plan<'a> {
    /// Graphs that the device runs at a time.
    fn graphs(&self) -> usize {
        graphs_at_once(self.model.info.parameters, self.site.threads)
    }

    fn new(model: &'a ModelSize, spec: &'a JobSpec, row: &'a RowShape, site: Site) -> Self {
        let narrow = match spec.train.dtype {
            DType::Auto => !site.cpu,
            DType::F32 => false,
            DType::Bf16 => true,
        };
        // Under adapters a CPU reads matrices as they are stored, and computes in 32 bits.
        let wide = !narrow || (site.cpu && spec.train.lora.is_some());
        let arithmetic = Arithmetic { cpu: site.cpu, weight_bytes: if wide { 4 } else { 2 } };
        let frozen = |layer: &LinearShape| spec.train.freeze_vision && layer.is_vision();
        let (adapted, rank) = match &spec.train.lora {
            // Targets that match no layer are rejected elsewhere.
            Some(lora) => (select(&lora.targets, &model.linears).unwrap_or_default(), lora.rank as usize),
            None => (Vec::new(), 0),
        };
        let adapted: Vec<&LinearShape> = adapted.into_iter().filter(|layer| !frozen(layer)).collect();
        let trained = match &spec.train.lora {
            Some(_) => adapted.iter().map(|layer| rank * (layer.inner + layer.out)).sum(),
            None if spec.train.freeze_vision => model.parameters.all - model.parameters.vision,
            None => model.parameters.all,
        };
        // Settings outside their limits are rejected elsewhere.
        let objective = algorithm::build(&spec.method).ok();
        Self { model, spec, row, site, arithmetic, objective, adapted, rank, trained: trained as u64 }
    }

    fn trains_vision(&self) -> bool {
        let trains = |layer: &&LinearShape| layer.is_vision();
        if self.spec.train.lora.is_some() { self.adapted.iter().any(trains) } else { !self.spec.train.freeze_vision }
    }

    fn weights(&self) -> u64 {
        let parameters = self.model.parameters;
        let base = parameters.all as u64 * self.arithmetic.weight_bytes as u64;
        if self.spec.train.lora.is_some() {
            // The reference is the same model without its adapters.
            let base = if self.site.cpu { self.frozen() } else { base };
            return base + self.trained * WIDE;
        }
        if self.objective.as_ref().is_some_and(|objective| objective.needs().reference) { 2 * base } else { base }
    }

    /// Weights under adapters, which a CPU holds as they are stored.
    fn frozen(&self) -> u64 {
        if self.spec.train.lora.is_none() || !self.site.cpu {
            return 0;
        }
        let rounded = self.spec.train.dtype == DType::Bf16;
        self.model.parameters.frozen_bytes(rounded, self.spec.train.base) as u64
    }

    fn optimizer(&self) -> u64 {
        if !self.spec.method.trains() {
            return 0;
        }
        // Adapters have 32 bits whatever the number format of the weights.
        let follows = self.spec.train.lora.is_none() && (self.arithmetic.weight_bytes as u64) < WIDE;
        let ranks = if self.spec.optimizer.shard { u64::from(self.spec.resources.ranks.max(1)) } else { 1 };
        (self.trained * WIDE * if follows { 3 } else { 2 }).div_ceil(ranks)
    }

    /// What the optimizer keeps on the device: on a GPU it may live in main memory instead.
    fn resident_optimizer(&self) -> u64 {
        if self.spec.optimizer.offload && !self.site.cpu { 0 } else { self.optimizer() }
    }

    /// The largest tensor as it is written: a checkpoint is made tensor by tensor, in main memory. A merged matrix
    /// stands there with its base and with what its adapter adds.
    fn checkpoint(&self) -> u64 {
        if !self.spec.method.trains() || !self.site.cpu {
            return 0;
        }
        let bytes = if self.spec.train.dtype == DType::Bf16 { WIDE / 2 } else { WIDE };
        let merged = self.adapted.iter().map(|layer| layer.inner * layer.out).max().unwrap_or(0) as u64;
        (self.model.parameters.largest as u64 * bytes).max(merged * (2 * WIDE + bytes))
    }

    fn group_size(&self) -> usize {
        if self.spec.method.is_reinforcement() { self.spec.rollout.group_size as usize } else { 1 }
    }

    /// Is it an evaluation that measures what responses depend on the image for?
    fn audits(&self) -> bool {
        matches!(&self.spec.method, Method::Eval(method) if method.audit)
    }

    /// Pixels of the prompts of a step with their masked copies, or of an evaluation: whichever are more.
    fn images(&self) -> u64 {
        let patch = self.model.info.image.as_ref().map_or(0, ImageInput::patch_values);
        let values: usize = self.row.images.iter().map(|grid| grid.patches() * patch).sum();
        let tries = self.spec.rollout.filter.as_ref().map_or(1, |filter| filter.max_tries);
        let masked =
            u64::from(self.objective.as_ref().is_some_and(|objective| objective.needs().masked_view.is_some()));
        let step = if self.spec.method.trains() { self.spec.batch.prompts_per_step * (tries + masked) } else { 0 };
        let answered = sampling::evaluation_prompts(self.spec) * (1 + u64::from(self.audits()));
        step.max(answered) * values as u64 * WIDE
    }
}
