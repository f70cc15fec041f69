//! Decode batches that run in parallel, one graph per thread as in rollouts. A batch of many rows spends most of a step
//! on small operations that use one thread; two halves of it run them at the same time.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::decode::Decode;
use super::guarded;
use super::parallel::{self, Threads};
use super::prefill::PrefilledPrompt;
use super::running::Running;
use crate::clock::Stopwatch;
use crate::serving::model::ServedModel;
use crate::serving::usage::Totals;

/// Rows below which a batch is not divided: small batches are bound by reading the weights, which every batch reads on
/// its own.
const DIVIDED_ROWS: usize = 8;
/// Tokens that batches decode at most before they meet, so that usage is reported in between.
const MOST_TOKENS: usize = 32;

/// All sequences that are being decoded.
pub struct DecodeBatches<'m> {
    served: &'m ServedModel,
    totals: &'m Totals,
    shared: Vec<Decode<'m>>,
    /// Rows of deterministic requests, whose results must not depend on the batch.
    alone: Vec<Decode<'m>>,
}

impl<'m> DecodeBatches<'m> {
    /// One shared batch per parallel graph.
    pub fn new(served: &'m ServedModel, totals: &'m Totals) -> Self {
        Self {
            served,
            totals,
            shared: (0..parallel::batches(served)).map(|_| Decode::new(served)).collect(),
            alone: Vec::new(),
        }
    }

    fn batches(&self) -> impl Iterator<Item = &Decode<'m>> {
        self.shared.iter().chain(&self.alone)
    }

    /// Rows that are being decoded.
    pub fn rows(&self) -> usize {
        self.batches().map(Decode::rows).sum()
    }

    /// Bytes of keys and values of its rows.
    pub fn kv_bytes(&self) -> usize {
        self.batches().map(Decode::kv_bytes).sum()
    }

    /// Admits the choices of a job whose prefill is done.
    pub fn admit(&mut self, running: &Arc<Running>, prompt: &Arc<PrefilledPrompt>) {
        let choices = running.job.sampling.choices;
        if running.job.sampling.alone {
            for choice in 0..choices {
                let mut batch = Decode::new(self.served);
                batch.admit(running, choice..choice + 1, prompt);
                self.alone.push(batch);
            }
            return;
        }
        let loads: Vec<usize> = self.shared.iter().map(Decode::rows).collect();
        for (index, choices) in divided(&loads, choices) {
            self.shared[index].admit(running, choices, prompt);
        }
    }

    /// Tokens for every row while other work runs, at least one.
    pub fn step_during(&mut self, threads: Threads<'_>, work: &AtomicBool) {
        loop {
            self.step(threads, &|| false);
            if self.rows() == 0 || !work.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// A token for every row; more of them while no row ends and `may_continue` says so. Batches do not wait for each
    /// other between these tokens.
    pub fn step(&mut self, threads: Threads<'_>, may_continue: &(impl Fn() -> bool + Sync)) {
        if self.rows() == 0 {
            return;
        }
        let clock = Stopwatch::start();
        let (tokens, steps, row_ended) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        let busy: Vec<_> = self.shared.iter_mut().chain(&mut self.alone).filter(|batch| batch.rows() > 0).collect();
        // Where batches take turns on a thread, none gets ahead of the others.
        let takes_turns = busy.len() > threads.count();
        threads.run(busy, |batch: &mut Decode<'m>| {
            for step in 1..=MOST_TOKENS {
                let rows = batch.rows();
                if let Err(error) = guarded(|| batch.step()) {
                    tracing::error!(model = %self.served.id, %error, "a batch failed");
                    batch.fail(&error);
                }
                tokens.fetch_add(rows, Ordering::Relaxed);
                steps.fetch_max(step, Ordering::Relaxed);
                if batch.rows() < rows {
                    row_ended.store(true, Ordering::Relaxed);
                }
                if takes_turns || row_ended.load(Ordering::Relaxed) || !may_continue() {
                    break;
                }
            }
        });
        self.alone.retain(|batch| batch.rows() > 0);
        self.totals.decoded(tokens.into_inner(), steps.into_inner(), clock.seconds());
    }
}

/// Which batches, with `loads` rows each, take which of a job's choices: the emptiest first, and no more batches than
/// needed.
fn divided(loads: &[usize], choices: usize) -> Vec<(usize, Range<usize>)> {
    let rows = loads.iter().sum::<usize>() + choices;
    let used = (rows / DIVIDED_ROWS).clamp(1, loads.len());
    let mut counts = vec![0; used];
    for _ in 0..choices {
        if let Some(index) = (0..used).min_by_key(|index| loads[*index] + counts[*index]) {
            counts[index] += 1;
        }
    }
    let mut first = 0;
    let mut out = Vec::with_capacity(used);
    for (index, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
        out.push((index, first..first + count));
        first += count;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::divided;

    #[test]
    fn few_rows_stay_together_and_many_are_spread_evenly() {
        assert_eq!(divided(&[0, 0], 3), [(0, 0..3)]);
        assert_eq!(divided(&[7, 0], 1), [(0, 0..1)]);
        assert_eq!(divided(&[15, 0], 1), [(1, 0..1)]);
        assert_eq!(divided(&[16, 9], 9), [(0, 0..1), (1, 1..9)]);
        assert_eq!(divided(&[5, 20], 1), [(0, 0..1)]);
        assert_eq!(divided(&[0], 40), [(0, 0..40)]);
    }
}
