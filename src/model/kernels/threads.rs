//! Independent pieces of one operation on several threads.
//!
//! An operation is shared by the threads of the rayon pool that it is called from: in a pool of one thread it stays
//! there, so that one graph a core leaves the cores to the others.

use std::ops::Range;

use rayon::prelude::*;

use crate::model::transfers::emulated;

/// Multiplications below which a second thread costs more than it saves.
pub const WORTH_SHARING: usize = 1 << 21;

/// Multiplications that a thread takes at a time: what is left when others have finished is small.
const TAKEN_AT_ONCE: usize = 1 << 18;

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

/// Pieces that a thread takes at a time.
fn at_once(count: usize, multiplications: usize) -> usize {
    (TAKEN_AT_ONCE / (multiplications / count.max(1)).max(1)).max(1)
}

/// `work` on `0..count`, in order. Every piece is computed by one thread, so results never depend on how many there
/// are; they share the threads that matrix products use, and stay on this one where products do.
pub fn map<R: Send>(count: usize, multiplications: usize, work: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    each((0..count).collect(), multiplications, |index, _: usize| work(index))
}

/// `work` on each of `pieces` and its index, in order; shared among threads as by [`map`].
pub fn each<T: Send, R: Send>(
    pieces: Vec<T>,
    multiplications: usize,
    work: impl Fn(usize, T) -> R + Sync + Send,
) -> Vec<R> {
    let count = pieces.len();
    if count > 1 && worth_sharing(multiplications) {
        let pieces = pieces.into_par_iter().enumerate().with_max_len(at_once(count, multiplications));
        pieces.map(|(index, piece)| work(index, piece)).collect()
    } else {
        pieces.into_iter().enumerate().map(|(index, piece)| work(index, piece)).collect()
    }
}

/// Values that [`build`] makes at a time: they stay in a near cache.
const BUILT: usize = 1 << 14;

/// `count` values, which `work` makes range by range; ranges are whole lines of `line` values. Shared among threads as
/// by [`map`]; where they are not, the values are made at once.
pub fn build(
    count: usize,
    line: usize,
    multiplications: usize,
    work: impl Fn(Range<usize>) -> Vec<f32> + Sync + Send,
) -> Vec<f32> {
    let size = BUILT.next_multiple_of(line.max(1));
    if count <= size || !worth_sharing(multiplications) {
        return work(0..count);
    }
    let mut values = vec![0.0; count];
    map_chunks(&mut values, size, multiplications, |index, chunk| {
        chunk.copy_from_slice(&work(index * size..index * size + chunk.len()));
    });
    values
}

/// `work` on adjacent chunks of `size` values, in order; shared among threads as by [`map`].
pub fn map_chunks<R: Send>(
    values: &mut [f32],
    size: usize,
    multiplications: usize,
    work: impl Fn(usize, &mut [f32]) -> R + Sync + Send,
) -> Vec<R> {
    each(values.chunks_mut(size).collect(), multiplications, work)
}
