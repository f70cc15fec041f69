//! Several graphs in parallel, one per core, as in training.

use parking_lot::Mutex;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

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

/// The threads of a small model, which runs a graph on each. An operation is shared by the threads of its pool, so in a
/// pool of one it leaves the other threads to their graphs.
pub struct Graphs(Vec<ThreadPool>);

impl Graphs {
    /// None for a model that decodes a single batch: its operations are shared by all threads.
    pub fn of(served: &ServedModel) -> Self {
        let count = batches(served);
        if count < 2 {
            return Self(Vec::new());
        }
        let pools: Result<_, _> = (0..count).map(|_| ThreadPoolBuilder::new().num_threads(1).build()).collect();
        Self(pools.unwrap_or_else(|error| {
            tracing::warn!(model = %served.id, %error, "no threads of its own: it shares those of all models");
            Vec::new()
        }))
    }

    /// All of them.
    pub fn all(&self) -> Threads<'_> {
        Threads(&self.0)
    }
}

/// Some of a model's threads.
#[derive(Clone, Copy)]
pub struct Threads<'g>(&'g [ThreadPool]);

impl Threads<'_> {
    /// Tasks that run at the same time.
    pub fn count(self) -> usize {
        self.0.len().max(1)
    }

    /// One of them, and the others; none without others.
    pub fn divided(self) -> Option<(Self, Self)> {
        (self.0.len() > 1).then(|| self.0.split_at(1)).map(|(one, others)| (Self(one), Self(others)))
    }

    /// Runs `work` on the first of them while `meanwhile` runs here.
    pub fn alongside(self, work: impl FnOnce() + Send, meanwhile: impl FnOnce()) {
        if let [first, ..] = self.0 {
            first.in_place_scope(|scope| {
                scope.spawn(|_| work());
                meanwhile();
            });
        } else {
            work();
            meanwhile();
        }
    }

    /// Runs `work` on every task, as many at a time as there are threads. A single task runs on this thread, where all
    /// threads share its operations, unless there is one thread only.
    pub fn run<T: Send + ?Sized>(self, mut tasks: Vec<&mut T>, work: impl Fn(&mut T) + Sync + Send) {
        match (self.0, tasks.as_mut_slice()) {
            (_, []) => {}
            ([only], _) => only.install(|| tasks.into_iter().for_each(work)),
            (_, [task]) => work(task),
            ([], _) => tasks.into_par_iter().with_max_len(1).for_each(work),
            (pools, _) => {
                let used = tasks.len().min(pools.len());
                let left = Mutex::new(tasks.into_iter());
                let next = || left.lock().next();
                on_each(&pools[..used], &|| {
                    while let Some(task) = next() {
                        work(task);
                    }
                });
            }
        }
    }
}

/// Runs `work` on all threads at the same time. They stay: a thread that is made for a step has to fault in new pages
/// for its first allocations, huge ones in many systems.
fn on_each(pools: &[ThreadPool], work: &(impl Fn() + Sync)) {
    if let [first, others @ ..] = pools {
        first.in_place_scope(|scope| {
            scope.spawn(|_| work());
            on_each(others, work);
        });
    }
}
