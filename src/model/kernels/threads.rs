//! Independent pieces of one operation on several threads.
//!
//! An operation is shared by the threads of the rayon pool that it is called from: in a pool of one thread it stays
//! there, so that one graph a core leaves the cores to the others.

use rayon::prelude::*;

use crate::model::transfers::emulated;

/// Multiplications below which a second thread costs more than it saves.
pub const WORTH_SHARING: usize = 1 << 21;

/// Number of tokens from which products are worth sharing.
const MANY_TOKENS: usize = 8;

/// Runs `work` inside the thread pool that shares products, so that the pool need not be woken for every single
/// product. A pass over few tokens stays on this thread, and so does all work where products are not shared.
pub fn among_workers<R: Send>(tokens: usize, work: impl FnOnce() -> R + Send) -> R {
    let here = tokens < MANY_TOKENS
        || rayon::current_thread_index().is_some()
        || candle_core::utils::get_num_threads() < 2
        // What stands for a GPU is one thread.
        || emulated();
    if here { work() } else { rayon::scope(|_| work()) }
}

/// Threads that may share an operation: those of the pool of this thread, or else as many as candle's products use.
pub fn available() -> usize {
    if rayon::current_thread_index().is_some() {
        rayon::current_num_threads()
    } else {
        candle_core::utils::get_num_threads()
    }
}

/// Is this amount of work worth a second thread? Never where only one is available.
pub fn worth_sharing(multiplications: usize) -> bool {
    multiplications >= WORTH_SHARING && available() > 1
}

/// `work` on `0..count`, in order. Every piece is computed by one thread, so results never depend on how many there are; they
/// share the threads that matrix products use, and stay on this one where products do.
pub fn map<R: Send>(count: usize, multiplications: usize, work: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    if count > 1 && worth_sharing(multiplications) {
        (0..count).into_par_iter().map(work).collect()
    } else {
        (0..count).map(work).collect()
    }
}

/// `work` on adjacent chunks of `size` values, in order; shared among threads as by [`map`].
pub fn map_chunks<R: Send>(
    values: &mut [f32],
    size: usize,
    multiplications: usize,
    work: impl Fn(usize, &mut [f32]) -> R + Sync + Send,
) -> Vec<R> {
    if values.len() > size && worth_sharing(multiplications) {
        values.par_chunks_mut(size).enumerate().map(|(index, chunk)| work(index, chunk)).collect()
    } else {
        values.chunks_mut(size).enumerate().map(|(index, chunk)| work(index, chunk)).collect()
    }
}
