//! Optimizers that have a part of every parameter: each rank updates its part, and all parts together are one state.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use super::Ranks;
use super::bucket::{BUCKET, buckets};
use crate::collective::{Part, from_bytes, share, to_bytes};
use crate::model::Parameters;
use crate::model::transfers::down;
use crate::train::error::TrainError;
use crate::train::optimizer::{AdamW, Gradients, OptimizerState};

impl Ranks {
    /// The part of `optimizer` that this rank has, where the job shards it.
    pub(in crate::train) fn shard(&self, optimizer: AdamW, wanted: bool) -> Result<AdamW, TrainError> {
        if wanted && self.size() > 1 { optimizer.part(self.rank(), self.size()) } else { Ok(optimizer) }
    }

    /// Hands the weights that each rank has updated to all.
    pub(in crate::train) fn spread(
        &self,
        optimizer: &AdamW,
        parameters: &Parameters,
        gradients: &Gradients,
    ) -> Result<(), TrainError> {
        if !optimizer.is_part() {
            return Ok(());
        }
        let updated = gradients.tensors().keys().filter_map(|name| parameters.trained().get(name));
        let buckets = buckets(updated, |var| var.elem_count(), BUCKET);
        buckets.iter().try_for_each(|bucket| self.spread_bucket(bucket))
    }

    fn spread_bucket(&self, vars: &[&candle_core::Var]) -> Result<(), TrainError> {
        let own = |rank: usize, var: &candle_core::Var| share(var.elem_count(), rank, self.size());
        let mut message = Vec::new();
        for var in vars {
            let range = own(self.rank(), var);
            if !range.is_empty() {
                let part = var.as_detached_tensor().flatten_all()?.narrow(0, range.start, range.len())?;
                message.extend(to_bytes(&down("weights", &part)?));
            }
        }
        let received = self.gather_bytes("weights", message)?;
        for (rank, message) in received.iter().enumerate().filter(|(rank, _)| *rank != self.rank()) {
            let mut values = from_bytes(message);
            for var in vars {
                let range = own(rank, var);
                let part: Vec<f32> = values.by_ref().take(range.len()).collect();
                if part.len() != range.len() {
                    return Err(Self::unexpected(rank, "weights"));
                }
                if !range.is_empty() {
                    // [values of the part]
                    let part = Tensor::from_vec(part, range.len(), var.device())?.to_dtype(var.dtype())?;
                    var.as_detached_tensor().flatten_all()?.slice_set(&part, 0, range.start)?;
                }
            }
        }
        Ok(())
    }

    /// The state of the whole optimizer as a checkpoint holds it, at rank 0; none where nothing is in parts.
    pub(in crate::train) fn whole(
        &self,
        optimizer: &AdamW,
        parameters: &Parameters,
    ) -> Result<Option<OptimizerState>, TrainError> {
        if !optimizer.is_part() {
            return Ok(None);
        }
        // A parameter with fewer values than there are ranks is unknown to some of them.
        let own: Vec<String> = optimizer.state().map(|(name, _)| name).collect();
        let mut names: Vec<String> = self.gather("names of moments", &own)?.concat();
        names.sort_unstable();
        names.dedup();
        let parts: HashMap<String, &Tensor> = optimizer.state().collect();
        let mut whole = OptimizerState::new();
        for name in names {
            let values = parts.get(&name).map_or(Ok(Vec::new()), |part| down("optimizer", part))?;
            let mut to_first: Vec<Part> = vec![Part::default(); self.size()];
            to_first[0] = Part::new(to_bytes(&values));
            let received = self.exchange("moments", &to_first)?;
            let parameter = name.split_once('.').and_then(|(_, name)| parameters.trained().get(name));
            let (true, Some(var)) = (self.is_first(), parameter) else { continue };
            let values: Vec<f32> = received.iter().flat_map(|part| from_bytes(part).collect::<Vec<_>>()).collect();
            if values.len() != var.elem_count() {
                return Err(Self::unexpected(0, "moments"));
            }
            // [shape of the weight]
            whole.insert(name, Tensor::from_vec(values, var.shape(), &Device::Cpu)?);
        }
        Ok(Some(whole))
    }
}
