//! What samples a job's responses: its own worker, or servers elsewhere.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What samples responses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineSpec {
    /// The kind of engine. Only `local` resumes with the same bits.
    #[serde(rename = "type")]
    pub kind: EngineKind,
    /// Addresses of the servers, each in the setting `rollout_hosts`; null for `local`. They share a step's prompts.
    pub urls: Option<Vec<String>>,
    /// The name under which the servers serve the model; none: the only model that they serve.
    pub model: Option<String>,
    /// How weights reach the servers.
    pub sync: WeightSync,
    /// A folder that this job's worker writes and all servers read under the same path; null for `local`.
    pub shared_dir: Option<String>,
    /// Steps by which the weights that sample may be older than those that are trained: rollouts are sampled that far
    /// ahead, while updates compute. 0: strictly on-policy.
    pub staleness: u64,
    /// Seconds within which a server must answer a request; then its prompts go to another one.
    pub timeout_seconds: f64,
    /// Seconds that an attempt waits while no server answers; then it fails, and the job is tried again later.
    pub patience_seconds: f64,
}

impl EngineSpec {
    /// Does the job's own worker sample?
    pub fn is_local(&self) -> bool {
        self.kind == EngineKind::Local
    }

    /// Does every step hand over adapters alone? Where the job leaves it open: if servers can apply what is trained.
    pub fn sends_adapters(&self, servable: bool) -> bool {
        match self.sync {
            WeightSync::Auto => servable && self.kind == EngineKind::Vllm,
            WeightSync::Adapter => true,
            WeightSync::Weights => false,
        }
    }
}

/// A kind of engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// The process that trains.
    Local,
    /// Servers of vLLM, or of this program.
    Vllm,
    /// Servers of `SGLang`.
    Sglang,
}

impl EngineKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
        }
    }
}

/// How weights reach servers that sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightSync {
    /// Adapters where the job trains them on the decoder alone and the servers are of vLLM, else all weights.
    Auto,
    /// Adapters alone, each version under a name of its own: several jobs may share a server.
    Adapter,
    /// All weights, in place of those that the server has: it serves this job alone.
    Weights,
}
