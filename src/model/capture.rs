//! What a forward pass returns besides its result, on request; capturing never changes the result.

use candle_core::{Result, Tensor};

use super::transfers::up;

/// Requests and results of one forward pass. All captured tensors are detached from the gradient graph.
#[derive(Debug, Default)]
pub struct Capture {
    /// Keep the output of every decoder layer.
    pub layers: bool,
    /// Keep attention probabilities of these decoder layers (empty: none).
    pub attention_layers: Vec<usize>,
    /// Keep attention only for query positions from this one on (position of this batch; 0: all).
    pub attention_from: usize,
    /// Shares of attention that are added up instead of keeping it.
    pub shares: ShareSum,
    /// Result: output of each decoder layer, `[batch, seq_len, hidden]`.
    pub layer_outputs: Vec<Tensor>,
    /// Result: per requested layer, in layer order, `[batch, heads, query positions kept, key positions]` (cached
    /// positions first; padding is 0).
    pub attention: Vec<Tensor>,
}

/// Shares of the attention of each row's newest query, added up layer by layer where the model runs.
#[derive(Debug, Default)]
pub struct ShareSum {
    wanted: bool,
    /// `[batch, keys, 3]`: which keys are image, rest of the prompt and response.
    marks: Option<Tensor>,
    /// Sum over the layers so far, and their number.
    sum: Option<(Tensor, usize)>,
}

impl Capture {
    /// Asks for nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Asks for the attention of `layers`, for query positions from `from` on.
    pub fn attention(layers: Vec<usize>, from: usize) -> Self {
        Self { attention_layers: layers, attention_from: from, ..Self::default() }
    }

    /// Asks for the shares of attention of each row's newest query, mean over heads and `layers`: added up where the
    /// model runs, layer by layer, so that no attention is kept.
    pub fn shares_of(layers: Vec<usize>) -> Self {
        let shares = ShareSum { wanted: true, ..ShareSum::default() };
        Self { attention_layers: layers, attention_from: usize::MAX, shares, ..Self::default() }
    }

    /// Are shares asked for?
    pub(crate) fn wants_shares(&self) -> bool {
        self.shares.wanted && !self.attention_layers.is_empty()
    }

    /// Sets which keys belong to what in the pass that follows, of `queries` positions: `[batch, keys, image and
    /// prompt]`.
    pub(crate) fn begin_shares(&mut self, marks: Option<Tensor>, queries: usize) -> Result<()> {
        let three = |marks: Tensor| {
            let (image, prompt) = (marks.narrow(2, 0, 1)?, marks.narrow(2, 1, 1)?);
            // [batch, keys, image, rest of the prompt, response]
            Tensor::cat(&[&image, &(&prompt - &image)?, &prompt.affine(-1.0, 1.0)?], 2)
        };
        self.shares = ShareSum { wanted: true, marks: marks.map(three).transpose()?, sum: None };
        self.attention_from = queries - 1;
        Ok(())
    }

    /// Result: shares `[batch, 3]` of image, rest of the prompt, and response.
    pub(crate) fn take_shares(&mut self) -> Result<Option<Tensor>> {
        self.shares.sum.take().map(|(sum, layers)| sum / layers as f64).transpose()
    }

    /// Adds the attention of one layer, `[batch, heads, queries, keys]`, to the shares.
    fn add_shares(&mut self, probabilities: &Tensor) -> Result<()> {
        let Some(marks) = &self.shares.marks else { return Ok(()) };
        let queries = probabilities.dim(2)?;
        // [batch, 1, keys] by [batch, keys, 3]
        let own = probabilities.narrow(2, queries - 1, 1)?.mean(1)?.matmul(marks)?.squeeze(1)?;
        self.shares.sum = Some(match self.shares.sum.take() {
            Some((sum, layers)) => ((sum + own)?, layers + 1),
            None => (own, 1),
        });
        Ok(())
    }

    /// The captured attention of the chosen rows only, in that order.
    pub fn select_rows(&mut self, rows: &[usize]) -> Result<()> {
        for attention in &mut self.attention {
            // [chosen sequences]
            let index = up("chosen rows", rows.iter().map(|r| *r as u32).collect(), rows.len(), attention.device())?;
            *attention = attention.index_select(&index, 0)?;
        }
        Ok(())
    }

    /// From which query position on decoder layer `index` should keep its attention; none: not at all.
    pub(crate) fn queries_of(&self, index: usize) -> Option<usize> {
        self.attention_layers.contains(&index).then_some(self.attention_from)
    }

    /// Keeps what was asked for of the next decoder layer.
    pub(crate) fn take(&mut self, output: &Tensor, probabilities: Option<Tensor>) -> Result<()> {
        if self.layers {
            self.layer_outputs.push(output.detach());
        }
        match probabilities {
            Some(probabilities) if self.shares.wanted => self.add_shares(&probabilities)?,
            probabilities => self.attention.extend(probabilities),
        }
        Ok(())
    }
}
