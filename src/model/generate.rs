//! Token by token over a cache: the core that rollouts and the serving engine share.

use candle_core::{Device, Tensor};

use super::{Batch, Capture, KvCache, ModelError, Sequence, VisionLanguageModel};

/// Rows that are being continued.
pub struct Generation<'m> {
    model: &'m dyn VisionLanguageModel,
    cache: KvCache,
    states: Tensor,
}

/// What reading the prompts gave.
#[derive(Debug)]
pub struct Prefill {
    /// The padded prompts.
    pub batch: Batch,
    /// Final hidden states `[rows, columns, hidden]`.
    pub hidden: Tensor,
}

impl<'m> Generation<'m> {
    /// Reads `prompts` and makes room for `new_tokens` more. Ask `capture` for attention from the last prompt column on to
    /// see what the first token is predicted from.
    pub fn prefill(
        model: &'m dyn VisionLanguageModel,
        prompts: &[&Sequence],
        new_tokens: usize,
        capture: &mut Capture,
    ) -> Result<(Self, Prefill), ModelError> {
        let batch = Batch::new(prompts, model.info())?;
        let features = model.features(&batch)?;
        let mut cache = model.new_cache(batch.rows, batch.columns + new_tokens)?;
        let hidden = model.forward(&batch, features.as_ref(), Some(&mut cache), capture)?;
        let states = hidden.narrow(1, batch.columns - 1, 1)?.squeeze(1)?.contiguous()?;
        Ok((Self { model, cache, states }, Prefill { batch, hidden }))
    }

    /// Keeps the chosen rows, in that order; choosing a row several times makes a group of one prefill.
    pub fn select_rows(&mut self, rows: &[usize]) -> Result<(), ModelError> {
        let index = Tensor::from_iter(rows.iter().map(|r| *r as u32), self.device())?;
        self.states = self.states.index_select(&index, 0)?;
        self.cache = self.cache.select_rows(rows)?;
        Ok(())
    }

    /// Goes on behind columns that were read elsewhere; `states` `[rows, hidden]` are the final states of the last column.
    pub fn resume(model: &'m dyn VisionLanguageModel, cache: KvCache, states: Tensor) -> Self {
        Self { model, cache, states }
    }

    /// Takes in the rows of `others` behind its own, with room for at least `spare` tokens more; all go on together.
    pub fn join(&mut self, others: &[Self], spare: usize) -> Result<(), ModelError> {
        let caches: Vec<&KvCache> = others.iter().map(|other| &other.cache).collect();
        self.cache = self.cache.join(&caches, spare)?;
        let states: Vec<&Tensor> = std::iter::once(&*self).chain(others).map(|each| &each.states).collect();
        self.states = Tensor::cat(&states, 0)?;
        Ok(())
    }

    /// Gives back columns that no row needs any more, once there are enough of them to pay for moving the rest.
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
        // A sum is finite where all its parts are.
        let finite = |row: &Vec<f32>| row.iter().map(|logit| f64::from(*logit)).sum::<f64>().is_finite();
        if logits.iter().all(finite) { Ok(logits) } else { Err(ModelError::NotFinite("logits")) }
    }

    /// Reads one token per row.
    pub fn advance(&mut self, tokens: &[u32], capture: &mut Capture) -> Result<(), ModelError> {
        self.cache.reserve(1)?;
        let batch = Batch::next_tokens(tokens, self.cache.next_position());
        let hidden = self.model.forward(&batch, None, Some(&mut self.cache), capture)?;
        self.states = hidden.squeeze(1)?;
        Ok(())
    }

    /// Final hidden state `[rows, hidden]` of the newest column: the state that reads the token just fed.
    pub fn states(&self) -> &Tensor {
        &self.states
    }

    /// The cache, for its padding and length.
    pub fn cache(&self) -> &KvCache {
        &self.cache
    }
}
