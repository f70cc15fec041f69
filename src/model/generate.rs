//! Token-by-token generation over a KV cache, shared by rollouts and the serving engine.

use std::cell::OnceCell;

use candle_core::{Device, Tensor};

use super::kernels::{DrawRule, Drawn, Draws, all_finite};
use super::sampler::{Sampler, likeliest, raw_logprob};
use super::transfers::{down, down_rows, is_gpu, up};
use super::{Batch, Capture, KvCache, ModelError, Sequence, VisionLanguageModel, focus};

/// A batch of sequences that is being generated.
pub struct Generation<'m> {
    model: &'m dyn VisionLanguageModel,
    cache: KvCache,
    states: Tensor,
    /// Visual prototypes `[batch, hidden]` of the rows' prompts, where similarity is asked for.
    prototypes: Option<Tensor>,
    /// What draws on a GPU, from the first draw on.
    draws: OnceCell<Draws>,
}

/// What the newest position of each row looked at.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observed {
    /// Shares of attention on the image, the rest of the prompt and the response, where they were captured.
    pub shares: Vec<[f64; 3]>,
    /// Cosine of the newest state and the prompt's visual prototype, where prototypes are known.
    pub similarity: Vec<f64>,
}

/// A token that was chosen for an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: u32,
    /// Its log-prob under the logits as they are.
    pub logprob: f64,
    /// The likeliest tokens with their log-probs, the likeliest first; as many as were asked for.
    pub likeliest: Vec<(u32, f64)>,
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
        if capture.wants_shares() {
            cache.mark_prompts(&batch)?;
            capture.begin_shares(cache.marks(batch.seq_len)?, batch.seq_len)?;
        }
        let hidden = model.forward(&batch, features.as_ref(), Some(&mut cache), capture)?;
        let states = hidden.narrow(1, batch.seq_len - 1, 1)?.squeeze(1)?.contiguous()?;
        Ok((Self::resume(model, cache, states), Prefill { batch, hidden }))
    }

    /// Keeps the chosen rows, in that order; choosing a row several times makes a group of one prefill.
    pub fn select_rows(&mut self, rows: &[usize]) -> Result<(), ModelError> {
        // [chosen sequences]
        let index = up("chosen rows", rows.iter().map(|r| *r as u32).collect(), rows.len(), self.device())?;
        self.states = self.states.index_select(&index, 0)?;
        self.prototypes = self.prototypes.take().map(|all| all.index_select(&index, 0)).transpose()?;
        self.cache = self.cache.select_rows(rows)?;
        Ok(())
    }

    /// Continues a cache that was filled elsewhere; `states` `[batch, hidden]` are the final states of its last
    /// position.
    pub fn resume(model: &'m dyn VisionLanguageModel, cache: KvCache, states: Tensor) -> Self {
        Self { model, cache, states, prototypes: None, draws: OnceCell::new() }
    }

    /// Appends the rows of `others` to its own, with room for at least `spare` more tokens; all continue as one batch.
    pub fn join(&mut self, others: &[Self], spare: usize) -> Result<(), ModelError> {
        let caches: Vec<&KvCache> = others.iter().map(|other| &other.cache).collect();
        self.cache = self.cache.join(&caches, spare)?;
        let states: Vec<&Tensor> = std::iter::once(&*self).chain(others).map(|each| &each.states).collect();
        // [batch, hidden]
        self.states = Tensor::cat(&states, 0)?;
        let prototypes = std::iter::once(&*self).chain(others).map(|each| each.prototypes.as_ref());
        let prototypes: Option<Vec<&Tensor>> = prototypes.collect();
        // [batch, hidden]
        self.prototypes = prototypes.map(|all| Tensor::cat(&all, 0)).transpose()?;
        Ok(())
    }

    /// Computes the visual prototypes of the prompts, so that [`Self::observe`] tells the similarity of states.
    pub fn keep_prototypes(&mut self, prefill: &Prefill) -> Result<(), ModelError> {
        let (slots, seq_len) = (&prefill.batch.image_slots, prefill.batch.seq_len);
        // Slots ascend, row by row.
        let before = |row: usize| slots.partition_point(|slot| (*slot as usize) < row * seq_len);
        let images: Vec<&[u32]> = (0..prefill.batch.rows).map(|row| &slots[before(row)..before(row + 1)]).collect();
        self.keep_prototypes_of(&prefill.hidden, &images)
    }

    /// The same for prompts that were read elsewhere: final hidden states `[batch, seq_len, hidden]`, and for each row
    /// the slots of its image tokens, `row * seq_len + position`; a row without images has similarity 0.
    pub fn keep_prototypes_of(&mut self, hidden: &Tensor, images: &[&[u32]]) -> Result<(), ModelError> {
        self.prototypes = Some(focus::prototypes(hidden, images)?);
        Ok(())
    }

    /// What the newest position of each row looked at, in one transfer.
    pub fn observe(&self, capture: &mut Capture) -> Result<Observed, ModelError> {
        let shares = capture.take_shares()?;
        let mut columns: Vec<Tensor> = shares.iter().cloned().collect();
        if let Some(known) = &self.prototypes {
            columns.push(focus::cosines(&self.states, known)?.unsqueeze(1)?);
        }
        let mut observed = Observed::default();
        if columns.is_empty() {
            return Ok(observed);
        }
        // [batch, shares and similarity]
        let all = Tensor::cat(&columns, 1)?;
        for line in down("shares and focus", &all)?.chunks_exact(all.dim(1)?) {
            let line: Vec<f64> = line.iter().copied().map(f64::from).collect();
            if shares.is_some() {
                observed.shares.push([line[0], line[1], line[2]]);
            }
            if self.prototypes.is_some() {
                observed.similarity.extend(line.last());
            }
        }
        Ok(observed)
    }

    /// Draws the next token of each row that has a sampler, with its log-prob; see [`Sampler::sample_scored`]. On a GPU
    /// the draw is made there.
    pub fn draw(&self, rows: &mut [Option<&mut Sampler>]) -> Result<Vec<Option<(u32, f64)>>, ModelError> {
        if !is_gpu(self.device()) {
            let logits = self.logits()?;
            let drawn = rows.iter_mut().zip(&logits).map(|(row, logits)| Some(row.as_mut()?.sample_scored(logits)));
            return Ok(drawn.collect());
        }
        let rules: Vec<DrawRule> =
            rows.iter_mut().map(|row| row.as_mut().map_or(DrawRule::GREEDY, |sampler| sampler.next_rule())).collect();
        let drawn = self.draw_on_device(&rules)?;
        let scored = |((row, drawn), rule): ((&Option<&mut Sampler>, &Drawn), &DrawRule)| {
            row.is_some().then(|| (drawn.token, if *rule == DrawRule::GREEDY { 0.0 } else { drawn.logprob }))
        };
        Ok(rows.iter().zip(&drawn).zip(&rules).map(scored).collect())
    }

    /// Chooses the next token of each row by its sampler, with its plain log-prob and as many of the likeliest tokens
    /// as the row asks for.
    /// On a GPU it is drawn there, and the logits come back of those rows alone that ask for other tokens.
    pub fn choose(&self, rows: &mut [(&mut Sampler, usize)]) -> Result<Vec<Choice>, ModelError> {
        let chosen = |(token, logprob), likeliest| Choice { token, logprob, likeliest };
        if !is_gpu(self.device()) {
            let logits = self.logits()?;
            let choose = |((sampler, count), logits): (&mut (&mut Sampler, usize), &Vec<f32>)| {
                let token = sampler.sample(logits);
                chosen((token, raw_logprob(logits, token)), likeliest(logits, *count))
            };
            return Ok(rows.iter_mut().zip(&logits).map(choose).collect());
        }
        let logits = self.model.logits(&self.states)?;
        let rules: Vec<DrawRule> = rows.iter_mut().map(|(sampler, _)| sampler.next_rule()).collect();
        let drawn = self.draw_from(&logits, &rules)?;
        let asking: Vec<u32> =
            (0..).zip(rows.iter()).filter(|(_, (_, count))| *count > 0).map(|(row, _)| row).collect();
        let mut asked = Vec::new();
        if !asking.is_empty() {
            // [rows that ask]
            let index = up("rows that ask", asking.clone(), asking.len(), self.device())?;
            asked = down_rows("logits that are asked for", &logits.index_select(&index, 0)?)?;
        }
        let mut asked = asked.iter();
        let choose = |(drawn, (_, count)): (&Drawn, &(&mut Sampler, usize))| {
            let logits = if *count > 0 { asked.next() } else { None };
            let likeliest = logits.map_or_else(Vec::new, |logits| likeliest(logits, *count));
            chosen((drawn.token, drawn.plain), likeliest)
        };
        Ok(drawn.iter().zip(rows.iter()).map(choose).collect())
    }

    /// One token for each row, drawn where the logits are.
    pub fn draw_on_device(&self, rules: &[DrawRule]) -> Result<Vec<Drawn>, ModelError> {
        self.draw_from(&self.model.logits(&self.states)?, rules)
    }

    fn draw_from(&self, logits: &Tensor, rules: &[DrawRule]) -> Result<Vec<Drawn>, ModelError> {
        let draws = if let Some(draws) = self.draws.get() {
            draws
        } else {
            let made = Draws::new(logits.dim(1)?, &self.model.info().placeholders, self.device())?;
            self.draws.get_or_init(|| made)
        };
        let drawn = draws.draw(logits, rules)?;
        // A logit that is not finite makes every sum so.
        let finite = drawn.iter().all(|drawn| drawn.logprob.is_finite() && drawn.plain.is_finite());
        if finite { Ok(drawn) } else { Err(ModelError::NotFinite("logits")) }
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
        let logits = self.model.logits(&self.states)?;
        let logits = down_rows("logits", &logits)?;
        if logits.iter().all(|row| all_finite(row)) { Ok(logits) } else { Err(ModelError::NotFinite("logits")) }
    }

    /// Reads one token per row.
    pub fn advance(&mut self, tokens: &[u32], capture: &mut Capture) -> Result<(), ModelError> {
        self.cache.reserve(1)?;
        if capture.wants_shares() {
            capture.begin_shares(self.cache.marks(1)?, 1)?;
        }
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
