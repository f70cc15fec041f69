//! Evaluation on held-out rows: responses, verdicts and how visual right and wrong answers are.

use std::ops::Range;

use crate::algorithm::affine_focus;
use crate::config::rollout::{DECODED_ROWS, EVALUATED_RESPONSES};
use crate::domain::eval_row::{EvalResponse, EvalRow, Thirds};
use crate::domain::sample::SampleGroup;
use crate::domain::spec::JobSpec;
use crate::model::VisionLanguageModel;
use crate::model::sampler::stream;
use crate::prompt::Processor;

use super::error::TrainError;
use super::group::{Group, Response, sample};
use super::judge::Judge;
use super::metrics::Metrics;
use super::parallel::Pool;
use super::rollout::RolloutSettings;
use super::samples;
use super::source::{Prompt, PromptSource};
use super::tally::Tally;

/// Names the random streams of evaluations among all streams of a seed.
const EVALUATION_STREAM: u64 = 2;
/// Held-out rows that are logged with every token.
const LOGGED: usize = 8;

/// What an evaluation found.
pub(super) struct Evaluation {
    /// Every `eval/…` metric.
    pub(super) metrics: Metrics,
    /// A few rows for people to look at.
    pub(super) samples: Vec<SampleGroup>,
}

/// A row's record.
pub(super) fn record(processor: &Processor, group: &Group) -> Result<EvalRow, TrainError> {
    let example = &group.prompt.example;
    let response = |Response { rollout, verdict, .. }: &Response| {
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
pub(super) struct Evaluator<'a> {
    /// Where rows run.
    pub(super) pool: &'a Pool,
    /// The model.
    pub(super) model: &'a dyn VisionLanguageModel,
    /// Where rows come from.
    pub(super) source: &'a PromptSource,
    /// Who judges.
    pub(super) judge: Judge<'a>,
    /// The job.
    pub(super) spec: &'a JobSpec,
}

impl Evaluator<'_> {
    /// Answers the job's held-out rows and adds them up.
    pub(super) fn evaluate(&self) -> Result<Evaluation, TrainError> {
        let processor = self.source.processor();
        let rows = self.spec.eval_rows.min(self.source.rows());
        let chunk = (EVALUATED_RESPONSES / self.spec.eval.samples).max(1);
        let mut tally = Tally::new(self.spec.eval.samples);
        let mut logged = Vec::new();
        for first in (0..rows).step_by(chunk as usize) {
            for group in self.answer(first..rows.min(first + chunk))? {
                if logged.len() < LOGGED && !group.responses.is_empty() {
                    logged.push(samples::evaluated(processor, &group)?);
                }
                tally.add(&record(processor, &group)?);
            }
        }
        Ok(Evaluation { metrics: tally.metrics(), samples: logged })
    }

    /// Answers and judges rows; those that are too long are left out where the job says so. What a row gets depends on the
    /// seed and its number only.
    pub(super) fn answer(&self, rows: Range<u64>) -> Result<Vec<Group>, TrainError> {
        let part = format!("{}-{}", self.judge.part, rows.start);
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
        let seed = self.spec.seed;
        let answers = sample(self.pool, self.model, prompts, &settings, |prompt, index| {
            stream(&[seed, EVALUATION_STREAM, prompt.cursor, index as u64])
        })?;
        Judge { part: &part, ..self.judge }.judge(answers)
    }
}
