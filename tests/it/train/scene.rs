//! A model in both views, and learners on it as the trainer has them on a CPU.

use std::sync::Arc;

use vgpo::model::logprob::Vocabulary;
use vgpo::model::{ModelFolder, View, VisionLanguageModel};
use vgpo::train::learner::Learner;
use vgpo::train::micro_batch::Packing;
use vgpo::train::parallel::Pool;

use super::open_starter;

pub struct Scene {
    pub folder: ModelFolder,
    pub tracked: Arc<dyn VisionLanguageModel>,
    detached: Arc<dyn VisionLanguageModel>,
    pool: Pool,
}

impl Scene {
    /// The starter.
    pub fn starter() -> Self {
        Self::of(open_starter())
    }

    pub fn of(folder: ModelFolder) -> Self {
        let (tracked, detached) = (folder.model(View::Tracked).unwrap(), folder.model(View::Detached).unwrap());
        Self { folder, tracked, detached, pool: Pool::new().unwrap() }
    }

    /// A learner with micro-batches of at most this many tokens.
    pub fn learner(&self, microbatch_tokens: u64) -> Learner<'_> {
        Learner {
            pool: &self.pool,
            tracked: self.tracked.as_ref(),
            detached: self.detached.as_ref(),
            parameters: self.folder.parameters(),
            vocabulary: Vocabulary::rollout(self.tracked.info(), 1.0),
            packing: Packing::Shared,
            microbatch_tokens,
            checkpointing: false,
            predicting: false,
        }
    }
}
