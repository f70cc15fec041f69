//! Token-by-token generation over a KV cache, shared by rollouts and the serving engine.

use candle_core::{Device, Tensor};

use super::kernels::all_finite;
use super::{Batch, Capture, KvCache, ModelError, Sequence, VisionLanguageModel};

/// A batch of sequences that is being generated.
pub struct Generation<'m> {
    model: &'m dyn VisionLanguageModel,
    cache: KvCache,
    states: Tensor,
}

/// The result of a prefill.
#[derive(Debug)]
pub struct Prefill {
    /// The padded prompts.
    pub batch: Batch,
    /// Final hidden states `[batch, seq_len, hidden]`.
    pub hidden: Tensor,
}

impl<'m> Generation<'m> {
    /// Reads `prompts` and makes room for `new_tokens` more. Ask `capture` for attention from the last prompt position
    /// on to see what the first token is predicted from.
    pub fn prefill(
        model: &'m dyn VisionLanguageModel,
        prompts: &[&Sequence],
        new_tokens: usize,
        capture: &mut Capture,
    ) -> Result<(Self, Prefill), ModelError> {
        let batch = Batch::new(prompts, model.info())?;
        let features = model.features(&batch)?;
        let mut cache = model.new_cache(batch.rows, batch.seq_len + new_tokens)?;
        let hidden = model.forward(&batch, features.as_ref(), Some(&mut cache), capture)?;
        let states = hidden.narrow(1, batch.seq_len - 1, 1)?.squeeze(1)?.contiguous()?;
        Ok((Self { model, cache, states }, Prefill { batch, hidden }))
    }

    /// Keeps the chosen rows, in that order; choosing a row several times makes a group of one prefill.
    pub fn select_rows(&mut self, rows: &[usize]) -> Result<(), ModelError> {
        // [chosen sequences]
        let index = Tensor::from_iter(rows.iter().map(|r| *r as u32), self.device())?;
        self.states = self.states.index_select(&index, 0)?;
        self.cache = self.cache.select_rows(rows)?;
        Ok(())
    }

    /// Continues a cache that was filled elsewhere; `states` `[batch, hidden]` are the final states of its last
    /// position.
    pub fn resume(model: &'m dyn VisionLanguageModel, cache: KvCache, states: Tensor) -> Self {
        Self { model, cache, states }
    }

    /// Appends the rows of `others` to its own, with room for at least `spare` more tokens; all continue as one batch.
    pub fn join(&mut self, others: &[Self], spare: usize) -> Result<(), ModelError> {
        let caches: Vec<&KvCache> = others.iter().map(|other| &other.cache).collect();
        self.cache = self.cache.join(&caches, spare)?;
        let states: Vec<&Tensor> = std::iter::once(&*self).chain(others).map(|each| &each.states).collect();
        // [batch, hidden]
        self.states = Tensor::cat(&states, 0)?;
        Ok(())
    }

    /// Drops positions that are padding in every row, once there are enough of them to be worth copying the rest.
    pub fn trim(&mut self) -> Result<(), ModelError> {
        let surplus = self.cache.padding().iter().copied().min().unwrap_or(0);
        if surplus > self.cache.len() / 4 { self.cache.trim() } else { Ok(()) }
    }

    fn device(&self) -> &'m Device {
        self.model.device()
    }

    /// Logits of the next token, one `[vocab]` row per sequence.
    pub fn logits(&self) -> Result<Vec<Vec<f32>>, ModelError> {
        let logits: Vec<Vec<f32>> = self.model.logits(&self.states)?.to_vec2()?;
        if logits.iter().all(|row| all_finite(row)) { Ok(logits) } else { Err(ModelError::NotFinite("logits")) }
    }

    /// Reads one token per row.
    pub fn advance(&mut self, tokens: &[u32], capture: &mut Capture) -> Result<(), ModelError> {
        self.cache.reserve(1)?;
        let batch = Batch::next_tokens(tokens, self.cache.next_position());
        let hidden = self.model.forward(&batch, None, Some(&mut self.cache), capture)?;
        self.states = hidden.squeeze(1)?;
        Ok(())
    }

    /// Final hidden states `[batch, hidden]` of the newest position: those of the token that was fed last.
    pub fn states(&self) -> &Tensor {
        &self.states
    }

    /// The cache, for its padding and length.
    pub fn cache(&self) -> &KvCache {
        &self.cache
    }
}
