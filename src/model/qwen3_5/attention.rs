//! Full attention with an output gate: queries and their gates come from one projection, head by head, and only the
//! first dimensions of a head are rotated.

use candle_core::{D, Tensor};

use super::config::TextConfig;
use crate::model::cache::KvCache;
use crate::model::error::ModelError;
use crate::model::kernels::{self, AttentionMask, Rope};
use crate::model::linear::Linear;
use crate::model::weights::WeightSource;

/// The attention of one layer.
#[derive(Debug)]
pub(super) struct GatedAttention {
    query_and_gate: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    query_norm: Tensor,
    key_norm: Tensor,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    rotated: usize,
    eps: f64,
}

/// What all layers with attention share in a forward pass.
pub(super) struct AttentionPass {
    pub(super) rope: Rope,
    pub(super) mask: AttentionMask,
}

impl GatedAttention {
    /// Builds the attention of the layer `name`.
    pub(super) fn new(config: &TextConfig, source: &dyn WeightSource, name: &str) -> Result<Self, ModelError> {
        let hidden = config.hidden_size;
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let part = |part: &str| format!("{name}.self_attn.{part}");
        let projection = |name: &str, out, inner| Linear::new(source, &part(name), out, inner, false);
        let norm = |name: &str| source.get(&part(name), &[config.head_dim]);
        Ok(Self {
            query_and_gate: projection("q_proj", 2 * q, hidden)?,
            key: projection("k_proj", kv, hidden)?,
            value: projection("v_proj", kv, hidden)?,
            output: projection("o_proj", hidden, q)?,
            query_norm: norm("q_norm.weight")?,
            key_norm: norm("k_norm.weight")?,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            rotated: config.rotary.dim,
            eps: config.rms_norm_eps,
        })
    }

    /// `x: [batch, seq_len, hidden]` to the same shape, after what `cache` holds of layer `index`; also the
    /// probabilities of query positions from `keep` on.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        pass: &AttentionPass,
        cache: Option<(&KvCache, usize)>,
        keep: Option<usize>,
    ) -> Result<(Tensor, Option<Tensor>), ModelError> {
        let (rows, seq_len, _) = x.dims3()?;
        // [batch, seq_len, heads, query and gate, head_dim]
        let both = self.query_and_gate.forward(x)?.reshape((rows, seq_len, self.heads, 2, self.head_dim))?;
        let part = |i: usize| both.narrow(3, i, 1)?.squeeze(3)?.contiguous();
        let (query, gate) = (part(0)?, part(1)?.reshape((rows, seq_len, self.heads * self.head_dim))?);
        let split = |t: Tensor| t.reshape((rows, seq_len, self.kv_heads, self.head_dim));
        let (key, value) = (split(self.key.forward(x)?)?, split(self.value.forward(x)?)?);
        let query = self.rotate(&kernels::zero_centred_rms_norm(&query, &self.query_norm, self.eps)?, &pass.rope)?;
        let key = self.rotate(&kernels::zero_centred_rms_norm(&key, &self.key_norm, self.eps)?, &pass.rope)?;
        let (key, value) = match cache {
            Some((cache, index)) => cache.append(index, &key, &value)?,
            None => (key, value),
        };
        let attended = kernels::attention(&query, &key, &value, None, &pass.mask, keep)?;
        let gated = kernels::sigmoid_gated(&attended.mixed, &gate)?;
        Ok((self.output.forward(&gated)?, attended.probabilities))
    }

    /// Rotates the first dimensions of every head of `x: [batch, seq_len, heads, head_dim]`.
    fn rotate(&self, x: &Tensor, rope: &Rope) -> Result<Tensor, ModelError> {
        let rest = self.head_dim - self.rotated;
        if rest == 0 {
            return Ok(kernels::rotate(x, rope)?);
        }
        let turned = kernels::rotate(&x.narrow(D::Minus1, 0, self.rotated)?, rope)?;
        // [batch, seq_len, heads, head_dim]
        Ok(Tensor::cat(&[&turned, &x.narrow(D::Minus1, self.rotated, rest)?], D::Minus1)?)
    }
}
