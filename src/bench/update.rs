//! One GRPO update: forward, loss, backward, clip, `AdamW`; with the pass under the old policy before it, untimed.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Device;
use serde::Serialize;

use super::policy::PolicySettings;
use super::shape::BatchShape;
use super::{BenchError, Memory, Phases, Seconds, Watch};
use crate::algorithm;
use crate::clock::Stopwatch;
use crate::train::TrainError;
use crate::train::learner::Learner;
use crate::train::optimizer::{AdamW, DecayScope, learning_rate};
use crate::train::parallel::Pool;
use crate::train::policy::Policy;
use crate::train::train_sequence::TrainSequence;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// The rows of one update.
    pub batch: BatchShape,
    /// What is trained.
    pub policy: PolicySettings,
    /// Timed updates; one more warms up.
    pub repeats: usize,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The settings.
    pub settings: Settings,
    /// Parameters of the model.
    pub parameters: usize,
    /// Threads that ran micro-batches.
    pub threads: usize,
    /// Tokens of the update, each response with its prompt.
    pub tokens: usize,
    /// Seconds of an update.
    pub seconds: Seconds,
    /// Tokens of the update over its median seconds.
    pub tokens_per_second: f64,
    /// Each phase's share of the time.
    pub shares: BTreeMap<&'static str, f64>,
    /// Share of padding in its micro-batches.
    pub padding_share: f64,
    /// Memory of model, optimizer and updates, the pass under the old policy included.
    pub memory: Memory,
}

/// Measures updates of the model in `dir`. Blocks; run it in its own process for a meaningful memory figure.
pub fn run(dir: &Path, settings: Settings) -> Result<Report, BenchError> {
    let spec = settings.policy.spec("grpo", &settings.batch)?;
    let watch = Watch::start();
    let policy = Policy::open(&spec, dir, None, &Device::Cpu, false)?;
    let pool = Pool::new(policy.tracked.info().parameters)?;
    let learner = Learner {
        checkpointing: spec.train.gradient_checkpointing,
        ..policy.learner(&pool, spec.rollout.temperature, spec.batch.microbatch_tokens)
    };
    let algorithm = algorithm::build(&spec.method).map_err(TrainError::from)?;
    let mut optimizer = AdamW::new(&spec.optimizer, DecayScope::Matrices);
    let mut sequences = sequences(&settings.batch, &learner)?;
    let (mut seconds, mut phases, mut padding_share) = (Vec::new(), Phases::default(), 0.0);
    for step in 0..=settings.repeats as u64 {
        score(&learner, &mut sequences)?;
        let minibatch: Vec<&TrainSequence> = sequences.iter().collect();
        let clock = Stopwatch::start();
        let output = learner.gradients(&minibatch, algorithm.as_ref())?;
        let passes = clock.seconds();
        let rate = learning_rate(&spec.optimizer, step + 1, spec.steps);
        optimizer.step(policy.folder.parameters(), &output.gradients, rate)?;
        padding_share = output.padding_share;
        if step > 0 {
            seconds.push(clock.seconds());
            phases.add("passes", passes);
            phases.add("optimizer", clock.seconds() - passes);
        }
    }
    let seconds = Seconds::of(seconds);
    Ok(Report {
        parameters: policy.tracked.info().parameters,
        threads: pool.threads(),
        tokens: settings.batch.tokens(),
        tokens_per_second: settings.batch.tokens() as f64 / seconds.median,
        seconds,
        shares: phases.shares(),
        padding_share,
        memory: watch.end(),
        settings,
    })
}

/// Synthetic sequences with advantages of both signs.
fn sequences(batch: &BatchShape, learner: &Learner<'_>) -> Result<Vec<TrainSequence>, BenchError> {
    let sequence = |(index, input)| TrainSequence {
        input,
        prompt_len: batch.prompt_tokens,
        advantages: vec![if index % 2 == 0 { 1.0 } else { -1.0 }; batch.response_tokens],
        ..TrainSequence::default()
    };
    Ok(batch.rows(learner.tracked.info())?.into_iter().enumerate().map(sequence).collect())
}

/// Log-probs of the sequences under the current policy.
fn score(learner: &Learner<'_>, sequences: &mut [TrainSequence]) -> Result<(), BenchError> {
    let scored = learner.score(&sequences.iter().collect::<Vec<_>>())?;
    for (sequence, score) in sequences.iter_mut().zip(scored) {
        sequence.old_logprobs = score.logprobs;
    }
    Ok(())
}
