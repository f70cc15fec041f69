//! How much memory a job needs, by part, before it runs; and what would make it need less.
//!
//! The parts follow the trainer (`train`): a step samples, scores under the old policy, takes gradients and updates, one after
//! the other; micro-batches and rollout chunks run on one thread per core, each with a graph of its own. What a pass keeps is
//! the model's to know ([`crate::model::footprint`]).

pub mod advice;
pub mod machine;
mod sampling;
mod update;

use serde::Serialize;

use crate::algorithm::{self, Algorithm};
use crate::domain::spec::{DType, JobSpec};
use crate::model::Grid;
use crate::model::footprint::{Arithmetic, ModelSize};
use crate::model::linear::LinearShape;
use crate::model::lora::select;
use sampling::Sampling;
use update::Update;

/// Bytes of a gradient or a moment, whatever the weights are.
const WIDE: u64 = 4;
/// What a trainer's process takes before it loads a model: program, tokenizer, data set, database (measured, docs/memory.md).
const BASE_BYTES: u64 = 112 << 20;
/// Pages that the allocator holds beyond what is in use, in percent (measured, docs/memory.md).
const RETAINED_PERCENT: u64 = 16;
/// Copies of one tensor that an update of `AdamW` makes on the way.
const UPDATE_COPIES: u64 = 8;

/// A row of the data set with its longest response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowShape {
    /// Tokens of the prompt, image tokens included.
    pub prompt_tokens: usize,
    /// Image tokens among them.
    pub image_tokens: usize,
    /// Tokens of the response at most.
    pub response_tokens: usize,
    /// Its images.
    pub images: Vec<Grid>,
}

impl RowShape {
    fn tokens(&self) -> usize {
        self.prompt_tokens + self.response_tokens
    }
}

/// The device that would run the job, as far as memory goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// Is it a processor?
    pub cpu: bool,
    /// Micro-batches that run at a time: one per core of a processor, one on a GPU.
    pub threads: usize,
}

/// Memory by part, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Estimate {
    /// Program, tokenizer, data set.
    pub base: u64,
    /// Weights, those of adapters and of a second copy as reference included.
    pub weights: u64,
    /// Gradients of the micro-batches that run at a time, and their sum.
    pub gradients: u64,
    /// Moments of the optimizer, and 32-bit masters of narrow weights.
    pub optimizer: u64,
    /// Graphs of the micro-batches that run at a time, and the buffers of their backward.
    pub activations: u64,
    /// Logits of the positions that are held at a time.
    pub logits: u64,
    /// Keys and values while sampling, or while evaluating.
    pub kv_cache: u64,
    /// Pixels of the prompts that are held at a time.
    pub images: u64,
    /// The largest sum of parts that are needed at the same time.
    pub peak: u64,
}

impl Estimate {
    /// The parts by name; the peak is none of them.
    pub fn parts(&self) -> [(&'static str, u64); 8] {
        [
            ("base", self.base),
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("activations", self.activations),
            ("logits", self.logits),
            ("kv_cache", self.kv_cache),
            ("images", self.images),
        ]
    }
}

/// What a job needs at its peak on `site`, if every row is like `row` and every response as long as it may be.
pub fn estimate(model: &ModelSize, spec: &JobSpec, row: &RowShape, site: Site) -> Estimate {
    let plan = Plan::new(model, spec, row, site);
    let update = if spec.method.trains() { Update::of(&plan) } else { Update::default() };
    let sampling = Sampling::largest(&plan);
    let weights = plan.weights();
    let optimizer = plan.optimizer();
    let gradients = update.gradient_sets * plan.trained * WIDE;
    let copied = UPDATE_COPIES * (model.parameters.largest as u64).min(plan.trained) * WIDE;
    let phases = [
        gradients + update.graph + update.backward.max(update.logits),
        update.scoring,
        sampling.bytes(),
        if spec.method.trains() { plan.trained * WIDE + copied } else { 0 },
    ];
    let images = plan.images();
    // On a GPU the optimizer may live in main memory instead.
    let beside = if spec.optimizer.offload && !site.cpu { 0 } else { optimizer };
    let held = weights + beside + images + phases.into_iter().max().unwrap_or(0);
    Estimate {
        base: BASE_BYTES,
        weights,
        gradients,
        optimizer,
        activations: (update.graph + update.backward).max(update.reading).max(sampling.reading),
        logits: update.logits.max(sampling.logits),
        kv_cache: sampling.cache,
        images,
        peak: BASE_BYTES + held + held * RETAINED_PERCENT / 100,
    }
}

/// A job beside its model: what every part of the estimate asks for.
struct Plan<'a> {
    model: &'a ModelSize,
    spec: &'a JobSpec,
    row: &'a RowShape,
    site: Site,
    arithmetic: Arithmetic,
    /// None where nothing is trained.
    objective: Option<Box<dyn Algorithm>>,
    /// Linear layers with an adapter, and the width of its thin matrices.
    adapted: Vec<&'a LinearShape>,
    rank: usize,
    /// Parameters that get gradients and moments.
    trained: u64,
}

impl<'a> Plan<'a> {
    fn new(model: &'a ModelSize, spec: &'a JobSpec, row: &'a RowShape, site: Site) -> Self {
        let narrow = match spec.train.dtype {
            DType::Auto => !site.cpu,
            DType::F32 => false,
            DType::Bf16 => true,
        };
        let arithmetic = Arithmetic { cpu: site.cpu, weight_bytes: if narrow { 2 } else { 4 } };
        let frozen = |layer: &LinearShape| spec.train.freeze_vision && layer.sees();
        let (adapted, rank) = match &spec.train.lora {
            // Targets that fit no layer are refused elsewhere.
            Some(lora) => (select(&lora.targets, &model.linears).unwrap_or_default(), lora.rank as usize),
            None => (Vec::new(), 0),
        };
        let adapted: Vec<&LinearShape> = adapted.into_iter().filter(|layer| !frozen(layer)).collect();
        let trained = match &spec.train.lora {
            Some(_) => adapted.iter().map(|layer| rank * (layer.inner + layer.out)).sum(),
            None if spec.train.freeze_vision => model.parameters.all - model.parameters.vision,
            None => model.parameters.all,
        };
        // Settings outside their limits are refused elsewhere.
        let objective = algorithm::build(&spec.method).ok();
        Self { model, spec, row, site, arithmetic, objective, adapted, rank, trained: trained as u64 }
    }

    fn trains_vision(&self) -> bool {
        let trains = |layer: &&LinearShape| layer.sees();
        if self.spec.train.lora.is_some() { self.adapted.iter().any(trains) } else { !self.spec.train.freeze_vision }
    }

    fn weights(&self) -> u64 {
        let base = self.model.parameters.all as u64 * self.arithmetic.weight_bytes as u64;
        if self.spec.train.lora.is_some() {
            // The reference is the same model without its adapters.
            return base + self.trained * WIDE;
        }
        if self.objective.as_ref().is_some_and(|objective| objective.uses_reference()) { 2 * base } else { base }
    }

    fn optimizer(&self) -> u64 {
        if !self.spec.method.trains() {
            return 0;
        }
        // Adapters are 32 bits wide whatever the weights are.
        let follows = self.spec.train.lora.is_none() && (self.arithmetic.weight_bytes as u64) < WIDE;
        self.trained * WIDE * if follows { 3 } else { 2 }
    }

    fn group_size(&self) -> usize {
        if self.spec.method.is_reinforcement() { self.spec.rollout.group_size as usize } else { 1 }
    }

    /// Pixels of the prompts of a step, or of an evaluation: whichever are more.
    fn images(&self) -> u64 {
        let info = &self.model.info;
        let patch = 3 * info.temporal_patch_size * info.patch_size * info.patch_size;
        let values: usize = self.row.images.iter().map(|grid| grid.patches() * patch).sum();
        let tries = self.spec.rollout.filter.as_ref().map_or(1, |filter| filter.max_tries);
        let step = if self.spec.method.trains() { self.spec.batch.prompts_per_step * tries } else { 0 };
        step.max(sampling::evaluation_prompts(self.spec)) * values as u64 * WIDE
    }
}
