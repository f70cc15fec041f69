//! Gradients of a mini-batch over ranks.

use super::Ranks;
use super::deal::{Tree, balanced};
use super::reducer::Reducer;
use super::sampling::sizes;
use super::sums::{Places, Sums};
use super::wire::{Reader, Wire, Writer};
use crate::algorithm::{Algorithm, BatchTotals, LossStats};
use crate::train::error::TrainError;
use crate::train::learner::{Learner, MiniBatchOutput, Scored};
use crate::train::micro_batch::by_prompt;
use crate::train::train_sequence::TrainSequence;

/// What is told of the groups that a rank has computed, besides their gradients.
struct Part {
    /// Decides the order in which parts are added up.
    place: usize,
    /// The indices of their sequences.
    sequences: Vec<usize>,
    loss: f64,
    policy_loss: f64,
    stats: LossStats,
    scored: Vec<Scored>,
}

impl Part {
    fn of(place: usize, sequences: Vec<usize>, output: MiniBatchOutput) -> Self {
        let MiniBatchOutput { loss, policy_loss, stats, scored, .. } = output;
        Self { place, sequences, loss, policy_loss, stats, scored }
    }
}

impl Wire for Part {
    fn write(&self, to: &mut Writer) {
        self.place.write(to);
        self.sequences.write(to);
        self.loss.write(to);
        self.policy_loss.write(to);
        self.stats.write(to);
        self.scored.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            place: usize::read(from)?,
            sequences: Vec::read(from)?,
            loss: f64::read(from)?,
            policy_loss: f64::read(from)?,
            stats: LossStats::read(from)?,
            scored: Vec::read(from)?,
        })
    }
}

impl Ranks {
    /// Loss and gradient of a mini-batch, the same at every rank. Each rank computes its groups; the totals count all.
    pub(in crate::train) fn gradients(
        &self,
        learner: &Learner<'_>,
        sequences: &[&TrainSequence],
        algorithm: &dyn Algorithm,
    ) -> Result<MiniBatchOutput, TrainError> {
        match self.reducer.get() {
            _ if self.is_plain() => learner.gradients(sequences, algorithm),
            Some(reducer) => self.packed_gradients(learner, sequences, algorithm, reducer),
            None => self.ordered_gradients(learner, sequences, algorithm),
        }
    }

    /// Each rank packs its groups together, and its gradients stay on its device.
    fn packed_gradients(
        &self,
        learner: &Learner<'_>,
        sequences: &[&TrainSequence],
        algorithm: &dyn Algorithm,
        reducer: &Reducer,
    ) -> Result<MiniBatchOutput, TrainError> {
        let groups = by_prompt(sequences);
        let dealt = balanced(&sizes(sequences, &groups), self.size()).swap_remove(self.rank());
        let indices: Vec<usize> = dealt.iter().flat_map(|group| groups[*group].iter().copied()).collect();
        let mut output = learner.gradients_with(&select(sequences, &indices), algorithm, totals(sequences))?;
        let own = std::mem::take(&mut output.gradients);
        let mut out = self.add_up(vec![Part::of(self.rank(), indices, output)], sequences.len())?;
        out.gradients = self.reduce(own, learner.parameters.trained(), reducer)?;
        Ok(out)
    }

    /// Group by group, along a tree of them.
    fn ordered_gradients(
        &self,
        learner: &Learner<'_>,
        sequences: &[&TrainSequence],
        algorithm: &dyn Algorithm,
    ) -> Result<MiniBatchOutput, TrainError> {
        let groups = by_prompt(sequences);
        let tree = Tree::of(&sizes(sequences, &groups));
        let places = Places::of(learner.parameters);
        let (mut sums, mut parts) = (Sums::default(), Vec::new());
        let own = tree.ranges(self.size()).swap_remove(self.rank());
        let indices: Vec<&Vec<usize>> = tree.leaves[own.clone()].iter().map(|group| &groups[*group]).collect();
        let mut leaves = own.zip(&indices);
        let selected: Vec<Vec<&TrainSequence>> = indices.iter().map(|group| select(sequences, group)).collect();
        learner.gradients_by_group(&selected, algorithm, totals(sequences), |output| {
            if let Some((leaf, indices)) = leaves.next() {
                sums.push(places.node(leaf..leaf + 1, &output.gradients)?, &tree);
                parts.push(Part::of(tree.leaves[leaf], (*indices).clone(), output));
            }
            Ok(())
        })?;
        let mut out = self.add_up(parts, sequences.len())?;
        let sum = self.sum(sums, &tree, &places)?;
        out.gradients = places.gradients(&sum, learner.parameters)?;
        Ok(out)
    }

    /// The parts of all ranks, added up in their order.
    fn add_up(&self, parts: Vec<Part>, sequences: usize) -> Result<MiniBatchOutput, TrainError> {
        let mut all =
            if self.size() == 1 { parts } else { self.gather("losses", &parts)?.into_iter().flatten().collect() };
        all.sort_by_key(|part| part.place);
        let mut out = MiniBatchOutput { scored: vec![Scored::default(); sequences], ..MiniBatchOutput::default() };
        for part in all {
            out.loss += part.loss;
            out.policy_loss += part.policy_loss;
            out.stats.merge(&part.stats);
            for (index, scored) in part.sequences.into_iter().zip(part.scored) {
                *out.scored.get_mut(index).ok_or_else(|| Self::unexpected(0, "losses"))? = scored;
            }
        }
        Ok(out)
    }
}

fn select<'r>(sequences: &[&'r TrainSequence], indices: &[usize]) -> Vec<&'r TrainSequence> {
    indices.iter().map(|index| sequences[*index]).collect()
}

fn totals(sequences: &[&TrainSequence]) -> BatchTotals {
    BatchTotals::of(sequences.iter().map(|sequence| sequence.loss_tokens()))
}
