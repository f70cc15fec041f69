//! Gradients by name, their accumulation and clipping, and `AdamW` (Loshchilov & Hutter, arXiv 1711.05101).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};

use super::adamw::{self, Rule};
use super::error::TrainError;
use crate::collective::share;
use crate::config::rollout::UPDATED_AT_ONCE;
use crate::domain::spec::{LearningRateSchedule, OptimizerSpec};
use crate::model::Parameters;

/// Gradients of the parameters that took part in a loss.
#[derive(Debug, Default, Clone)]
pub struct Gradients(BTreeMap<String, Tensor>);

impl Gradients {
    /// Runs the backward pass of `loss`.
    pub fn of(loss: &Tensor, parameters: &Parameters) -> Result<Self, TrainError> {
        let mut gradients = Self::default();
        gradients.collect(&loss.backward()?, parameters)?;
        Ok(gradients)
    }

    /// Adds the gradients of one backward pass. Every gradient is detached at once, so that the graph can be freed;
    /// those of 16-bit weights are widened, so that sums over micro-batches lose nothing.
    pub fn collect(&mut self, store: &GradStore, parameters: &Parameters) -> Result<(), TrainError> {
        for (name, var) in parameters.trained() {
            if let Some(gradient) = store.get(var.as_tensor()) {
                self.add_one(name.clone(), gradient.detach().to_dtype(DType::F32)?)?;
            }
        }
        Ok(())
    }

    fn add_one(&mut self, name: String, gradient: Tensor) -> Result<(), TrainError> {
        match self.0.entry(name) {
            Entry::Occupied(mut sum) => *sum.get_mut() = (sum.get() + gradient)?,
            Entry::Vacant(empty) => {
                empty.insert(gradient);
            }
        }
        Ok(())
    }

    /// Gradients that were added up elsewhere.
    pub(super) fn from_tensors(tensors: BTreeMap<String, Tensor>) -> Self {
        Self(tensors)
    }

    /// Gradients by parameter name.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.0
    }

    /// The same, to be taken apart.
    pub(super) fn into_tensors(self) -> BTreeMap<String, Tensor> {
        self.0
    }

    /// Adds another micro-batch.
    pub fn add(&mut self, other: Self) -> Result<(), TrainError> {
        other.0.into_iter().try_for_each(|(name, gradient)| self.add_one(name, gradient))
    }

    /// Euclidean norm over all gradients.
    pub fn norm(&self) -> Result<f64, TrainError> {
        Ok(adamw::squares(self.0.values())?.sqrt())
    }
}

/// Moments and master copies by name, as a checkpoint holds them.
pub(super) type OptimizerState = HashMap<String, Tensor>;

/// Which parameters weight decay shrinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecayScope {
    /// All of them.
    All,
    /// Those of two or more dimensions: norms and biases keep their scale.
    Matrices,
}

/// `AdamW` with its moments, which a checkpoint keeps.
///
/// It computes in 32 bits, on the device of the weights or, offloaded, in main memory. Weights on another device or of
/// 16 bits follow a 32-bit master copy, so that updates smaller than their precision add up.
#[derive(Debug)]
pub struct AdamW {
    betas: [f64; 2],
    weight_decay: f64,
    max_grad_norm: f64,
    offload: bool,
    scope: DecayScope,
    /// Which part of every parameter it has: of this number of parts, this one.
    part: Option<(usize, usize)>,
    updates: u64,
    moments: BTreeMap<String, (Tensor, Tensor)>,
    masters: BTreeMap<String, Tensor>,
}

impl AdamW {
    /// An optimizer without history.
    pub fn new(spec: &OptimizerSpec, scope: DecayScope) -> Self {
        Self {
            betas: spec.betas,
            weight_decay: spec.weight_decay,
            max_grad_norm: spec.max_grad_norm,
            offload: spec.offload,
            scope,
            part: None,
            updates: 0,
            moments: BTreeMap::new(),
            masters: BTreeMap::new(),
        }
    }

    /// One update in place; returns the gradient norm before clipping. A norm that is not finite changes nothing.
    pub fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
        learning_rate: f64,
    ) -> Result<f64, TrainError> {
        let norm = gradients.norm()?;
        if !norm.is_finite() {
            return Ok(norm);
        }
        self.updates += 1;
        let count = i32::try_from(self.updates).unwrap_or(i32::MAX);
        let rule = Rule {
            betas: self.betas,
            correct: self.betas.map(|beta| 1.0 - beta.powi(count)),
            clip: (self.max_grad_norm / (norm + 1e-6)).min(1.0),
            rate: learning_rate,
            shrink: 1.0,
        };
        for (name, gradient) in gradients.tensors() {
            if let Some(var) = parameters.trained().get(name) {
                let decays = self.scope == DecayScope::All || var.rank() >= 2;
                let shrink = if decays { 1.0 - learning_rate * self.weight_decay } else { 1.0 };
                let rule = Rule { shrink, ..rule };
                match self.part {
                    None => self.update(name, var, gradient, &rule)?,
                    Some(part) => self.update_part(name, var, gradient, &rule, part)?,
                }
            }
        }
        Ok(norm)
    }

    fn update(&mut self, name: &str, var: &Var, gradient: &Tensor, rule: &Rule) -> Result<(), TrainError> {
        let home = self.home(var.device());
        let gradient = gradient.to_device(&home)?;
        let moments = match self.moments.remove(name) {
            Some(moments) => moments,
            // [shape of the weight]
            None => (gradient.zeros_like()?, gradient.zeros_like()?),
        };
        let follows = var.dtype() != DType::F32 || !var.device().same_device(&home);
        let master = self.masters.remove(name).filter(|_| follows);
        let weight = match master {
            Some(master) => master,
            None => var.as_detached_tensor().to_device(&home)?.to_dtype(DType::F32)?,
        };
        let (moments, weight) = if adamw::fits(&[&gradient, &moments.0, &moments.1, &weight]) {
            // Where there is no master copy, the weight is the memory of the variable.
            rule.in_place(&gradient, &moments, &weight)?;
            (moments, weight)
        } else if weight.elem_count() > UPDATED_AT_ONCE {
            let gradient = gradient.contiguous()?;
            let moments = (moments.0.contiguous()?, moments.1.contiguous()?);
            rule.in_slices(&gradient, &moments, &weight, UPDATED_AT_ONCE)?;
            (moments, weight)
        } else {
            let [first, second, weight] = rule.composed(&gradient, moments, &weight)?;
            if !follows {
                var.set(&weight)?;
            }
            ((first, second), weight)
        };
        self.moments.insert(name.to_owned(), moments);
        if follows {
            var.set(&weight.to_dtype(var.dtype())?.to_device(var.device())?)?;
            self.masters.insert(name.to_owned(), weight);
        }
        Ok(())
    }

    /// Updates the part of a parameter that this optimizer has; moments and master copy are as long as that.
    fn update_part(
        &mut self,
        name: &str,
        var: &Var,
        gradient: &Tensor,
        rule: &Rule,
        (rank, ranks): (usize, usize),
    ) -> Result<(), TrainError> {
        let home = self.home(var.device());
        let range = share(var.elem_count(), rank, ranks);
        if range.is_empty() {
            return Ok(());
        }
        // [values of the part], as everything here.
        let gradient = gradient.flatten_all()?.narrow(0, range.start, range.len())?.to_device(&home)?;
        let moments = match self.moments.remove(name) {
            Some(moments) => moments,
            // [values of the part]
            None => (gradient.zeros_like()?, gradient.zeros_like()?),
        };
        let whole = var.as_detached_tensor().flatten_all()?;
        let own = whole.narrow(0, range.start, range.len())?;
        let follows = var.dtype() != DType::F32 || !var.device().same_device(&home);
        let weight = match self.masters.remove(name).filter(|_| follows) {
            Some(master) => master,
            None => own.to_device(&home)?.to_dtype(DType::F32)?,
        };
        let [first, second, weight] = rule.composed(&gradient, moments, &weight)?;
        self.moments.insert(name.to_owned(), (first, second));
        // The rest of the parameter comes from the other parts.
        whole.slice_set(&weight.to_dtype(var.dtype())?.to_device(var.device())?, 0, range.start)?;
        if follows {
            self.masters.insert(name.to_owned(), weight);
        }
        Ok(())
    }

    /// The same optimizer with one of `ranks` parts of every parameter.
    pub(super) fn part(mut self, rank: usize, ranks: usize) -> Result<Self, TrainError> {
        self.part = Some((rank, ranks));
        self.keep_part()?;
        Ok(self)
    }

    /// Leaves what belongs to other parts.
    fn keep_part(&mut self) -> Result<(), TrainError> {
        let Some((rank, ranks)) = self.part else { return Ok(()) };
        let cut = |tensor: &Tensor| -> Result<Tensor, TrainError> {
            let range = share(tensor.elem_count(), rank, ranks);
            // A copy: the rest is to be freed.
            Ok(tensor.flatten_all()?.narrow(0, range.start, range.len())?.copy()?)
        };
        let has_part = |tensor: &Tensor| !share(tensor.elem_count(), rank, ranks).is_empty();
        self.moments.retain(|_, (first, _)| has_part(first));
        self.masters.retain(|_, master| has_part(master));
        for (first, second) in self.moments.values_mut() {
            (*first, *second) = (cut(first)?, cut(second)?);
        }
        for master in self.masters.values_mut() {
            *master = cut(master)?;
        }
        Ok(())
    }

    /// Does it have a part of every parameter only?
    pub(super) fn is_part(&self) -> bool {
        self.part.is_some()
    }

    /// The values of moments and master copies by name, as in a checkpoint.
    pub(super) fn state(&self) -> impl Iterator<Item = (String, &Tensor)> {
        let moments = self.moments.iter();
        let moments = moments
            .flat_map(|(name, (first, second))| [(format!("first.{name}"), first), (format!("second.{name}"), second)]);
        moments.chain(self.masters.iter().map(|(name, master)| (format!("master.{name}"), master)))
    }

    /// Where the optimizer keeps the state of weights on `device`.
    fn home(&self, device: &Device) -> Device {
        if self.offload { Device::Cpu } else { device.clone() }
    }

    /// Bytes of moments and master copies.
    pub fn bytes(&self) -> usize {
        let moments = self.moments.values().flat_map(|(first, second)| [first, second]);
        moments.chain(self.masters.values()).map(|t| t.elem_count() * t.dtype().size_in_bytes()).sum()
    }

    /// Names of the parameters that have moments.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.moments.keys().map(String::as_str)
    }

    /// Writes moments, master copies and the number of updates to a safetensors file.
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        let tensors = self.state().map(|(name, tensor)| (name, tensor.clone())).collect();
        self.write_state(tensors, path)
    }

    /// Writes the state of an optimizer of whole parameters, made of those of its parts.
    pub(super) fn write_state(&self, mut tensors: OptimizerState, path: &Path) -> Result<(), TrainError> {
        // [1]
        tensors.insert("updates".to_owned(), Tensor::new(&[self.updates as i64], &Device::Cpu)?);
        let path_text = path.display().to_string();
        safetensors::serialize_to_file(&tensors, None, path).map_err(|error| match error {
            // A full disk may have room again at the next attempt.
            safetensors::SafeTensorError::IoError(source) => TrainError::File { path: path_text, source },
            other => TrainError::Checkpoint { path: path_text, problem: other.to_string() },
        })
    }

    /// Reads what [`Self::write`] wrote, for weights on `device`.
    pub fn read(&mut self, path: &Path, device: &Device) -> Result<(), TrainError> {
        let failed = |problem: String| TrainError::Checkpoint { path: path.display().to_string(), problem };
        let home = self.home(device);
        let mut tensors = candle_core::safetensors::load(path, &home).map_err(|e| failed(e.to_string()))?;
        let updates = tensors.remove("updates").ok_or_else(|| failed("has no `updates`".to_owned()))?;
        self.updates = updates.to_vec1::<i64>()?.first().map_or(0, |n| *n as u64);
        self.moments.clear();
        self.masters.clear();
        let names: Vec<String> = tensors.keys().filter_map(|k| k.strip_prefix("first.").map(str::to_owned)).collect();
        for name in names {
            let first = tensors.remove(&format!("first.{name}"));
            let second = tensors.remove(&format!("second.{name}"));
            let (Some(first), Some(second)) = (first, second) else {
                return Err(failed(format!("holds only one moment of `{name}`")));
            };
            if let Some(master) = tensors.remove(&format!("master.{name}")) {
                self.masters.insert(name.clone(), master);
            }
            self.moments.insert(name, (first, second));
        }
        self.keep_part()
    }
}

/// Learning rate of step `step` (from 1) of `steps`: linear warm-up, then constant, or down to the floor at the last
/// step.
pub fn learning_rate(spec: &OptimizerSpec, step: u64, steps: u64) -> f64 {
    if step <= spec.warmup_steps {
        return spec.learning_rate * step as f64 / (spec.warmup_steps + 1) as f64;
    }
    let span = steps.saturating_sub(spec.warmup_steps).max(1) as f64;
    let progress = ((step - spec.warmup_steps) as f64 / span).min(1.0);
    // Height above the floor, as a share of the way to the peak.
    let left = match spec.schedule {
        LearningRateSchedule::Constant => return spec.learning_rate,
        LearningRateSchedule::Linear => 1.0 - progress,
        LearningRateSchedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
    };
    spec.learning_rate * (spec.schedule_floor + (1.0 - spec.schedule_floor) * left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: LearningRateSchedule, schedule_floor: f64, warmup_steps: u64, steps: u64) -> Vec<f64> {
        let spec = OptimizerSpec {
            learning_rate: 1.0,
            betas: [0.9, 0.999],
            weight_decay: 0.0,
            warmup_steps,
            schedule,
            schedule_floor,
            max_grad_norm: 1.0,
            offload: false,
            shard: false,
        };
        (1..=steps).map(|step| learning_rate(&spec, step, steps)).collect()
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{found:?}, expected {expected:?}");
        }
    }

    #[test]
    fn every_schedule_warms_up_and_ends_at_its_floor() {
        use LearningRateSchedule::{Constant, Cosine, Linear};
        assert_close(&rates(Constant, 0.1, 3, 6), &[0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
        assert_close(&rates(Linear, 0.1, 1, 5), &[0.5, 0.775, 0.55, 0.325, 0.1]);
        let half = std::f64::consts::FRAC_1_SQRT_2 / 2.0;
        assert_close(&rates(Cosine, 0.0, 0, 4), &[0.5 + half, 0.5, 0.5 - half, 0.0]);
        assert_close(&rates(Cosine, 0.5, 0, 2), &[0.75, 0.5]);
    }

    #[test]
    fn a_warm_up_longer_than_the_job_never_divides_by_zero() {
        for schedule in [LearningRateSchedule::Linear, LearningRateSchedule::Cosine] {
            assert_close(&rates(schedule, 0.0, 9, 3), &[0.1, 0.2, 0.3]);
            assert_close(&rates(schedule, 0.2, 0, 1), &[0.2]);
        }
    }
}
