//! Errors of operations over ranks.

use serde::{Deserialize, Serialize};

/// Longest message of a fault that is passed on, in bytes.
const MOST: usize = 2000;

/// Why a rank cannot continue, as it tells the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The error.
    pub message: String,
    /// Would another attempt end the same way?
    pub permanent: bool,
}

impl Fault {
    /// A fault, its message cut to what is passed on.
    pub fn new(message: impl Into<String>, permanent: bool) -> Self {
        let mut message: String = message.into();
        let end = (0..=MOST.min(message.len())).rev().find(|end| message.is_char_boundary(*end)).unwrap_or_default();
        message.truncate(end);
        Self { message, permanent }
    }
}

/// An operation over ranks failed. Ranks are named by number and, once they have introduced themselves, by host and
/// process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollectiveError {
    /// Ranks did not answer in time.
    #[error(
        "{} silent for {seconds} s (waiting for {what}); the process was stopped or killed, or its host cannot \
        be reached",
        missing(ranks, names)
    )]
    Missing {
        /// The operation.
        what: &'static str,
        /// The ranks, in order.
        ranks: Vec<usize>,
        /// What is known of each.
        names: Vec<String>,
        /// How long they were waited for.
        seconds: u64,
    },
    /// Ranks are alive, but did not come to this operation.
    #[error("{} alive, but did not come to {what} within {seconds} s", missing(ranks, names))]
    Stuck {
        /// The operation.
        what: &'static str,
        /// The ranks, in order.
        ranks: Vec<usize>,
        /// What is known of each.
        names: Vec<String>,
        /// How long they were waited for.
        seconds: u64,
    },
    /// Another rank failed.
    #[error("rank {rank}: {}", fault.message)]
    Fault {
        /// The rank.
        rank: usize,
        /// Why.
        fault: Fault,
    },
    /// Another rank is not doing the same.
    #[error("rank {rank} {problem}: all ranks need the same program, job, model and data")]
    Different {
        /// The rank.
        rank: usize,
        /// What differs.
        problem: String,
    },
    /// Two ranks have one GPU.
    #[error(
        "ranks {} and {} both work on one GPU ({gpu}), and NCCL needs one for each: start no more ranks on a host \
        than it has GPUs, show each container a GPU of its own, or set `deterministic` to true, whose sums travel as \
        messages",
        ranks[0], ranks[1]
    )]
    SameGpu {
        /// The first two.
        ranks: [usize; 2],
        /// The GPU.
        gpu: String,
    },
    /// A sum on the GPUs failed.
    #[error("rank {rank}: NCCL failed ({what}): {problem}; with NCCL_DEBUG=INFO it tells more")]
    Nccl {
        /// The rank.
        rank: usize,
        /// The operation.
        what: &'static str,
        /// Why.
        problem: String,
    },
    /// An earlier operation failed.
    #[error("the connection of the ranks ended after an earlier error")]
    Ended,
    /// The ranks cannot be joined.
    #[error("{0}")]
    Unavailable(String),
}

fn missing(ranks: &[usize], names: &[String]) -> String {
    let named = ranks.iter().enumerate().map(|(at, rank)| match names.get(at) {
        Some(name) => format!("rank {rank} ({name})"),
        None => format!("rank {rank}"),
    });
    let verb = if ranks.len() == 1 { "is" } else { "are" };
    let named = named.collect::<Vec<_>>().join(", ");
    format!("{named} {verb}")
}

impl CollectiveError {
    /// Would another attempt end the same way?
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Fault { fault, .. } => fault.permanent,
            Self::Different { .. } | Self::SameGpu { .. } | Self::Unavailable(_) => true,
            Self::Missing { .. } | Self::Stuck { .. } | Self::Nccl { .. } | Self::Ended => false,
        }
    }

    /// The same with hosts and processes of missing ranks.
    #[must_use]
    pub fn named(mut self, name: impl Fn(usize) -> Option<String>) -> Self {
        if let Self::Missing { ranks, names, .. } | Self::Stuck { ranks, names, .. } = &mut self {
            *names = ranks.iter().filter_map(|rank| name(*rank)).collect();
        }
        self
    }
}
