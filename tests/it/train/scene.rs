//! A model in both views, and learners on it as the trainer has them on a CPU.

use std::sync::Arc;

use candle_core::Device;
use vgpo::model::logprob::Vocabulary;
use vgpo::model::transfers::{Transfers, as_on_gpu};
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
        Self { folder, tracked, detached, pool: Pool::new(0).unwrap() }
    }

    /// The same with other threads.
    pub fn with_pool(self, pool: Pool) -> Self {
        Self { pool, ..self }
    }

    /// `work` as on a GPU: on one thread, every operation composed; also what crossed between device and main memory.
    pub fn on_gpu<R: Send>(mut self, work: impl Fn(&Self) -> R + Sync) -> (R, Transfers) {
        self.pool = as_on_gpu(|| Pool::for_device(&Device::Cpu, 0).unwrap()).0;
        let mut out = None;
        let run = |()| Ok(as_on_gpu(|| work(&self)));
        let take = |result| {
            out = Some(result);
            Ok(())
        };
        self.pool.in_waves(&[()], |()| run(()), take).unwrap();
        out.unwrap()
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
