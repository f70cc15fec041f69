//! Model inputs: token sequences with their images, and padded batches with their position ids.

use std::ops::Range;
use std::sync::Arc;

use super::ModelInfo;
use super::error::ModelError;
use super::kernels::{AttentionMask, Suffix};

/// Size of an image in patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Time steps (1 for a still image).
    pub time: usize,
    /// Patch rows.
    pub height: usize,
    /// Patch columns.
    pub width: usize,
}

impl Grid {
    /// Number of patches.
    pub fn patches(self) -> usize {
        self.time * self.height * self.width
    }

    /// Number of image tokens after merging `merge` x `merge` patches.
    pub fn merged(self, merge: usize) -> usize {
        self.time * (self.height / merge) * (self.width / merge)
    }
}

/// One image as the vision tower takes it: normalised patches in 2x2-merge order.
#[derive(Debug, Clone, PartialEq)]
pub struct ImagePatches {
    /// `[patches, 3 * temporal_patch_size * patch_size^2]`, row-major.
    pub values: Vec<f32>,
    /// Its size in patches.
    pub grid: Grid,
}

/// One row of a batch: tokens, in which every image is a run of image tokens, and the images in order.
#[derive(Debug, Clone, Default)]
pub struct Sequence {
    /// Token ids, images expanded to one id per merged token.
    pub ids: Vec<u32>,
    /// The images, in the order of their runs.
    pub images: Vec<Arc<ImagePatches>>,
}

/// A prompt with its responses, which share it as a prefix.
#[derive(Debug, Clone, Copy)]
pub struct Tree<'a> {
    /// Tokens of the prompt, images expanded.
    pub prompt: &'a [u32],
    /// Its images.
    pub images: &'a [Arc<ImagePatches>],
    /// Tokens of each response.
    pub responses: &'a [&'a [u32]],
}

impl Tree<'_> {
    /// Positions of the tree: the prompt once, and every response.
    fn seq_len(&self) -> usize {
        self.prompt.len() + self.responses.iter().map(|r| r.len()).sum::<usize>()
    }
}

/// A left-padded batch, in which every row ends in the last position; or one row of [`Self::suffixes`] without padding.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Number of rows.
    pub rows: usize,
    /// Number of positions, padding included.
    pub seq_len: usize,
    /// Token ids, row-major `[batch, seq_len]`; padding holds the pad token.
    pub ids: Vec<u32>,
    /// Left padding of each row (cached positions not counted).
    pub padding: Vec<usize>,
    /// Position ids, row-major `[3 (time, height, width), rows, seq_len]`.
    pub position_ids: Vec<u32>,
    /// The position id that follows each row's last one.
    pub next_position: Vec<u32>,
    /// Flat indices (`row * seq_len + position`) of the image tokens, in order.
    pub image_slots: Vec<u32>,
    /// For each image slot its row in the features of [`Batch::images`], concatenated.
    pub feature_rows: Vec<u32>,
    /// The distinct images of the batch: rows of a group that share an image share its features.
    pub images: Vec<Arc<ImagePatches>>,
    /// The parts of a packed row, in the order of its trees: each prompt, then its responses. Empty: every row is one
    /// causal sequence.
    pub suffixes: Vec<Suffix>,
}

/// How images enter a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInput {
    /// Stands for one image token in a sequence.
    pub token_id: u32,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Patches per side that are merged into one image token.
    pub merge_size: usize,
    /// Identical frames a still image is repeated to.
    pub temporal_patch_size: usize,
    /// Image processors of transformers that make the model's patches, without suffixes such as `Fast`.
    pub processors: &'static [&'static str],
}

impl ImageInput {
    /// Values of one flattened patch.
    pub fn patch_values(&self) -> usize {
        3 * self.temporal_patch_size * self.patch_size * self.patch_size
    }
}

/// Position ids `[time, height, width]` of tokens, images expanded, that begin at the first argument; and the one that
/// follows.
pub type PositionRule = fn(u32, &[u32], &[Arc<ImagePatches>], &ModelInfo) -> Result<(Vec<[u32; 3]>, u32), ModelError>;

/// Position ids of one row, and the one that follows.
pub fn positions(row: &Sequence, info: &ModelInfo) -> Result<(Vec<[u32; 3]>, u32), ModelError> {
    (info.positions)(0, &row.ids, &row.images, info)
}

/// The [`PositionRule`] of mRoPE (Qwen2-VL, section 2.1).
///
/// An image's time position is constant; its height and width count from where the image starts; the next text token
/// comes after the larger of both. Text advances all three together.
pub fn in_time_height_width(
    mut next: u32,
    ids: &[u32],
    images: &[Arc<ImagePatches>],
    info: &ModelInfo,
) -> Result<(Vec<[u32; 3]>, u32), ModelError> {
    if !images.is_empty() {
        info.image_input()?;
    }
    let image_token = info.image.as_ref().map(|image| image.token_id);
    let mut out = Vec::with_capacity(ids.len());
    let mut rest = images.iter();
    let mut at = 0;
    while at < ids.len() {
        let Some(input) = info.image.as_ref().filter(|_| Some(ids[at]) == image_token) else {
            if info.placeholders.contains(&ids[at]) {
                return Err(ModelError::Input("video input is not supported; send images".to_owned()));
            }
            out.push([next; 3]);
            next += 1;
            at += 1;
            continue;
        };
        let image = rest.next().ok_or_else(|| slot_error(ids, images, input))?;
        let tokens = image.grid.merged(input.merge_size);
        if ids[at..].iter().take_while(|id| **id == input.token_id).count() < tokens {
            return Err(slot_error(ids, images, input));
        }
        let (height, width) = (image.grid.height / input.merge_size, image.grid.width / input.merge_size);
        for index in 0..tokens {
            let (t, h, w) = (index / (height * width), index / width % height, index % width);
            out.push([next + t as u32, next + h as u32, next + w as u32]);
        }
        next += height.max(width).max(image.grid.time) as u32;
        at += tokens;
    }
    match (rest.next(), &info.image) {
        (Some(_), Some(input)) => Err(slot_error(ids, images, input)),
        _ => Ok((out, next)),
    }
}

fn slot_error(ids: &[u32], images: &[Arc<ImagePatches>], input: &ImageInput) -> ModelError {
    let slots = ids.iter().filter(|id| **id == input.token_id).count();
    let tokens: usize = images.iter().map(|i| i.grid.merged(input.merge_size)).sum();
    ModelError::Input(format!(
        "the sequence has {slots} image tokens, but its {} image(s) need {tokens}: use one image placeholder per image",
        images.len()
    ))
}

impl Batch {
    /// Left-pads `rows` to the longest and computes their position ids.
    pub fn new(rows: &[&Sequence], info: &ModelInfo) -> Result<Self, ModelError> {
        let seq_len = rows.iter().map(|r| r.ids.len()).max().unwrap_or(0);
        if seq_len == 0 || rows.iter().any(|r| r.ids.is_empty()) {
            return Err(ModelError::Input("a sequence must have at least one token".to_owned()));
        }
        let mut batch = Self::blank(rows.len(), seq_len, info);
        let mut offsets: Vec<u32> = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            check_length(row.ids.len(), info)?;
            let padding = seq_len - row.ids.len();
            let next = batch.place(index * seq_len + padding, 0, &row.ids, &row.images, info, &mut offsets)?;
            batch.padding.push(padding);
            batch.next_position.push(next);
        }
        Ok(batch)
    }

    /// One row without padding in which every prompt occurs once, before its responses: the prefix that a group shares
    /// is computed once, forwards and backwards. A packed batch cannot fill a cache.
    pub fn packed(trees: &[Tree<'_>], info: &ModelInfo) -> Result<Self, ModelError> {
        let seq_len = trees.iter().map(Tree::seq_len).sum();
        if trees.is_empty() || trees.iter().any(|tree| tree.prompt.is_empty()) {
            return Err(ModelError::Input("a sequence must have at least one token".to_owned()));
        }
        let mut batch = Self::blank(1, seq_len, info);
        let (mut offsets, mut at, mut last) = (Vec::new(), 0, 0);
        for tree in trees {
            let prefix = at..at + tree.prompt.len();
            let next = batch.place(at, 0, tree.prompt, tree.images, info, &mut offsets)?;
            batch.suffixes.push(Suffix { prefix: 0..0, own: prefix.clone() });
            (at, last) = (prefix.end, next);
            for response in tree.responses.iter().filter(|response| !response.is_empty()) {
                check_length(tree.prompt.len() + response.len(), info)?;
                last = batch.place(at, next, response, &[], info, &mut offsets)?;
                batch.suffixes.push(Suffix { prefix: prefix.clone(), own: at..at + response.len() });
                at += response.len();
            }
        }
        batch.padding.push(0);
        batch.next_position.push(last);
        Ok(batch)
    }

    fn blank(rows: usize, seq_len: usize, info: &ModelInfo) -> Self {
        Self {
            rows,
            seq_len,
            ids: vec![info.pad_token_id; rows * seq_len],
            padding: Vec::with_capacity(rows),
            position_ids: vec![0; 3 * rows * seq_len],
            next_position: Vec::with_capacity(rows),
            image_slots: Vec::new(),
            feature_rows: Vec::new(),
            images: Vec::new(),
            suffixes: Vec::new(),
        }
    }

    /// Writes tokens from the flat position `start` on; their position ids begin at `from`. Returns the position id
    /// that follows.
    fn place(
        &mut self,
        start: usize,
        from: u32,
        ids: &[u32],
        images: &[Arc<ImagePatches>],
        info: &ModelInfo,
        offsets: &mut Vec<u32>,
    ) -> Result<u32, ModelError> {
        let (positions, next) = (info.positions)(from, ids, images, info)?;
        if let Some(id) = ids.iter().find(|id| **id as usize >= info.vocab_size) {
            return Err(ModelError::Input(format!("token id {id} is outside the vocabulary of {}", info.vocab_size)));
        }
        self.ids[start..start + ids.len()].copy_from_slice(ids);
        let plane = self.rows * self.seq_len;
        for (offset, ids) in positions.iter().enumerate() {
            for (axis, value) in ids.iter().enumerate() {
                self.position_ids[axis * plane + start + offset] = *value;
            }
        }
        let Some(input) = &info.image else { return Ok(next) };
        let slots = ids.iter().enumerate().filter(|(_, id)| **id == input.token_id);
        self.image_slots.extend(slots.map(|(offset, _)| (start + offset) as u32));
        for image in images {
            let first = self.feature_offset(image, input, offsets);
            self.feature_rows.extend((0..image.grid.merged(input.merge_size) as u32).map(|i| first + i));
        }
        Ok(next)
    }

    /// The attention mask of a batch that continues no cache.
    pub(super) fn attention_mask(&self) -> AttentionMask {
        if self.suffixes.is_empty() {
            AttentionMask::causal(0, self.padding.clone())
        } else {
            AttentionMask::suffixes(self.suffixes.clone())
        }
    }

    /// First feature row of an image; an image that is already in the batch is not added again.
    fn feature_offset(&mut self, image: &Arc<ImagePatches>, input: &ImageInput, offsets: &mut Vec<u32>) -> u32 {
        // Rows of a group are consecutive, so the image is most likely among the newest.
        if let Some(at) = self.images.iter().rposition(|known| Arc::ptr_eq(known, image)) {
            return offsets[at];
        }
        let first = match (offsets.last(), self.images.last()) {
            (Some(offset), Some(last)) => offset + last.grid.merged(input.merge_size) as u32,
            _ => 0,
        };
        self.images.push(Arc::clone(image));
        offsets.push(first);
        first
    }

    /// A range of positions of a batch of one row, for chunked prefill. [`Self::images`] stays complete: image features
    /// are computed once for all chunks.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Self {
        let slots = self.image_slots.iter().zip(&self.feature_rows);
        let (image_slots, feature_rows) = slots
            .filter(|(slot, _)| range.contains(&(**slot as usize)))
            .map(|(slot, row)| (slot - range.start as u32, *row))
            .unzip();
        let axes = self.position_ids.chunks(self.seq_len.max(1));
        Self {
            rows: 1,
            seq_len: range.len(),
            ids: self.ids[range.clone()].to_vec(),
            padding: vec![0],
            position_ids: axes.flat_map(|axis| &axis[range.clone()]).copied().collect(),
            next_position: self.next_position.clone(),
            image_slots,
            feature_rows,
            images: self.images.clone(),
            suffixes: Vec::new(),
        }
    }

    /// A batch of one new token per cached row.
    pub fn next_tokens(tokens: &[u32], positions: &[u32]) -> Self {
        Self {
            rows: tokens.len(),
            seq_len: 1,
            ids: tokens.to_vec(),
            padding: vec![0; tokens.len()],
            position_ids: positions.repeat(3),
            next_position: positions.iter().map(|p| p + 1).collect(),
            image_slots: Vec::new(),
            feature_rows: Vec::new(),
            images: Vec::new(),
            suffixes: Vec::new(),
        }
    }
}

fn check_length(tokens: usize, info: &ModelInfo) -> Result<(), ModelError> {
    if tokens <= info.max_positions {
        return Ok(());
    }
    Err(ModelError::Input(format!(
        "a sequence of {tokens} tokens is longer than the model's context of {}",
        info.max_positions
    )))
}
