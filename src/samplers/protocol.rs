//! What the programs that sample have in common.

use std::path::Path;

use async_trait::async_trait;
use serde_json::Value;

use super::exchange::{Fault, Http};
use super::question::Question;
use super::reply::Reply;

/// Weights that were published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    /// The step that made them.
    pub step: u64,
    /// Their name, unique to attempt and step.
    pub name: String,
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// The name under which it serves the model.
    pub model: String,
    /// Is it a server of this program?
    pub vgpo: bool,
}

/// A server to be spoken to.
#[derive(Clone, Copy)]
pub(super) struct Peer<'a> {
    pub http: &'a Http,
    pub url: &'a str,
}

impl Peer<'_> {
    pub(super) async fn get(&self, path: &str) -> Result<hyper::body::Bytes, Fault> {
        self.http.get(self.url, path).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<hyper::body::Bytes, Fault> {
        self.http.post(self.url, path, body).await
    }
}

/// How a program that samples is spoken to.
#[async_trait]
pub(super) trait Protocol: Send + Sync {
    /// What the server serves; `wanted` is the name that the job gives the model.
    async fn identify(&self, peer: Peer<'_>, wanted: Option<&str>, temperature: f64) -> Result<Identity, Fault>;

    /// The body of a chat request.
    fn body(&self, question: &Question<'_>, identity: &Identity) -> Value;

    /// What the answer says, whatever it says.
    fn read(&self, bytes: &[u8]) -> Result<Reply, Fault>;

    /// Makes the server serve the adapters in `dir` as a model of the version's name.
    async fn load_adapter(
        &self,
        peer: Peer<'_>,
        identity: &Identity,
        version: &Version,
        dir: &Path,
    ) -> Result<(), Fault>;

    /// Makes the server forget adapters.
    async fn unload_adapter(&self, peer: Peer<'_>, name: &str) -> Result<(), Fault>;

    /// Replaces all of the server's weights by those in `dir`.
    async fn load_weights(&self, peer: Peer<'_>, version: &Version, dir: &Path) -> Result<(), Fault>;

    /// The name of the weights that the server answers with.
    async fn weight_version(&self, peer: Peer<'_>) -> Result<String, Fault>;
}
