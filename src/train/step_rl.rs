//! One reinforcement step, as in arXiv 2604.09349: sample groups, judge them, drop those that teach nothing, see how
//! visual every token is under the old policy, shape the advantages, update.

use std::sync::Arc;

use crate::algorithm::advantage::RewardStatistics;
use crate::algorithm::signals::VisualSignals;
use crate::algorithm::{DependencyRange, GroupWeights, LossStats, ScorePrecision, Trajectory, TrajectoryGroup};
use crate::clock::Stopwatch;
use crate::domain::spec::{DapoSpec, FilterMetric, FilterSpec, Method};
use crate::model::hide::hide_at_random;
use crate::model::sampler::stream;
use crate::model::{ImagePatches, Sequence};
use crate::reward::{Verdict, overlong_share};

use super::correction::RolloutRatios;
use super::error::TrainError;
use super::learner::{Scored, TrainRow};
use super::metrics::{AttentionSummary, Metrics, mean};
use super::rollout::{Rollout, RolloutSettings, rollout};
use super::samples;
use super::sink::Control;
use super::source::Prompt;
use super::trainer::{StepEnd, Trainer};

/// Names the random streams of rollouts among all streams of a seed.
const ROLLOUT_STREAM: u64 = 1;
/// Names the streams that decide which patches the masked view hides.
const MASK_STREAM: u64 = 3;
/// Groups that are logged with every token.
const LOGGED_GROUPS: usize = 4;

/// One prompt, its responses and their verdicts.
struct Group {
    prompt: Prompt,
    rollouts: Vec<Rollout>,
    verdicts: Vec<Verdict>,
}

impl Group {
    /// Does the group teach anything? (DAPO's dynamic sampling.)
    fn passes(&self, filter: Option<&FilterSpec>) -> bool {
        if self.rollouts.len() < 2 {
            return false;
        }
        filter.is_none_or(|filter| {
            let values = self.verdicts.iter().map(|v| match filter.metric {
                FilterMetric::Accuracy => v.accuracy,
                FilterMetric::Reward => v.reward,
            });
            let mean = values.sum::<f64>() / self.verdicts.len() as f64;
            filter.low < mean && mean < filter.high
        })
    }

    /// The rows to learn from; all responses share one masked copy of the prompt's images, if there is one.
    fn rows(&self, masked_images: Option<&Vec<Arc<ImagePatches>>>) -> Vec<TrainRow> {
        let prompt = &self.prompt.sequence;
        let row = |rollout: &Rollout| TrainRow {
            sequence: Sequence { ids: [&prompt.ids[..], &rollout.tokens[..]].concat(), images: prompt.images.clone() },
            masked_images: masked_images.cloned(),
            prompt_len: prompt.ids.len(),
            ..TrainRow::default()
        };
        self.rollouts.iter().map(row).collect()
    }
}

/// All groups of a step, kept and dropped, with their seconds.
#[derive(Default)]
struct Gathered {
    kept: Vec<Group>,
    dropped: usize,
    metrics: Metrics,
}

/// What the old policy thinks of the kept groups.
struct Weighed {
    rows: Vec<Vec<TrainRow>>,
    scored: Vec<Vec<Scored>>,
    weights: Vec<GroupWeights>,
    dependency: Option<DependencyRange>,
    ratios: RolloutRatios,
}

impl Trainer<'_> {
    pub(super) fn reinforcement_step(&mut self) -> Result<StepEnd, TrainError> {
        let Gathered { kept, dropped, mut metrics } = match self.gather()? {
            Ok(gathered) => gathered,
            Err(control) => return Ok(StepEnd::Stopped(control)),
        };
        metrics.set("groups/kept", kept.len() as f64);
        metrics.set("groups/dropped", dropped as f64);
        if kept.is_empty() {
            return Ok(StepEnd::Done(metrics));
        }
        let clock = Stopwatch::start();
        let weighed = self.weigh(&kept)?;
        metrics.set("time/logprob", clock.seconds());
        let control = self.sink.control();
        if control != Control::Continue {
            return Ok(StepEnd::Stopped(control));
        }
        describe(&weighed, &mut metrics);
        let clock = Stopwatch::start();
        self.learn(&weighed, &mut metrics)?;
        metrics.set("time/update", clock.seconds());
        self.log_samples(&kept, &weighed)?;
        Ok(StepEnd::Done(metrics))
    }

    /// Samples batches of prompts until enough groups pass the filter, or its tries are used up.
    fn gather(&mut self) -> Result<Result<Gathered, Control>, TrainError> {
        let wanted = self.spec.batch.prompts_per_step as usize;
        let filter = self.spec.rollout.filter.clone();
        let tries = filter.as_ref().map_or(1, |f| f.max_tries.max(1));
        let mut out = Gathered::default();
        let mut seen: Vec<Group> = Vec::new();
        let (mut rollout_seconds, mut reward_seconds, mut unjudged) = (0.0, 0.0, 0);
        for attempt in 0..tries {
            let control = self.sink.control();
            if control != Control::Continue {
                return Ok(Err(control));
            }
            let prompts = self.next_prompts(wanted as u64)?;
            let clock = Stopwatch::start();
            let rollouts = self.sample(&prompts)?;
            rollout_seconds += clock.seconds();
            let clock = Stopwatch::start();
            seen.extend(self.groups(prompts, rollouts, attempt, &mut unjudged)?);
            reward_seconds += clock.seconds();
            if seen.iter().filter(|g| g.passes(filter.as_ref())).count() >= wanted {
                break;
            }
        }
        self.describe_sampling(&seen, &mut out.metrics);
        let rewards: Vec<f64> = seen.iter().flat_map(|g| g.verdicts.iter().map(|v| v.reward)).collect();
        self.watch_reward(&rewards)?;
        self.report_unjudged(unjudged, &mut out.metrics)?;
        out.metrics.set("time/rollout", rollout_seconds);
        out.metrics.set("time/reward", reward_seconds);
        for group in seen {
            if group.passes(filter.as_ref()) && out.kept.len() < wanted {
                out.kept.push(group);
            } else {
                out.dropped += 1;
            }
        }
        Ok(Ok(out))
    }

    fn sample(&self, prompts: &[Prompt]) -> Result<Vec<Vec<Rollout>>, TrainError> {
        let spec = &self.spec.rollout;
        let settings = RolloutSettings {
            group_size: spec.group_size as usize,
            temperature: spec.temperature,
            top_p: spec.top_p,
            max_new_tokens: spec.max_new_tokens as usize,
            attention: true,
            similarity: false,
        };
        let sequences: Vec<&Sequence> = prompts.iter().map(|p| &p.sequence).collect();
        let seed = self.spec.seed;
        rollout(&self.pool, self.detached.as_ref(), &sequences, &settings, |prompt, sample| {
            stream(&[seed, ROLLOUT_STREAM, prompts[prompt].cursor, sample as u64])
        })
    }

    /// The groups of judged responses; a response without a verdict leaves its group.
    fn groups(
        &self,
        prompts: Vec<Prompt>,
        rollouts: Vec<Vec<Rollout>>,
        attempt: u64,
        unjudged: &mut usize,
    ) -> Result<Vec<Group>, TrainError> {
        let verdicts = self.judge(&self.source, &attempt.to_string()).verdicts(&prompts, &rollouts)?;
        let mut groups = Vec::with_capacity(prompts.len());
        for ((prompt, rollouts), verdicts) in prompts.into_iter().zip(rollouts).zip(verdicts) {
            let sampled = rollouts.len();
            let judged = rollouts.into_iter().zip(verdicts);
            let judged = judged.filter_map(|(rollout, verdict)| {
                let verdict = self.with_overlong_penalty(verdict?, rollout.tokens.len());
                Some((rollout, verdict))
            });
            let (rollouts, verdicts): (Vec<_>, Vec<_>) = judged.unzip();
            *unjudged += sampled - rollouts.len();
            groups.push(Group { prompt, rollouts, verdicts });
        }
        Ok(groups)
    }

    /// Says so where the reward left responses out.
    fn report_unjudged(&mut self, unjudged: usize, metrics: &mut Metrics) -> Result<(), TrainError> {
        if unjudged > 0 {
            metrics.set("reward/unjudged", unjudged as f64);
            let step = self.state.step + 1;
            let message =
                format!("step {step}: the reward gave no verdict on {unjudged} response(s); they left their groups");
            self.sink.event(
                "warning.unjudged",
                &message,
                serde_json::json!({ "step": step, "responses": unjudged }),
            )?;
        }
        Ok(())
    }

    /// DAPO's soft penalty on responses that come near the length limit, where the job asks for it.
    fn with_overlong_penalty(&self, mut verdict: Verdict, tokens: usize) -> Verdict {
        if let Method::Dapo(DapoSpec { overlong_buffer: Some(buffer), overlong_penalty: scale, .. }) = self.spec.method
        {
            let penalty = -scale * overlong_share(tokens as u64, self.spec.rollout.max_new_tokens, buffer);
            verdict.reward += penalty;
            verdict.parts.insert("overlong".to_owned(), penalty);
        }
        verdict
    }

    /// Log-probs and visual focus under the old policy, and the advantages shaped by them.
    fn weigh(&self, groups: &[Group]) -> Result<Weighed, TrainError> {
        let learner = self.learner()?;
        let mut rows: Vec<Vec<TrainRow>> = groups.iter().map(|g| g.rows(self.masked_images(g).as_ref())).collect();
        let flat: Vec<&TrainRow> = rows.iter().flatten().collect();
        let mut scored = learner.score(&flat)?;
        if self.algorithm.masked_view().is_some_and(|view| !view.in_loss) {
            for (score, dependency) in scored.iter_mut().zip(learner.dependency(&flat)?) {
                score.dependency = dependency;
            }
        }
        let mut groups_scored = Vec::with_capacity(groups.len());
        let mut scored = scored.into_iter();
        for group in groups {
            groups_scored.push(scored.by_ref().take(group.rollouts.len()).collect::<Vec<Scored>>());
        }
        let mut reference = match &self.reference {
            Some(model) => Some(learner.score_with(model.as_ref(), &flat)?.into_iter()),
            None => None,
        };
        let responses = groups.iter().flat_map(|g| g.rollouts.iter().zip(&g.verdicts));
        let step = RewardStatistics::of(responses.map(|(rollout, verdict)| (rollout.tokens.len(), verdict.reward)));
        let cap = self.spec.rollout.correction_cap;
        let mut ratios = RolloutRatios::default();
        let mut all: Vec<TrajectoryGroup> =
            groups.iter().zip(&groups_scored).map(|(group, scores)| trajectories(group, scores, step)).collect();
        let dependency = DependencyRange::of(all.iter().flat_map(|group| &group.trajectories));
        for group in &mut all {
            group.dependency = dependency;
        }
        let mut weighed = Weighed {
            rows: Vec::new(),
            scored: Vec::new(),
            weights: Vec::new(),
            dependency,
            ratios: RolloutRatios::default(),
        };
        for (((group, rows), scores), seen) in groups.iter().zip(&mut rows).zip(groups_scored).zip(&all) {
            let weights = self.algorithm.weigh(seen)?;
            let parts = rows.iter_mut().zip(&scores).zip(&weights.trajectories).zip(&group.rollouts);
            for (((row, score), weight), rollout) in parts {
                row.old_logprobs.clone_from(&score.logprobs);
                row.advantages.clone_from(&weight.shaped_advantage);
                ratios.add(row, &rollout.logprobs, cap);
                row.reference_logprobs = reference.as_mut().and_then(Iterator::next).map(|s| s.logprobs);
            }
            weighed.scored.push(scores);
            weighed.weights.push(weights);
        }
        weighed.rows = rows;
        weighed.ratios = ratios;
        Ok(weighed)
    }

    /// A prompt's images with patches hidden, where the objective looks at them. The stream depends on seed and position
    /// only, so a resumed run hides the same ones.
    fn masked_images(&self, group: &Group) -> Option<Vec<Arc<ImagePatches>>> {
        let view = self.algorithm.masked_view()?;
        let images = &group.prompt.sequence.images;
        let mut rng = stream(&[self.spec.seed, MASK_STREAM, group.prompt.cursor]);
        (!images.is_empty()).then(|| hide_at_random(images, view.ratio, &mut rng))
    }

    /// Passes over the step's groups in mini-batches, one update each.
    fn learn(&mut self, weighed: &Weighed, metrics: &mut Metrics) -> Result<(), TrainError> {
        let (mut losses, mut policy_losses, mut norms, mut padding) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut rate = 0.0;
        let mut stats = LossStats::default();
        for _ in 0..self.spec.batch.epochs_per_batch {
            for minibatch in weighed.rows.chunks(self.spec.batch.minibatch_prompts as usize) {
                let rows: Vec<&TrainRow> = minibatch.iter().flatten().collect();
                let output = self.learner()?.gradients(&rows, self.algorithm.as_ref())?;
                stats.merge(&output.stats);
                losses.push(output.loss);
                policy_losses.push(output.policy_loss);
                padding.push(output.padding_share);
                let (norm, used) = self.update(&output.gradients)?;
                norms.push(norm);
                rate = used;
            }
        }
        metrics.set("loss/policy", mean(&policy_losses));
        metrics.set("loss/total", mean(&losses));
        metrics.set("policy/kl", stats.approx_kl());
        if self.algorithm.uses_reference() {
            metrics.set("policy/reference_kl", stats.reference_kl());
        }
        metrics.set("policy/clip_fraction_low", stats.clip_fraction_low());
        metrics.set("policy/clip_fraction_high", stats.clip_fraction_high());
        metrics.set("batch/padding_share", mean(&padding));
        metrics.set("policy/dual_clip_fraction", stats.dual_clip_fraction());
        if stats.masked_tokens > 0 {
            metrics.set("policy/perception_kl", stats.perception_kl());
            metrics.set("policy/masked_surprise", stats.masked_surprise());
        }
        metrics.set("optimizer/grad_norm", mean(&norms));
        metrics.set("optimizer/learning_rate", rate);
        Ok(())
    }

    /// Metrics over everything that was sampled, dropped groups included.
    fn describe_sampling(&mut self, groups: &[Group], metrics: &mut Metrics) {
        let rollouts: Vec<&Rollout> = groups.iter().flat_map(|g| &g.rollouts).collect();
        let verdicts: Vec<&Verdict> = groups.iter().flat_map(|g| &g.verdicts).collect();
        let tokens: usize = rollouts.iter().map(|r| r.tokens.len()).sum();
        self.state.samples += rollouts.len() as u64;
        self.state.tokens += tokens as u64;
        metrics.set("response_tokens", tokens as f64);
        metrics.rewards(&verdicts);
        metrics.lengths(&rollouts);
        let mut attention = AttentionSummary::default();
        for rollout in &rollouts {
            attention.add(&rollout.attention);
        }
        let shares = attention.means();
        let (early, late) = attention.early_late();
        metrics.set("attention/image", shares.image);
        metrics.set("attention/query", shares.query);
        metrics.set("attention/generated", shares.generated);
        for (name, share) in [("early", early), ("late", late)] {
            metrics.set(format!("attention/image_{name}"), share.image);
            metrics.set(format!("attention/query_{name}"), share.query);
            metrics.set(format!("attention/generated_{name}"), share.generated);
        }
    }

    fn log_samples(&mut self, groups: &[Group], weighed: &Weighed) -> Result<(), TrainError> {
        let step = self.state.step + 1;
        let every = self.spec.log_samples_every;
        if every == 0 || !(step == 1 || step.is_multiple_of(every)) {
            return Ok(());
        }
        let mut out = Vec::new();
        for (index, group) in groups.iter().take(LOGGED_GROUPS).enumerate() {
            let weights = &weighed.weights[index].trajectories;
            let logprobs = weighed.scored[index].iter().map(|s| s.logprobs.as_slice());
            let parts = group.rollouts.iter().zip(&group.verdicts).zip(weights).zip(logprobs);
            let parts = parts.map(|(((rollout, verdict), weights), logprobs)| (rollout, verdict, weights, logprobs));
            out.push(samples::trained(self.source.processor(), &group.prompt, parts)?);
        }
        Ok(self.sink.samples(step, &out)?)
    }
}

/// Metrics over what the update sees.
fn describe(weighed: &Weighed, metrics: &mut Metrics) {
    let advantages: Vec<f64> =
        weighed.weights.iter().flat_map(|g| g.trajectories.iter().map(|t| t.advantage)).collect();
    metrics.spread("advantage", &advantages);
    weighed.ratios.describe(metrics);
    let entropy: Vec<f64> = weighed.scored.iter().flatten().flat_map(|s| s.entropy.iter().copied()).collect();
    metrics.set("policy/entropy", mean(&entropy));
    if let Some(DependencyRange { low, high, mean }) = weighed.dependency {
        metrics.set("visual/dependency_min", low);
        metrics.set("visual/dependency_mean", mean);
        metrics.set("visual/dependency_max", high);
    }
    for (key, value) in VisualSignals::of(&weighed.weights).metrics() {
        metrics.set(key, value);
    }
}

/// The group as the objective sees it.
fn trajectories(group: &Group, scores: &[Scored], step: RewardStatistics) -> TrajectoryGroup {
    let trajectory = |(score, verdict): (&Scored, &Verdict)| Trajectory {
        tokens: score.logprobs.len(),
        similarity: score.similarity.clone(),
        dependency: score.dependency.clone(),
        reward: verdict.reward,
    };
    TrajectoryGroup {
        has_image: !group.prompt.sequence.images.is_empty(),
        precision: ScorePrecision::F32,
        step: Some(step),
        dependency: None,
        trajectories: scores.iter().zip(&group.verdicts).map(trajectory).collect(),
    }
}
