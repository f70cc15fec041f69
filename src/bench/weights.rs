//! The effect of quantised weights: their size, and the change in log-probs of the model's own answers.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use super::BenchError;
use crate::config::serving::EngineLimits;
use crate::data::{self, Example, Split};
use crate::domain::device::DeviceName;
use crate::domain::weights::WeightFormat;
use crate::images::png_url;
use crate::model::quantized::held_bytes;
use crate::model::{Holding, ModelFolder};
use crate::serving::{Engine as _, GenerateEvent, LocalEngine, ModelRef, ServingError, parse};

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// The generated task whose held-out rows are asked.
    pub task: String,
    /// Rows.
    pub rows: u64,
    /// The format to compare with the native one.
    pub weights: WeightFormat,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The settings.
    pub settings: Settings,
    /// Bytes of all weights in the native format.
    pub native_bytes: usize,
    /// Bytes of all weights in the other one.
    pub bytes: usize,
    /// Tokens that were compared.
    pub tokens: usize,
    /// Mean absolute change of a token's log-prob.
    pub mean_change: f64,
    /// The largest absolute change.
    pub largest_change: f64,
    /// Share of rows with the same greedy answer.
    pub same_answers: f64,
}

/// Asks the model in `dir` in both formats. Greedy answers of the native one are scored by both.
pub async fn run(dir: &Path, settings: Settings) -> Result<Report, BenchError> {
    let engine = |format| LocalEngine::on(DeviceName::CPU, format, EngineLimits::default());
    let (native, other) = (engine(WeightFormat::Native), engine(settings.weights));
    let model = ModelRef { id: "measured".to_owned(), dir: dir.to_owned(), adapter: None };
    let task = data::open(&settings.task).map_err(|error| BenchError::Settings(error.to_string()))?;
    let (mut changes, mut same) = (Vec::new(), 0);
    for index in 0..settings.rows {
        let row = task.example(Split::Eval, index).map_err(|error| BenchError::Settings(error.to_string()))?;
        let question = json!({"model": "measured", "prompt": row.prompt, "images": pictures(&row)?});
        let answer = answer(&native, &model, &question).await?;
        same += u64::from(self::answer(&other, &model, &question).await? == answer);
        let (before, after) =
            (logprobs(&native, &model, &question, &answer).await?, logprobs(&other, &model, &question, &answer).await?);
        changes.extend(before.iter().zip(&after).map(|(before, after)| (after - before).abs()));
    }
    let device = candle_core::Device::Cpu;
    let folder = ModelFolder::open_with(dir, &device, Holding::read_only(&device, WeightFormat::Native))?;
    Ok(Report {
        native_bytes: held_bytes(folder.parameters(), WeightFormat::Native),
        bytes: held_bytes(folder.parameters(), settings.weights),
        tokens: changes.len(),
        mean_change: changes.iter().sum::<f64>() / changes.len().max(1) as f64,
        largest_change: changes.iter().copied().fold(0.0, f64::max),
        same_answers: same as f64 / settings.rows.max(1) as f64,
        settings,
    })
}

fn pictures(row: &Example) -> Result<Vec<String>, BenchError> {
    let url = |image: &Arc<image::RgbImage>| png_url(image).map_err(|error| BenchError::Settings(error.to_string()));
    row.images.iter().map(url).collect()
}

async fn answer(engine: &LocalEngine, model: &ModelRef, question: &serde_json::Value) -> Result<String, BenchError> {
    let mut events = engine.generate(model, parse(question)?).await?;
    while let Some(event) = events.next_event().await {
        match event {
            GenerateEvent::Token(_) => {}
            GenerateEvent::Done(answer) => {
                return Ok(answer.choices.into_iter().next().map(|choice| choice.text).unwrap_or_default());
            }
            GenerateEvent::Failed(error) => return Err(error.into()),
        }
    }
    Err(ServingError::Stopped.into())
}

async fn logprobs(
    engine: &LocalEngine,
    model: &ModelRef,
    question: &serde_json::Value,
    answer: &str,
) -> Result<Vec<f64>, BenchError> {
    let mut request = question.clone();
    request["responses"] = json!([answer]);
    let scored = engine.score(model, parse(&request)?).await?;
    Ok(scored.responses.iter().flat_map(|response| &response.tokens).map(|token| token.logprob).collect())
}
