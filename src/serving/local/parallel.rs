//! Several graphs in parallel, one per core, as in training.

use rayon::prelude::*;

use crate::model::graphs_at_once;
use crate::serving::model::ServedModel;

/// Number of graphs that a model computes in parallel: of a small one, one per thread of matrix products; on a GPU, one.
pub fn graphs(served: &ServedModel) -> usize {
    let on_cpu = || graphs_at_once(served.model.info().parameters, rayon::current_num_threads());
    if served.model.device().is_cpu() { on_cpu() } else { 1 }
}

/// Runs `work` on every task, each on its own thread; a single task runs on this thread, where its products use all
/// threads.
pub fn in_parallel<T: Send + ?Sized>(mut tasks: Vec<&mut T>, work: impl Fn(&mut T) + Sync + Send) {
    match tasks.as_mut_slice() {
        [task] => work(task),
        _ => tasks.into_par_iter().with_max_len(1).for_each(work),
    }
}
