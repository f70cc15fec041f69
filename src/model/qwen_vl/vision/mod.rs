//! The vision towers of the Qwen-VL families: patch embedding, blocks, mergers.

mod block;
mod merger;
mod position;
mod windows;

use std::sync::Arc;

use candle_core::{Device, Tensor};

pub use windows::{Windows, windows};

use super::config::VisionConfig;
use super::rope::vision_rope;
use crate::model::error::ModelError;
use crate::model::input::{Grid, ImagePatches};
use crate::model::kernels::{self, Visible};
use crate::model::weights::WeightSource;
use block::{Block, Pass};
use merger::Merger;

/// Epsilon of the tower's norms.
const EPS: f64 = 1e-6;

/// Intermediate results of the tower, in the order of computation; blocks are in window order.
#[derive(Debug, Default)]
pub struct VisionStages {
    /// Patch embedding, natural order, `[images, patches, width]`.
    pub patch_embed: Option<Tensor>,
    /// Output of each block.
    pub blocks: Vec<Tensor>,
    /// Merger result in window order, `[images, merged, hidden]`.
    pub merger_raw: Option<Tensor>,
}

/// The vision tower.
#[derive(Debug)]
pub struct VisionTower {
    config: VisionConfig,
    patch: Tensor,
    patch_bias: Option<Tensor>,
    /// Learned positions `[side * side, width]`, where the family has them.
    positions: Option<Tensor>,
    blocks: Vec<Block>,
    merger: Merger,
    /// One merger per entry of `config.deepstack`.
    deepstack: Vec<Merger>,
    device: Device,
}

impl VisionTower {
    /// Builds the tower on `source`'s weights; `out` is the decoder's width.
    pub fn new(
        config: &VisionConfig,
        out: usize,
        source: &dyn WeightSource,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let hidden = config.hidden_size;
        let (patch, time) = (config.patch_size, config.temporal_patch_size);
        let kernel = source.get("visual.patch_embed.proj.weight", &[hidden, config.channels, time, patch, patch])?;
        let side = config.position_side;
        Ok(Self {
            // A convolution whose stride is its kernel is one matrix product over flattened patches.
            patch: kernel.reshape((hidden, config.channels * time * patch * patch))?,
            patch_bias: if side.is_some() {
                Some(source.get("visual.patch_embed.proj.bias", &[hidden])?)
            } else {
                None
            },
            positions: side.map(|side| source.get("visual.pos_embed.weight", &[side * side, hidden])).transpose()?,
            blocks: (0..config.depth).map(|i| Block::new(config, source, i)).collect::<Result<_, _>>()?,
            merger: Merger::main(config, out, source)?,
            deepstack: (0..config.deepstack.len())
                .map(|i| Merger::deepstack(config, out, source, i))
                .collect::<Result<_, _>>()?,
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// Features of each image, `[merged tokens, hidden * (1 + deepstack)]`: the merger's beside those of the deepstack
    /// mergers. Images of one size run as one batch.
    pub fn encode(&self, images: &[Arc<ImagePatches>]) -> Result<Vec<Tensor>, ModelError> {
        let mut by_grid: Vec<(Grid, Vec<usize>)> = Vec::new();
        for (index, image) in images.iter().enumerate() {
            match by_grid.iter_mut().find(|(grid, _)| *grid == image.grid) {
                Some((_, members)) => members.push(index),
                None => by_grid.push((image.grid, vec![index])),
            }
        }
        let mut out: Vec<Option<Tensor>> = vec![None; images.len()];
        for (grid, members) in by_grid {
            let batch: Vec<&ImagePatches> = members.iter().map(|i| images[*i].as_ref()).collect();
            let features = self.forward(grid, &batch, &mut VisionStages::default())?;
            for (position, index) in members.into_iter().enumerate() {
                out[index] = Some(features.get(position)?);
            }
        }
        Ok(out.into_iter().flatten().collect())
    }

    fn pixels(&self, grid: Grid, images: &[&ImagePatches]) -> Result<Tensor, ModelError> {
        let dim = self.patch.dim(1)?;
        let merge = self.config.merge_size;
        if !grid.height.is_multiple_of(merge) || !grid.width.is_multiple_of(merge) || grid.patches() == 0 {
            return Err(ModelError::Input(format!(
                "an image of {} x {} patches cannot be merged in blocks of {merge}",
                grid.height, grid.width
            )));
        }
        let mut values = Vec::with_capacity(images.len() * grid.patches() * dim);
        for image in images {
            if image.values.len() != grid.patches() * dim {
                return Err(ModelError::Input(format!(
                    "an image of {} patches brings {} values, but each patch has {dim}",
                    grid.patches(),
                    image.values.len()
                )));
            }
            values.extend_from_slice(&image.values);
        }
        Ok(Tensor::from_vec(values, (images.len(), grid.patches(), dim), &self.device)?)
    }

    /// Features `[images, merged tokens, hidden * (1 + deepstack)]` of images of one size.
    pub fn forward(
        &self,
        grid: Grid,
        images: &[&ImagePatches],
        stages: &mut VisionStages,
    ) -> Result<Tensor, ModelError> {
        let merge = self.config.merge_size;
        // Families without windows have one that holds the whole image.
        let side = self.config.window_size.map_or(grid.height.max(grid.width), |w| w / merge / self.config.patch_size);
        let windows = windows(grid, merge, side);
        let unit = (merge * merge) as u32;
        let order: Vec<u32> = windows.index.iter().flat_map(|i| (0..unit).map(move |u| i * unit + u)).collect();
        let rope = vision_rope(&self.config, grid, &order, &self.device)?;
        let order = Tensor::new(order, &self.device)?;
        let (everywhere, nearby) = (Visible::within(vec![0, grid.patches()]), Visible::within(windows.bounds.clone()));

        let x = kernels::linear(&self.pixels(grid, images)?, &self.patch, self.patch_bias.as_ref())?;
        stages.patch_embed = Some(x.detach());
        let mut x = self.with_positions(x, grid)?.index_select(&order, 1)?;
        let natural = Tensor::new(windows.places(), &self.device)?;
        let mut deep = Vec::with_capacity(self.deepstack.len());
        for (index, block) in self.blocks.iter().enumerate() {
            let full = self.config.full_attention_blocks.contains(&index);
            let visible = if full { &everywhere } else { &nearby };
            x = block.forward(&x, &Pass { rope: &rope, visible })?;
            stages.blocks.push(x.detach());
            let taken = self.config.deepstack.iter().zip(&self.deepstack).filter(|(at, _)| **at == index);
            for (_, merger) in taken {
                deep.push(merger.forward(&x)?.index_select(&natural, 1)?);
            }
        }
        let merged = self.merger.forward(&x)?;
        stages.merger_raw = Some(merged.detach());
        let merged = merged.index_select(&natural, 1)?;
        if deep.is_empty() {
            return Ok(merged);
        }
        deep.insert(0, merged);
        Ok(Tensor::cat(&deep, 2)?)
    }

    fn with_positions(&self, x: Tensor, grid: Grid) -> Result<Tensor, ModelError> {
        let (Some(table), Some(side)) = (&self.positions, self.config.position_side) else { return Ok(x) };
        let positions = position::interpolate(table, side, grid, self.config.merge_size, &self.device)?;
        Ok(x.broadcast_add(&positions)?)
    }
}
