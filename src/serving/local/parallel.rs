//! Several graphs in parallel, one per core, as in training.

use rayon::prelude::*;

use crate::serving::model::ServedModel;

/// Number of graphs that a model computes in parallel: one per thread of matrix products; on a GPU, one.
pub fn graphs(served: &ServedModel) -> usize {
    if served.model.device().is_cpu() { rayon::current_num_threads() } else { 1 }
}

/// Runs `work` on every task, each on its own thread; a single task runs on this thread, where its products use all
/// threads.
pub fn in_parallel<T: Send + ?Sized>(mut tasks: Vec<&mut T>, work: impl Fn(&mut T) + Sync + Send) {
    match tasks.as_mut_slice() {
        [task] => work(task),
        _ => tasks.into_par_iter().with_max_len(1).for_each(work),
    }
}
