//! The decoder: token embedding, pre-norm layers with grouped-query attention and a gated MLP, output head.

use std::rc::Rc;

use candle_core::{Device, Tensor};

use super::config::TextConfig;
use super::rope::text_rope;
use crate::model::cache::KvCache;
use crate::model::capture::Capture;
use crate::model::error::ModelError;
use crate::model::input::Batch;
use crate::model::kernels::{self, AttentionMask, Rope};
use crate::model::linear::{Linear, LinearShape};
use crate::model::tape::Tape;
use crate::model::transfers::up;
use crate::model::weight::Weight;
use crate::model::weights::WeightSource;

#[derive(Debug)]
struct Layer {
    input_norm: Tensor,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    /// Norms of queries and keys, where the family has them.
    head_norms: Option<(Tensor, Tensor)>,
    mlp_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Layer {
    fn new(config: &TextConfig, source: &dyn WeightSource, index: usize) -> Result<Self, ModelError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let projection = |part: &str, out, inner, bias| Linear::new(source, &name(part), out, inner, bias);
        Ok(Self {
            input_norm: source.get(&name("input_layernorm.weight"), &[hidden])?,
            query: projection("self_attn.q_proj", q, hidden, config.qkv_bias)?,
            key: projection("self_attn.k_proj", kv, hidden, config.qkv_bias)?,
            value: projection("self_attn.v_proj", kv, hidden, config.qkv_bias)?,
            output: projection("self_attn.o_proj", hidden, q, false)?,
            head_norms: if config.qk_norm {
                let norm = |part: &str| source.get(&name(part), &[config.head_dim]);
                Some((norm("self_attn.q_norm.weight")?, norm("self_attn.k_norm.weight")?))
            } else {
                None
            },
            mlp_norm: source.get(&name("post_attention_layernorm.weight"), &[hidden])?,
            gate: projection("mlp.gate_proj", inner, hidden, false)?,
            up: projection("mlp.up_proj", inner, hidden, false)?,
            down: projection("mlp.down_proj", hidden, inner, false)?,
        })
    }
}

/// What all layers of one forward pass share.
struct Pass<'a> {
    rope: Rope,
    mask: AttentionMask,
    cache: Option<&'a KvCache>,
}

/// The decoder of a Qwen-VL model.
#[derive(Debug)]
pub struct Decoder {
    config: TextConfig,
    embedding: Weight,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Option<Weight>,
    device: Device,
}

impl Decoder {
    /// Builds the decoder on `source`'s weights.
    pub fn new(config: &TextConfig, source: &dyn WeightSource, device: &Device) -> Result<Self, ModelError> {
        let table = |name: &str| {
            let layer = LinearShape { name: name.to_owned(), out: config.vocab_size, inner: config.hidden_size };
            Weight::of(source, &layer)
        };
        Ok(Self {
            embedding: table("model.embed_tokens")?,
            layers: (0..config.layers).map(|i| Layer::new(config, source, i)).collect::<Result<_, _>>()?,
            norm: source.get("model.norm.weight", &[config.hidden_size])?,
            head: if config.tied { None } else { Some(table("lm_head")?) },
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// The features that replace image tokens, and those that are added after the first layers.
    fn split_features(&self, features: Option<&Tensor>) -> Result<(Option<Tensor>, Vec<Tensor>), ModelError> {
        let Some(features) = features else { return Ok((None, Vec::new())) };
        let width = self.config.hidden_size;
        let part = |i: usize| features.narrow(1, i * width, width)?.contiguous();
        let parts = features.dim(1)? / width;
        Ok((Some(part(0)?), (1..parts).map(part).collect::<candle_core::Result<_>>()?))
    }

    /// Attention output of layer `index`; keeps the probabilities of query positions from `keep` on.
    fn attend(
        &self,
        index: usize,
        x: &Tensor,
        pass: &Pass<'_>,
        keep: Option<usize>,
    ) -> Result<(Tensor, Option<Tensor>), ModelError> {
        let (rows, seq_len, _) = x.dims3()?;
        let layer = &self.layers[index];
        let split = |t: Tensor, heads: usize| t.reshape((rows, seq_len, heads, self.config.head_dim));
        let (mut q, mut k) =
            (split(layer.query.forward(x)?, self.config.heads)?, split(layer.key.forward(x)?, self.config.kv_heads)?);
        if let Some((query_norm, key_norm)) = &layer.head_norms {
            q = kernels::rms_norm(&q, query_norm, self.config.rms_norm_eps)?;
            k = kernels::rms_norm(&k, key_norm, self.config.rms_norm_eps)?;
        }
        let v = split(layer.value.forward(x)?, self.config.kv_heads)?;
        let attended = match pass.cache {
            Some(cache) => {
                let (q, k) = (kernels::rotate(&q, &pass.rope)?, kernels::rotate(&k, &pass.rope)?);
                let (k, v) = cache.append(index, &k, &v)?;
                kernels::attention(&q, &k, &v, None, &pass.mask, keep)?
            }
            None => kernels::attention(&q, &k, &v, Some(&pass.rope), &pass.mask, keep)?,
        };
        Ok((layer.output.forward(&attended.mixed)?, attended.probabilities))
    }

    /// Final hidden states `[batch, seq_len, hidden]`; see [`crate::model::VisionLanguageModel::forward`].
    pub fn forward(
        &self,
        batch: &Batch,
        features: Option<&Tensor>,
        cache: Option<&mut KvCache>,
        capture: &mut Capture,
    ) -> Result<Tensor, ModelError> {
        if let Some(cache) = cache.as_deref() {
            cache.admit(batch)?;
        }
        let pass = self.pass(batch, cache.as_deref())?;
        let (features, deepstack) = self.split_features(features)?;
        let mut x = embed(&self.embedding, batch, features.as_ref())?;
        for index in 0..self.layers.len() {
            let (y, probabilities) = self.layer(index, &x, &pass, capture.queries_of(index))?;
            capture.take(&y, probabilities)?;
            x = match deepstack.get(index) {
                Some(deep) => add_at_images(&y, deep, batch)?,
                None => y,
            };
        }
        if let Some(cache) = cache {
            cache.advance(batch);
        }
        self.last_norm(&x)
    }

    /// The same states layer by layer on a tape; see [`crate::model::VisionLanguageModel::forward_on`].
    pub fn forward_on<'m>(
        &'m self,
        batch: &'m Batch,
        features: Option<&Tensor>,
        tape: &mut Tape<'m>,
    ) -> Result<Tensor, ModelError> {
        let pass = Rc::new(self.pass(batch, None)?);
        let inputs: Vec<&Tensor> = features.into_iter().collect();
        let mut x =
            tape.run(&inputs, |inputs| embed(&self.embedding, batch, self.split_features(inputs.first())?.0.as_ref()))?;
        let deepstack = features.map_or(Ok(0), |f| f.dim(1).map(|width| width / self.config.hidden_size - 1))?;
        for index in 0..self.layers.len() {
            let pass = Rc::clone(&pass);
            let mut inputs = vec![&x];
            inputs.extend(features.filter(|_| index < deepstack));
            x = tape.run(&inputs, move |inputs| {
                let (y, _) = self.layer(index, &inputs[0], &pass, None)?;
                match self.split_features(inputs.get(1))?.1.get(index) {
                    Some(deep) => add_at_images(&y, deep, batch),
                    None => Ok(y),
                }
            })?;
        }
        tape.run(&[&x], |inputs| self.last_norm(&inputs[0]))
    }

    fn pass<'a>(&self, batch: &Batch, cache: Option<&'a KvCache>) -> Result<Pass<'a>, ModelError> {
        let mask = cache.map_or_else(|| Ok(batch.attention_mask()), |cache| cache.attention_mask(batch))?;
        Ok(Pass { rope: text_rope(&self.config, batch, &self.device)?, mask, cache })
    }

    /// One decoder layer: its output, and the probabilities of query positions from `keep` on.
    fn layer(
        &self,
        index: usize,
        x: &Tensor,
        pass: &Pass<'_>,
        keep: Option<usize>,
    ) -> Result<(Tensor, Option<Tensor>), ModelError> {
        let (layer, eps) = (&self.layers[index], self.config.rms_norm_eps);
        let y = kernels::rms_norm(x, &layer.input_norm, eps)?;
        let (attended, probabilities) = self.attend(index, &y, pass, keep)?;
        let x = (x + attended)?;
        let y = kernels::rms_norm(&x, &layer.mlp_norm, eps)?;
        let y = kernels::gated_silu(&layer.gate.forward(&y)?, &layer.up.forward(&y)?)?;
        Ok(((x + layer.down.forward(&y)?)?, probabilities))
    }

    fn last_norm(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        Ok(kernels::rms_norm(x, &self.norm, self.config.rms_norm_eps)?)
    }

    /// Logits of hidden states `[n, hidden]`.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        Ok(self.head.as_ref().unwrap_or(&self.embedding).project(hidden, None)?)
    }
}

/// Token embeddings `[batch, seq_len, hidden]` with image features in place of image tokens.
pub fn embed(embedding: &Weight, batch: &Batch, features: Option<&Tensor>) -> Result<Tensor, ModelError> {
    // [batch * seq_len, hidden]
    let tokens = embedding.rows(&batch.ids)?;
    let width = tokens.dim(1)?;
    let Some(features) = features else {
        if batch.image_slots.is_empty() {
            return Ok(tokens.reshape((batch.rows, batch.seq_len, width))?);
        }
        return Err(ModelError::Input("the batch has image tokens, but no image features were given".to_owned()));
    };
    // One gather over [token rows; feature rows] keeps a correct gradient for both.
    let mut index: Vec<u32> = (0..batch.ids.len() as u32).collect();
    for (slot, row) in batch.image_slots.iter().zip(&batch.feature_rows) {
        index[*slot as usize] = batch.ids.len() as u32 + row;
    }
    // [batch * seq_len], then [batch * seq_len, hidden]
    let index = up("embedding rows", index, batch.ids.len(), tokens.device())?;
    let mixed = Tensor::cat(&[&tokens, features], 0)?.index_select(&index, 0)?;
    Ok(mixed.reshape((batch.rows, batch.seq_len, width))?)
}

/// Adds deepstack features `[merged tokens, hidden]` to the states of the batch's image tokens.
fn add_at_images(x: &Tensor, deep: &Tensor, batch: &Batch) -> Result<Tensor, ModelError> {
    let (rows, seq_len, hidden) = x.dims3()?;
    // Both [image tokens]; `deep` is [merged tokens, hidden].
    let slots = up("image tokens", batch.image_slots.clone(), batch.image_slots.len(), x.device())?;
    let features = up("feature rows", batch.feature_rows.clone(), batch.feature_rows.len(), x.device())?;
    let sum = x.reshape((rows * seq_len, hidden))?.index_add(&slots, &deep.index_select(&features, 0)?, 0)?;
    Ok(sum.reshape((rows, seq_len, hidden))?)
}
