//! Sampling responses: from prompts with images to tokens.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Device;
use serde::Serialize;

use super::shape::BatchShape;
use super::{BenchError, Memory, Phases, Seconds, Watch};
use crate::clock::Stopwatch;
use crate::config::rollout::DECODED_ROWS;
use crate::model::sampler::stream;
use crate::model::{ModelFolder, Sequence, View};
use crate::train::parallel::Pool;
use crate::train::rollout::{RolloutSettings, rollout};

/// Stream id of a measurement's random numbers.
const STREAM: u64 = 3;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Prompts, and how many responses of how many tokens.
    pub batch: BatchShape,
    /// Record where each token's prediction attended to, as training does.
    pub attention: bool,
    /// Timed rollouts; one more warms up.
    pub repeats: usize,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The settings.
    pub settings: Settings,
    /// Threads that sampled.
    pub threads: usize,
    /// Tokens that were sampled.
    pub tokens: usize,
    /// Seconds of a rollout.
    pub seconds: Seconds,
    /// Sampled tokens over the median seconds.
    pub tokens_per_second: f64,
    /// The share of prefill (measured with one response token each), and of decoding.
    pub shares: BTreeMap<&'static str, f64>,
    /// Memory of model and rollouts.
    pub memory: Memory,
}

/// Measures rollouts of the model in `dir`. Blocks.
pub fn run(dir: &Path, settings: Settings) -> Result<Report, BenchError> {
    let watch = Watch::start();
    let model = ModelFolder::open(dir, &Device::Cpu)?.model(View::Detached)?;
    let pool = Pool::new(model.info().parameters)?;
    let prompts = settings.batch.prompts(model.info())?;
    let prompts: Vec<&Sequence> = prompts.iter().collect();
    let sample = |max_new_tokens, step: u64| -> Result<(f64, usize), BenchError> {
        let how = RolloutSettings {
            group_size: settings.batch.group_size,
            rows: DECODED_ROWS,
            temperature: 1.0,
            top_p: 1.0,
            max_new_tokens,
            attention: settings.attention,
            similarity: false,
        };
        let clock = Stopwatch::start();
        let rng = |prompt: usize, sample: usize| stream(&[STREAM, step, prompt as u64, sample as u64]);
        let groups = rollout(&pool, model.as_ref(), &prompts, &how, rng)?;
        Ok((clock.seconds(), groups.iter().flatten().map(|rollout| rollout.tokens.len()).sum()))
    };
    let (mut seconds, mut phases, mut tokens) = (Vec::new(), Phases::default(), 0);
    for step in 0..=settings.repeats as u64 {
        let (prefill, _) = sample(1, step)?;
        let (whole, sampled) = sample(settings.batch.response_tokens, step)?;
        tokens = sampled;
        if step > 0 {
            seconds.push(whole);
            phases.add("prefill", prefill);
            phases.add("decode", (whole - prefill).max(0.0));
        }
    }
    let seconds = Seconds::of(seconds);
    Ok(Report {
        threads: pool.threads(),
        tokens,
        tokens_per_second: tokens as f64 / seconds.median,
        seconds,
        shares: phases.shares(),
        memory: watch.end(),
        settings,
    })
}
