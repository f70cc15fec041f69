//! Ranks introduce themselves: who they are, and whether all run the same program.

use std::fs::File;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Collective, CollectiveError};

/// A rank's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its host.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// Version of the program.
    pub version: String,
    /// Hash of the program's file.
    pub build: String,
}

impl Peer {
    /// This process.
    ///
    /// # Errors
    /// The program's own file cannot be read.
    pub fn here() -> std::io::Result<Self> {
        let mut hash = Sha256::new();
        std::io::copy(&mut File::open(std::env::current_exe()?)?, &mut hash)?;
        let build = hex::encode(&hash.finalize()[..8]);
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
        let host = host.map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned());
        Ok(Self { host, pid: std::process::id(), version: env!("CARGO_PKG_VERSION").to_owned(), build })
    }

    /// Host and process, for people.
    pub fn name(&self) -> String {
        format!("host {}, process {}", self.host, self.pid)
    }
}

/// The processes of all ranks, in order.
///
/// # Errors
/// A rank that runs another program, and everything that [`Collective::exchange`] may fail with.
pub fn introduce(ranks: &dyn Collective, own: &Peer) -> Result<Vec<Peer>, CollectiveError> {
    let mut peers: Vec<Peer> = Vec::with_capacity(ranks.size());
    for (rank, peer) in gather_values(ranks, "introductions", own)?.into_iter().enumerate() {
        let different = |problem: String| CollectiveError::Different { rank, problem };
        let first = peers.first().unwrap_or(&peer);
        if (&peer.version, &peer.build) != (&first.version, &first.build) {
            return Err(different(format!(
                "on host {} runs vgpo {} (build {}), but rank 0 on host {} runs vgpo {} (build {}); install the same \
                 build on every host",
                peer.host, peer.version, peer.build, first.host, first.version, first.build
            )));
        }
        peers.push(peer);
    }
    Ok(peers)
}

/// What every rank tells of itself, in rank order.
pub(super) fn gather_values<T: Serialize + DeserializeOwned>(
    ranks: &dyn Collective,
    what: &'static str,
    own: &T,
) -> Result<Vec<T>, CollectiveError> {
    let own = serde_json::to_vec(own).map_err(|error| CollectiveError::Unavailable(error.to_string()))?;
    let read = |(rank, message): (usize, &Vec<u8>)| {
        let different = |error| CollectiveError::Different { rank, problem: format!("tells other {what} ({error})") };
        serde_json::from_slice(message).map_err(different)
    };
    ranks.gather(what, own)?.iter().enumerate().map(read).collect()
}
