//! Requested work that takes seconds: a few pieces at a time, a bounded queue, and cancellation when the client is
//! gone.
//!
//! Every kind has a pool of its own, so that one kind takes neither the threads of another nor all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use crate::service::{Result, ServiceError};

/// The places of one kind of work.
#[derive(Debug, Clone)]
pub(in crate::service) struct Pool {
    /// What is done, in words.
    what: &'static str,
    /// Places in use and in the queue.
    seats: Arc<Semaphore>,
    /// Places in use.
    running: Arc<Semaphore>,
}

/// Tells work that its client has disconnected.
#[derive(Debug, Clone, Default)]
pub(in crate::service) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Does the client still wait?
    ///
    /// # Errors
    /// It is gone.
    pub(in crate::service) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(ServiceError::Unavailable("the client has disconnected".to_owned()));
        }
        Ok(())
    }
}

/// Stops the work when the request has ended in any way.
struct Waiting(Stop);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl Pool {
    /// A pool with limits on running and waiting pieces of work.
    pub(in crate::service) fn new(what: &'static str, running: usize, queued: usize) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { what, seats: places(running + queued), running: places(running) }
    }

    /// Does the work on a thread that may block. It looks at its [`Stop`] now and then, and keeps its place to its end.
    pub(in crate::service) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Stop) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let full = |_| ServiceError::Unavailable(format!("too many requests are already waiting for {}", self.what));
        let internal = |error: &dyn std::fmt::Display| ServiceError::Internal(error.to_string());
        let seat = Arc::clone(&self.seats).try_acquire_owned().map_err(full)?;
        let place = Arc::clone(&self.running).acquire_owned().await.map_err(|error| internal(&error))?;
        let stop = Stop::default();
        let _waiting = Waiting(stop.clone());
        let joined = tokio::task::spawn_blocking(move || {
            let _places = (seat, place);
            work(&stop)
        });
        joined.await.map_err(|error| internal(&error))?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_is_turned_away() {
        let pool = Pool::new("tests", 1, 1);
        let (go, wait) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(move |_| Ok(wait.recv().is_ok())).await }
        });
        while pool.running.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let second = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(|_| Ok(2)).await }
        });
        while pool.seats.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = pool.run(|_| Ok(3)).await.unwrap_err();
        assert!(matches!(&refused, ServiceError::Unavailable(why) if why.contains("waiting for tests")), "{refused}");
        go.send(()).unwrap();
        assert!(first.await.unwrap().unwrap());
        assert_eq!(second.await.unwrap().unwrap(), 2);
    }

    #[tokio::test]
    async fn work_whose_client_is_gone_learns_of_it() {
        let pool = Pool::new("tests", 1, 0);
        let (done, ended) = mpsc::channel();
        let work = pool.run(move |stop| {
            while stop.check().is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
            done.send(()).map_err(|error| ServiceError::Internal(error.to_string()))
        });
        assert!(tokio::time::timeout(Duration::from_millis(50), work).await.is_err());
        ended.recv_timeout(Duration::from_secs(30)).unwrap();
        tokio::time::timeout(Duration::from_secs(30), async {
            while pool.running.available_permits() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("its place is free again");
    }
}
