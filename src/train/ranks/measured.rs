//! Counts what a rank exchanges with the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Stopwatch;
use crate::collective::{Collective, CollectiveError, Fault, Part};

/// The collective of a run, with what this rank has sent and how long that took.
#[derive(Debug)]
pub(super) struct Measured {
    inner: Arc<dyn Collective>,
    /// Bytes that this rank has sent, and microseconds in which it exchanged and waited for others.
    sent: AtomicU64,
    waited: AtomicU64,
}

impl Measured {
    pub(super) fn new(inner: Arc<dyn Collective>) -> Self {
        Self { inner, sent: AtomicU64::new(0), waited: AtomicU64::new(0) }
    }

    /// Bytes and seconds since the last call.
    pub(super) fn take(&self) -> (u64, f64) {
        (self.sent.swap(0, Ordering::Relaxed), self.waited.swap(0, Ordering::Relaxed) as f64 / 1e6)
    }
}

impl Collective for Measured {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn exchange(&self, what: &'static str, parts: &[Part]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        let others = parts.iter().enumerate().filter(|(rank, _)| *rank != self.rank());
        self.sent.fetch_add(others.map(|(_, part)| part.len() as u64).sum(), Ordering::Relaxed);
        let clock = Stopwatch::start();
        let received = self.inner.exchange(what, parts);
        self.waited.fetch_add((clock.seconds() * 1e6) as u64, Ordering::Relaxed);
        received
    }

    fn fail(&self, fault: &Fault) {
        self.inner.fail(fault);
    }

    fn close(&self) -> Result<(), CollectiveError> {
        self.inner.close()
    }
}
