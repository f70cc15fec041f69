//! Several graphs in parallel, one per core, as in training.

use rayon::prelude::*;

use crate::model::graphs_at_once;
use crate::serving::model::ServedModel;

/// Prompts that a model reads in parallel: one per thread of matrix products; on a GPU, one.
pub fn prefills(served: &ServedModel) -> usize {
    if served.model.device().is_cpu() { rayon::current_num_threads() } else { 1 }
}

/// Batches that a model decodes in parallel. A large one decodes a single batch, which reads the weights once.
pub fn batches(served: &ServedModel) -> usize {
    graphs_at_once(served.model.info().parameters, prefills(served))
}

/// Runs `work` on every task, each on its own thread; a single task runs on this thread, where its products use all
/// threads.
pub fn in_parallel<T: Send + ?Sized>(mut tasks: Vec<&mut T>, work: impl Fn(&mut T) + Sync + Send) {
    match tasks.as_mut_slice() {
        [task] => work(task),
        _ => tasks.into_par_iter().with_max_len(1).for_each(work),
    }
}
