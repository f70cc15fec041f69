//! What samples a step's responses: this process, or an engine on other servers, which is handed in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::spec::JobSpec;
use crate::model::VisionLanguageModel;
use crate::model::footprint::SamplingRoom;
use crate::model::sampler::stream;
use crate::model::{ModelInfo, Parameters, is_vision};

use super::engine_error::EngineError;
use super::error::TrainError;
use super::group::Sampled;
use super::parallel::Pool;
use super::publication::Publication;
use super::ranks::Ranks;
use super::rollout::RolloutSettings;
use super::source::Prompt;

/// Names the random streams of rollouts among all streams of a seed.
const ROLLOUT_STREAM: u64 = 1;

/// Samples responses with the weights that were published last.
pub trait RolloutEngine: Send + Sync {
    /// Samples with these weights from now on. `version` is the number of steps that made them.
    ///
    /// # Errors
    /// The weights cannot be handed over, or `stop` was raised.
    fn publish(&self, weights: &Publication<'_>, version: u64, stop: &Stop) -> Result<(), TrainError>;

    /// A group of responses to every prompt, in the order of the prompts.
    ///
    /// # Errors
    /// What was sampled cannot be used, nothing samples at the moment, or `stop` was raised.
    fn sample(&self, prompts: Vec<Prompt>, settings: &RolloutSettings, stop: &Stop)
    -> Result<Vec<Sampled>, TrainError>;

    /// Seconds since the last call for which everything waited, because no server answered.
    fn waited(&self) -> f64 {
        0.0
    }
}

/// Tells an engine that its caller no longer waits.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the engine to return.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Has it been asked to return?
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Samples in this process, with the weights that are trained: a published version is there already.
pub(super) struct LocalEngine {
    pub(super) pool: Arc<Pool>,
    pub(super) model: Arc<dyn VisionLanguageModel>,
    pub(super) room: Option<Arc<SamplingRoom>>,
    pub(super) seed: u64,
    pub(super) ranks: Arc<Ranks>,
}

impl RolloutEngine for LocalEngine {
    fn publish(&self, _weights: &Publication<'_>, _version: u64, _stop: &Stop) -> Result<(), TrainError> {
        Ok(())
    }

    fn sample(&self, prompts: Vec<Prompt>, settings: &RolloutSettings, _: &Stop) -> Result<Vec<Sampled>, TrainError> {
        let settings = settings.within(self.room.as_deref(), &prompts, self.pool.threads());
        self.ranks.sample(&self.pool, self.model.as_ref(), prompts, &settings, |prompt, index| {
            stream(&[self.seed, ROLLOUT_STREAM, prompt.cursor, index as u64])
        })
    }
}

/// Which adapters a job trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainedAdapters {
    /// None: all weights change.
    None,
    /// On the decoder alone.
    Decoder,
    /// Some of them on the vision tower or its mergers.
    Vision,
}

impl TrainedAdapters {
    fn of(parameters: &Parameters) -> Self {
        match parameters.adapters() {
            None => Self::None,
            Some(adapters) if adapters.layers().any(is_vision) => Self::Vision,
            Some(_) => Self::Decoder,
        }
    }
}

/// What an engine on other servers needs to know of a run.
pub struct EngineSetup {
    /// The job.
    pub spec: Arc<JobSpec>,
    /// The attempt, e.g. `job_…-1`: what published weights are named after.
    pub attempt: String,
    /// Tokens that end a response.
    pub end_tokens: Vec<u32>,
    /// Tokens that stand for images, which no response may contain.
    pub placeholders: Vec<u32>,
    /// Number of tokens of the vocabulary.
    pub vocabulary: usize,
    /// Which adapters the job trains.
    pub adapters: TrainedAdapters,
}

/// Opens engines on other servers.
pub trait EngineOpener: Send + Sync {
    /// The engine that the job names.
    ///
    /// # Errors
    /// A setting that cannot work.
    fn open(&self, setup: EngineSetup) -> Result<Arc<dyn RolloutEngine>, EngineError>;
}

/// Engines on other servers, for the attempt that has this name. By default there are none.
#[derive(Clone, Default)]
pub struct ForeignEngines {
    /// Opens them.
    pub opener: Option<Arc<dyn EngineOpener>>,
    /// Names the attempt.
    pub attempt: String,
}

impl ForeignEngines {
    /// The engine that the job names: `local`, or another one.
    pub(super) fn open(
        &self,
        spec: &Arc<JobSpec>,
        local: LocalEngine,
        info: &ModelInfo,
        parameters: &Parameters,
    ) -> Result<Arc<dyn RolloutEngine>, TrainError> {
        if spec.rollout.engine.is_local() || !spec.method.is_reinforcement() {
            return Ok(Arc::new(local));
        }
        if local.ranks.size() > 1 {
            let problem = "ranks of one job sample for themselves: set it to \"local\", or `resources.ranks` to 1";
            return Err(EngineError::Setting { field: "type", problem: problem.to_owned() }.into());
        }
        let opener = self.opener.as_ref().ok_or_else(|| EngineError::Setting {
            field: "type",
            problem: "this command samples in its own process only: set it to \"local\"".to_owned(),
        })?;
        let setup = EngineSetup {
            spec: Arc::clone(spec),
            attempt: self.attempt.clone(),
            end_tokens: info.eos_token_ids.clone(),
            placeholders: info.placeholders.clone(),
            vocabulary: info.vocab_size,
            adapters: TrainedAdapters::of(parameters),
        };
        Ok(opener.open(setup)?)
    }
}
