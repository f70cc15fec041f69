//! Greedy evaluation on held-out rows: accuracy and how visual right and wrong answers are.

use crate::algorithm::affine_focus;
use crate::algorithm::signals::VisualSignals;
use crate::domain::sample::SampleGroup;
use crate::domain::spec::JobSpec;
use crate::model::sampler::stream;
use crate::model::{Sequence, VisionLanguageModel};
use crate::reward::Verdict;

use super::error::TrainError;
use super::judge::Judge;
use super::metrics::{AttentionSummary, Metrics, mean};
use super::parallel::Pool;
use super::rollout::{Rollout, RolloutSettings, rollout};
use super::samples;
use super::source::Prompt;

/// Prompts held in memory at once.
const CHUNK: u64 = 512;
/// Held-out rows that are logged with every token.
const LOGGED: usize = 8;

/// What an evaluation found.
pub struct Evaluation {
    /// Share of right answers.
    pub accuracy: f64,
    /// Every `eval/…` metric.
    pub metrics: Metrics,
    /// A few rows for people to look at.
    pub samples: Vec<SampleGroup>,
}

#[derive(Default)]
struct Tally {
    verdicts: Vec<Verdict>,
    /// Answers that the reward could not judge; they count nowhere else.
    unjudged: usize,
    lengths: Vec<f64>,
    attention: AttentionSummary,
    all: VisualSignals,
    right: VisualSignals,
    wrong: VisualSignals,
}

impl Tally {
    fn add(&mut self, verdict: Verdict, answer: &Rollout) {
        self.lengths.push(answer.tokens.len() as f64);
        self.attention.add(&answer.attention);
        let focus: Vec<f64> = answer.similarity.iter().map(|s| affine_focus(*s)).collect();
        self.all.add_focus(&focus);
        let split = if verdict.accuracy > 0.5 { &mut self.right } else { &mut self.wrong };
        split.add_focus(&focus);
        self.verdicts.push(verdict);
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::default();
        let mean_of = |f: &dyn Fn(&Verdict) -> f64| mean(&self.verdicts.iter().map(f).collect::<Vec<_>>());
        metrics.set("eval/accuracy", mean_of(&|v| v.accuracy));
        metrics.set("eval/rows", self.verdicts.len() as f64);
        if self.unjudged > 0 {
            metrics.set("eval/unjudged", self.unjudged as f64);
        }
        metrics.set("eval/response_length", mean(&self.lengths));
        if self.verdicts.iter().any(|v| v.parts.contains_key("format")) {
            metrics.set("eval/format", mean_of(&|v| v.parts.get("format").copied().unwrap_or(0.0)));
        }
        let all = self.all.summary();
        let ratios = [
            ("eval/focus_mean", all.focus_mean),
            ("eval/focus_early", all.focus_early),
            ("eval/focus_late", all.focus_late),
            ("eval/late_early_ratio", all.late_early_ratio),
            ("eval/late_early_ratio_right", self.right.summary().late_early_ratio),
            ("eval/late_early_ratio_wrong", self.wrong.summary().late_early_ratio),
        ];
        for (key, value) in ratios {
            if let Some(value) = value {
                metrics.set(key, value);
            }
        }
        let (early, late) = self.attention.early_late();
        metrics.set("eval/attention_image_mean", self.attention.means().image);
        metrics.set("eval/attention_image_early", early);
        metrics.set("eval/attention_image_late", late);
        metrics
    }
}

/// Answers the first `eval_rows` rows of `source` greedily.
pub fn evaluate(
    pool: &Pool,
    model: &dyn VisionLanguageModel,
    judge: &Judge<'_>,
    spec: &JobSpec,
) -> Result<Evaluation, TrainError> {
    let settings = RolloutSettings {
        group_size: 1,
        temperature: 0.0,
        top_p: 1.0,
        max_new_tokens: spec.rollout.max_new_tokens as usize,
        attention: true,
        similarity: true,
    };
    let source = judge.source;
    let rows = spec.eval_rows.min(source.rows());
    let mut tally = Tally::default();
    let mut logged = Vec::new();
    for first in (0..rows).step_by(CHUNK as usize) {
        let range = first..rows.min(first + CHUNK);
        let prompts: Vec<Prompt> =
            range.map(|row| source.prompt(row, row)).filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let sequences: Vec<&Sequence> = prompts.iter().map(|p| &p.sequence).collect();
        let answers = rollout(pool, model, &sequences, &settings, |_, _| stream(&[]))?;
        let part = format!("{}-{first}", judge.part);
        let verdicts = Judge { part: &part, ..*judge }.verdicts(&prompts, &answers)?;
        let judged = prompts.iter().zip(answers.iter().flatten()).zip(verdicts.into_iter().flatten());
        for ((prompt, answer), verdict) in judged {
            let Some(verdict) = verdict else {
                tally.unjudged += 1;
                continue;
            };
            if logged.len() < LOGGED {
                logged.push(samples::evaluated(source.processor(), prompt, answer, &verdict)?);
            }
            tally.add(verdict, answer);
        }
    }
    let metrics = tally.metrics();
    Ok(Evaluation { accuracy: metrics.get("eval/accuracy"), metrics, samples: logged })
}
