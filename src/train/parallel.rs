//! Work on several threads with results in order, so that sums never depend on which thread was first.

use candle_core::Device;
use rayon::prelude::*;

use super::error::TrainError;
use crate::model::transfers::is_gpu;

/// Backward passes recurse along the graph: about 10,000 chained operations overflow the usual 2 MB.
const STACK_BYTES: usize = 256 << 20;

/// Threads that live as long as a run: their allocator keeps the pages that every step needs again.
pub struct Pool {
    pool: rayon::ThreadPool,
}

impl Pool {
    /// One thread per core.
    pub fn new() -> Result<Self, TrainError> {
        Self::of_threads(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }

    /// Threads for work on `device`: one per core on a CPU. A GPU gets one thread: several would only multiply the
    /// memory that it needs.
    pub fn for_device(device: &Device) -> Result<Self, TrainError> {
        if is_gpu(device) { Self::of_threads(1) } else { Self::new() }
    }

    fn of_threads(threads: usize) -> Result<Self, TrainError> {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK_BYTES);
        let pool = builder.build().map_err(|e| TrainError::Thread(e.to_string()))?;
        Ok(Self { pool })
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// `work` on every item, one item per thread at a time, handed to `take` in the order of the items.
    pub fn in_waves<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> Result<R, TrainError> + Sync,
        mut take: impl FnMut(R) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        for wave in items.chunks(self.threads()) {
            let results: Vec<Result<R, TrainError>> =
                self.pool.install(|| wave.par_iter().with_max_len(1).map(&work).collect());
            for result in results {
                take(result?)?;
            }
        }
        Ok(())
    }
}
