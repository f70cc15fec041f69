//! Ranks that are threads of one process, joined by channels: the form that every test can run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Collective, CollectiveError, Fault, Part};

/// What travels between two ranks: the number of the operation with its name, and the part or why there is none.
struct Message {
    operation: u64,
    what: &'static str,
    content: Result<Vec<u8>, Fault>,
}

/// A rank in a thread.
pub struct ThreadRank {
    rank: usize,
    deadline: Duration,
    operation: AtomicU64,
    ended: AtomicBool,
    to: Vec<Sender<Message>>,
    from: Mutex<Vec<Receiver<Message>>>,
}

impl std::fmt::Debug for ThreadRank {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "rank {} of {}", self.rank, self.to.len())
    }
}

/// `size` ranks, each for a thread of its own, that wait at most `deadline` for each other.
pub fn join(size: usize, deadline: Duration) -> Vec<ThreadRank> {
    let mut senders: Vec<Vec<Sender<Message>>> = (0..size).map(|_| Vec::new()).collect();
    let mut receivers = Vec::new();
    for _ in 0..size {
        let (own, from): (Vec<_>, Vec<_>) = (0..size).map(|_| channel()).unzip();
        senders.iter_mut().zip(own).for_each(|(senders, sender)| senders.push(sender));
        receivers.push(from);
    }
    let ranks = senders.into_iter().zip(receivers).enumerate();
    let rank = |(rank, (to, from))| ThreadRank {
        rank,
        deadline,
        operation: AtomicU64::new(0),
        ended: AtomicBool::new(false),
        to,
        from: Mutex::new(from),
    };
    ranks.map(rank).collect()
}

impl ThreadRank {
    fn send(&self, what: &'static str, content: impl Fn(usize) -> Result<Vec<u8>, Fault>) -> u64 {
        let operation = self.operation.fetch_add(1, Ordering::Relaxed);
        for (rank, to) in self.to.iter().enumerate() {
            // A rank that has ended receives nothing any more; it is missed where something is expected of it.
            let _ = to.send(Message { operation, what, content: content(rank) });
        }
        operation
    }

    fn receive(&self, what: &'static str, operation: u64) -> Result<Vec<Vec<u8>>, CollectiveError> {
        let (from, mut parts) = (self.from.lock(), Vec::with_capacity(self.to.len()));
        for (rank, from) in from.iter().enumerate() {
            let message = from.recv_timeout(self.deadline).map_err(|error| match error {
                RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected => CollectiveError::Missing {
                    what,
                    ranks: vec![rank],
                    names: Vec::new(),
                    seconds: self.deadline.as_secs(),
                },
            })?;
            let part = message.content.map_err(|fault| CollectiveError::Fault { rank, fault })?;
            if message.operation != operation || message.what != what {
                let problem = format!("is at {} while rank {} is at {what}", message.what, self.rank);
                return Err(CollectiveError::Different { rank, problem });
            }
            parts.push(part);
        }
        Ok(parts)
    }
}

impl Collective for ThreadRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn exchange(&self, what: &'static str, parts: &[Part]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        if self.ended.load(Ordering::Relaxed) {
            return Err(CollectiveError::Ended);
        }
        let operation = self.send(what, |rank| Ok(parts[rank].to_vec()));
        self.receive(what, operation).inspect_err(|_| self.ended.store(true, Ordering::Relaxed))
    }

    fn fail(&self, fault: &Fault) {
        if !self.ended.swap(true, Ordering::Relaxed) {
            self.send("a fault", |_| Err(fault.clone()));
        }
    }
}
