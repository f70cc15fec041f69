//! Independent pieces of one operation on several threads.

use rayon::prelude::*;

/// Multiplications below which a second thread costs more than it saves.
const WORTH_SHARING: usize = 1 << 21;

/// `work` on `0..count`, in order. Every piece is computed by one thread, so results never depend on how many there are; they
/// share the threads that matrix products use, and stay on this one where products do.
pub fn map<R: Send>(count: usize, multiplications: usize, work: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    if count > 1 && multiplications >= WORTH_SHARING && candle_core::utils::get_num_threads() > 1 {
        (0..count).into_par_iter().map(work).collect()
    } else {
        (0..count).map(work).collect()
    }
}
