//! Prompts that wait for their prefill, oldest first: several are processed at a time, short ones as one batch per
//! thread.

use std::collections::VecDeque;
use std::sync::Arc;

use super::guarded;
use super::job::GenerateJob;
use super::parallel::{Threads, prefills};
use super::prefill::{Prefill, PrefilledPrompt, prefill_together};
use super::prefix_cache::{KnownPrefix, PrefixCache};
use super::prompt_key::PromptKey;
use super::running::Running;
use crate::clock::Stopwatch;
use crate::config::serving::EngineLimits;
use crate::serving::ServingError;
use crate::serving::model::ServedModel;
use crate::serving::usage::Totals;

/// A cached prefix is used if it is at least one in this number of the prompt; otherwise the prompt is prefilled from
/// its beginning in a batch with others, which takes less time than a short prefix saves.
const MIN_PREFIX_SHARE: usize = 4;

/// Generations that wait for their prefill.
pub struct PrefillQueue<'m> {
    served: &'m ServedModel,
    totals: &'m Totals,
    cache: PrefixCache,
    chunk_tokens: usize,
    graphs: usize,
    waiting: VecDeque<Waiting<'m>>,
}

struct Waiting<'m> {
    running: Arc<Running>,
    key: Arc<PromptKey>,
    /// The chunks of earlier steps.
    prefill: Option<Box<Prefill<'m>>>,
}

/// The prompts of one step.
pub struct Round<'m> {
    served: &'m ServedModel,
    wholes: Vec<Turn<'m>>,
    others: Vec<Turn<'m>>,
    /// Whole prompts per batch.
    group: usize,
    seconds: f64,
}

impl Round<'_> {
    /// Tasks that can run in parallel.
    pub fn tasks(&self) -> usize {
        let cached = self.others.iter().filter(|turn| turn.work == Work::Nothing).count();
        self.wholes.len().div_ceil(self.group) + self.others.len() - cached
    }

    /// Prefills them.
    pub fn run(&mut self, threads: Threads<'_>) {
        let (served, clock) = (self.served, Stopwatch::start());
        let tasks = self.wholes.chunks_mut(self.group).chain(self.others.chunks_mut(1)).collect();
        threads.run(tasks, |turns| advance(served, turns));
        self.seconds = clock.seconds();
    }
}

/// A prompt that is processed in this step.
struct Turn<'m> {
    waiting: Waiting<'m>,
    work: Work,
    result: Result<Option<Arc<PrefilledPrompt>>, ServingError>,
}

/// What is done for a prompt in a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    /// The whole prompt is cached.
    Nothing,
    /// A chunk of this many positions, on its own.
    Part(usize),
    /// The whole prompt, in a batch with others.
    Whole,
}

impl<'m> PrefillQueue<'m> {
    /// An empty queue.
    pub fn new(served: &'m ServedModel, limits: &EngineLimits, totals: &'m Totals) -> Self {
        Self {
            served,
            totals,
            cache: PrefixCache::new(limits.prompt_memory_bytes),
            chunk_tokens: limits.prefill_chunk_tokens.max(1),
            graphs: prefills(served),
            waiting: VecDeque::new(),
        }
    }

    /// Rows that will be decoded once the prompts are prefilled.
    pub fn rows(&self) -> usize {
        self.waiting.iter().map(|waiting| waiting.running.job.sampling.choices).sum()
    }

    /// Bytes in the prefix cache.
    pub fn cache_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Adds a job that has left the request queue.
    pub fn add(&mut self, job: GenerateJob) {
        let key = Arc::new(PromptKey::of(&job.prompt));
        self.waiting.push_back(Waiting { running: Arc::new(Running::start(job)), key, prefill: None });
    }

    /// Takes as many prompts as fit into one step.
    pub fn begin_round(&mut self) -> Round<'m> {
        let (wholes, others) = self.round();
        let group = wholes.len().div_ceil(self.graphs).max(1);
        Round { served: self.served, wholes, others, group, seconds: 0.0 }
    }

    /// Takes back the prompts of a round that has run; returns those that are complete.
    pub fn end_round(&mut self, round: Round<'m>) -> Vec<(Arc<Running>, Arc<PrefilledPrompt>)> {
        self.totals.prefilled(round.seconds);
        let mut done = Vec::with_capacity(round.wholes.len() + round.others.len());
        for turn in round.wholes.into_iter().chain(round.others) {
            match turn.result {
                // Only the last prompt of a round can be incomplete; it comes before those that have not begun.
                Ok(None) => self.waiting.push_front(turn.waiting),
                Ok(Some(prompt)) => done.push((turn.waiting.running, prompt)),
                Err(error) => self.give_up(&turn.waiting.running, &error),
            }
        }
        for (running, prompt) in &done {
            // Batching may change the last bits, so deterministic requests neither use nor fill the cache.
            if !running.job.sampling.alone {
                self.cache.insert(prompt);
            }
        }
        done
    }

    /// The prompts of this step, within its token limit: those to prefill whole, and others.
    fn round(&mut self) -> (Vec<Turn<'m>>, Vec<Turn<'m>>) {
        let mut left = self.chunk_tokens;
        let (mut wholes, mut others): (Vec<Turn<'m>>, Vec<Turn<'m>>) = (Vec::new(), Vec::new());
        while left > 0
            && let Some(mut waiting) = self.waiting.pop_front()
        {
            if waiting.running.is_abandoned() {
                continue;
            }
            if waiting.prefill.is_none() && self.profits_from(wholes.iter().chain(&others), &waiting) {
                self.waiting.push_front(waiting);
                break;
            }
            match guarded(|| self.begin(&mut waiting, left)) {
                Ok((work, known)) => {
                    left = left.saturating_sub(match work {
                        Work::Nothing => 0,
                        Work::Part(count) => count,
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

    /// Would most of a prompt be cached if it waited for those of the round?
    fn profits_from<'t>(&self, round: impl Iterator<Item = &'t Turn<'m>>, waiting: &Waiting<'m>) -> bool
    where
        'm: 't,
    {
        let most = round.map(|turn| turn.waiting.key.common(&waiting.key)).max().unwrap_or(0);
        // Searching the whole cache comes last: few prompts of a round share a prefix.
        !waiting.running.job.sampling.alone
            && most > waiting.key.len() / 2
            && most > self.cache.longest_match(&waiting.key)
    }

    /// What to do for a prompt in a step that has room for `left` tokens; also the prompt itself if all of it is
    /// cached.
    fn begin(
        &mut self,
        waiting: &mut Waiting<'m>,
        left: usize,
    ) -> Result<(Work, Option<Arc<PrefilledPrompt>>), ServingError> {
        let (job, key) = (&waiting.running.job, &waiting.key);
        if waiting.prefill.is_none() {
            let known = if job.sampling.alone { None } else { self.cache.lookup(key) };
            let known = match known {
                Some(KnownPrefix { prompt, common }) if common == key.len() && common == prompt.key().len() => {
                    return Ok((Work::Nothing, Some(prompt)));
                }
                known => known.filter(|known| known.common * MIN_PREFIX_SHARE >= key.len()),
            };
            if known.is_none() && !job.sampling.alone && key.len() <= left {
                return Ok((Work::Whole, None));
            }
            waiting.prefill = Some(Box::new(Prefill::start(self.served, &job.prompt, key, known)?));
        }
        let unread = waiting.prefill.as_ref().map_or(0, |prefill| prefill.left());
        Ok((Work::Part(if job.sampling.alone { unread } else { unread.min(left) }), None))
    }

    fn give_up(&self, running: &Running, error: &ServingError) {
        tracing::error!(model = %self.served.id, %error, "a prompt failed");
        running.fail(error);
    }
}

/// Runs the work of some prompts of a round in one batch.
fn advance(served: &ServedModel, turns: &mut [Turn<'_>]) {
    let clock = Stopwatch::start();
    if let [turn] = turns
        && let Work::Part(count) = turn.work
    {
        turn.result = guarded(|| prefill_chunk(&mut turn.waiting, count));
    } else if turns.iter().all(|turn| turn.work == Work::Whole) {
        let prompts: Vec<_> =
            turns.iter().map(|turn| (turn.waiting.running.job.prompt.as_ref(), &turn.waiting.key)).collect();
        match guarded(|| prefill_together(served, &prompts)) {
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

/// Runs the next chunk; returns the prompt once it is complete.
fn prefill_chunk(waiting: &mut Waiting<'_>, count: usize) -> Result<Option<Arc<PrefilledPrompt>>, ServingError> {
    let Some(mut prefill) = waiting.prefill.take() else { return Ok(None) };
    prefill.advance(count)?;
    if prefill.left() == 0 {
        return Ok(Some(Arc::new(prefill.finish()?)));
    }
    waiting.prefill = Some(prefill);
    Ok(None)
}
