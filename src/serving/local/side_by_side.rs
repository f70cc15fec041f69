//! Several graphs at the same time, one per core, as training has them.

use rayon::prelude::*;

use crate::serving::model::ServedModel;

/// Graphs that a model computes at the same time: as many as there are threads for products; a GPU computes one.
pub fn graphs(served: &ServedModel) -> usize {
    if served.model.device().is_cpu() { rayon::current_num_threads() } else { 1 }
}

/// `work` on every task, each on a thread of its own; a single one stays here, where its products have all threads.
pub fn side_by_side<T: Send + ?Sized>(mut tasks: Vec<&mut T>, work: impl Fn(&mut T) + Sync + Send) {
    match tasks.as_mut_slice() {
        [task] => work(task),
        _ => tasks.into_par_iter().with_max_len(1).for_each(work),
    }
}
