//! Vision pre-training: a throw-away linear head on the image tokens names the digit whose cell each token is in, and
//! where the task asks for it also the cell.

use std::sync::Arc;

use candle_core::{D, Device, Tensor, Var};

use crate::data::Split;
use crate::domain::spec::{LearningRateSchedule, OptimizerSpec};
use crate::model::{ImagePatches, Parameters, VisionLanguageModel, kernels};
use crate::prompt::Processor;

use super::lesson::Lesson;
use super::recipe::Recipe;
use crate::train::TrainError;
use crate::train::optimizer::{AdamW, DecayScope, Gradients, learning_rate};
use crate::train::parallel::Pool;

/// Kinds of digits.
const DIGITS: usize = 10;
/// Held-out scenes that measure the result.
const HELD_OUT: u64 = 500;
/// Steps of warm-up.
const WARMUP: u64 = 50;
/// Scenes are cut into parts of this size, one per thread; the sum does not depend on the number of threads.
const PART: usize = 32;

struct Scenes {
    images: Vec<Arc<ImagePatches>>,
    /// The digit of each image token's cell.
    labels: Vec<u32>,
    /// The cell of each image token, in reading order.
    places: Vec<u32>,
}

fn scenes(
    merge: usize,
    processor: &Processor,
    lesson: &Lesson,
    split: Split,
    rows: std::ops::Range<u64>,
) -> Result<Vec<Scenes>, TrainError> {
    let [cell_rows, cell_columns] = lesson.grid();
    let mut parts: Vec<Scenes> = Vec::new();
    for (index, row) in rows.enumerate() {
        if index % PART == 0 {
            parts.push(Scenes { images: Vec::new(), labels: Vec::new(), places: Vec::new() });
        }
        let (image, digits) = lesson.cells(split, row)?;
        let images = processor.image_processor().map_err(TrainError::PromptSettings)?;
        let target =
            images.target_size(image.width(), image.height(), None, None).map_err(TrainError::PromptSettings)?;
        let patches = images.patches(&image, target);
        let (rows, columns) = (patches.grid.height / merge, patches.grid.width / merge);
        let Some(part) = parts.last_mut() else { continue };
        for token in 0..rows * columns {
            let (row, column) = (token / columns, token % columns);
            let cell = (row * cell_rows / rows) * cell_columns + column * cell_columns / columns;
            part.labels.push(u32::from(digits[cell]));
            part.places.push(cell as u32);
        }
        part.images.push(Arc::new(patches));
    }
    Ok(parts)
}

/// Its first classes are the digits; the others, if there are any, the cells.
struct Head {
    /// `[classes, hidden]`
    weight: Var,
    /// `[classes]`
    bias: Var,
    /// Number of cells to name.
    places: usize,
}

impl Head {
    /// Mean loss over `tokens` image tokens, of which those of the part are some.
    fn loss(&self, model: &dyn VisionLanguageModel, part: &Scenes, tokens: usize) -> Result<Tensor, TrainError> {
        let logits = self.logits(model, part)?;
        let loss_of = |first: usize, classes: usize, labels: &[u32]| -> Result<Tensor, TrainError> {
            let logprobs = kernels::log_softmax(&logits.narrow(1, first, classes)?.contiguous()?)?;
            let labels = Tensor::new(labels, &Device::Cpu)?.unsqueeze(1)?; // [image tokens, 1]
            Ok((logprobs.gather(&labels, 1)?.sum_all()? * (-1.0 / tokens as f64))?)
        };
        let digits = loss_of(0, DIGITS, &part.labels)?;
        if self.places == 0 {
            return Ok(digits);
        }
        Ok((digits + loss_of(DIGITS, self.places, &part.places)?)?)
    }

    /// `[image tokens, classes]`
    fn logits(&self, model: &dyn VisionLanguageModel, part: &Scenes) -> Result<Tensor, TrainError> {
        let features = Tensor::cat(&model.encode_images(&part.images)?, 0)?; // [image tokens, hidden]
        Ok(kernels::linear(&features, self.weight.as_tensor(), Some(self.bias.as_tensor()))?)
    }
}

/// Trains the vision tower in place and returns the share of held-out cells that the head names right.
pub fn run(
    model: &dyn VisionLanguageModel,
    parameters: &Parameters,
    processor: &Processor,
    lesson: &Lesson,
    recipe: &Recipe,
) -> Result<f64, TrainError> {
    let pool = Pool::new(model.info().parameters)?;
    let (width, merge) = (model.info().hidden_size, model.info().image_input()?.merge_size);
    // [classes, hidden] and [classes]
    let zeros = |shape: &[usize]| Var::zeros(shape, candle_core::DType::F32, &Device::Cpu);
    let places = if lesson.names_places() { lesson.grid().iter().product() } else { 0 };
    let classes = DIGITS + places;
    let head = Head { weight: zeros(&[classes, width])?, bias: zeros(&[classes])?, places };
    let all = parameters.with([("head.weight", &head.weight), ("head.bias", &head.bias)]);
    let spec = OptimizerSpec {
        learning_rate: recipe.vision_learning_rate,
        betas: [0.9, 0.98],
        weight_decay: 0.01,
        warmup_steps: WARMUP,
        schedule: LearningRateSchedule::Cosine,
        schedule_floor: 0.05,
        max_grad_norm: 1.0,
        offload: false,
        shard: false,
    };
    let mut optimizer = AdamW::new(&spec, DecayScope::Matrices);
    for step in 0..recipe.vision_steps {
        let first = step * recipe.vision_batch;
        let parts = scenes(merge, processor, lesson, Split::Train, first..first + recipe.vision_batch)?;
        let tokens: usize = parts.iter().map(|p| p.labels.len()).sum();
        let mut gradients = Gradients::default();
        let work = |part: &Scenes| Gradients::of(&head.loss(model, part, tokens)?, &all);
        pool.in_waves(&parts, work, |part| gradients.add(part))?;
        optimizer.step(&all, &gradients, learning_rate(&spec, step + 1, recipe.vision_schedule_steps))?;
    }
    accuracy(&pool, model, &head, &scenes(merge, processor, lesson, Split::Eval, 0..HELD_OUT)?)
}

fn accuracy(pool: &Pool, model: &dyn VisionLanguageModel, head: &Head, parts: &[Scenes]) -> Result<f64, TrainError> {
    let (mut right, mut all) = (0, 0);
    let work = |part: &Scenes| {
        let digits = head.logits(model, part)?.detach().narrow(1, 0, DIGITS)?;
        Ok(digits.contiguous()?.argmax(D::Minus1)?.to_vec1::<u32>()?)
    };
    let mut found = Vec::new();
    pool.in_waves(parts, work, |guesses| {
        found.push(guesses);
        Ok(())
    })?;
    for (part, guesses) in parts.iter().zip(found) {
        right += part.labels.iter().zip(&guesses).filter(|(label, guess)| label == guess).count();
        all += guesses.len();
    }
    Ok(f64::from(u32::try_from(right).unwrap_or(u32::MAX)) / all.max(1) as f64)
}
