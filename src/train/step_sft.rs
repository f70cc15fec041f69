//! One supervised step: demonstrations of the next rows, mean negative log-likelihood, one update.

use crate::clock::Stopwatch;
use crate::data::Split;
use crate::model::Sequence;

use super::error::TrainError;
use super::learner::TrainRow;
use super::metrics::Metrics;
use super::sink::Control;
use super::trainer::{StepEnd, Trainer};

impl Trainer<'_> {
    pub(super) fn supervised_step(&mut self) -> Result<StepEnd, TrainError> {
        let rows = self.demonstrations()?;
        let control = self.sink.control();
        if control != Control::Continue {
            return Ok(StepEnd::Stopped(control));
        }
        let clock = Stopwatch::start();
        let mut metrics = Metrics::default();
        let (mut losses, mut norms, mut padding, mut rate) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
        for minibatch in rows.chunks(self.spec.batch.minibatch_prompts as usize) {
            let minibatch: Vec<&TrainRow> = minibatch.iter().collect();
            let output = self.learner().gradients(&minibatch, self.algorithm.as_ref())?;
            losses.push(output.loss);
            padding.push(output.padding_share);
            let (norm, used) = self.update(&output.gradients)?;
            norms.push(norm);
            rate = used;
        }
        let tokens: usize = rows.iter().map(TrainRow::response_len).sum();
        self.state.samples += rows.len() as u64;
        self.state.tokens += tokens as u64;
        metrics.set("loss/policy", super::metrics::mean(&losses));
        metrics.set("batch/padding_share", super::metrics::mean(&padding));
        metrics.set("optimizer/grad_norm", super::metrics::mean(&norms));
        metrics.set("optimizer/learning_rate", rate);
        metrics.set("time/update", clock.seconds());
        metrics.set("response_tokens", tokens as f64);
        Ok(StepEnd::Done(metrics))
    }

    fn demonstrations(&mut self) -> Result<Vec<TrainRow>, TrainError> {
        let end = self.tracked.info().eos_token_ids.first().copied();
        let mut rows = Vec::new();
        for prompt in self.next_prompts(self.spec.batch.prompts_per_step)? {
            let text = prompt.example.demonstration.as_deref().ok_or_else(|| TrainError::Setting {
                field: "method.type",
                problem: format!(
                    "\"sft\" needs a demonstration in every row, and {} (data set `{}`) has none",
                    prompt.example.place(Split::Train),
                    self.spec.dataset
                ),
            })?;
            let text = prompt.rendered.continuation(text);
            let mut response = self.source.processor().encode_response(text).map_err(TrainError::PromptSettings)?;
            if let Some(end) = end.filter(|end| response.last() != Some(end)) {
                response.push(end);
            }
            let prompt_len = prompt.sequence.ids.len();
            let ids = [prompt.sequence.ids, response].concat();
            rows.push(TrainRow {
                sequence: Sequence { ids, images: prompt.sequence.images },
                prompt_len,
                ..TrainRow::default()
            });
        }
        Ok(rows)
    }
}
