//! What the forward pass of a Qwen3.5 model keeps for its backward, operation by operation.

use super::config::{Config, LayerKind, TextConfig};
use crate::model::cache::LayerShape;
use crate::model::footprint::{ActivationMemory, Arithmetic, Footprint, PassShape, VALUE};
use crate::model::linear::LinearShape;
use crate::model::qwen_vl::footprint::{by_size, rows_of_tower, tower, vision_reading};

/// The part of a layer that every kind has: two norms, two sums, the MLP.
fn common(config: &TextConfig, by: Arithmetic, tokens: usize) -> usize {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let mlp = 2 * by.linear(tokens, hidden, inner, false) + by.gated_silu(tokens * inner);
    let norms = 2 * by.zero_centred_rms_norm(tokens, hidden);
    mlp + by.linear(tokens, inner, hidden, false) + norms + 2 * VALUE * tokens * hidden
}

/// Gated attention: query and gate are copied apart, the first dimensions of each head rotated.
fn full_attention(config: &TextConfig, by: Arithmetic, rows: usize, seq_len: usize) -> (usize, usize) {
    let tokens = rows * seq_len;
    let (hidden, dim) = (config.hidden_size, config.head_dim);
    let (q, kv) = (config.heads * dim, config.kv_heads * dim);
    let pairs = rows * config.heads * seq_len * seq_len;
    let mut graph = by.linear(tokens, hidden, 2 * q, false) + 2 * by.linear(tokens, hidden, kv, false);
    graph += 2 * VALUE * tokens * q;
    for heads in [config.heads, config.kv_heads] {
        let turned = if config.rotary.dim < dim { config.rotary.dim + dim } else { dim };
        graph += by.zero_centred_rms_norm(tokens * heads, dim) + VALUE * tokens * heads * turned;
    }
    graph += by.attention(tokens * q, tokens * config.heads);
    graph += by.sigmoid_gated(tokens * q) + by.linear(tokens, q, hidden, false);
    (graph, by.attention_backward(tokens * q, tokens * kv, pairs))
}

/// A delta net.
fn delta_net(config: &TextConfig, by: Arithmetic, rows: usize, seq_len: usize) -> (usize, usize) {
    let tokens = rows * seq_len;
    let (hidden, channels, values) = (config.hidden_size, config.channels(), config.values());
    let heads = config.delta.value_heads;
    let project = |out: usize| by.linear(tokens, hidden, out, false);
    let mut graph = project(channels) + project(values) + 2 * project(heads);
    graph += by.causal_conv(tokens * channels, config.kernel);
    graph += by.log_decay(tokens * heads) + by.sigmoid(tokens * heads);
    graph += by.delta_rule(tokens, config.delta) + by.gated_rms_norm(tokens * heads, config.delta.value_dim);
    let backward = by.delta_rule_backward(tokens, config.delta).max(by.causal_conv_backward(tokens * channels));
    (graph + by.linear(tokens, values, hidden, false), backward)
}

fn block(config: &TextConfig, kind: LayerKind, by: Arithmetic, pass: &PassShape) -> ActivationMemory {
    let tokens = pass.tokens();
    let (mixer, backward) = match kind {
        LayerKind::Full => full_attention(config, by, pass.rows, pass.seq_len),
        LayerKind::Linear => delta_net(config, by, pass.rows, pass.seq_len),
    };
    let graph = mixer + common(config, by, tokens);
    let states = VALUE * tokens * config.hidden_size;
    let backward = backward.max(by.gated_silu_backward(tokens * config.intermediate_size)) + 3 * states;
    ActivationMemory { graph, tape: states, block: graph, backward }
}

/// Bytes alive in a layer without a graph, its input included.
fn text_reading(config: &TextConfig, by: Arithmetic, pass: &PassShape) -> usize {
    let tokens = pass.tokens();
    let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let pairs = pass.rows * config.heads * pass.seq_len * pass.seq_len;
    let attend = VALUE * tokens * (2 * config.hidden_size + 5 * q + 5 * kv)
        + by.attention_reading(tokens * q, tokens * kv, pairs)
        + by.attention_masks(pass.rows, config.heads, pass.seq_len);
    let mut recur = VALUE * tokens * (2 * config.hidden_size + 3 * config.channels() + 3 * config.values());
    if !by.cpu {
        // Without a graph about half of what the formulas of a chunk keep for one.
        recur += by.delta_rule(tokens, config.delta) / 2;
    }
    let mlp = VALUE * tokens * (3 * config.hidden_size + 3 * config.intermediate_size)
        + by.narrow_copies(tokens * (config.hidden_size + config.intermediate_size));
    attend.max(recur).max(mlp)
}

impl Footprint for Config {
    fn training(&self, by: Arithmetic, pass: &PassShape, train_vision: bool) -> ActivationMemory {
        let (text, hidden) = (&self.text, self.text.hidden_size);
        let mut memory = ActivationMemory::default();
        if let Some(vision) = self.vision.as_ref().filter(|_| train_vision) {
            for (grid, images) in by_size(&pass.images) {
                memory.add(&tower(&vision.tower, by, grid, images, hidden));
            }
        }
        let merge = self.vision.as_ref().map_or(1, |vision| vision.tower.merge_size);
        let image_tokens: usize = pass.images.iter().map(|grid| grid.merged(merge)).sum();
        let states = pass.tokens() * hidden;
        // Token embeddings, widened where they are narrow.
        let mut embed = states * if by.weight_bytes == VALUE { VALUE } else { by.weight_bytes + VALUE };
        if image_tokens > 0 {
            // Embeddings and features in one tensor, and its rows in the order of the batch.
            embed += VALUE * (2 * states + image_tokens * hidden);
            if pass.images.len() > 1 && train_vision {
                // Concatenated features of all images.
                memory.graph += VALUE * image_tokens * hidden;
            }
        }
        for kind in &text.layers {
            let layer = block(text, *kind, by, pass);
            memory.add(&layer);
        }
        let masks = by.attention_masks(pass.rows, text.heads, pass.seq_len);
        memory.graph += embed + masks + by.zero_centred_rms_norm(pass.tokens(), hidden);
        memory.tape += masks;
        memory.tape += VALUE * (2 * states + image_tokens * hidden);
        memory
    }

    fn reading(&self, by: Arithmetic, pass: &PassShape) -> usize {
        let text = text_reading(&self.text, by, pass);
        let Some(vision) = &self.vision else { return text };
        let sizes = by_size(&pass.images).into_iter();
        sizes.map(|(grid, images)| vision_reading(&vision.tower, by, grid, images)).fold(text, usize::max)
    }

    fn cached_per_token(&self, by: Arithmetic) -> usize {
        let full = self.text.layers_of(LayerKind::Full).len();
        by.cached_value() * 2 * full * self.text.kv_heads * self.text.head_dim
    }

    fn cached_per_row(&self) -> usize {
        let values = |shape: LayerShape| match shape {
            LayerShape::Attention { .. } => 0,
            LayerShape::Recurrent(states) => states.iter().map(|state| state.iter().product::<usize>()).sum(),
        };
        VALUE * self.text.cached().into_iter().map(values).sum::<usize>()
    }

    fn rows_of(&self, layer: &LinearShape, pass: &PassShape) -> usize {
        match self.vision.as_ref().filter(|_| layer.is_vision()) {
            Some(vision) => rows_of_tower(&vision.tower, layer, pass),
            None => pass.tokens(),
        }
    }
}
