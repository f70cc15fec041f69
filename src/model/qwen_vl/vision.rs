//! The windowed vision tower of Qwen2.5-VL and its merger.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::config::VisionConfig;
use super::rope::vision_rope;
use crate::model::error::ModelError;
use crate::model::input::{Grid, ImagePatches};
use crate::model::ops;
use crate::model::weights::WeightSource;

/// Epsilon of the tower's norms.
const EPS: f64 = 1e-6;

#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn new(source: &dyn WeightSource, name: &str, out: usize, inner: usize) -> Result<Self, ModelError> {
        Ok(Self {
            weight: source.get(&format!("{name}.weight"), &[out, inner])?,
            bias: source.get(&format!("{name}.bias"), &[out])?,
        })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        ops::linear(x, &self.weight, Some(&self.bias))
    }
}

#[derive(Debug)]
struct Block {
    norm1: Tensor,
    qkv: Linear,
    proj: Linear,
    norm2: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Block {
    fn new(config: &VisionConfig, source: &dyn WeightSource, index: usize) -> Result<Self, ModelError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("visual.blocks.{index}.{part}");
        Ok(Self {
            norm1: source.get(&name("norm1.weight"), &[hidden])?,
            qkv: Linear::new(source, &name("attn.qkv"), 3 * hidden, hidden)?,
            proj: Linear::new(source, &name("attn.proj"), hidden, hidden)?,
            norm2: source.get(&name("norm2.weight"), &[hidden])?,
            gate: Linear::new(source, &name("mlp.gate_proj"), inner, hidden)?,
            up: Linear::new(source, &name("mlp.up_proj"), inner, hidden)?,
            down: Linear::new(source, &name("mlp.down_proj"), hidden, inner)?,
        })
    }
}

/// Which merged tokens share an attention window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// The merged tokens in window order.
    pub index: Vec<u32>,
    /// Bounds of the windows in patches, from 0 to the number of patches; empty windows have vanished.
    pub bounds: Vec<usize>,
}

/// Windows of one image: `window` x `window` merged tokens, cut off at the right and bottom edge.
pub fn windows(grid: Grid, merge: usize, window: usize) -> Windows {
    let (rows, columns) = (grid.height / merge, grid.width / merge);
    let mut index = Vec::with_capacity(grid.time * rows * columns);
    let mut bounds = vec![0];
    for time in 0..grid.time {
        for top in (0..rows).step_by(window) {
            for left in (0..columns).step_by(window) {
                for row in top..rows.min(top + window) {
                    let start = (time * rows + row) * columns;
                    index.extend((left..columns.min(left + window)).map(|c| (start + c) as u32));
                }
                bounds.push(index.len() * merge * merge);
            }
        }
    }
    Windows { index, bounds }
}

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
    blocks: Vec<Block>,
    merger_norm: Tensor,
    merger_first: Linear,
    merger_second: Linear,
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
        let merged = hidden * config.merge_size * config.merge_size;
        let (patch, time) = (config.patch_size, config.temporal_patch_size);
        let kernel = source.get("visual.patch_embed.proj.weight", &[hidden, config.channels, time, patch, patch])?;
        Ok(Self {
            // A convolution whose stride is its kernel is one matrix product over flattened patches.
            patch: kernel.reshape((hidden, config.channels * time * patch * patch))?,
            blocks: (0..config.depth).map(|i| Block::new(config, source, i)).collect::<Result<_, _>>()?,
            merger_norm: source.get("visual.merger.ln_q.weight", &[hidden])?,
            merger_first: Linear::new(source, "visual.merger.mlp.0", merged, merged)?,
            merger_second: Linear::new(source, "visual.merger.mlp.2", out, merged)?,
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// Features of each image, `[merged tokens, hidden]`; images of one size run as one batch.
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

    /// Features `[images, merged tokens, hidden]` of images of one size.
    pub fn forward(
        &self,
        grid: Grid,
        images: &[&ImagePatches],
        stages: &mut VisionStages,
    ) -> Result<Tensor, ModelError> {
        let merge = self.config.merge_size;
        let windows = windows(grid, merge, self.config.window_size / merge / self.config.patch_size);
        let unit = (merge * merge) as u32;
        let order: Vec<u32> = windows.index.iter().flat_map(|i| (0..unit).map(move |u| i * unit + u)).collect();
        let order = Tensor::new(order, &self.device)?;
        let (cos, sin) = vision_rope(&self.config, grid, &self.device)?;
        let (cos, sin) = (cos.index_select(&order, 0)?, sin.index_select(&order, 0)?);

        let x = ops::linear(&self.pixels(grid, images)?, &self.patch, None)?;
        stages.patch_embed = Some(x.detach());
        let mut x = x.index_select(&order, 1)?;
        for (index, block) in self.blocks.iter().enumerate() {
            let full = self.config.full_attention_blocks.contains(&index);
            let whole = [0, grid.patches()];
            let bounds = if full { &whole[..] } else { &windows.bounds[..] };
            let y = self.attend(block, &ops::rms_norm(&x, &block.norm1, EPS)?, &cos, &sin, bounds)?;
            x = (x + y)?;
            let y = ops::rms_norm(&x, &block.norm2, EPS)?;
            let y = (block.gate.forward(&y)?.silu()? * block.up.forward(&y)?)?;
            x = (x + block.down.forward(&y)?)?;
            stages.blocks.push(x.detach());
        }
        self.merge(&x, &windows, stages)
    }

    fn merge(&self, x: &Tensor, windows: &Windows, stages: &mut VisionStages) -> Result<Tensor, ModelError> {
        let (images, patches, hidden) = x.dims3()?;
        let unit = self.config.merge_size * self.config.merge_size;
        let y = ops::rms_norm(x, &self.merger_norm, EPS)?.reshape((images, patches / unit, hidden * unit))?;
        let y = self.merger_second.forward(&self.merger_first.forward(&y)?.gelu_erf()?)?;
        stages.merger_raw = Some(y.detach());
        let mut natural = vec![0_u32; windows.index.len()];
        for (position, token) in windows.index.iter().enumerate() {
            natural[*token as usize] = position as u32;
        }
        Ok(y.index_select(&Tensor::new(natural, &self.device)?, 1)?)
    }

    fn attend(
        &self,
        block: &Block,
        x: &Tensor,
        cos: &Tensor,
        sin: &Tensor,
        bounds: &[usize],
    ) -> Result<Tensor, ModelError> {
        let (images, patches, hidden) = x.dims3()?;
        let heads = self.config.heads;
        let qkv = block.qkv.forward(x)?.reshape((images, patches, 3, heads, hidden / heads))?;
        let part = |i: usize| qkv.narrow(2, i, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
        let q = ops::rotate(&part(0)?, cos, sin)?;
        let k = ops::rotate(&part(1)?, cos, sin)?;
        let v = part(2)?;
        let mut mixed = Vec::with_capacity(bounds.len());
        for pair in bounds.windows(2) {
            let cut = |t: &Tensor| t.narrow(2, pair[0], pair[1] - pair[0])?.contiguous();
            mixed.push(ops::attention(&cut(&q)?, &cut(&k)?, &cut(&v)?, None)?.0);
        }
        let mixed = if mixed.len() == 1 { mixed.swap_remove(0) } else { Tensor::cat(&mixed, 1)? };
        Ok(block.proj.forward(&mixed)?)
    }
}
