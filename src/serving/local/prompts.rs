//! Prompts on their way through the model, the oldest first: several at a time, short ones as one batch on every thread.

use std::collections::VecDeque;
use std::sync::Arc;

use super::guarded;
use super::job::GenerateJob;
use super::memory::{PromptKey, PromptMemory};
use super::reading::{ReadPrompt, Reading, read_together};
use super::running::Running;
use super::side_by_side::{graphs, side_by_side};
use crate::clock::Stopwatch;
use crate::config::serving::EngineLimits;
use crate::serving::ServingError;
use crate::serving::model::ServedModel;
use crate::serving::usage::Totals;

/// The part of a prompt that must be known for reading on behind it, in one over so many: else it is read with others from its
/// beginning, which takes less than a few columns save.
const WORTH_KNOWING: usize = 4;

/// Generations whose prompts are being read.
pub struct Prompts<'m> {
    served: &'m ServedModel,
    totals: &'m Totals,
    memory: PromptMemory,
    chunk_tokens: usize,
    graphs: usize,
    waiting: VecDeque<Waiting<'m>>,
}

struct Waiting<'m> {
    running: Arc<Running>,
    key: Arc<PromptKey>,
    /// What has been read in earlier steps.
    reading: Option<Box<Reading<'m>>>,
}

/// A prompt in a round.
struct Turn<'m> {
    waiting: Waiting<'m>,
    work: Work,
    result: Result<Option<Arc<ReadPrompt>>, ServingError>,
}

/// What a prompt's turn is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    /// All of it is known.
    Nothing,
    /// So many columns, on its own.
    Part(usize),
    /// The whole prompt, with others.
    Whole,
}

impl<'m> Prompts<'m> {
    /// No prompts.
    pub fn new(served: &'m ServedModel, limits: &EngineLimits, totals: &'m Totals) -> Self {
        Self {
            served,
            totals,
            memory: PromptMemory::new(limits.prompt_memory_bytes),
            chunk_tokens: limits.prefill_chunk_tokens.max(1),
            graphs: graphs(served),
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
        let (mut wholes, mut others) = self.round();
        if wholes.is_empty() && others.is_empty() {
            return Vec::new();
        }
        let group = wholes.len().div_ceil(self.graphs).max(1);
        let tasks: Vec<&mut [Turn<'m>]> = wholes.chunks_mut(group).chain(others.chunks_mut(1)).collect();
        side_by_side(tasks, |turns| advance(self.served, turns));
        self.totals.prefilled(clock.seconds());
        let mut done = Vec::with_capacity(wholes.len() + others.len());
        for turn in wholes.into_iter().chain(others) {
            match turn.result {
                // Only the last of a round can be unfinished; it goes on before those that have not begun.
                Ok(None) => self.waiting.push_front(turn.waiting),
                Ok(Some(prompt)) => done.push((turn.waiting.running, prompt)),
                Err(error) => self.give_up(&turn.waiting.running, &error),
            }
        }
        for (running, prompt) in &done {
            // What was read beside others may differ in the last bits: who wants the same bits always reads for himself.
            if !running.job.sampling.alone {
                self.memory.keep(prompt);
            }
        }
        done
    }

    /// Whose turn it is, within the tokens of a step: prompts to be read whole, and others.
    fn round(&mut self) -> (Vec<Turn<'m>>, Vec<Turn<'m>>) {
        let mut left = self.chunk_tokens;
        let (mut wholes, mut others): (Vec<Turn<'m>>, Vec<Turn<'m>>) = (Vec::new(), Vec::new());
        while left > 0
            && let Some(mut waiting) = self.waiting.pop_front()
        {
            if waiting.running.is_unheard() {
                continue;
            }
            if waiting.reading.is_none() && self.profits_from(wholes.iter().chain(&others), &waiting) {
                self.waiting.push_front(waiting);
                break;
            }
            match guarded(|| self.begin(&mut waiting, left)) {
                Ok((work, known)) => {
                    left = left.saturating_sub(match work {
                        Work::Nothing => 0,
                        Work::Part(columns) => columns,
                        Work::Whole => waiting.key.len(),
                    });
                    let turns = if work == Work::Whole { &mut wholes } else { &mut others };
                    turns.push(Turn { waiting, work, result: Ok(known) });
                }
                Err(error) => self.give_up(&waiting.running, &error),
            }
        }
        (wholes, others)
    }

    /// Would most of a prompt be known, if it waited for those of the round?
    fn profits_from<'t>(&self, round: impl Iterator<Item = &'t Turn<'m>>, waiting: &Waiting<'m>) -> bool
    where
        'm: 't,
    {
        let most = round.map(|turn| turn.waiting.key.common(&waiting.key)).max().unwrap_or(0);
        // Looking through the whole memory comes last: few prompts of a round begin alike.
        !waiting.running.job.sampling.alone && most > waiting.key.len() / 2 && most > self.memory.knows(&waiting.key)
    }

    /// What is to be done for a prompt in a step that has room for `left` tokens; the prompt, where all of it is known.
    fn begin(
        &mut self,
        waiting: &mut Waiting<'m>,
        left: usize,
    ) -> Result<(Work, Option<Arc<ReadPrompt>>), ServingError> {
        let (job, key) = (&waiting.running.job, &waiting.key);
        if waiting.reading.is_none() {
            let known = if job.sampling.alone { None } else { self.memory.recall(key) };
            let known = match known {
                Some((known, common)) if common == key.len() && common == known.key().len() => {
                    return Ok((Work::Nothing, Some(known)));
                }
                known => known.filter(|(_, common)| common * WORTH_KNOWING >= key.len()),
            };
            if known.is_none() && !job.sampling.alone && key.len() <= left {
                return Ok((Work::Whole, None));
            }
            waiting.reading = Some(Box::new(Reading::start(self.served, &job.prompt, key, known)?));
        }
        let unread = waiting.reading.as_ref().map_or(0, |reading| reading.left());
        Ok((Work::Part(if job.sampling.alone { unread } else { unread.min(left) }), None))
    }

    fn give_up(&self, running: &Running, error: &ServingError) {
        tracing::error!(model = %self.served.id, %error, "a prompt failed");
        running.fail(error);
    }
}

/// Reads what some prompts of a round are to read together.
fn advance(served: &ServedModel, turns: &mut [Turn<'_>]) {
    let clock = Stopwatch::start();
    if let [turn] = turns
        && let Work::Part(columns) = turn.work
    {
        turn.result = guarded(|| read_part(&mut turn.waiting, columns));
    } else if turns.iter().all(|turn| turn.work == Work::Whole) {
        let prompts: Vec<_> =
            turns.iter().map(|turn| (turn.waiting.running.job.prompt.as_ref(), &turn.waiting.key)).collect();
        match guarded(|| read_together(served, &prompts)) {
            Ok(read) => {
                for (turn, prompt) in turns.iter_mut().zip(read) {
                    turn.result = Ok(Some(Arc::new(prompt)));
                }
            }
            Err(error) => turns.iter_mut().for_each(|turn| turn.result = Err(error.clone())),
        }
    }
    for turn in turns {
        turn.waiting.running.add_prefill(clock.seconds());
    }
}

/// Reads on; the prompt, once nothing is left.
fn read_part(waiting: &mut Waiting<'_>, columns: usize) -> Result<Option<Arc<ReadPrompt>>, ServingError> {
    let Some(mut reading) = waiting.reading.take() else { return Ok(None) };
    reading.advance(columns)?;
    if reading.left() == 0 {
        return Ok(Some(Arc::new(reading.finish()?)));
    }
    waiting.reading = Some(reading);
    Ok(None)
}
