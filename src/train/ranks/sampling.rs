//! Responses, rewards and scores over ranks: each prompt is answered by one of them, and all learn of it.

use rand_chacha::ChaCha8Rng;

use super::deal::{Tree, balanced};
use super::wire::{from_bytes, to_bytes};
use super::{Ranks, Wire};
use crate::model::{Sequence, VisionLanguageModel};
use crate::reward::Verdict;
use crate::train::error::TrainError;
use crate::train::group::{Group, Sampled, sample};
use crate::train::micro_batch::by_prompt;
use crate::train::parallel::Pool;
use crate::train::rewards::RewardContext;
use crate::train::rollout::{Rollout, RolloutSettings, rollout_in_shares};
use crate::train::source::Prompt;
use crate::train::train_sequence::TrainSequence;

impl Ranks {
    /// A group of responses to every prompt; `rng(prompt, sample)` gives each response a random stream of its own.
    pub(in crate::train) fn sample(
        &self,
        pool: &Pool,
        model: &dyn VisionLanguageModel,
        prompts: Vec<Prompt>,
        settings: &RolloutSettings,
        rng: impl Fn(&Prompt, usize) -> ChaCha8Rng + Sync,
    ) -> Result<Vec<Sampled>, TrainError> {
        if self.is_plain() {
            return sample(pool, model, prompts, settings, rng);
        }
        let own: Vec<&Prompt> = prompts.iter().skip(self.rank()).step_by(self.size()).collect();
        let sequences: Vec<&Sequence> = own.iter().map(|prompt| &prompt.sequence).collect();
        // Who shares a batch may change the last bits: a deterministic job decodes every group alone.
        let (share, rows) = if self.is_ordered() {
            (1, settings.group_size)
        } else {
            (own.len().div_ceil(pool.threads()).max(1), settings.rows)
        };
        let settings = RolloutSettings { rows, ..*settings };
        let rng = |prompt: usize, sample| rng(own[prompt], sample);
        let rollouts = rollout_in_shares(pool, model, &sequences, &settings, share, rng)?;
        let mut all: Vec<_> = self.share_out("responses", rollouts)?;
        let mut sampled = Vec::with_capacity(prompts.len());
        for (index, prompt) in prompts.into_iter().enumerate() {
            let rank = index % self.size();
            let rollouts: Option<Vec<Rollout>> = all[rank].next();
            let rollouts = rollouts.ok_or_else(|| Self::unexpected(rank, "responses"))?;
            sampled.push(Sampled { prompt, rollouts, version: None });
        }
        Ok(sampled)
    }

    /// The groups with the verdicts that rank 0 has computed, in one call of the reward function.
    pub(in crate::train) fn rewards(
        &self,
        context: &RewardContext<'_>,
        sampled: Vec<Sampled>,
    ) -> Result<Vec<Group>, TrainError> {
        if self.size() == 1 {
            return context.compute(sampled);
        }
        let own = if self.is_first() { to_bytes(&context.verdicts(&sampled)?) } else { Vec::new() };
        let message = self.broadcast("verdicts", own)?;
        let verdicts: Vec<Option<Verdict>> = from_bytes(&message).ok_or_else(|| Self::unexpected(0, "verdicts"))?;
        Ok(RewardContext::grouped(sampled, verdicts))
    }

    /// What `work` gives for every sequence, in order; each rank does it for its groups.
    pub(in crate::train) fn each<T: Wire + Default + Clone>(
        &self,
        sequences: &[&TrainSequence],
        work: impl FnOnce(&[&TrainSequence]) -> Result<Vec<T>, TrainError>,
    ) -> Result<Vec<T>, TrainError> {
        if self.size() == 1 {
            return work(sequences);
        }
        let groups = by_prompt(sequences);
        let dealt = self.deal(sequences, &groups);
        let indices = |rank: usize| dealt[rank].iter().flat_map(|group| &groups[*group]);
        let own: Vec<&TrainSequence> = indices(self.rank()).map(|index| sequences[*index]).collect();
        let mut out = vec![T::default(); sequences.len()];
        for (rank, results) in self.share_out("scores", work(&own)?)?.into_iter().enumerate() {
            if results.len() != indices(rank).count() {
                return Err(Self::unexpected(rank, "scores"));
            }
            indices(rank).zip(results).for_each(|(index, result)| out[*index] = result);
        }
        Ok(out)
    }

    /// The groups of each rank, with about the same number of tokens and patches.
    fn deal(&self, sequences: &[&TrainSequence], groups: &[Vec<usize>]) -> Vec<Vec<usize>> {
        let sizes = sizes(sequences, groups);
        if !self.is_ordered() {
            return balanced(&sizes, self.size());
        }
        let tree = Tree::of(&sizes);
        tree.ranges(self.size()).into_iter().map(|leaves| tree.leaves[leaves].to_vec()).collect()
    }

    /// The values of every rank, in rank order.
    fn share_out<T: Wire>(&self, what: &'static str, own: Vec<T>) -> Result<Vec<std::vec::IntoIter<T>>, TrainError> {
        if self.size() == 1 {
            return Ok(vec![own.into_iter()]);
        }
        Ok(self.gather(what, &own)?.into_iter().map(Vec::into_iter).collect())
    }
}

/// The work that each group is: its tokens, the prompt's counted once, and the patches of its images.
pub(super) fn sizes(sequences: &[&TrainSequence], groups: &[Vec<usize>]) -> Vec<u64> {
    let size = |group: &Vec<usize>| {
        let first = sequences[group[0]];
        let patches: usize = first.input.images.iter().map(|image| image.grid.patches()).sum();
        let responses: usize = group.iter().map(|index| sequences[*index].response_len()).sum();
        (first.prompt_len + patches + responses) as u64
    };
    groups.iter().map(size).collect()
}
