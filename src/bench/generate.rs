//! Requests to the serving engine without HTTP: an image and a question in, streamed tokens out.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use super::reference::{noise, question};
use super::shape::BatchShape;
use super::{BenchError, Memory, Seconds, Watch};
use crate::clock::Stopwatch;
use crate::config::serving::EngineLimits;
use crate::domain::device::DeviceName;
use crate::domain::weights::WeightFormat;
use crate::images::png_url;
use crate::serving::request::GenerateRequest;
use crate::serving::{Engine, GenerateEvent, LocalEngine, ModelRef, ServingError, parse};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Prompt and response of each request; `groups` requests at a time, one response each.
    pub batch: BatchShape,
    /// Ask for the attention map of every token.
    pub maps: bool,
    /// Number format of the weights.
    pub weights: WeightFormat,
    /// Timed rounds; one more warms up.
    pub repeats: usize,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The settings.
    pub settings: Settings,
    /// Tokens of a round.
    pub tokens: usize,
    /// Seconds from a request to its first token.
    pub first_token: Seconds,
    /// Seconds from a request to its answer.
    pub answer: Seconds,
    /// Seconds of a round, from the first request to the last answer.
    pub seconds: Seconds,
    /// Tokens of a round over its median seconds.
    pub tokens_per_second: f64,
    /// Memory of the model and all requests.
    pub memory: Memory,
}

/// Measures requests to the reference model in `dir`. Every request has its own image, so the prefix cache is never
/// hit.
pub async fn run(dir: &Path, settings: Settings) -> Result<Report, BenchError> {
    let watch = Watch::start();
    let engine = Arc::new(LocalEngine::on(DeviceName::CPU, settings.weights, EngineLimits::default()));
    let model = ModelRef { id: "reference".to_owned(), dir: dir.to_owned(), adapter: None };
    engine.load(&model).await?;
    let (mut first, mut answers, mut rounds, mut tokens) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 0..=settings.repeats {
        let requests = (0..settings.batch.groups)
            .map(|client| request(&settings, (round * settings.batch.groups + client) as u64))
            .collect::<Result<Vec<_>, _>>()?;
        let clock = Stopwatch::start();
        let tasks: Vec<_> = requests
            .into_iter()
            .map(|request| tokio::spawn(ask(Arc::clone(&engine), model.clone(), request)))
            .collect();
        let mut found = Vec::new();
        for task in tasks {
            found.push(task.await.map_err(|error| BenchError::Settings(error.to_string()))??);
        }
        if round > 0 {
            rounds.push(clock.seconds());
            tokens = found.iter().map(|answer| answer.tokens).sum();
            first.extend(found.iter().map(|answer| answer.first));
            answers.extend(found.iter().map(|answer| answer.whole));
        }
    }
    let seconds = Seconds::of(rounds);
    Ok(Report {
        tokens,
        first_token: Seconds::of(first),
        answer: Seconds::of(answers),
        tokens_per_second: tokens as f64 / seconds.median,
        seconds,
        memory: watch.end(),
        settings,
    })
}

fn request(settings: &Settings, index: u64) -> Result<GenerateRequest, BenchError> {
    let pictures = match settings.batch.image_patches {
        0 => Vec::new(),
        patches => {
            vec![png_url(&noise(patches, index)).map_err(|error| BenchError::Settings(error.to_string()))?]
        }
    };
    let request = json!({
        "model": "reference", "prompt": question(&settings.batch, index),
        "images": pictures, "max_new_tokens": settings.batch.response_tokens,
        "stream": true, "attention": { "maps": if settings.maps { "tokens" } else { "none" } },
    });
    Ok(parse(&request)?)
}

struct Answer {
    first: f64,
    whole: f64,
    tokens: usize,
}

async fn ask(engine: Arc<LocalEngine>, model: ModelRef, request: GenerateRequest) -> Result<Answer, ServingError> {
    let clock = Stopwatch::start();
    let mut events = engine.generate(&model, request).await?;
    let (mut first, mut tokens) = (f64::NAN, 0);
    while let Some(event) = events.next_event().await {
        match event {
            GenerateEvent::Token(_) => {
                if tokens == 0 {
                    first = clock.seconds();
                }
                tokens += 1;
            }
            GenerateEvent::Done(_) => return Ok(Answer { first, whole: clock.seconds(), tokens }),
            GenerateEvent::Failed(error) => return Err(error),
        }
    }
    Err(ServingError::Stopped)
}
