//! One run over many ranks: every rank holds the model and takes the same decisions, and the work of a step is dealt
//! out by group.
//!
//! What is sampled depends on seed and position only, so it does not matter who samples. All ranks then have all
//! responses, verdicts and scores (some 50 bytes a token), and decide for themselves, from the same numbers, which
//! groups are kept and how advantages are shaped. Only the heavy passes are dealt: sampling, scores and gradients.
//! Gradients are added up over ranks before they are clipped, so every rank applies the same update. Rank 0 alone
//! computes rewards, asks whether the run is to stop, writes checkpoints and talks to the sink.
//!
//! A job with `deterministic` computes group by group and adds up along a tree that depends on the groups only: the
//! bits are the same for any number of ranks. Without it, a rank packs its groups together, and a [`Reducer`] adds up
//! over ranks: in their order by messages, or on their GPUs by NCCL.

mod bucket;
mod deal;
mod gradients;
mod measured;
mod reducer;
mod sampling;
mod shards;
mod sink;
mod sums;
mod weights;
mod wire;

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::error::TrainError;
use super::metrics::Metrics;
use crate::collective::{Collective, CollectiveError, Fault, Part, Peer, introduce};
use crate::domain::device::DeviceName;
use crate::domain::spec::JobSpec;

use measured::Measured;
use reducer::Reducer;
pub(super) use sink::RankSink;
pub(super) use wire::Wire;
use wire::{from_bytes, to_bytes};

/// The ranks of a run, seen from one of them.
#[derive(Debug)]
pub(super) struct Ranks {
    collective: Measured,
    /// Does the job compute group by group, in an order that no number of ranks changes?
    ordered: bool,
    peers: Vec<Peer>,
    /// What adds up gradients, where their order is free and the device is known.
    reducer: OnceLock<Reducer>,
    /// The first error, which explains those that follow.
    broken: Mutex<Option<CollectiveError>>,
}

impl Ranks {
    /// The ranks of the job `spec`, once each knows the others and all have the same program and job.
    pub(super) fn open(collective: Arc<dyn Collective>, spec: &JobSpec) -> Result<Self, TrainError> {
        let many = collective.size() > 1;
        let mut ranks = Self::of(collective, spec.deterministic && (many || spec.resources.ranks > 1));
        if many {
            let own = Peer::here().map_err(|error| CollectiveError::Unavailable(format!("this program: {error}")))?;
            ranks.peers = introduce(&ranks.collective, &own)?;
            ranks.same("the job", &digest(serde_json::json!(spec).to_string().as_bytes()))?;
        }
        Ok(ranks)
    }

    /// Ranks that have not been introduced to each other.
    fn of(collective: Arc<dyn Collective>, ordered: bool) -> Self {
        Self {
            collective: Measured::new(collective),
            ordered,
            peers: Vec::new(),
            reducer: OnceLock::new(),
            broken: Mutex::new(None),
        }
    }

    /// This rank, from 0.
    pub(super) fn rank(&self) -> usize {
        self.collective.rank()
    }

    /// The number of ranks.
    pub(super) fn size(&self) -> usize {
        self.collective.size()
    }

    /// Is it the rank that talks to the world outside?
    pub(super) fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Does the job compute group by group?
    pub(super) fn is_ordered(&self) -> bool {
        self.ordered
    }

    /// Is everything as without ranks?
    pub(super) fn is_plain(&self) -> bool {
        self.size() == 1 && !self.ordered
    }

    /// The number of ranks on this host, and which of them this is.
    pub(super) fn on_this_host(&self) -> (usize, usize) {
        let own = self.peers.get(self.rank()).map(|peer| &peer.host);
        let here = |peers: &[Peer]| peers.iter().filter(|peer| Some(&peer.host) == own).count();
        (here(&self.peers).max(1), here(&self.peers[..self.rank().min(self.peers.len())]))
    }

    /// The device of this rank: ranks on one host take its devices one after the other, from `first`.
    pub(super) fn device(&self, first: DeviceName) -> DeviceName {
        first.after(self.on_this_host().1)
    }

    /// Fails where this rank's value of `what` is not that of rank 0.
    pub(super) fn same(&self, what: &'static str, own: &str) -> Result<(), TrainError> {
        if self.size() == 1 {
            return Ok(());
        }
        let all: Vec<String> = self.gather(what, &own.to_owned())?;
        match all.iter().position(|other| *other != all[0]) {
            None => Ok(()),
            Some(rank) => {
                let problem = format!("does not have the same as rank 0: {what} ({} and {})", all[rank], all[0]);
                Err(CollectiveError::Different { rank, problem }.into())
            }
        }
    }

    /// Rank 0's metrics, which decide for all: times differ between ranks.
    pub(super) fn agree(&self, metrics: Metrics) -> Result<Metrics, TrainError> {
        if self.size() == 1 {
            return Ok(metrics);
        }
        let own = if self.is_first() { to_bytes(&metrics.into_values()) } else { Vec::new() };
        let message = self.broadcast("metrics", own)?;
        let values = from_bytes(&message).ok_or_else(|| Self::unexpected(0, "metrics"))?;
        Ok(Metrics::of(values))
    }

    /// Metrics of what ranks have sent each other since the last call; none for one rank.
    pub(super) fn describe(&self, metrics: &mut Metrics) {
        if self.size() > 1 {
            let (bytes, seconds) = self.collective.take();
            metrics.set("ranks/sent_bytes", bytes as f64);
            metrics.set("ranks/seconds", seconds);
        }
    }

    /// Tells the others that this rank cannot continue.
    pub(super) fn fail(&self, error: &TrainError) {
        self.collective.fail(&Fault::new(error.to_string(), error.is_permanent()));
    }

    /// Waits for the others at the end of a run.
    pub(super) fn close(&self) -> Result<(), TrainError> {
        self.tracked(|ranks| ranks.close())
    }

    /// What every rank handed over, at every rank.
    fn gather<T: Wire>(&self, what: &'static str, own: &T) -> Result<Vec<T>, TrainError> {
        let received = self.gather_bytes(what, to_bytes(own))?;
        let read = |(rank, message): (usize, &Vec<u8>)| from_bytes(message).ok_or_else(|| Self::unexpected(rank, what));
        received.iter().enumerate().map(read).collect()
    }

    fn gather_bytes(&self, what: &'static str, own: Vec<u8>) -> Result<Vec<Vec<u8>>, TrainError> {
        self.tracked(|ranks| ranks.gather(what, own))
    }

    fn broadcast(&self, what: &'static str, message: Vec<u8>) -> Result<Vec<u8>, TrainError> {
        self.tracked(|ranks| ranks.broadcast(what, message))
    }

    fn exchange(&self, what: &'static str, parts: &[Part]) -> Result<Vec<Vec<u8>>, TrainError> {
        self.tracked(|ranks| ranks.exchange(what, parts))
    }

    /// An operation whose error names hosts and processes; after the first error it is always that one.
    fn tracked<T>(&self, work: impl FnOnce(&dyn Collective) -> Result<T, CollectiveError>) -> Result<T, TrainError> {
        work(&self.collective).map_err(|error| {
            let error = error.named(|rank| self.peers.get(rank).map(Peer::name));
            self.broken.lock().get_or_insert(error).clone().into()
        })
    }

    fn unexpected(rank: usize, what: &str) -> TrainError {
        CollectiveError::Different { rank, problem: format!("sent something else than {what}") }.into()
    }
}

/// The beginning of a SHA-256 hash, for comparisons.
fn digest(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..8])
}
