//! One device against the CPU: the same numbers, tokens per second, memory against the estimate, and what crosses
//! between the device and main memory. `scripts/verify-gpu` makes a table of it. Where the device is the CPU, it works
//! as a GPU would.

use std::path::Path;

use candle_core::Device;
use serde::Serialize;

use super::policy::PolicySettings;
use super::shape::BatchShape;
use super::{BenchError, Memory, Watch};
use crate::algorithm;
use crate::clock::Stopwatch;
use crate::domain::device::DeviceName;
use crate::domain::spec::{DType, DeviceClass};
use crate::footprint::{RowShape, Site, estimate, machine};
use crate::model::device::open_device;
use crate::model::generate::Generation;
use crate::model::logprob::{TokenTarget, Vocabulary, token_scores};
use crate::model::sampler::{Sampler, stream};
use crate::model::transfers::{Crossings, Direction, Transfers, as_on_gpu};
use crate::model::{self, Batch, Capture, Grid, ModelFolder, Sequence, View, VisionLanguageModel};
use crate::train::TrainError;
use crate::train::learner::Learner;
use crate::train::optimizer::{AdamW, DecayScope};
use crate::train::parallel::Pool;
use crate::train::policy::Policy;
use crate::train::train_sequence::TrainSequence;

/// Names the random streams of the drawn tokens.
const STREAM: u64 = 4;
/// Tokens whose log-probs are compared with those of the CPU.
const COMPARED: usize = 16;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Prompts, the responses of each, and their sizes.
    pub batch: BatchShape,
    /// Most tokens of a micro-batch.
    pub microbatch_tokens: u64,
}

/// Crossings of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Crossing {
    /// What crossed.
    pub what: &'static str,
    /// To main memory, or to the device?
    pub down: bool,
    /// How often.
    pub count: usize,
    /// Bytes in all.
    pub bytes: usize,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The settings.
    pub settings: Settings,
    /// The device.
    pub device: String,
    /// Largest difference of a token's log-prob from that on the CPU, with the same 16-bit weights.
    pub logprob_difference: f64,
    /// Tokens of all rows a second while decoding.
    pub decoded_per_second: f64,
    /// Tokens a second of an update with adapters, each response with its prompt.
    pub updated_per_second: f64,
    /// Crossings of a decode step.
    pub decode_step: Vec<Crossing>,
    /// Crossings of the update.
    pub update: Vec<Crossing>,
    /// Bytes that the job is estimated to need at its peak.
    pub estimated_bytes: u64,
    /// Memory of this process; that of a GPU is not among it.
    pub memory: Memory,
}

/// Measures the model in `dir` on `device`. Blocks; run it in its own process for a meaningful memory figure.
pub fn run(dir: &Path, name: DeviceName, settings: Settings) -> Result<Report, BenchError> {
    let logprob_difference = difference(dir, &open_device(name)?, &settings.batch)?;
    let watch = Watch::start();
    let policy = PolicySettings {
        lora_rank: Some(16),
        dtype: DType::Bf16,
        freeze_vision: true,
        checkpointing: true,
        offload: false,
        microbatch_tokens: settings.microbatch_tokens,
    };
    let spec = policy.spec("grpo", &settings.batch)?;
    let device = open_device(name)?;
    let policy = as_on_gpu(|| Policy::open(&spec, dir, None, &device, false)).0?;
    let (decoded_per_second, decode_step) = decode(policy.detached.as_ref(), &settings.batch)?;
    let pool = as_on_gpu(|| Pool::for_device(&device, policy.tracked.info().parameters)).0?;
    let learner = Learner {
        checkpointing: true,
        ..policy.learner(&pool, spec.rollout.temperature, spec.batch.microbatch_tokens)
    };
    let sequences = sequences(&settings.batch, learner.tracked)?;
    let objective = algorithm::build(&spec.method).map_err(TrainError::from)?;
    let mut optimizer = AdamW::new(&spec.optimizer, DecayScope::Matrices);
    let mut done = None;
    let work = |()| {
        let clock = Stopwatch::start();
        let sequences: Vec<&TrainSequence> = sequences.iter().collect();
        let (output, crossings) = as_on_gpu(|| learner.gradients(&sequences, objective.as_ref()));
        Ok((output?.gradients, clock.seconds(), crossings))
    };
    pool.in_waves(
        &[()],
        |()| work(()),
        |found| {
            done = Some(found);
            Ok(())
        },
    )?;
    let (gradients, seconds, update) = done.ok_or_else(|| BenchError::Settings("no update ran".to_owned()))?;
    optimizer.step(policy.folder.parameters(), &gradients, spec.optimizer.learning_rate)?;
    let site = Site::new(name.class() == DeviceClass::Cpu, machine::device_memory(name));
    Ok(Report {
        device: name.to_string(),
        logprob_difference,
        decoded_per_second,
        updated_per_second: settings.batch.tokens() as f64 / seconds,
        decode_step,
        update: listed(&update),
        estimated_bytes: estimate(&model::size(dir)?, &spec, &row_shape(&settings.batch, learner.tracked)?, site).peak,
        memory: watch.end(),
        settings,
    })
}

fn row_shape(batch: &BatchShape, model: &dyn VisionLanguageModel) -> Result<RowShape, BenchError> {
    let grid = Grid { time: 1, height: batch.image_patches, width: batch.image_patches };
    let images = if batch.image_patches == 0 { Vec::new() } else { vec![grid] };
    let merge = model.info().image_input()?.merge_size;
    Ok(RowShape {
        prompt_tokens: batch.prompt_tokens,
        image_tokens: images.iter().map(|grid| grid.merged(merge)).sum(),
        response_tokens: batch.response_tokens,
        images,
    })
}

/// Largest difference of the log-probs of a synthetic response.
fn difference(dir: &Path, device: &Device, batch: &BatchShape) -> Result<f64, BenchError> {
    let one = BatchShape { groups: 1, group_size: 1, response_tokens: COMPARED, ..*batch };
    let logprobs = |device: &Device| -> Result<Vec<f64>, BenchError> {
        let folder = ModelFolder::open_as(dir, device, candle_core::DType::BF16)?;
        let model = folder.model(View::Detached)?;
        let rows = one.rows(model.info())?;
        let batch = Batch::new(&rows.iter().collect::<Vec<_>>(), model.info())?;
        let features = model.features(&batch)?;
        let hidden = model.forward(&batch, features.as_ref(), None, &mut Capture::none())?;
        let first = batch.seq_len - COMPARED;
        let target = |t: usize| TokenTarget { slot: (first + t - 1) as u32, token: batch.ids[first + t] };
        let targets: Vec<TokenTarget> = (0..COMPARED).map(target).collect();
        Ok(token_scores(model.as_ref(), &hidden, &targets, &Vocabulary::plain(1.0), false)?.logprobs)
    };
    // The forms that a GPU runs, against the fused ones of a CPU.
    let found = as_on_gpu(|| logprobs(device)).0?;
    let wanted = logprobs(&Device::Cpu)?;
    Ok(found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max))
}

/// Tokens a second of a batch that is decoded, and the crossings of a step.
fn decode(model: &dyn VisionLanguageModel, batch: &BatchShape) -> Result<(f64, Vec<Crossing>), BenchError> {
    let prompts = batch.prompts(model.info())?;
    let prompts: Vec<&Sequence> = prompts.iter().collect();
    let layers = model.info().attention_layers.clone();
    let steps = batch.response_tokens;
    let begin = || -> Result<(Generation<'_>, Vec<Sampler>), BenchError> {
        let mut capture = Capture::shares_of(layers.clone());
        let (mut generation, prefill) = Generation::prefill(model, &prompts, steps + 1, &mut capture)?;
        generation.keep_prototypes(&prefill)?;
        let rows: Vec<usize> = (0..batch.responses()).map(|row| row / batch.group_size).collect();
        generation.select_rows(&rows)?;
        let sampler = |row: &usize| Sampler::new(model.info(), 1.0, 0.95, stream(&[STREAM, *row as u64]));
        Ok((generation, (0..rows.len()).collect::<Vec<_>>().iter().map(sampler).collect()))
    };
    let step = |generation: &mut Generation<'_>, samplers: &mut [Sampler]| -> Result<(), BenchError> {
        let mut rows: Vec<Option<&mut Sampler>> = samplers.iter_mut().map(Some).collect();
        let drawn = generation.draw(&mut rows)?;
        let tokens: Vec<u32> = drawn.into_iter().map(|drawn| drawn.map_or(0, |(token, _)| token)).collect();
        let mut capture = Capture::shares_of(layers.clone());
        generation.advance(&tokens, &mut capture)?;
        generation.observe(&mut capture)?;
        Ok(())
    };
    let work = || -> Result<(f64, Generation<'_>, Vec<Sampler>), BenchError> {
        let (mut generation, mut samplers) = begin()?;
        // The first step makes the tables of the draws.
        step(&mut generation, &mut samplers)?;
        let clock = Stopwatch::start();
        for _ in 1..steps {
            step(&mut generation, &mut samplers)?;
        }
        Ok((clock.seconds(), generation, samplers))
    };
    let (seconds, mut generation, mut samplers) = as_on_gpu(work).0?;
    let (last, crossings) = as_on_gpu(|| step(&mut generation, &mut samplers));
    last?;
    Ok((((steps - 1) * batch.responses()) as f64 / seconds, listed(&crossings)))
}

fn listed(transfers: &Transfers) -> Vec<Crossing> {
    let one = |((direction, what), crossings): (&(Direction, &'static str), &Crossings)| Crossing {
        what,
        down: *direction == Direction::Down,
        count: crossings.count,
        bytes: crossings.bytes,
    };
    transfers.iter().map(one).collect()
}

fn sequences(batch: &BatchShape, model: &dyn VisionLanguageModel) -> Result<Vec<TrainSequence>, BenchError> {
    let sequence = |(index, input)| TrainSequence {
        input,
        prompt_len: batch.prompt_tokens,
        advantages: vec![if index % 2 == 0 { 1.0 } else { -1.0 }; batch.response_tokens],
        ..TrainSequence::default()
    };
    Ok(batch.rows(model.info())?.into_iter().enumerate().map(sequence).collect())
}
