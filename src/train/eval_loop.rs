//! The eval loop: answers held-out rows and measures rewards, accuracy and visual focus.

use std::ops::Range;

use crate::algorithm::affine_focus;
use crate::config::rollout::{DECODED_ROWS, EVALUATED_RESPONSES};
use crate::domain::eval_row::{Along, EvalResponse, EvalRow, Thirds};
use crate::domain::method::Method;
use crate::domain::sample::SampleGroup;
use crate::domain::spec::JobSpec;
use crate::model::footprint::SamplingRoom;
use crate::model::sampler::stream;
use crate::prompt::Processor;

use super::audit::image_dependence;
use super::error::TrainError;
use super::eval_metrics::EvalMetrics;
use super::eval_rows::RowsFile;
use super::group::{Group, Response};
use super::learner::Learner;
use super::metrics::Metrics;
use super::ranks::Ranks;
use super::rewards::RewardContext;
use super::rollout::RolloutSettings;
use super::samples;
use super::source::{Prompt, PromptSource};

/// Names the random streams of evaluations among all streams of a seed.
const EVALUATION_STREAM: u64 = 2;
/// Most held-out rows that are logged with every token.
const LOGGED: usize = 8;

/// The result of an eval loop.
pub(super) struct EvalResult {
    /// Every `eval/…` metric.
    pub(super) metrics: Metrics,
    /// A few rows for people to look at.
    pub(super) samples: Vec<SampleGroup>,
}

/// Focus by position, rounded: the rows of long evaluations stay small.
fn along(focus: &[f64]) -> Option<Vec<Option<f64>>> {
    let mut sums = Along::default();
    sums.add(focus);
    let rounded = |mean: f64| (mean * 1e4).round() / 1e4;
    (!sums.is_empty()).then(|| sums.means().into_iter().map(|mean| mean.map(rounded)).collect())
}

/// What is stored of a row's responses.
pub(super) fn record(processor: &Processor, group: &Group) -> Result<EvalRow, TrainError> {
    let example = &group.prompt.example;
    let response = |Response { rollout, verdict, image_dependence, audit, .. }: &Response| {
        let focus: Vec<f64> = rollout.similarity.iter().map(|s| affine_focus(*s)).collect();
        let image: Vec<f64> = rollout.attention.iter().map(|shares| shares.image).collect();
        Ok(EvalResponse {
            text: samples::text(processor, &rollout.tokens)?,
            tokens: rollout.tokens.len() as u64,
            cut_off: rollout.cut_off,
            correct: verdict.accuracy.map(|accuracy| accuracy > 0.5),
            accuracy: verdict.accuracy,
            reward: verdict.reward,
            reward_parts: verdict.parts.clone(),
            extracted: verdict.extracted.clone(),
            focus: Thirds::of(&focus),
            attention_image: Thirds::of(&image).filter(|_| group.has_image()),
            focus_along: along(&focus),
            image_dependence: *image_dependence,
            audit: *audit,
        })
    };
    Ok(EvalRow {
        row: example.index,
        tags: example.tags.clone(),
        prompt: example.prompt.clone(),
        answer: example.answer(),
        responses: group.responses.iter().map(response).collect::<Result<_, TrainError>>()?,
        unjudged: group.unjudged as u64,
    })
}

/// Answers held-out rows with the model as it is.
pub(super) struct EvalLoop<'a> {
    /// The weights, and where rows run.
    pub(super) learner: &'a Learner<'a>,
    /// Where rows come from.
    pub(super) source: &'a PromptSource,
    /// What computes their rewards.
    pub(super) rewards: RewardContext<'a>,
    /// The job.
    pub(super) spec: &'a JobSpec,
    /// What sampling may use of the device's memory.
    pub(super) room: Option<&'a SamplingRoom>,
    /// Who answers them.
    pub(super) ranks: &'a Ranks,
}

impl EvalLoop<'_> {
    /// Answers the job's held-out rows, measures the answers, and writes them to `kept`.
    pub(super) fn run(&self, mut kept: Option<&mut RowsFile>) -> Result<EvalResult, TrainError> {
        let processor = self.source.processor();
        let rows = self.spec.eval_rows.min(self.source.rows());
        let chunk = (EVALUATED_RESPONSES / self.spec.eval.samples).max(1);
        let mut metrics = EvalMetrics::new(self.spec.eval.samples);
        let mut logged = Vec::new();
        for first in (0..rows).step_by(chunk as usize) {
            for group in self.answer(first..rows.min(first + chunk))? {
                if logged.len() < LOGGED && !group.responses.is_empty() {
                    logged.push(samples::evaluated(processor, &group)?);
                }
                let row = record(processor, &group)?;
                if let Some(file) = &mut kept {
                    file.add(&row)?;
                }
                metrics.add(&row);
            }
        }
        Ok(EvalResult { metrics: metrics.metrics(), samples: logged })
    }

    /// Samples responses to rows and computes their rewards; rows that are too long are left out where the job says so.
    /// The responses of a row depend on the seed and the row's number only.
    pub(super) fn answer(&self, rows: Range<u64>) -> Result<Vec<Group>, TrainError> {
        let part = format!("{}-{}", self.rewards.part, rows.start);
        let settings = RolloutSettings {
            group_size: self.spec.eval.samples as usize,
            rows: DECODED_ROWS,
            temperature: self.spec.eval.temperature,
            top_p: self.spec.eval.top_p,
            max_new_tokens: self.spec.rollout.max_new_tokens as usize,
            attention: true,
            similarity: true,
        };
        let prompts = rows.map(|row| self.source.prompt(row, row)).filter_map(Result::transpose);
        let prompts: Vec<Prompt> = prompts.collect::<Result<_, _>>()?;
        let Learner { pool, detached: model, .. } = self.learner;
        let settings = settings.within(self.room, &prompts, pool.threads());
        let seed = self.spec.seed;
        let answers = self.ranks.sample(pool, *model, prompts, &settings, |prompt, index| {
            stream(&[seed, EVALUATION_STREAM, prompt.cursor, index as u64])
        })?;
        let mut groups = self.ranks.rewards(&RewardContext { part: &part, ..self.rewards }, answers)?;
        // An audit measures it with its own passes.
        let audits = matches!(&self.spec.method, Method::Eval(method) if method.audit);
        if self.spec.eval.image_dependence && !audits {
            image_dependence(self.learner, self.ranks, &mut groups)?;
        }
        Ok(groups)
    }
}
