//! One parameter's part of an update: composed of candle's operations for every device, or in place on the CPU, one
//! pass over memory for each moment and the weight. Both give the same bits.

use candle_core::{CpuStorage, DType, InplaceOp2, InplaceOp3, Layout, Result, Storage, Tensor};

use crate::model::transfers::{down, is_gpu};

/// Added to the root of the second moment.
const EPS: f64 = 1e-8;
/// Values that are squared and added up in 32 bits before they enter a sum in 64 bits.
const BLOCK: usize = 1024;
/// Independent sums of a block, so that the loop vectorizes.
const LANES: usize = 16;

/// What one update does to every value of a parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// Decay rates of the moments.
    pub(super) betas: [f64; 2],
    /// Bias correction of the moments: `1 - beta^updates`.
    pub(super) correct: [f64; 2],
    /// Factor of the gradient.
    pub(super) clip: f64,
    /// Learning rate.
    pub(super) rate: f64,
    /// Factor of the weight: its decay.
    pub(super) shrink: f64,
}

/// Can these be updated in place, in one pass?
pub(super) fn fits(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| !is_gpu(t.device()) && t.dtype() == DType::F32 && t.is_contiguous())
}

impl Rule {
    /// New moments and weight.
    pub(super) fn composed(
        &self,
        gradient: &Tensor,
        moments: (Tensor, Tensor),
        weight: &Tensor,
    ) -> Result<[Tensor; 3]> {
        let [b1, b2] = self.betas;
        let gradient = if self.clip < 1.0 { (gradient * self.clip)? } else { gradient.clone() };
        let first = ((moments.0 * b1)? + (&gradient * (1.0 - b1))?)?;
        let second = ((moments.1 * b2)? + (gradient.sqr()? * (1.0 - b2))?)?;
        let denominator = ((second.sqrt()? / self.correct[1].sqrt())? + EPS)?;
        let update = ((&first / denominator)? * (self.rate / self.correct[0]))?;
        let weight = ((weight * self.shrink)? - update)?;
        Ok([first, second, weight])
    }

    /// The same in place, a slice at a time, so that temporary copies stay small; the tensors must be contiguous.
    pub(super) fn in_slices(
        &self,
        gradient: &Tensor,
        moments: &(Tensor, Tensor),
        weight: &Tensor,
        values: usize,
    ) -> Result<()> {
        let gradient = gradient.flatten_all()?;
        let targets = [moments.0.flatten_all()?, moments.1.flatten_all()?, weight.flatten_all()?];
        let count = gradient.elem_count();
        for start in (0..count).step_by(values) {
            let slice = |x: &Tensor| x.narrow(0, start, values.min(count - start));
            let moments = (slice(&targets[0])?, slice(&targets[1])?);
            let new = self.composed(&slice(&gradient)?, moments, &slice(&targets[2])?)?;
            for (target, new) in targets.iter().zip(&new) {
                target.slice_set(new, 0, start)?;
            }
        }
        Ok(())
    }

    /// The same in place.
    pub(super) fn in_place(&self, gradient: &Tensor, moments: &(Tensor, Tensor), weight: &Tensor) -> Result<()> {
        let [b1, b2] = self.betas;
        let clip = if self.clip < 1.0 { self.clip as f32 } else { 1.0 };
        let average = |beta: f64, squared| Average { clip, keep: beta as f32, take: (1.0 - beta) as f32, squared };
        moments.0.inplace_op2(gradient, &average(b1, false))?;
        moments.1.inplace_op2(gradient, &average(b2, true))?;
        let step = Step {
            shrink: self.shrink as f32,
            unbias: (1.0 / self.correct[1].sqrt()) as f32,
            rate: (self.rate / self.correct[0]) as f32,
        };
        weight.inplace_op3(&moments.0, &moments.1, &step)
    }
}

/// Sum of the squares of all values of all tensors.
pub(super) fn squares<'t>(tensors: impl Iterator<Item = &'t Tensor>) -> Result<f64> {
    let (mut sum, mut on_device) = (0.0, Vec::new());
    for tensor in tensors {
        if fits(&[tensor]) {
            sum += squares_in_memory(tensor)?;
        } else {
            on_device.push(tensor.sqr()?.sum_all()?.to_dtype(DType::F32)?);
        }
    }
    if !on_device.is_empty() {
        // [tensors]
        let sums = down("gradient norm", &Tensor::stack(&on_device, 0)?.sum_all()?)?;
        sum += sums.into_iter().map(f64::from).sum::<f64>();
    }
    Ok(sum)
}

fn squares_in_memory(tensor: &Tensor) -> Result<f64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { candle_core::bail!("not on the CPU") };
    let values = values(storage, layout)?;
    let mut sum = 0.0;
    for block in values.chunks(BLOCK) {
        let mut lanes = [0.0_f32; LANES];
        let whole = block.chunks_exact(LANES);
        let rest: f32 = whole.remainder().iter().map(|v| v * v).sum();
        for values in whole {
            lanes.iter_mut().zip(values).for_each(|(sum, v)| *sum += v * v);
        }
        sum += f64::from(lanes.iter().sum::<f32>() + rest);
    }
    Ok(sum)
}

fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("an update in place needs contiguous f32"),
    }
}

fn values_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => candle_core::bail!("an update in place needs contiguous f32"),
    }
}

/// A moving average of gradients or of their squares.
struct Average {
    clip: f32,
    keep: f32,
    take: f32,
    squared: bool,
}

impl InplaceOp2 for Average {
    fn name(&self) -> &'static str {
        "moving average"
    }

    fn cpu_fwd(&self, moment: &mut CpuStorage, own: &Layout, gradient: &CpuStorage, other: &Layout) -> Result<()> {
        let Self { clip, keep, take, squared } = *self;
        for (moment, gradient) in values_mut(moment, own)?.iter_mut().zip(values(gradient, other)?) {
            let gradient = gradient * clip;
            let gradient = if squared { gradient * gradient } else { gradient };
            *moment = *moment * keep + gradient * take;
        }
        Ok(())
    }
}

/// The update of the weight.
struct Step {
    shrink: f32,
    unbias: f32,
    rate: f32,
}

impl InplaceOp3 for Step {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        weight: &mut CpuStorage,
        own: &Layout,
        first: &CpuStorage,
        first_layout: &Layout,
        second: &CpuStorage,
        second_layout: &Layout,
    ) -> Result<()> {
        let Self { shrink, unbias, rate } = *self;
        let weight = values_mut(weight, own)?;
        // Equal lengths, so that the loop needs no bounds checks.
        let first = &values(first, first_layout)?[..weight.len()];
        let second = &values(second, second_layout)?[..weight.len()];
        for (i, weight) in weight.iter_mut().enumerate() {
            *weight = *weight * shrink - first[i] / (second[i].sqrt() * unbias + EPS as f32) * rate;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    use crate::model::sampler::{stream, uniform};
    use crate::model::transfers::as_on_gpu;

    fn noise(rng: &mut rand_chacha::ChaCha8Rng, spread: f32, count: usize) -> Tensor {
        Tensor::from_iter((0..count).map(|_| (uniform(rng) as f32 - 0.5) * spread), &Device::Cpu).unwrap()
    }

    #[test]
    fn both_forms_give_the_same_bits() {
        let mut rng = stream(&[5]);
        let mut random = |spread: f32| noise(&mut rng, spread, 33 * 47).reshape((33, 47)).unwrap();
        for clip in [0.3, 1.0] {
            let rule = Rule { betas: [0.9, 0.999], correct: [0.271, 0.003], clip, rate: 1e-3, shrink: 0.999 };
            let (gradient, weight) = (random(0.1), random(1.0));
            let moments = (random(0.1), random(0.1).sqr().unwrap());
            let wanted = rule.composed(&gradient, moments.clone(), &weight).unwrap();
            let copies = (moments.0.copy().unwrap(), moments.1.copy().unwrap(), weight.copy().unwrap());
            let sliced = (copies.0.clone(), copies.1.clone());
            rule.in_slices(&gradient, &sliced, &copies.2, 500).unwrap();
            rule.in_place(&gradient, &moments, &weight).unwrap();
            for (found, wanted) in [&copies.0, &copies.1, &copies.2].into_iter().zip([&moments.0, &moments.1, &weight])
            {
                let off = (found - wanted).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
                assert_eq!(off.to_scalar::<f32>().unwrap(), 0.0);
            }
            for (found, wanted) in [&moments.0, &moments.1, &weight].into_iter().zip(&wanted) {
                let bits = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(bits(found), bits(wanted));
            }
        }
    }

    #[test]
    fn squares_are_summed_as_the_composed_form_does() {
        for count in [1, 15, 1024, 5000] {
            let values = noise(&mut stream(&[6]), 1.0, count);
            let wanted: f64 = values.to_vec1::<f32>().unwrap().iter().map(|v| f64::from(v * v)).sum();
            let on_device = as_on_gpu(|| squares([&values].into_iter()).unwrap()).0;
            for found in [squares([&values].into_iter()).unwrap(), on_device] {
                assert!((found / wanted - 1.0).abs() < 1e-6);
            }
        }
    }
}
