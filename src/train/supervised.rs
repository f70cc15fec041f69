//! One supervised step: demonstrations of the next rows, mean negative log-likelihood, one update.

use std::ops::ControlFlow;

use crate::clock::Stopwatch;
use crate::data::Split;
use crate::model::Sequence;

use super::error::TrainError;
use super::metrics::Metrics;
use super::step::Updates;
use super::train_sequence::TrainSequence;
use super::trainer::{StepEnd, Trainer};

impl Trainer<'_> {
    pub(super) fn supervised_step(&mut self) -> Result<StepEnd, TrainError> {
        let sequences = self.demonstrations()?;
        if let ControlFlow::Break(stop) = self.sink.control().flow() {
            return Ok(ControlFlow::Break(stop));
        }
        let clock = Stopwatch::start();
        let mut updates = Updates::default();
        for minibatch in sequences.chunks(self.spec.batch.minibatch_prompts as usize) {
            self.step.update(&minibatch.iter().collect::<Vec<_>>(), self.state.step + 1, &mut updates)?;
        }
        let tokens: usize = sequences.iter().map(TrainSequence::response_len).sum();
        self.state.samples += sequences.len() as u64;
        self.state.tokens += tokens as u64;
        let mut metrics = Metrics::default();
        updates.describe(&mut metrics);
        metrics.set("time/update", clock.seconds());
        metrics.set("response_tokens", tokens as f64);
        Ok(ControlFlow::Continue(metrics))
    }

    fn demonstrations(&mut self) -> Result<Vec<TrainSequence>, TrainError> {
        let end = self.step.policy.tracked.info().eos_token_ids.first().copied();
        let mut sequences = Vec::new();
        for prompt in self.next_prompts()? {
            let text = prompt.example.demonstration.as_deref().ok_or_else(|| TrainError::Setting {
                field: "method.type",
                problem: format!(
                    "\"sft\" needs a demonstration in every row, and {} (data set `{}`) has none",
                    prompt.example.place(Split::Train),
                    self.spec.dataset
                ),
            })?;
            let text = prompt.rendered.continuation(text);
            let processor = self.step.source.processor();
            let mut response = processor.encode_response(text).map_err(TrainError::PromptSettings)?;
            if let Some(end) = end.filter(|end| response.last() != Some(end)) {
                response.push(end);
            }
            let prompt_len = prompt.sequence.ids.len();
            let ids = [prompt.sequence.ids, response].concat();
            sequences.push(TrainSequence {
                input: Sequence { ids, images: prompt.sequence.images },
                prompt_len,
                ..TrainSequence::default()
            });
        }
        Ok(sequences)
    }
}
