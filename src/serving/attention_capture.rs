//! Attention shares and raw maps of positions, from the attention captured in a forward pass.

use std::ops::Range;

use candle_core::Tensor;

use super::ServingError;
use super::answer::Shares;
use super::prepare::{PreparedPrompt, layer_indices};
use super::request::{AttentionOptions, Heads, MapScope, MapSource};
use crate::algorithm::affine_focus;
use crate::model::{Capture, focus};

/// What to capture of the attention, resolved against the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturePlan {
    /// Decoder layers to average over, in ascending order.
    pub layers: Vec<usize>,
    /// How heads are joined in maps.
    pub heads: Heads,
    /// Which maps to make; none: shares only.
    pub maps: Option<MapSource>,
}

impl CapturePlan {
    /// Resolves a request's options; `with_attention` are the model's decoder layers that have attention.
    pub fn new(options: &AttentionOptions, with_attention: &[usize]) -> Self {
        Self {
            layers: layer_indices(&options.layers, with_attention),
            heads: options.heads,
            maps: (options.maps != MapScope::None).then_some(options.source),
        }
    }

    /// The same plan with maps of attention.
    #[must_use]
    pub fn with_attention_maps(&self) -> Self {
        Self { maps: Some(MapSource::Attention), ..self.clone() }
    }

    /// Are maps of attention asked for?
    pub fn maps_of_attention(&self) -> bool {
        self.maps == Some(MapSource::Attention)
    }

    /// Are maps of similarity asked for?
    pub fn maps_of_similarity(&self) -> bool {
        self.maps == Some(MapSource::Similarity)
    }
}

/// Length of a prompt and the positions of its images, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptPositions {
    /// Tokens of the prompt.
    pub len: usize,
    /// Positions of each image.
    pub images: Vec<Range<usize>>,
}

impl PromptPositions {
    /// The positions of a rendered prompt.
    pub fn of(prompt: &PreparedPrompt) -> Self {
        let images = prompt.rendered.layout.iter().map(|l| l.start..l.start + l.rows * l.cols).collect();
        Self { len: prompt.len(), images }
    }
}

/// One position's attention.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AttentionCapture {
    /// Shares that sum to 1.
    pub shares: Shares,
    /// Raw maps, one per image, row by row; empty unless attention maps are requested.
    pub maps: Vec<Vec<f32>>,
}

impl AttentionCapture {
    /// Shares alone, from their sums over heads and layers.
    pub fn of_sums([image, query, generated]: [f64; 3]) -> Self {
        let all = image + query + generated;
        // Softmax sums to 1 up to rounding errors, which the division removes; a difference may be just below 0, and an
        // empty sum is -0.0.
        let of_all = |part: f64| (part / all).max(0.0) + 0.0;
        let shares = Shares { image: of_all(image), query: of_all(query), generated: of_all(generated) };
        Self { shares, maps: Vec::new() }
    }
}

/// Attention captured in one forward pass, on the host.
pub struct AttentionFrame {
    layers: Vec<(usize, Vec<f32>)>,
    heads: usize,
    queries: usize,
    keys: usize,
}

impl AttentionFrame {
    /// Takes the captured attention of the requested layers, in ascending order.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn take(capture: &mut Capture) -> Result<Self, ServingError> {
        let mut frame = Self { layers: Vec::new(), heads: 0, queries: 0, keys: 0 };
        let mut asked = capture.attention_layers.clone();
        asked.sort_unstable();
        for (layer, tensor) in asked.into_iter().zip(capture.attention.drain(..)) {
            let (_, heads, queries, keys) = tensor.dims4()?;
            (frame.heads, frame.queries, frame.keys) = (heads, queries, keys);
            frame.layers.push((layer, host(&tensor)?));
        }
        Ok(frame)
    }

    /// Query positions of the frame.
    pub fn queries(&self) -> usize {
        self.queries
    }

    /// Heads of all its layers together: what one query keeps for each key.
    pub fn heads_of_all_layers(&self) -> usize {
        self.heads * self.layers.len()
    }

    /// The frame of one row, without the keys of its padding.
    #[must_use]
    pub fn row(&self, row: usize, padding: usize) -> Self {
        let lines = self.heads * self.queries;
        let alone = |values: &Vec<f32>| {
            let lines = values[row * lines * self.keys..(row + 1) * lines * self.keys].chunks(self.keys.max(1));
            lines.flat_map(|line| &line[padding..]).copied().collect()
        };
        let layers = self.layers.iter().map(|(layer, values)| (*layer, alone(values))).collect();
        Self { layers, heads: self.heads, queries: self.queries, keys: self.keys - padding }
    }

    /// Attention of position `query` of `row`, whose first `padding` keys are padding.
    pub fn capture(
        &self,
        (row, query): (usize, usize),
        padding: usize,
        prompt: &PromptPositions,
        plan: &CapturePlan,
    ) -> AttentionCapture {
        let mean = self.join(row, query, plan, |sum, value| *sum += value);
        let share = |range: Range<usize>| mean[padding + range.start..padding + range.end].iter().sum::<f64>();
        let by_image: Vec<f64> = prompt.images.iter().map(|range| share(range.clone())).collect();
        let image: f64 = by_image.iter().sum();
        let in_prompt = share(0..prompt.len);
        let all: f64 = mean.iter().sum();
        let mut captured = AttentionCapture::of_sums([image, in_prompt - image, all - in_prompt]);
        if plan.maps_of_attention() {
            captured.maps = self.maps((row, query), padding, prompt, plan, &mean);
        }
        captured
    }

    fn maps(
        &self,
        (row, query): (usize, usize),
        padding: usize,
        prompt: &PromptPositions,
        plan: &CapturePlan,
        mean: &[f64],
    ) -> Vec<Vec<f32>> {
        let all: f64 = mean.iter().sum();
        let cells = |values: &[f64], range: &Range<usize>| values[padding + range.start..padding + range.end].to_vec();
        let largest = (plan.heads == Heads::Max).then(|| {
            self.join(row, query, plan, |sum, value| {
                if value > *sum {
                    *sum = value;
                }
            })
        });
        let map = |range: &Range<usize>| {
            let share: f64 = cells(mean, range).iter().sum::<f64>() / all;
            let shown = cells(largest.as_deref().unwrap_or(mean), range);
            let total: f64 = shown.iter().sum();
            let factor = if total > 0.0 { share / total } else { 0.0 };
            shown.into_iter().map(|v| (v * factor) as f32).collect()
        };
        prompt.images.iter().map(map).collect()
    }

    /// Attention on each key, heads joined by `join` and layers by their mean.
    fn join(&self, row: usize, query: usize, plan: &CapturePlan, join: impl Fn(&mut f64, f64)) -> Vec<f64> {
        let mut total = vec![0.0; self.keys];
        let mut layer_sum = vec![0.0; self.keys];
        for (_, values) in self.layers.iter().filter(|(layer, _)| plan.layers.contains(layer)) {
            layer_sum.fill(0.0);
            for head in 0..self.heads {
                let start = ((row * self.heads + head) * self.queries + query) * self.keys;
                let line = &values[start..start + self.keys];
                layer_sum.iter_mut().zip(line).for_each(|(sum, value)| join(sum, f64::from(*value)));
            }
            total.iter_mut().zip(&layer_sum).for_each(|(t, l)| *t += l);
        }
        total
    }
}

/// Hidden states of a prompt's image tokens.
#[derive(Debug, Clone, Default)]
pub struct ImageStates {
    prototype: Option<Vec<f64>>,
    tokens: Vec<Vec<Vec<f64>>>,
}

impl ImageStates {
    /// Reads them from final hidden states `[seq_len, hidden]` of a row whose first `padding` positions are padding.
    /// The states of single tokens are only kept for similarity maps.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn read(
        hidden: &Tensor,
        padding: usize,
        prompt: &PromptPositions,
        plan: &CapturePlan,
    ) -> Result<Self, ServingError> {
        let mut images = Vec::with_capacity(prompt.images.len());
        for range in &prompt.images {
            images.push(hidden.narrow(0, padding + range.start, range.len())?.to_vec2::<f32>()?);
        }
        let prototype = focus::visual_prototype(images.iter().flatten().map(Vec::as_slice));
        let mut tokens = Vec::new();
        if plan.maps_of_similarity() {
            let wide = |state: &Vec<f32>| state.iter().map(|v| f64::from(*v)).collect();
            tokens = images.iter().map(|image| image.iter().map(wide).collect()).collect();
        }
        Ok(Self { prototype, tokens })
    }

    /// Cosine of a state and the visual prototype; none without images.
    pub fn similarity(&self, state: &[f32]) -> Option<f64> {
        Some(focus::cosine(state, self.prototype.as_ref()?))
    }

    /// Similarity maps: cosine of a state and each image token's state; empty unless requested.
    pub fn maps(&self, state: &[f32]) -> Vec<Vec<f32>> {
        self.tokens.iter().map(|image| image.iter().map(|token| focus::cosine(state, token) as f32).collect()).collect()
    }
}

/// The paper's visual focus score of a similarity.
pub fn focus_score(similarity: f64) -> f64 {
    affine_focus(similarity.clamp(-1.0, 1.0))
}

fn host(tensor: &Tensor) -> Result<Vec<f32>, ServingError> {
    Ok(tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?)
}
