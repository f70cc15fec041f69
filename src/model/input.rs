//! Model inputs: token rows with their images, and padded batches with their position ids.

use std::ops::Range;
use std::sync::Arc;

use super::ModelInfo;
use super::error::ModelError;

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

/// A left-padded batch: every row ends in the last column.
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
}

/// Position ids of one row, `[time, height, width]` by token, and the position that follows.
///
/// An image's time position is constant; its height and width count from where the image starts; the next text token
/// stands after the larger of both. Text advances all three alike.
pub fn positions(row: &Sequence, info: &ModelInfo) -> Result<(Vec<[u32; 3]>, u32), ModelError> {
    let mut out = Vec::with_capacity(row.ids.len());
    let mut next = 0_u32;
    let mut images = row.images.iter();
    let mut at = 0;
    while at < row.ids.len() {
        if row.ids[at] == info.video_token_id {
            return Err(ModelError::Input("video input is not supported; send images".to_owned()));
        }
        if row.ids[at] != info.image_token_id {
            out.push([next; 3]);
            next += 1;
            at += 1;
            continue;
        }
        let image = images.next().ok_or_else(|| slot_error(row, info))?;
        let tokens = image.grid.merged(info.merge_size);
        if row.ids[at..].iter().take_while(|id| **id == info.image_token_id).count() < tokens {
            return Err(slot_error(row, info));
        }
        let (height, width) = (image.grid.height / info.merge_size, image.grid.width / info.merge_size);
        for index in 0..tokens {
            let (t, h, w) = (index / (height * width), index / width % height, index % width);
            out.push([next + t as u32, next + h as u32, next + w as u32]);
        }
        next += height.max(width).max(image.grid.time) as u32;
        at += tokens;
    }
    if images.next().is_some() {
        return Err(slot_error(row, info));
    }
    Ok((out, next))
}

fn slot_error(row: &Sequence, info: &ModelInfo) -> ModelError {
    let slots = row.ids.iter().filter(|id| **id == info.image_token_id).count();
    let tokens: usize = row.images.iter().map(|i| i.grid.merged(info.merge_size)).sum();
    ModelError::Input(format!(
        "the row has {slots} image tokens, but its {} image(s) make {tokens}: place one image placeholder per image",
        row.images.len()
    ))
}

impl Batch {
    /// Pads `rows` at the left to the longest and computes their positions.
    pub fn new(rows: &[&Sequence], info: &ModelInfo) -> Result<Self, ModelError> {
        let columns = rows.iter().map(|r| r.ids.len()).max().unwrap_or(0);
        if columns == 0 || rows.iter().any(|r| r.ids.is_empty()) {
            return Err(ModelError::Input("a row without tokens cannot be read".to_owned()));
        }
        let mut batch = Self {
            rows: rows.len(),
            columns,
            ids: vec![info.pad_token_id; rows.len() * columns],
            padding: Vec::with_capacity(rows.len()),
            positions: vec![0; 3 * rows.len() * columns],
            next_position: Vec::with_capacity(rows.len()),
            image_slots: Vec::new(),
            feature_rows: Vec::new(),
            images: Vec::new(),
        };
        let mut offsets: Vec<u32> = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            batch.place(index, row, info, &mut offsets)?;
        }
        Ok(batch)
    }

    fn place(
        &mut self,
        index: usize,
        row: &Sequence,
        info: &ModelInfo,
        offsets: &mut Vec<u32>,
    ) -> Result<(), ModelError> {
        let (positions, next) = positions(row, info)?;
        if let Some(id) = row.ids.iter().find(|id| **id as usize >= info.vocab_size) {
            return Err(ModelError::Input(format!("token id {id} is outside the vocabulary of {}", info.vocab_size)));
        }
        if row.ids.len() > info.max_positions {
            return Err(ModelError::Input(format!(
                "a row of {} tokens is longer than the model's context of {}",
                row.ids.len(),
                info.max_positions
            )));
        }
        let padding = self.columns - row.ids.len();
        let start = index * self.columns + padding;
        self.ids[start..start + row.ids.len()].copy_from_slice(&row.ids);
        let plane = self.rows * self.columns;
        for (column, position) in positions.iter().enumerate() {
            for (axis, value) in position.iter().enumerate() {
                self.positions[axis * plane + start + column] = *value;
            }
        }
        let slots = row.ids.iter().enumerate().filter(|(_, id)| **id == info.image_token_id);
        self.image_slots.extend(slots.map(|(column, _)| (start + column) as u32));
        for image in &row.images {
            let first = self.feature_offset(image, info, offsets);
            self.feature_rows.extend((0..image.grid.merged(info.merge_size) as u32).map(|i| first + i));
        }
        self.padding.push(padding);
        self.next_position.push(next);
        Ok(())
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
        }
    }
}
