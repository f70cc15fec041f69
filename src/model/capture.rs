//! What a forward pass returns besides its result, on request; capturing never changes the result.

use candle_core::{Result, Tensor};

/// Requests and results of one forward pass. All captured tensors are detached from the gradient graph.
#[derive(Debug, Default)]
pub struct Capture {
    /// Keep the output of every decoder layer.
    pub layers: bool,
    /// Keep attention probabilities of these decoder layers (empty: none).
    pub attention_layers: Vec<usize>,
    /// Keep attention only for query positions from this one on (position of this batch; 0: all).
    pub attention_from: usize,
    /// Result: output of each decoder layer, `[batch, seq_len, hidden]`.
    pub layer_outputs: Vec<Tensor>,
    /// Result: per requested layer, in layer order, `[batch, heads, query positions kept, key positions]` (cached
    /// positions first; padding is 0).
    pub attention: Vec<Tensor>,
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

    /// The captured attention of the chosen rows only, in that order.
    pub fn select_rows(&mut self, rows: &[usize]) -> Result<()> {
        for attention in &mut self.attention {
            // [chosen sequences]
            let index = Tensor::from_iter(rows.iter().map(|r| *r as u32), attention.device())?;
            *attention = attention.index_select(&index, 0)?;
        }
        Ok(())
    }

    /// From which query position on decoder layer `index` should keep its attention; none: not at all.
    pub(crate) fn queries_of(&self, index: usize) -> Option<usize> {
        self.attention_layers.contains(&index).then_some(self.attention_from)
    }

    /// Keeps what was asked for of the next decoder layer.
    pub(crate) fn take(&mut self, output: &Tensor, probabilities: Option<Tensor>) {
        if self.layers {
            self.layer_outputs.push(output.detach());
        }
        self.attention.extend(probabilities);
    }
}
