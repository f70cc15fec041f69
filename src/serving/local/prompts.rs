//! Prompts on their way through the model, the oldest first: several at a time, each on a thread of its own.

use std::collections::VecDeque;
use std::sync::Arc;

use rayon::prelude::*;

use super::guarded;
use super::job::GenerateJob;
use super::memory::{PromptKey, PromptMemory};
use super::reading::{ReadPrompt, Reading, Start};
use super::running::Running;
use crate::clock::Stopwatch;
use crate::config::serving::EngineLimits;
use crate::serving::ServingError;
use crate::serving::model::ServedModel;
use crate::serving::usage::Totals;

/// Generations whose prompts are being read.
pub struct Prompts<'m> {
    served: &'m ServedModel,
    totals: &'m Totals,
    memory: PromptMemory,
    chunk_tokens: usize,
    waiting: VecDeque<Waiting<'m>>,
}

struct Waiting<'m> {
    running: Arc<Running>,
    key: Arc<PromptKey>,
    reading: Option<Box<Reading<'m>>>,
}

/// A prompt in a round.
struct Turn<'m> {
    waiting: Waiting<'m>,
    columns: usize,
    result: Result<Option<Arc<ReadPrompt>>, ServingError>,
}

impl<'m> Prompts<'m> {
    /// No prompts.
    pub fn new(served: &'m ServedModel, limits: &EngineLimits, totals: &'m Totals) -> Self {
        Self {
            served,
            totals,
            memory: PromptMemory::new(limits.prompt_memory_bytes),
            chunk_tokens: limits.prefill_chunk_tokens.max(1),
            waiting: VecDeque::new(),
        }
    }

    /// Rows that will begin when the prompts have been read.
    pub fn rows(&self) -> usize {
        self.waiting.iter().map(|waiting| waiting.running.job.sampling.choices).sum()
    }

    /// Bytes of what it remembers of earlier prompts.
    pub fn memory_bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// Takes in a job that leaves the queue.
    pub fn add(&mut self, job: GenerateJob) {
        let key = Arc::new(PromptKey::of(&job.prompt));
        self.waiting.push_back(Waiting { running: Arc::new(Running::start(job)), key, reading: None });
    }

    /// Reads as many tokens as fit into one step; the prompts that are complete with them.
    pub fn read(&mut self) -> Vec<(Arc<Running>, Arc<ReadPrompt>)> {
        let clock = Stopwatch::start();
        let mut round = self.round();
        if round.is_empty() {
            return Vec::new();
        }
        match round.as_mut_slice() {
            [turn] => turn.advance(),
            turns => turns.par_iter_mut().with_max_len(1).for_each(Turn::advance),
        }
        self.totals.prefilled(clock.seconds());
        let mut done = Vec::with_capacity(round.len());
        for turn in round.into_iter().rev() {
            match turn.result {
                // Only the last of a round can be unfinished; it goes on before those that have not begun.
                Ok(None) => self.waiting.push_front(turn.waiting),
                Ok(Some(prompt)) => done.push((turn.waiting.running, prompt)),
                Err(error) => self.give_up(&turn.waiting.running, &error),
            }
        }
        done.reverse();
        for (running, prompt) in &done {
            // What was read beside others may differ in the last bits: who wants the same bits always reads for himself.
            if !running.job.sampling.alone {
                self.memory.keep(prompt);
            }
        }
        done
    }

    /// Whose turn it is, within the tokens of a step.
    fn round(&mut self) -> Vec<Turn<'m>> {
        let mut left = self.chunk_tokens;
        let mut round: Vec<Turn<'m>> = Vec::new();
        while left > 0
            && let Some(mut waiting) = self.waiting.pop_front()
        {
            if waiting.running.is_unheard() {
                continue;
            }
            if waiting.reading.is_none() && self.profits_from(&round, &waiting) {
                self.waiting.push_front(waiting);
                break;
            }
            match guarded(|| self.begin(&mut waiting)) {
                Ok(known) => {
                    let unread = waiting.reading.as_ref().map_or(0, |reading| reading.left());
                    let columns = if waiting.running.job.sampling.alone { unread } else { unread.min(left) };
                    left = left.saturating_sub(columns);
                    round.push(Turn { waiting, columns, result: Ok(known) });
                }
                Err(error) => self.give_up(&waiting.running, &error),
            }
        }
        round
    }

    /// Would most of a prompt be known, if it waited for those of the round?
    fn profits_from(&self, round: &[Turn<'m>], waiting: &Waiting<'m>) -> bool {
        let half = waiting.key.len() / 2;
        let most = round.iter().map(|turn| turn.waiting.key.common(&waiting.key)).max().unwrap_or(0);
        !waiting.running.job.sampling.alone && most > half && most > self.memory.knows(&waiting.key)
    }

    /// Begins to read a prompt; the prompt, where all of it is known.
    fn begin(&mut self, waiting: &mut Waiting<'m>) -> Result<Option<Arc<ReadPrompt>>, ServingError> {
        if waiting.reading.is_some() {
            return Ok(None);
        }
        let job = &waiting.running.job;
        let memory = (!job.sampling.alone).then_some(&mut self.memory);
        match Reading::start(self.served, &job.prompt, &waiting.key, memory)? {
            Start::Known(prompt) => return Ok(Some(prompt)),
            Start::Reading(reading) => waiting.reading = Some(reading),
        }
        Ok(None)
    }

    fn give_up(&self, running: &Running, error: &ServingError) {
        tracing::error!(model = %self.served.id, %error, "a prompt failed");
        running.fail(error);
    }
}

impl Turn<'_> {
    /// Reads its part.
    fn advance(&mut self) {
        if !matches!(self.result, Ok(None)) {
            return;
        }
        let clock = Stopwatch::start();
        self.result = guarded(|| {
            let Some(mut reading) = self.waiting.reading.take() else { return Ok(None) };
            reading.advance(self.columns)?;
            if reading.left() == 0 {
                return Ok(Some(Arc::new(reading.finish()?)));
            }
            self.waiting.reading = Some(reading);
            Ok(None)
        });
        self.waiting.running.add_prefill(clock.seconds());
    }
}
