//! The decoder: token embedding, pre-norm layers with a delta net or gated attention and a gated MLP, output head.

use std::rc::Rc;

use candle_core::{Device, Tensor};

use super::attention::{AttentionPass, GatedAttention};
use super::config::{LayerKind, TextConfig};
use super::delta_net::DeltaNet;
pub use super::delta_net::DeltaStages;
use crate::model::cache::KvCache;
use crate::model::capture::Capture;
use crate::model::error::ModelError;
use crate::model::input::Batch;
use crate::model::kernels::{self, Segments};
use crate::model::linear::{Linear, LinearShape};
use crate::model::qwen_vl::rope::rotary_table;
use crate::model::qwen_vl::text::embed;
use crate::model::tape::Tape;
use crate::model::weight::Weight;
use crate::model::weights::WeightSource;

#[derive(Debug)]
enum Mixer {
    Full(GatedAttention),
    Linear(DeltaNet),
}

#[derive(Debug)]
struct Layer {
    input_norm: Tensor,
    mixer: Mixer,
    mlp_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Layer {
    fn new(config: &TextConfig, source: &dyn WeightSource, index: usize) -> Result<Self, ModelError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let layer = format!("model.layers.{index}");
        let name = |part: &str| format!("{layer}.{part}");
        let projection = |part: &str, out, inner| Linear::new(source, &name(part), out, inner, false);
        Ok(Self {
            input_norm: source.get(&name("input_layernorm.weight"), &[hidden])?,
            mixer: match config.layers[index] {
                LayerKind::Full => Mixer::Full(GatedAttention::new(config, source, &layer)?),
                LayerKind::Linear => Mixer::Linear(DeltaNet::new(config, source, &layer)?),
            },
            mlp_norm: source.get(&name("post_attention_layernorm.weight"), &[hidden])?,
            gate: projection("mlp.gate_proj", inner, hidden)?,
            up: projection("mlp.up_proj", inner, hidden)?,
            down: projection("mlp.down_proj", hidden, inner)?,
        })
    }
}

/// What all layers of one forward pass share.
struct Pass {
    attention: AttentionPass,
    segments: Segments,
}

/// The decoder of a Qwen3.5 model.
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
            layers: (0..config.layers.len()).map(|i| Layer::new(config, source, i)).collect::<Result<_, _>>()?,
            norm: source.get("model.norm.weight", &[config.hidden_size])?,
            head: if config.tied { None } else { Some(table("lm_head")?) },
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// Final hidden states `[batch, seq_len, hidden]`; see [`crate::model::VisionLanguageModel::forward`].
    pub fn forward(
        &self,
        batch: &Batch,
        features: Option<&Tensor>,
        mut cache: Option<&mut KvCache>,
        capture: &mut Capture,
    ) -> Result<Tensor, ModelError> {
        if let Some(cache) = cache.as_deref() {
            cache.admit(batch)?;
        }
        let pass = self.pass(batch, cache.as_deref())?;
        let mut x = embed(&self.embedding, batch, features)?;
        for index in 0..self.layers.len() {
            let (y, probabilities) = self.layer(index, &x, &pass, cache.as_deref_mut(), capture.queries_of(index))?;
            capture.take(&y, probabilities)?;
            x = y;
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
        let mut x = tape.run(&inputs, |inputs| embed(&self.embedding, batch, inputs.first()))?;
        for index in 0..self.layers.len() {
            let pass = Rc::clone(&pass);
            x = tape.run(&[&x], move |inputs| Ok(self.layer(index, &inputs[0], &pass, None, None)?.0))?;
        }
        tape.run(&[&x], |inputs| self.last_norm(&inputs[0]))
    }

    /// Every stage of the delta net of layer `index`, of the layer's input; none for a layer with attention.
    pub fn delta_stages(&self, index: usize, x: &Tensor, batch: &Batch) -> Result<Option<DeltaStages>, ModelError> {
        let Mixer::Linear(net) = &self.layers[index].mixer else { return Ok(None) };
        let pass = self.pass(batch, None)?;
        let y = kernels::zero_centred_rms_norm(x, &self.layers[index].input_norm, self.config.rms_norm_eps)?;
        net.in_stages(&y, &pass.segments).map(Some)
    }

    fn pass(&self, batch: &Batch, cache: Option<&KvCache>) -> Result<Pass, ModelError> {
        let segments = if batch.suffixes.is_empty() {
            Segments::rows(batch.seq_len, &batch.padding, cache.is_some_and(|cache| !cache.is_empty()))
        } else {
            Segments::packed(batch.seq_len, &batch.suffixes)?
        };
        let rope = rotary_table(&self.config.rotary, batch, &self.device)?;
        let mask = cache.map_or_else(|| Ok(batch.attention_mask()), |cache| cache.attention_mask(batch))?;
        Ok(Pass { attention: AttentionPass { rope, mask }, segments })
    }

    /// One decoder layer: its output, and the probabilities of query positions from `keep` on.
    fn layer(
        &self,
        index: usize,
        x: &Tensor,
        pass: &Pass,
        cache: Option<&mut KvCache>,
        keep: Option<usize>,
    ) -> Result<(Tensor, Option<Tensor>), ModelError> {
        let (layer, eps) = (&self.layers[index], self.config.rms_norm_eps);
        let y = kernels::zero_centred_rms_norm(x, &layer.input_norm, eps)?;
        let (mixed, probabilities) = match &layer.mixer {
            Mixer::Full(attention) => {
                attention.forward(&y, &pass.attention, cache.map(|cache| (&*cache, index)), keep)?
            }
            Mixer::Linear(net) => (net.forward(&y, &pass.segments, cache.map(|cache| (cache, index)))?, None),
        };
        let x = (x + mixed)?;
        let y = kernels::zero_centred_rms_norm(&x, &layer.mlp_norm, eps)?;
        let y = kernels::gated_silu(&layer.gate.forward(&y)?, &layer.up.forward(&y)?)?;
        Ok(((x + layer.down.forward(&y)?)?, probabilities))
    }

    fn last_norm(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        Ok(kernels::zero_centred_rms_norm(x, &self.norm, self.config.rms_norm_eps)?)
    }

    /// Logits of hidden states `[n, hidden]`.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        Ok(self.head.as_ref().unwrap_or(&self.embedding).project(hidden, None)?)
    }
}
