//! The first half of a reinforcement step: sample groups, judge them, drop those that teach nothing.

use std::sync::Arc;

use crate::clock::Stopwatch;
use crate::config::rollout::DECODED_ROWS;
use crate::domain::spec::{DapoSpec, FilterMetric, FilterSpec, Method};
use crate::model::sampler::stream;
use crate::model::{ImagePatches, Sequence};
use crate::reward::{Verdict, overlong_share};

use super::error::TrainError;
use super::learner::TrainRow;
use super::metrics::{AttentionSummary, Metrics};
use super::rollout::{Rollout, RolloutSettings, rollout};
use super::sink::Control;
use super::source::Prompt;
use super::trainer::Trainer;

/// Names the random streams of rollouts among all streams of a seed.
const ROLLOUT_STREAM: u64 = 1;

/// One prompt, its responses and their verdicts.
pub(super) struct Group {
    pub(super) prompt: Prompt,
    pub(super) rollouts: Vec<Rollout>,
    pub(super) verdicts: Vec<Verdict>,
}

impl Group {
    /// Does the group teach anything? (DAPO's dynamic sampling.)
    fn passes(&self, filter: Option<&FilterSpec>) -> bool {
        if self.rollouts.len() < 2 {
            return false;
        }
        filter.is_none_or(|filter| {
            let values = self.verdicts.iter().map(|v| match filter.metric {
                // A reward without accuracy is refused beside this metric before the run begins.
                FilterMetric::Accuracy => v.accuracy.unwrap_or_default(),
                FilterMetric::Reward => v.reward,
            });
            let mean = values.sum::<f64>() / self.verdicts.len() as f64;
            filter.low < mean && mean < filter.high
        })
    }

    /// The rows to learn from; all responses share one masked copy of the prompt's images, if there is one.
    pub(super) fn rows(&self, masked_images: Option<&Vec<Arc<ImagePatches>>>) -> Vec<TrainRow> {
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
pub(super) struct Gathered {
    pub(super) kept: Vec<Group>,
    pub(super) dropped: usize,
    pub(super) metrics: Metrics,
}

impl Trainer<'_> {
    /// Samples batches of prompts until enough groups pass the filter, or its tries are used up.
    pub(super) fn gather(&mut self) -> Result<Result<Gathered, Control>, TrainError> {
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
            rows: DECODED_ROWS,
            temperature: spec.temperature,
            top_p: spec.top_p,
            max_new_tokens: spec.max_new_tokens as usize,
            attention: true,
            // Where one pass serves both, nobody looks at the states before the update.
            similarity: self.scores_in_update(),
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
}
