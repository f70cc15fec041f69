//! A gated delta net (arXiv 2412.06464): a short convolution over queries, keys and values, and a state that each
//! position lets fade, corrects and reads.

use candle_core::Tensor;

use super::config::TextConfig;
use crate::model::cache::KvCache;
use crate::model::error::ModelError;
use crate::model::kernels::{self, DeltaHeads, Segments};
use crate::model::linear::Linear;
use crate::model::weights::WeightSource;

/// The delta net of one layer.
#[derive(Debug)]
pub(super) struct DeltaNet {
    mixed: Linear,
    gate: Linear,
    beta: Linear,
    decay: Linear,
    output: Linear,
    convolution: Tensor,
    log_rate: Tensor,
    decay_bias: Tensor,
    norm: Tensor,
    heads: DeltaHeads,
    eps: f64,
}

/// Intermediate results of one delta net, in the order of computation.
#[derive(Debug)]
pub struct DeltaStages {
    /// After convolution and `SiLU`: queries, keys, values, `[batch, seq_len, channels]`.
    pub convolved: Tensor,
    /// The log decay, `[batch, seq_len, value heads]`.
    pub decay: Tensor,
    /// How much of a correction is written, `[batch, seq_len, value heads]`.
    pub beta: Tensor,
    /// What is read of the state, `[batch, seq_len, value heads, value width]`.
    pub read: Tensor,
    /// The same after norm and gate.
    pub normed: Tensor,
    /// The result.
    pub out: Tensor,
}

/// What a layer's state and the last inputs of its convolution become.
struct After {
    columns: Tensor,
    states: Tensor,
}

impl DeltaNet {
    /// Builds the delta net of the layer `name`.
    pub(super) fn new(config: &TextConfig, source: &dyn WeightSource, name: &str) -> Result<Self, ModelError> {
        let (hidden, channels, values) = (config.hidden_size, config.channels(), config.values());
        let heads = config.delta.value_heads;
        let part = |part: &str| format!("{name}.linear_attn.{part}");
        let projection = |name: &str, out, inner| Linear::new(source, &part(name), out, inner, false);
        Ok(Self {
            mixed: projection("in_proj_qkv", channels, hidden)?,
            gate: projection("in_proj_z", values, hidden)?,
            beta: projection("in_proj_b", heads, hidden)?,
            decay: projection("in_proj_a", heads, hidden)?,
            output: projection("out_proj", hidden, values)?,
            convolution: source.get(&part("conv1d.weight"), &[channels, 1, config.kernel])?,
            log_rate: source.get(&part("A_log"), &[heads])?,
            decay_bias: source.get(&part("dt_bias"), &[heads])?,
            norm: source.get(&part("norm.weight"), &[config.delta.value_dim])?,
            heads: config.delta,
            eps: config.rms_norm_eps,
        })
    }

    /// `x: [batch, seq_len, hidden]` to the same shape. A cache is continued and brought up to date.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        segments: &Segments,
        cache: Option<(&mut KvCache, usize)>,
    ) -> Result<Tensor, ModelError> {
        let Some((cache, layer)) = cache else { return Ok(self.stages(x, segments, None, false)?.0.out) };
        if x.dim(1)? == 1 && !cache.is_empty() {
            return self.step(x, cache.states(layer)?);
        }
        let before = if cache.is_empty() { None } else { Some(cache.states(layer)?) };
        let (stages, after) = self.stages(x, segments, before, true)?;
        if let Some(After { columns, states }) = after {
            cache.set_states(layer, &[columns, states])?;
        }
        Ok(stages.out)
    }

    /// Every stage of the delta net without a cache.
    pub(super) fn in_stages(&self, x: &Tensor, segments: &Segments) -> Result<DeltaStages, ModelError> {
        Ok(self.stages(x, segments, None, false)?.0)
    }

    /// `before` holds the columns and states that segments continue.
    fn stages(
        &self,
        x: &Tensor,
        segments: &Segments,
        before: Option<&[Tensor]>,
        keep: bool,
    ) -> Result<(DeltaStages, Option<After>), ModelError> {
        let (rows, seq_len, _) = x.dims3()?;
        let DeltaHeads { value_heads, value_dim, .. } = self.heads;
        let (columns, states) = (before.and_then(|before| before.first()), before.and_then(|before| before.get(1)));
        let mixed = self.mixed.forward(x)?;
        let convolved = kernels::causal_conv(&mixed, &self.convolution, columns, segments)?;
        let decay = kernels::log_decay(&self.decay.forward(x)?, &self.log_rate, &self.decay_bias)?;
        let beta = kernels::sigmoid(&self.beta.forward(x)?)?;
        let found = kernels::delta_rule(&convolved.out, &decay, &beta, states, segments, self.heads, keep)?;
        let gate = self.gate.forward(x)?.reshape((rows, seq_len, value_heads, value_dim))?;
        let normed = kernels::gated_rms_norm(&found.out, &gate, &self.norm, self.eps)?;
        let out = self.output.forward(&normed.reshape((rows, seq_len, value_heads * value_dim))?)?;
        let after = match found.states {
            Some(states) => Some(After { columns: convolved.columns()?, states }),
            None => None,
        };
        Ok((DeltaStages { convolved: convolved.out, decay, beta, read: found.out, normed, out }, after))
    }

    /// One position for every row, `x: [batch, 1, hidden]`: columns and states are changed in place.
    fn step(&self, x: &Tensor, states: &[Tensor]) -> Result<Tensor, ModelError> {
        let [columns, states] = states else {
            return Err(ModelError::Input("a delta net keeps the columns of its convolution and its state".to_owned()));
        };
        let (rows, _, hidden) = x.dims3()?;
        let DeltaHeads { value_heads, value_dim, .. } = self.heads;
        let x = x.reshape((rows, hidden))?;
        let convolved = kernels::causal_conv_step(&self.mixed.forward(&x)?.detach(), &self.convolution, columns)?;
        let decay = kernels::log_decay(&self.decay.forward(&x)?, &self.log_rate, &self.decay_bias)?;
        let beta = kernels::sigmoid(&self.beta.forward(&x)?)?;
        let read = kernels::delta_step(&convolved, &decay.detach(), &beta.detach(), states, self.heads)?;
        let gate = self.gate.forward(&x)?.reshape((rows, value_heads, value_dim))?;
        let normed = kernels::gated_rms_norm(&read, &gate, &self.norm, self.eps)?;
        let out = self.output.forward(&normed.reshape((rows, value_heads * value_dim))?)?;
        // [batch, 1, hidden]
        Ok(out.reshape((rows, 1, hidden))?)
    }
}
