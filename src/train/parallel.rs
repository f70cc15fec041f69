//! Work on several threads with results in order, so that sums never depend on who was first.

use super::error::TrainError;

/// Backward passes recurse along the graph: about 10,000 chained operations overflow the usual 2 MB.
const STACK_BYTES: usize = 256 << 20;

/// Threads for compute: one per core.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// `work` on every item, at most [`threads`] at a time, handed to `take` in the order of the items.
pub fn in_waves<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, TrainError> + Sync,
    mut take: impl FnMut(R) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    for wave in items.chunks(threads()) {
        let results: Vec<Result<R, TrainError>> = std::thread::scope(|scope| {
            let work = &work;
            let spawn =
                |item| std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, move || work(item));
            let handles: Vec<_> = wave.iter().map(spawn).collect();
            handles
                .into_iter()
                .map(|handle| match handle {
                    Ok(handle) => handle.join().unwrap_or_else(|panic| Err(TrainError::Thread(message(&*panic)))),
                    Err(error) => Err(TrainError::Thread(error.to_string())),
                })
                .collect()
        });
        for result in results {
            take(result?)?;
        }
    }
    Ok(())
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("panic without a message").to_owned()
}
