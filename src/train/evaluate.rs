//! Evaluation on held-out rows: responses, verdicts and how visual right and wrong answers are.

use std::ops::Range;

use crate::algorithm::affine_focus;
use crate::config::rollout::{DECODED_ROWS, EVALUATED_RESPONSES};
use crate::domain::eval_row::{EvalResponse, EvalRow, Thirds};
use crate::domain::sample::SampleGroup;
use crate::domain::spec::JobSpec;
use crate::model::sampler::stream;
use crate::model::{Sequence, VisionLanguageModel};
use crate::reward::Verdict;

use super::error::TrainError;
use super::judge::Judge;
use super::metrics::Metrics;
use super::parallel::Pool;
use super::rollout::{Rollout, RolloutSettings, rollout};
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

/// A row with its judged responses.
pub(super) struct Answered {
    prompt: Prompt,
    answers: Vec<(Rollout, Verdict)>,
    unjudged: u64,
}

impl Answered {
    /// The row's record.
    pub(super) fn record(&self, source: &PromptSource) -> Result<EvalRow, TrainError> {
        let example = &self.prompt.example;
        let shown = !self.prompt.sequence.images.is_empty();
        let response = |(rollout, verdict): &(Rollout, Verdict)| {
            let focus: Vec<f64> = rollout.similarity.iter().map(|s| affine_focus(*s)).collect();
            let image: Vec<f64> = rollout.attention.iter().map(|shares| shares.image).collect();
            Ok(EvalResponse {
                text: samples::text(source.processor(), &rollout.tokens)?,
                tokens: rollout.tokens.len() as u64,
                cut_off: rollout.cut_off,
                correct: verdict.accuracy.map(|accuracy| accuracy > 0.5),
                accuracy: verdict.accuracy,
                reward: verdict.reward,
                reward_parts: verdict.parts.clone(),
                extracted: verdict.extracted.clone(),
                focus: Thirds::of(&focus),
                attention_image: Thirds::of(&image).filter(|_| shown),
            })
        };
        Ok(EvalRow {
            row: example.index,
            tags: example.tags.clone(),
            prompt: example.prompt.clone(),
            answer: example.answer(),
            responses: self.answers.iter().map(response).collect::<Result<_, TrainError>>()?,
            unjudged: self.unjudged,
        })
    }

    /// The row with every token, for people to look at.
    pub(super) fn sample(&self, source: &PromptSource) -> Result<SampleGroup, TrainError> {
        samples::evaluated(source.processor(), &self.prompt, &self.answers)
    }
}

/// Answers held-out rows with the model as it is.
pub(super) struct Evaluator<'a> {
    /// Where rows run.
    pub(super) pool: &'a Pool,
    /// The model.
    pub(super) model: &'a dyn VisionLanguageModel,
    /// Who judges, and where rows come from.
    pub(super) judge: Judge<'a>,
    /// The job.
    pub(super) spec: &'a JobSpec,
}

impl Evaluator<'_> {
    /// Answers the job's held-out rows and adds them up.
    pub(super) fn evaluate(&self) -> Result<Evaluation, TrainError> {
        let source = self.judge.source;
        let rows = self.spec.eval_rows.min(source.rows());
        let chunk = (EVALUATED_RESPONSES / self.spec.eval.samples).max(1);
        let mut tally = Tally::new(self.spec.eval.samples);
        let mut logged = Vec::new();
        for first in (0..rows).step_by(chunk as usize) {
            for answered in self.answer(first..rows.min(first + chunk))? {
                if logged.len() < LOGGED && !answered.answers.is_empty() {
                    logged.push(answered.sample(source)?);
                }
                tally.add(&answered.record(source)?);
            }
        }
        Ok(Evaluation { metrics: tally.metrics(), samples: logged })
    }

    /// Answers and judges rows; those that are too long are left out where the job says so. What a row gets depends on the
    /// seed and its number only.
    pub(super) fn answer(&self, rows: Range<u64>) -> Result<Vec<Answered>, TrainError> {
        let source = self.judge.source;
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
        let prompts: Vec<Prompt> =
            rows.map(|row| source.prompt(row, row)).filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let sequences: Vec<&Sequence> = prompts.iter().map(|p| &p.sequence).collect();
        let seed = self.spec.seed;
        let answers = rollout(self.pool, self.model, &sequences, &settings, |prompt, sample| {
            stream(&[seed, EVALUATION_STREAM, prompts[prompt].cursor, sample as u64])
        })?;
        let verdicts = Judge { part: &part, ..self.judge }.verdicts(&prompts, &answers)?;
        let of_prompt = prompts.into_iter().zip(answers).zip(verdicts);
        Ok(of_prompt
            .map(|((prompt, answers), verdicts)| {
                let sampled = answers.len();
                let judged = answers.into_iter().zip(verdicts);
                let answers: Vec<_> = judged.filter_map(|(answer, verdict)| Some((answer, verdict?))).collect();
                Answered { prompt, unjudged: (sampled - answers.len()) as u64, answers }
            })
            .collect())
    }
}
