//! Model inputs: token rows with their images, and padded batches with their position ids.

use std::ops::Range;
use std::sync::Arc;

use super::ModelInfo;
use super::error::ModelError;
use super::kernels::{Branch, Visible};

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

/// One row of a batch: tokens, in which every image stands as a run of image tokens, and the images in order.
#[derive(Debug, Clone, Default)]
pub struct Sequence {
    /// Token ids, images expanded to one id per merged token.
    pub ids: Vec<u32>,
    /// The images, in the order of their runs.
    pub images: Vec<Arc<ImagePatches>>,
}

/// A prompt with the responses that are read behind it.
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
    /// Columns of the tree: the prompt once, and every response.
    fn columns(&self) -> usize {
        self.prompt.len() + self.responses.iter().map(|r| r.len()).sum::<usize>()
    }
}

/// A left-padded batch, in which every row ends in the last column; or one row of [`Self::branches`] without padding.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns, padding included.
    pub columns: usize,
    /// Token ids, row-major `[rows, columns]`; padding holds the pad token.
    pub ids: Vec<u32>,
    /// Columns of padding at the left of each row (cached columns not counted).
    pub padding: Vec<usize>,
    /// Position ids, row-major `[3 (time, height, width), rows, columns]`.
    pub positions: Vec<u32>,
    /// The position that follows each row's last column.
    pub next_position: Vec<u32>,
    /// Flat indices (`row * columns + column`) of the image tokens, in order.
    pub image_slots: Vec<u32>,
    /// For each image slot its row in the features of [`Batch::images`], concatenated.
    pub feature_rows: Vec<u32>,
    /// The distinct images of the batch: rows of a group that share an image share its features.
    pub images: Vec<Arc<ImagePatches>>,
    /// What the columns of a packed row see, in the order of its trees: each prompt, then its responses. Empty: every row is
    /// one causal sequence.
    pub branches: Vec<Branch>,
}

/// Position ids of one row, `[time, height, width]` by token, and the position that follows.
///
/// An image's time position is constant; its height and width count from where the image starts; the next text token
/// stands after the larger of both. Text advances all three alike.
pub fn positions(row: &Sequence, info: &ModelInfo) -> Result<(Vec<[u32; 3]>, u32), ModelError> {
    positions_from(0, &row.ids, &row.images, info)
}

/// The same for tokens whose first text token would stand at `next`.
fn positions_from(
    mut next: u32,
    ids: &[u32],
    images: &[Arc<ImagePatches>],
    info: &ModelInfo,
) -> Result<(Vec<[u32; 3]>, u32), ModelError> {
    let mut out = Vec::with_capacity(ids.len());
    let mut rest = images.iter();
    let mut at = 0;
    while at < ids.len() {
        if ids[at] == info.video_token_id {
            return Err(ModelError::Input("video input is not supported; send images".to_owned()));
        }
        if ids[at] != info.image_token_id {
            out.push([next; 3]);
            next += 1;
            at += 1;
            continue;
        }
        let image = rest.next().ok_or_else(|| slot_error(ids, images, info))?;
        let tokens = image.grid.merged(info.merge_size);
        if ids[at..].iter().take_while(|id| **id == info.image_token_id).count() < tokens {
            return Err(slot_error(ids, images, info));
        }
        let (height, width) = (image.grid.height / info.merge_size, image.grid.width / info.merge_size);
        for index in 0..tokens {
            let (t, h, w) = (index / (height * width), index / width % height, index % width);
            out.push([next + t as u32, next + h as u32, next + w as u32]);
        }
        next += height.max(width).max(image.grid.time) as u32;
        at += tokens;
    }
    if rest.next().is_some() {
        return Err(slot_error(ids, images, info));
    }
    Ok((out, next))
}

fn slot_error(ids: &[u32], images: &[Arc<ImagePatches>], info: &ModelInfo) -> ModelError {
    let slots = ids.iter().filter(|id| **id == info.image_token_id).count();
    let tokens: usize = images.iter().map(|i| i.grid.merged(info.merge_size)).sum();
    ModelError::Input(format!(
        "the row has {slots} image tokens, but its {} image(s) make {tokens}: place one image placeholder per image",
        images.len()
    ))
}

impl Batch {
    /// Pads `rows` at the left to the longest and computes their positions.
    pub fn new(rows: &[&Sequence], info: &ModelInfo) -> Result<Self, ModelError> {
        let columns = rows.iter().map(|r| r.ids.len()).max().unwrap_or(0);
        if columns == 0 || rows.iter().any(|r| r.ids.is_empty()) {
            return Err(ModelError::Input("a row without tokens cannot be read".to_owned()));
        }
        let mut batch = Self::blank(rows.len(), columns, info);
        let mut offsets: Vec<u32> = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            check_length(row.ids.len(), info)?;
            let padding = columns - row.ids.len();
            let next = batch.place(index * columns + padding, 0, &row.ids, &row.images, info, &mut offsets)?;
            batch.padding.push(padding);
            batch.next_position.push(next);
        }
        Ok(batch)
    }

    /// One row without padding in which every prompt stands once, before its responses: what a group shares is computed once,
    /// forwards and backwards. A packed batch fills no cache.
    pub fn packed(trees: &[Tree<'_>], info: &ModelInfo) -> Result<Self, ModelError> {
        let columns = trees.iter().map(Tree::columns).sum();
        if trees.is_empty() || trees.iter().any(|tree| tree.prompt.is_empty()) {
            return Err(ModelError::Input("a row without tokens cannot be read".to_owned()));
        }
        let mut batch = Self::blank(1, columns, info);
        let (mut offsets, mut at, mut last) = (Vec::new(), 0, 0);
        for tree in trees {
            let trunk = at..at + tree.prompt.len();
            let behind = batch.place(at, 0, tree.prompt, tree.images, info, &mut offsets)?;
            batch.branches.push(Branch { trunk: 0..0, own: trunk.clone() });
            (at, last) = (trunk.end, behind);
            for response in tree.responses.iter().filter(|response| !response.is_empty()) {
                check_length(tree.prompt.len() + response.len(), info)?;
                last = batch.place(at, behind, response, &[], info, &mut offsets)?;
                batch.branches.push(Branch { trunk: trunk.clone(), own: at..at + response.len() });
                at += response.len();
            }
        }
        batch.padding.push(0);
        batch.next_position.push(last);
        Ok(batch)
    }

    fn blank(rows: usize, columns: usize, info: &ModelInfo) -> Self {
        Self {
            rows,
            columns,
            ids: vec![info.pad_token_id; rows * columns],
            padding: Vec::with_capacity(rows),
            positions: vec![0; 3 * rows * columns],
            next_position: Vec::with_capacity(rows),
            image_slots: Vec::new(),
            feature_rows: Vec::new(),
            images: Vec::new(),
            branches: Vec::new(),
        }
    }

    /// Writes tokens from the flat position `start` on; their positions begin at `from`. Returns the position behind them.
    fn place(
        &mut self,
        start: usize,
        from: u32,
        ids: &[u32],
        images: &[Arc<ImagePatches>],
        info: &ModelInfo,
        offsets: &mut Vec<u32>,
    ) -> Result<u32, ModelError> {
        let (positions, next) = positions_from(from, ids, images, info)?;
        if let Some(id) = ids.iter().find(|id| **id as usize >= info.vocab_size) {
            return Err(ModelError::Input(format!("token id {id} is outside the vocabulary of {}", info.vocab_size)));
        }
        self.ids[start..start + ids.len()].copy_from_slice(ids);
        let plane = self.rows * self.columns;
        for (column, position) in positions.iter().enumerate() {
            for (axis, value) in position.iter().enumerate() {
                self.positions[axis * plane + start + column] = *value;
            }
        }
        let slots = ids.iter().enumerate().filter(|(_, id)| **id == info.image_token_id);
        self.image_slots.extend(slots.map(|(column, _)| (start + column) as u32));
        for image in images {
            let first = self.feature_offset(image, info, offsets);
            self.feature_rows.extend((0..image.grid.merged(info.merge_size) as u32).map(|i| first + i));
        }
        Ok(next)
    }

    /// What each column sees, of a batch whose rows have `padding` and stand behind `cached` columns.
    pub(super) fn visible(&self, cached: usize, padding: Vec<usize>) -> Visible {
        if self.branches.is_empty() {
            Visible::causal(cached, padding)
        } else {
            Visible::branches(self.branches.clone())
        }
    }

    /// First feature row of an image; an image that another row brought already is not added again.
    fn feature_offset(&mut self, image: &Arc<ImagePatches>, info: &ModelInfo, offsets: &mut Vec<u32>) -> u32 {
        // Rows of a group follow each other, so the newest images are the likeliest.
        if let Some(at) = self.images.iter().rposition(|known| Arc::ptr_eq(known, image)) {
            return offsets[at];
        }
        let first = match (offsets.last(), self.images.last()) {
            (Some(offset), Some(last)) => offset + last.grid.merged(info.merge_size) as u32,
            _ => 0,
        };
        self.images.push(Arc::clone(image));
        offsets.push(first);
        first
    }

    /// Some columns of a batch of one row, to be read behind those before them. [`Self::images`] stays whole: image features
    /// are made once for all parts.
    #[must_use]
    pub fn part(&self, columns: Range<usize>) -> Self {
        let slots = self.image_slots.iter().zip(&self.feature_rows);
        let (image_slots, feature_rows) = slots
            .filter(|(slot, _)| columns.contains(&(**slot as usize)))
            .map(|(slot, row)| (slot - columns.start as u32, *row))
            .unzip();
        let axes = self.positions.chunks(self.columns.max(1));
        Self {
            rows: 1,
            columns: columns.len(),
            ids: self.ids[columns.clone()].to_vec(),
            padding: vec![0],
            positions: axes.flat_map(|axis| &axis[columns.clone()]).copied().collect(),
            next_position: self.next_position.clone(),
            image_slots,
            feature_rows,
            images: self.images.clone(),
            branches: Vec::new(),
        }
    }

    /// A batch of one new token per cached row.
    pub fn next_tokens(tokens: &[u32], positions: &[u32]) -> Self {
        Self {
            rows: tokens.len(),
            columns: 1,
            ids: tokens.to_vec(),
            padding: vec![0; tokens.len()],
            positions: positions.repeat(3),
            next_position: positions.iter().map(|p| p + 1).collect(),
            image_slots: Vec::new(),
            feature_rows: Vec::new(),
            images: Vec::new(),
            branches: Vec::new(),
        }
    }
}

fn check_length(tokens: usize, info: &ModelInfo) -> Result<(), ModelError> {
    if tokens <= info.max_positions {
        return Ok(());
    }
    Err(ModelError::Input(format!(
        "a row of {tokens} tokens is longer than the model's context of {}",
        info.max_positions
    )))
}
