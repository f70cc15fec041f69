//! The parts of a step: the model, its objective and optimizer, the reward, and the data that prompts come from.
//! Nothing in here knows the progress of the run.

use std::path::Path;
use std::sync::Arc;

use crate::algorithm::{self, Algorithm, DependencyRange, LossStats};
use crate::config::rollout::DECODED_ROWS;
use crate::data::{Dataset, Split};
use crate::domain::device::DeviceName;
use crate::domain::spec::{FocusPosition, JobSpec, Method};
use crate::model::ImagePatches;
use crate::model::device::open_device;
use crate::model::footprint::SamplingRoom;
use crate::model::hide::hide_at_random;
use crate::model::sampler::stream;
use crate::prompt::Processor;
use crate::reward::{self, Backends, Reward};

use super::correction::correction;
use super::engine::{ForeignEngines, LocalEngine, RolloutEngine};
use super::error::TrainError;
use super::group::{Group, responses_mut, sequences, weigh};
use super::learner::{Learner, Scored};
use super::metrics::{Metrics, mean};
use super::micro_batch::Packing;
use super::optimizer::{AdamW, DecayScope, learning_rate};
use super::parallel::Pool;
use super::policy::Policy;
use super::ranks::Ranks;
use super::rollout::RolloutSettings;
use super::sink::RunSink;
use super::source::PromptSource;
use super::train_sequence::TrainSequence;

/// Names the streams that decide which patches the masked view hides.
const MASK_STREAM: u64 = 3;

/// The parts of a step. `reinforcement.rs` and `supervised.rs` say in which order they act.
pub(super) struct TrainingStep {
    pub(super) spec: Arc<JobSpec>,
    pub(super) pool: Arc<Pool>,
    pub(super) policy: Policy,
    pub(super) algorithm: Box<dyn Algorithm>,
    pub(super) optimizer: AdamW,
    pub(super) reward: Box<dyn Reward>,
    pub(super) source: PromptSource,
    pub(super) room: Option<Arc<SamplingRoom>>,
    /// What samples responses.
    pub(super) engine: Arc<dyn RolloutEngine>,
    /// Who shares the work.
    pub(super) ranks: Arc<Ranks>,
}

/// What a step uses of the world outside of it.
pub(super) struct Outside<'a> {
    /// What rewards may call.
    pub(super) rewards: &'a Backends,
    /// Engines on other servers.
    pub(super) engines: &'a ForeignEngines,
    /// What sampling may use of the device's memory.
    pub(super) room: Option<SamplingRoom>,
    /// Whom the work is for: whether it is to stop, and how far it is.
    pub(super) sink: &'a dyn RunSink,
    /// Who shares the work.
    pub(super) ranks: Arc<Ranks>,
}

/// Results of the updates of one step, an entry per mini-batch.
#[derive(Debug, Default)]
pub(super) struct Updates {
    losses: Vec<f64>,
    policy_losses: Vec<f64>,
    norms: Vec<f64>,
    padding: Vec<f64>,
    rate: f64,
    pub(super) stats: LossStats,
}

impl Updates {
    /// Metrics of every step, reinforcement or supervised.
    pub(super) fn describe(&self, metrics: &mut Metrics) {
        metrics.set("loss/policy", mean(&self.policy_losses));
        metrics.set("batch/padding_share", mean(&self.padding));
        metrics.set("optimizer/grad_norm", mean(&self.norms));
        metrics.set("optimizer/learning_rate", self.rate);
    }

    /// The mean loss with every term.
    pub(super) fn total_loss(&self) -> f64 {
        mean(&self.losses)
    }
}

impl TrainingStep {
    /// Loads the model in `model_dir`, or that of the checkpoint `from`, and everything that a step needs.
    pub(super) fn open(
        spec: Arc<JobSpec>,
        model_dir: &Path,
        from: Option<&Path>,
        device: DeviceName,
        dataset: Arc<dyn Dataset>,
        outside: Outside<'_>,
    ) -> Result<Self, TrainError> {
        let Outside { rewards, engines, room, sink, ranks } = outside;
        let algorithm = algorithm::build(&spec.method)?;
        let device = open_device(ranks.device(device))?;
        ranks.connect(&device)?;
        let policy = Policy::open(&spec, model_dir, from, &device, algorithm.needs().reference)?;
        let info = policy.tracked.info();
        let processor = Processor::from_dir(policy.folder.dir(), info).map_err(TrainError::PromptSettings)?;
        let reward = reward::build_with(&spec.reward, rewards)?;
        if spec.method.is_reinforcement() {
            reward::check_filter(reward.as_ref(), spec.rollout.filter.as_ref())?;
        }
        let max_new_tokens = spec.rollout.max_new_tokens;
        let source = PromptSource::new(Arc::new(processor), dataset, Split::Train, &spec.data, info, max_new_tokens)?;
        let source = if matches!(spec.method, Method::Sft(_)) { source.with_demonstrations(info) } else { source };
        let optimizer = ranks.shard(AdamW::new(&spec.optimizer, DecayScope::Matrices), spec.optimizer.shard)?;
        let pool = Pool::shared(&device, policy.tracked.info().parameters, ranks.on_this_host().0)?;
        let pool = Arc::new(pool.serving(sink));
        let room = room.map(Arc::new);
        let local = LocalEngine {
            pool: Arc::clone(&pool),
            model: Arc::clone(&policy.detached),
            room: room.clone(),
            seed: spec.seed,
            ranks: Arc::clone(&ranks),
        };
        let engine = engines.open(&spec, local, policy.tracked.info(), policy.folder.parameters())?;
        Ok(Self { spec, pool, policy, algorithm, optimizer, reward, source, room, engine, ranks })
    }

    /// How responses are sampled.
    pub(super) fn sampling(&self) -> RolloutSettings {
        let spec = &self.spec.rollout;
        RolloutSettings {
            group_size: spec.group_size as usize,
            rows: DECODED_ROWS,
            temperature: spec.temperature,
            top_p: spec.top_p,
            max_new_tokens: spec.max_new_tokens as usize,
            attention: true,
            // Where a pass before the update measures it, that is enough.
            similarity: self.scores_in_update(),
        }
    }

    /// Log-probs and visual focus under the old policy, and the advantages shaped by them, after `done` steps. Returns
    /// how visual dependency varies over the step, where the objective asks for it.
    pub(super) fn weigh(&self, groups: &mut [Group], done: u64) -> Result<Option<DependencyRange>, TrainError> {
        for group in groups.iter_mut() {
            let masked_images = self.masked_images(group);
            group.prepare(masked_images.as_ref());
        }
        for response in responses_mut(groups) {
            response.sequence.ignored = self.spec.rollout.mask_truncated && response.rollout.cut_off;
        }
        if !self.scores_in_update() {
            self.score(groups)?;
        }
        if let Some(reference) = &self.policy.reference {
            let learner = self.learner();
            let work = |sequences: &[&TrainSequence]| learner.score_with(reference.as_ref(), sequences);
            let scored = self.ranks.each(&sequences(groups), work)?;
            for (response, score) in responses_mut(groups).zip(scored) {
                response.sequence.reference_logprobs = Some(score.logprobs);
            }
        }
        Ok(weigh(groups, self.algorithm.as_ref(), self.spec.seed, done as f64 / self.spec.steps.max(1) as f64)?)
    }

    /// Does the update's own pass give the old policy's log-probs? With one update a step, the policy that is trained
    /// is the one that sampled.
    pub(super) fn scores_in_update(&self) -> bool {
        let batch = &self.spec.batch;
        let one_update = batch.epochs_per_batch == 1 && batch.minibatch_prompts >= batch.prompts_per_step;
        // Ratios to the sampler, another sampler, states that predict, entropies and masked views need a pass of their
        // own.
        let needs = self.algorithm.needs();
        let no_other_pass = self.spec.rollout.correction_cap.is_none()
            && self.spec.rollout.engine.is_local()
            && !self.focuses_on_predicting()
            && !needs.token_entropy
            && needs.masked_view.is_none_or(|view| view.in_loss);
        one_update && no_other_pass
    }

    /// A pass under the old policy, without gradients.
    fn score(&self, groups: &mut [Group]) -> Result<(), TrainError> {
        let learner = self.learner();
        let sequences = sequences(groups);
        let mut scored = self.ranks.each(&sequences, |sequences| learner.score(sequences))?;
        if self.algorithm.needs().masked_view.is_some_and(|view| !view.in_loss) {
            let dependencies = self.ranks.each(&sequences, |sequences| learner.dependency(sequences))?;
            for (score, dependency) in scored.iter_mut().zip(dependencies) {
                score.dependency = dependency;
            }
        }
        let cap = self.spec.rollout.correction_cap;
        for (response, score) in responses_mut(groups).zip(scored) {
            response.sequence.old_logprobs.clone_from(&score.logprobs);
            response.sequence.correction = cap.map(|cap| correction(&score.logprobs, &response.rollout.logprobs, cap));
            response.score = score;
        }
        Ok(())
    }

    /// A prompt's images with patches hidden, where the objective has a masked view. The random stream depends on seed
    /// and position only, so a resumed run hides the same patches.
    fn masked_images(&self, group: &Group) -> Option<Vec<Arc<ImagePatches>>> {
        let view = self.algorithm.needs().masked_view?;
        let images = &group.prompt.sequence.images;
        let mut rng = stream(&[self.spec.seed, MASK_STREAM, group.prompt.cursor]);
        group.has_image().then(|| hide_at_random(images, view.ratio, &mut rng))
    }

    /// One update in step `step` (from 1): loss and gradient of a mini-batch, clipped and applied. Returns the scores
    /// of each sequence in its pass.
    pub(super) fn update(
        &mut self,
        minibatch: &[&TrainSequence],
        step: u64,
        updates: &mut Updates,
    ) -> Result<Vec<Scored>, TrainError> {
        let output = self.ranks.gradients(&self.learner(), minibatch, self.algorithm.as_ref())?;
        updates.losses.push(output.loss);
        updates.policy_losses.push(output.policy_loss);
        updates.padding.push(output.padding_share);
        updates.stats.merge(&output.stats);
        updates.rate = learning_rate(&self.spec.optimizer, step, self.spec.steps);
        let norm = self.optimizer.step(self.policy.folder.parameters(), &output.gradients, updates.rate)?;
        if !norm.is_finite() {
            return Err(TrainError::Diverged { step });
        }
        self.ranks.spread(&self.optimizer, self.policy.folder.parameters(), &output.gradients)?;
        updates.norms.push(norm);
        Ok(output.scored)
    }

    /// The learner over the current weights.
    pub(super) fn learner(&self) -> Learner<'_> {
        let temperature = if matches!(self.spec.method, Method::Sft(_)) { 1.0 } else { self.spec.rollout.temperature };
        // A masked view in the loss is a second graph at the same time.
        let graphs = if self.algorithm.needs().masked_view.is_some_and(|view| view.in_loss) { 2 } else { 1 };
        Learner {
            checkpointing: self.spec.train.gradient_checkpointing,
            predicting: self.focuses_on_predicting(),
            packing: if self.ranks.is_ordered() { Packing::ByGroup } else { Packing::Shared },
            ..self.policy.learner(&self.pool, temperature, self.spec.batch.microbatch_tokens / graphs)
        }
    }

    /// Is the focus of a token measured on the state that predicts it, not on its own state?
    fn focuses_on_predicting(&self) -> bool {
        matches!(&self.spec.method, Method::Vgpo(m) if m.focus_position == FocusPosition::Predicting)
    }
}
