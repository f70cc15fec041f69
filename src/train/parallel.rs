//! Work on several threads with results in order, so that sums never depend on which thread was first.

use candle_core::Device;

use super::error::TrainError;
use super::reporter::Reporter;
use super::sink::{Control, ControlSignal, RunSink};
use crate::model::graphs_at_once;
use crate::model::transfers::is_gpu;

/// Backward passes recurse along the graph: about 10,000 chained operations overflow the usual 2 MB.
const STACK_BYTES: usize = 256 << 20;

/// Threads that live as long as a run: their allocator keeps the pages that every step needs again.
///
/// Graphs of small models run one on each core. A graph of a large model, or one that is alone, runs on all cores: its
/// operations are shared among them.
pub struct Pool {
    /// One thread in each: an operation that is called there stays there.
    each: Vec<rayon::ThreadPool>,
    /// A thread for every core.
    all: rayon::ThreadPool,
    signal: ControlSignal,
    reporter: Reporter,
}

impl Pool {
    /// For a model with this number of parameters, on this machine's cores.
    pub fn new(parameters: usize) -> Result<Self, TrainError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::of(graphs_at_once(parameters, cores), cores)
    }

    /// For a model with this number of parameters, on `device`. A GPU gets one thread: several would only multiply the
    /// memory that it needs.
    pub fn for_device(device: &Device, parameters: usize) -> Result<Self, TrainError> {
        Self::shared(device, parameters, 1)
    }

    /// The same where `processes` share this machine's cores.
    pub(super) fn shared(device: &Device, parameters: usize, processes: usize) -> Result<Self, TrainError> {
        if is_gpu(device) {
            return Self::of(1, 1);
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cores = (cores / processes.max(1)).max(1);
        Self::of(graphs_at_once(parameters, cores), cores)
    }

    /// `graphs` at a time, on `cores`.
    pub fn of(graphs: usize, cores: usize) -> Result<Self, TrainError> {
        let of_threads = |threads: usize| {
            let builder = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK_BYTES);
            builder.build().map_err(|error| TrainError::Thread(error.to_string()))
        };
        let each = (0..graphs).map(|_| of_threads(1)).collect::<Result<_, _>>()?;
        Ok(Self { each, all: of_threads(cores)?, signal: ControlSignal::default(), reporter: Reporter::default() })
    }

    /// The same, where work is given up when `signal` says so.
    #[must_use]
    pub fn watching(self, signal: ControlSignal) -> Self {
        Self { signal, ..self }
    }

    /// The same for the run of this sink.
    #[must_use]
    pub(super) fn serving(self, sink: &dyn RunSink) -> Self {
        self.watching(sink.signal()).reporting(sink.reporter())
    }

    /// The same, where phases that take long tell `reporter` how far they are.
    #[must_use]
    pub fn reporting(self, reporter: Reporter) -> Self {
        Self { reporter, ..self }
    }

    /// Who is told how far a phase is.
    pub(super) fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// Whether the run is to stop.
    pub fn signal(&self) -> &ControlSignal {
        &self.signal
    }

    /// Number of graphs that run at a time.
    pub fn threads(&self) -> usize {
        self.each.len()
    }

    /// `work` on every item, as many of them at a time as there are graphs, handed to `take` in the order of the items.
    /// A cancelled run starts no more of them.
    pub fn in_waves<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> Result<R, TrainError> + Sync,
        mut take: impl FnMut(R) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let alone = self.each.len() == 1 || items.len() == 1;
        for wave in items.chunks(if alone { 1 } else { self.each.len() }) {
            if self.signal.now() == Control::Cancel {
                return Err(TrainError::Stopped(Control::Cancel));
            }
            let results =
                if alone { vec![self.all.install(|| work(&wave[0]))] } else { self.side_by_side(wave, &work) };
            for result in results {
                take(result?)?;
            }
        }
        Ok(())
    }

    /// The same on micro-batches, telling how many of the phase `what` are done.
    pub(super) fn batches_in_waves<T: Sync, R: Send>(
        &self,
        what: &str,
        batches: &[T],
        work: impl Fn(&T) -> Result<R, TrainError> + Sync,
        mut take: impl FnMut(R) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let mut done = 0;
        self.in_waves(batches, work, |result| {
            done += 1;
            self.reporter.tell(|| format!("{what}: {done} of {} micro-batches", batches.len()));
            take(result)
        })
    }

    /// `work` on every item of a wave, each on a thread of its own.
    fn side_by_side<T: Sync, R: Send>(
        &self,
        wave: &[T],
        work: &(impl Fn(&T) -> Result<R, TrainError> + Sync),
    ) -> Vec<Result<R, TrainError>> {
        std::thread::scope(|scope| {
            let start = |(pool, item)| scope.spawn(move || rayon::ThreadPool::install(pool, || work(item)));
            let running: Vec<_> = self.each.iter().zip(wave).map(start).collect();
            let result = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            running.into_iter().map(result).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LARGE;

    /// Items whose work counts the threads that would share an operation.
    fn shared_by(pool: &Pool, items: usize) -> Vec<(usize, usize)> {
        let items: Vec<usize> = (0..items).collect();
        let mut found = Vec::new();
        let work = |item: &usize| Ok((*item, rayon::current_num_threads()));
        pool.in_waves(&items, work, |result| {
            found.push(result);
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn small_graphs_have_a_core_each_and_large_or_lone_ones_have_all() {
        let small = Pool::of(graphs_at_once(LARGE - 1, 3), 3).unwrap();
        assert_eq!(small.threads(), 3);
        assert_eq!(shared_by(&small, 4), [(0, 1), (1, 1), (2, 1), (3, 1)]);
        assert_eq!(shared_by(&small, 1), [(0, 3)]);
        let large = Pool::of(graphs_at_once(LARGE, 3), 3).unwrap();
        assert_eq!(large.threads(), 1);
        assert_eq!(shared_by(&large, 2), [(0, 3), (1, 3)]);
    }

    #[test]
    fn the_first_error_ends_the_work() {
        let pool = Pool::of(2, 2).unwrap();
        let work = |item: &usize| if *item == 1 { Err(TrainError::Thread("no".to_owned())) } else { Ok(*item) };
        let mut taken = Vec::new();
        let end = pool.in_waves(&[0, 1, 2, 3], work, |item| {
            taken.push(item);
            Ok(())
        });
        assert!(end.is_err());
        assert_eq!(taken, [0]);
    }
}
