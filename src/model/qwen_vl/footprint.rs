//! What the forward pass of a Qwen-VL model keeps for its backward, operation by operation.

use super::config::{Config, TextConfig, VisionConfig, VisionMlp, VisionNorm};
use super::vision::windows;
use crate::model::footprint::{ActivationMemory, Arithmetic, Footprint, PassShape, VALUE};
use crate::model::input::Grid;
use crate::model::linear::LinearShape;

fn text_block(config: &TextConfig, by: Arithmetic, rows: usize, seq_len: usize) -> ActivationMemory {
    let tokens = rows * seq_len;
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let pairs = rows * config.heads * seq_len * seq_len;
    let project = |out: usize, bias: bool| by.linear(tokens, hidden, out, bias);
    let mut graph = project(q, config.qkv_bias) + 2 * project(kv, config.qkv_bias);
    if config.qk_norm {
        let norm = |heads: usize| by.rms_norm(tokens * heads, config.head_dim);
        graph += norm(config.heads) + norm(config.kv_heads);
    }
    graph += by.attention(tokens * q, tokens * config.heads);
    graph += by.linear(tokens, q, hidden, false);
    graph += 2 * project(inner, false) + by.gated_silu(tokens * inner) + by.linear(tokens, inner, hidden, false);
    graph += 2 * by.rms_norm(tokens, hidden) + 2 * VALUE * tokens * hidden;
    let attention = by.attention_backward(tokens * q, tokens * kv, pairs);
    let backward = attention.max(by.gated_silu_backward(tokens * inner)) + 3 * VALUE * tokens * hidden;
    ActivationMemory { graph, tape: VALUE * tokens * hidden, block: graph, backward }
}

/// Bytes alive in a layer without a graph, its input included.
fn text_reading(config: &TextConfig, by: Arithmetic, pass: &PassShape) -> usize {
    let tokens = pass.tokens();
    let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let pairs = pass.rows * config.heads * pass.seq_len * pass.seq_len;
    let attend = VALUE * tokens * (2 * config.hidden_size + 2 * q + 4 * kv)
        + by.attention_reading(tokens * q, tokens * kv, pairs)
        + by.attention_masks(pass.rows, config.heads, pass.seq_len);
    let mlp = VALUE * tokens * (3 * config.hidden_size + 3 * config.intermediate_size)
        + by.narrow_copies(tokens * (config.hidden_size + config.intermediate_size));
    attend.max(mlp)
}

fn norm(kind: VisionNorm, by: Arithmetic, rows: usize, width: usize) -> usize {
    match kind {
        VisionNorm::Layer => by.layer_norm(rows, width),
        VisionNorm::RootMeanSquare => by.rms_norm(rows, width),
    }
}

/// Query-key pairs of one head in one image: windowed or whole.
fn pairs_of_image(config: &VisionConfig, grid: Grid, full: bool) -> usize {
    let Some(window) = config.window_size.filter(|_| !full) else { return grid.patches() * grid.patches() };
    let bounds = windows(grid, config.merge_size, window / config.merge_size / config.patch_size).bounds;
    bounds.windows(2).map(|pair| (pair[1] - pair[0]).pow(2)).sum()
}

/// One block over `images` images of one size.
fn vision_block(config: &VisionConfig, by: Arithmetic, grid: Grid, images: usize, full: bool) -> ActivationMemory {
    let (patches, width, inner) = (images * grid.patches(), config.hidden_size, config.intermediate_size);
    let pairs = images * config.heads * pairs_of_image(config, grid, full);
    let values = patches * width;
    let mut graph = 2 * norm(config.norm, by, patches, width) + 2 * VALUE * values;
    graph += by.linear(patches, width, 3 * width, true) + by.linear(patches, width, width, true);
    graph += by.attention(values, patches * config.heads);
    let first = by.linear(patches, width, inner, true);
    graph += by.linear(patches, inner, width, true);
    graph += match config.mlp {
        VisionMlp::GatedSilu => 2 * first + by.gated_silu(patches * inner),
        VisionMlp::QuickGelu => first + by.quick_gelu(patches * inner),
        VisionMlp::TanhGelu => first + by.gelu(patches * inner),
    };
    let attention = by.attention_backward(values, values, pairs);
    let backward = attention.max(by.gated_silu_backward(patches * inner)) + 3 * VALUE * values;
    ActivationMemory { graph, tape: VALUE * values, block: graph, backward }
}

/// The images by size.
pub(in crate::model) fn by_size(images: &[Grid]) -> Vec<(Grid, usize)> {
    let mut sizes: Vec<(Grid, usize)> = Vec::new();
    for image in images {
        match sizes.iter_mut().find(|(grid, _)| grid == image) {
            Some((_, count)) => *count += 1,
            None => sizes.push((*image, 1)),
        }
    }
    sizes
}

/// Values of one flattened patch.
fn patch_values(config: &VisionConfig) -> usize {
    config.channels * config.temporal_patch_size * config.patch_size * config.patch_size
}

/// A merger: norm, first product, activation, second product.
fn merger(config: &VisionConfig, by: Arithmetic, patches: usize, out: usize, joined: bool) -> usize {
    let unit = config.merge_size * config.merge_size;
    let (tokens, width) = (patches / unit, config.hidden_size * unit);
    let (rows, columns) = if joined { (tokens, width) } else { (patches, config.hidden_size) };
    norm(config.norm, by, rows, columns)
        + by.linear(tokens, width, width, true)
        + by.gelu(tokens * width)
        + by.linear(tokens, width, out, true)
}

/// The tower over `images` images of one size; `out` is the decoder's width.
pub(in crate::model) fn tower(
    config: &VisionConfig,
    by: Arithmetic,
    grid: Grid,
    images: usize,
    out: usize,
) -> ActivationMemory {
    let patches = images * grid.patches();
    let width = config.hidden_size;
    let tokens = patches / (config.merge_size * config.merge_size);
    let parts = 1 + config.deepstack.len();
    let learned = config.position_side.is_some();
    // Pixels, patch embedding, window order; learned positions are gathered from four corners and summed.
    let positions = if learned { 11 * grid.patches() * width + patches * width } else { 0 };
    let pixels = patches * patch_values(config);
    let embed = by.linear(patches, patch_values(config), width, learned);
    let embed = VALUE * (pixels + positions + patches * width) + embed;
    let states = VALUE * patches * width;
    let mut memory = ActivationMemory { graph: embed, tape: 2 * states, block: embed, backward: 4 * states };
    for index in 0..config.depth {
        let block = vision_block(config, by, grid, images, config.full_attention_blocks.contains(&index));
        memory.graph += block.graph;
        memory.tape += block.tape;
        memory.block = memory.block.max(block.graph);
        memory.backward = memory.backward.max(block.backward);
    }
    // Mergers, their tokens in natural order, and the concatenated parts.
    let mergers = merger(config, by, patches, out, false)
        + config.deepstack.iter().map(|_| merger(config, by, patches, out, true)).sum::<usize>();
    let joined = if parts > 1 { parts * tokens * out } else { 0 };
    memory.graph += mergers + VALUE * (parts * tokens * out + joined);
    memory.tape += 2 * VALUE * parts * tokens * out;
    memory
}

impl Footprint for Config {
    fn training(&self, by: Arithmetic, pass: &PassShape, train_vision: bool) -> ActivationMemory {
        let hidden = self.text.hidden_size;
        let mut memory = ActivationMemory::default();
        if train_vision {
            for (grid, images) in by_size(&pass.images) {
                memory.add(&tower(&self.vision, by, grid, images, hidden));
            }
        }
        let parts = 1 + self.vision.deepstack.len();
        let image_tokens: usize = pass.images.iter().map(|grid| grid.merged(self.vision.merge_size)).sum();
        let states = pass.tokens() * hidden;
        // Token embeddings, widened where they are narrow.
        let mut embed = states * if by.weight_bytes == VALUE { VALUE } else { by.weight_bytes + VALUE };
        if image_tokens > 0 {
            // Embeddings and features in one tensor, and its rows in the order of the batch.
            embed += VALUE * (2 * states + image_tokens * hidden);
            if pass.images.len() > 1 && train_vision {
                // Concatenated features of all images.
                memory.graph += VALUE * parts * image_tokens * hidden;
            }
            if parts > 1 {
                embed += VALUE * parts * image_tokens * hidden;
                embed += VALUE * (parts - 1) * (states + pass.image_slots * hidden);
            }
        }
        let block = text_block(&self.text, by, pass.rows, pass.seq_len);
        let masks = by.attention_masks(pass.rows, self.text.heads, pass.seq_len);
        memory.graph += embed + masks + self.text.layers * block.graph + by.rms_norm(pass.tokens(), hidden);
        memory.tape += masks;
        memory.tape += VALUE * ((2 + self.text.layers) * states + parts * image_tokens * hidden);
        memory.block = memory.block.max(block.block);
        memory.backward = memory.backward.max(block.backward);
        memory
    }

    fn reading(&self, by: Arithmetic, pass: &PassShape) -> usize {
        let text = text_reading(&self.text, by, pass);
        let sizes = by_size(&pass.images).into_iter();
        let vision = sizes.map(|(grid, images)| vision_reading(&self.vision, by, grid, images));
        text.max(vision.max().unwrap_or(0))
    }

    fn cached_per_token(&self, by: Arithmetic) -> usize {
        by.cached_value() * 2 * self.text.layers * self.text.kv_heads * self.text.head_dim
    }

    fn rows_of(&self, layer: &LinearShape, pass: &PassShape) -> usize {
        if !layer.is_vision() {
            return pass.tokens();
        }
        rows_of_tower(&self.vision, layer, pass)
    }
}

/// Rows that a linear layer of the tower maps in a pass.
pub(in crate::model) fn rows_of_tower(config: &VisionConfig, layer: &LinearShape, pass: &PassShape) -> usize {
    let patches: usize = pass.images.iter().map(|grid| grid.patches()).sum();
    if layer.name.contains("merger") { patches / (config.merge_size * config.merge_size) } else { patches }
}

/// Bytes alive in a block of the tower without a graph, pixels included.
pub(in crate::model) fn vision_reading(config: &VisionConfig, by: Arithmetic, grid: Grid, images: usize) -> usize {
    let patches = images * grid.patches();
    let (width, inner) = (config.hidden_size, config.intermediate_size);
    let pairs = images * config.heads * pairs_of_image(config, grid, true);
    let embed = VALUE * patches * (patch_values(config) + width);
    let attend = VALUE * patches * 5 * width + by.attention_reading(patches * width, patches * width, pairs);
    let mlp = VALUE * patches * (3 * width + 3 * inner) + by.narrow_copies(patches * (width + inner));
    embed.max(attend).max(mlp)
}
