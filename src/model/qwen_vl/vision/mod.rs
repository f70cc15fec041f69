//! The vision towers of the Qwen-VL families: patch embedding, blocks, mergers.

mod block;
mod merger;
mod position;
mod windows;

use std::rc::Rc;
use std::sync::Arc;

use candle_core::{Device, Tensor};

pub use windows::{Windows, windows};

use super::config::VisionConfig;
use super::rope::vision_rope;
use crate::model::error::ModelError;
use crate::model::input::{Grid, ImagePatches};
use crate::model::kernels::{self, AttentionMask, Rope};
use crate::model::tape::Tape;
use crate::model::transfers::up;
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

/// What all images of one size share in a forward pass.
struct Plan {
    /// The patches in window order.
    order: Tensor,
    /// The index of each merged token in window order.
    natural: Tensor,
    rope: Rope,
    /// Attention within windows.
    nearby: AttentionMask,
    /// Attention over the whole image.
    everywhere: AttentionMask,
}

impl Plan {
    fn pass(&self, full: bool) -> Pass<'_> {
        Pass { rope: &self.rope, mask: if full { &self.everywhere } else { &self.nearby } }
    }
}

/// The images by size, each size with its images in order.
fn by_grid(images: &[Arc<ImagePatches>]) -> Vec<(Grid, Vec<&ImagePatches>)> {
    let mut groups: Vec<(Grid, Vec<&ImagePatches>)> = Vec::new();
    for image in images {
        match groups.iter_mut().find(|(grid, _)| *grid == image.grid) {
            Some((_, members)) => members.push(image),
            None => groups.push((image.grid, vec![image])),
        }
    }
    groups
}

/// The features of each image in the order of `images`, of features by size as [`by_grid`] groups them.
fn in_order(images: &[Arc<ImagePatches>], by_size: &[Tensor]) -> candle_core::Result<Vec<Tensor>> {
    let sizes: Vec<Grid> = by_grid(images).into_iter().map(|(grid, _)| grid).collect();
    let mut taken = vec![0; sizes.len()];
    let mut out = Vec::with_capacity(images.len());
    for image in images {
        let groups = sizes.iter().zip(by_size).zip(&mut taken);
        for ((_, features), next) in groups.filter(|((grid, _), _)| **grid == image.grid) {
            out.push(features.get(*next)?);
            *next += 1;
        }
    }
    Ok(out)
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

    /// Features of each image, `[merged tokens, hidden * (1 + deepstack)]`: the merger's concatenated with those of the
    /// deepstack mergers. Images of one size run as one batch.
    pub fn encode(&self, images: &[Arc<ImagePatches>]) -> Result<Vec<Tensor>, ModelError> {
        let mut found = Vec::new();
        for (grid, batch) in by_grid(images) {
            found.push(self.forward(grid, &batch, &mut VisionStages::default())?);
        }
        Ok(in_order(images, &found)?)
    }

    /// The features of all images, concatenated, block by block on a tape; none without images.
    pub fn encode_on<'m>(
        &'m self,
        images: &'m [Arc<ImagePatches>],
        tape: &mut Tape<'m>,
    ) -> Result<Option<Tensor>, ModelError> {
        if images.is_empty() {
            return Ok(None);
        }
        let mut found = Vec::new();
        for (grid, batch) in by_grid(images) {
            found.push(self.run(grid, batch, &mut VisionStages::default(), tape)?);
        }
        let found: Vec<&Tensor> = found.iter().collect();
        // [merged tokens of all images, hidden]
        Ok(Some(tape.run(&found, move |found| Ok(Tensor::cat(&in_order(images, found)?, 0)?))?))
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
                    "an image of {} patches has {} values, but each patch needs {dim}",
                    grid.patches(),
                    image.values.len()
                )));
            }
            values.extend_from_slice(&image.values);
        }
        // [images, patches, patch values]
        Ok(up("pixels", values, (images.len(), grid.patches(), dim), &self.device)?)
    }

    /// Features `[images, merged tokens, hidden * (1 + deepstack)]` of images of one size.
    pub fn forward(
        &self,
        grid: Grid,
        images: &[&ImagePatches],
        stages: &mut VisionStages,
    ) -> Result<Tensor, ModelError> {
        self.run(grid, images.to_vec(), stages, &mut Tape::off())
    }

    fn run<'m>(
        &'m self,
        grid: Grid,
        images: Vec<&'m ImagePatches>,
        stages: &mut VisionStages,
        tape: &mut Tape<'m>,
    ) -> Result<Tensor, ModelError> {
        let plan = Rc::new(self.plan(grid)?);
        let embed = Rc::clone(&plan);
        let patches = tape.run(&[], move |_| {
            Ok(kernels::linear(&self.pixels(grid, &images)?, &self.patch, self.patch_bias.as_ref())?)
        })?;
        stages.patch_embed = Some(patches.detach());
        let mut x = tape.run(&[&patches], move |inputs| {
            Ok(self.with_positions(inputs[0].clone(), grid)?.index_select(&embed.order, 1)?)
        })?;
        let mut features = Vec::with_capacity(1 + self.deepstack.len());
        for (index, block) in self.blocks.iter().enumerate() {
            let shared = Rc::clone(&plan);
            let full = self.config.full_attention_blocks.contains(&index);
            x = tape.run(&[&x], move |inputs| block.forward(&inputs[0], &shared.pass(full)))?;
            stages.blocks.push(x.detach());
            let taken = self.config.deepstack.iter().zip(&self.deepstack).filter(|(at, _)| **at == index);
            for (_, merger) in taken {
                features.push(tape.run(&[&x], move |inputs| merger.forward(&inputs[0]))?);
            }
        }
        let merged = tape.run(&[&x], |inputs| self.merger.forward(&inputs[0]))?;
        stages.merger_raw = Some(merged.detach());
        features.insert(0, merged);
        let features: Vec<&Tensor> = features.iter().collect();
        tape.run(&features, move |features| {
            let natural = |t: &Tensor| t.index_select(&plan.natural, 1);
            // [images, merged tokens, hidden of all features]
            Ok(Tensor::cat(&features.iter().map(natural).collect::<candle_core::Result<Vec<_>>>()?, 2)?)
        })
    }

    /// What every image of one size shares.
    fn plan(&self, grid: Grid) -> Result<Plan, ModelError> {
        let merge = self.config.merge_size;
        // Families without windows use one window for the whole image.
        let side = self.config.window_size.map_or(grid.height.max(grid.width), |w| w / merge / self.config.patch_size);
        let windows = windows(grid, merge, side);
        let unit = (merge * merge) as u32;
        let order: Vec<u32> = windows.index.iter().flat_map(|i| (0..unit).map(move |u| i * unit + u)).collect();
        Ok(Plan {
            rope: vision_rope(&self.config, grid, &order, &self.device)?,
            // [merged tokens]
            natural: up("window order", windows.places(), windows.index.len(), &self.device)?,
            // [patches]
            order: up("window order", order.clone(), order.len(), &self.device)?,
            nearby: AttentionMask::within(windows.bounds),
            everywhere: AttentionMask::within(vec![0, grid.patches()]),
        })
    }

    fn with_positions(&self, x: Tensor, grid: Grid) -> Result<Tensor, ModelError> {
        let (Some(table), Some(side)) = (&self.positions, self.config.position_side) else { return Ok(x) };
        let positions = position::interpolate(table, side, grid, self.config.merge_size, &self.device)?;
        Ok(x.broadcast_add(&positions)?)
    }
}
