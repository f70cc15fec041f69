//! Sums of gradients over ranks where their order is free: on the GPUs by NCCL, or by messages.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};

use super::Ranks;
use super::bucket::{BUCKET, buckets};
#[cfg(feature = "nccl")]
use crate::collective::nccl::NcclRank;
use crate::model::transfers::{down, up};
use crate::train::error::TrainError;
use crate::train::optimizer::Gradients;

/// What is added up, in errors.
const GRADIENTS: &str = "gradients";

/// What adds tensors up over all ranks. Every rank gets the same sums.
#[derive(Debug)]
pub(super) enum Reducer {
    /// Messages, through main memory, in the order of the ranks.
    Messages,
    /// NCCL, on the GPUs, in an order of its own.
    #[cfg(feature = "nccl")]
    Nccl(NcclRank),
}

impl Reducer {
    /// The sum of `own` over all ranks, on its device: as many 32-bit values at every rank.
    fn sum(&self, ranks: &Ranks, own: &Tensor) -> Result<Tensor, TrainError> {
        match self {
            Self::Messages => {
                let mut values = down(GRADIENTS, own)?;
                for values in values.chunks_mut(BUCKET) {
                    ranks.tracked(|collective| collective.all_reduce(GRADIENTS, values))?;
                }
                Ok(up(GRADIENTS, values, own.shape(), own.device())?)
            }
            #[cfg(feature = "nccl")]
            Self::Nccl(nccl) => ranks.tracked(|collective| nccl.sum(collective, GRADIENTS, own)),
        }
    }
}

impl Ranks {
    /// Prepares sums of gradients that are on `device`, where they are not taken group by group.
    pub(in crate::train) fn connect(&self, device: &Device) -> Result<(), TrainError> {
        if !self.is_ordered() && self.size() > 1 {
            let reducer = self.open_reducer(device)?;
            self.reducer.get_or_init(|| reducer);
        }
        Ok(())
    }

    #[cfg(feature = "nccl")]
    fn open_reducer(&self, device: &Device) -> Result<Reducer, TrainError> {
        if !device.is_cuda() {
            return Ok(Reducer::Messages);
        }
        let host = &self.peers[self.rank()].host;
        Ok(Reducer::Nccl(self.tracked(|collective| NcclRank::join(collective, device, host))?))
    }

    #[cfg(not(feature = "nccl"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as with NCCL")]
    fn open_reducer(&self, _: &Device) -> Result<Reducer, TrainError> {
        Ok(Reducer::Messages)
    }

    /// One sentence on how gradients are added up; none for one rank.
    pub(in crate::train) fn sums_in_words(&self) -> Option<String> {
        let how = match self.reducer.get() {
            None => "in main memory by messages, along a tree of the groups (`deterministic` is true)",
            Some(Reducer::Messages) => "in main memory by messages, in the order of the ranks",
            #[cfg(feature = "nccl")]
            Some(Reducer::Nccl(_)) => "on the GPUs by NCCL",
        };
        (self.size() > 1).then(|| format!("gradients of {} ranks are added up {how}", self.size()))
    }

    /// The sums of all ranks' gradients, of every parameter that took part at any of them.
    pub(super) fn reduce(
        &self,
        own: Gradients,
        trained: &BTreeMap<String, Var>,
        reducer: &Reducer,
    ) -> Result<Gradients, TrainError> {
        let found: Vec<bool> = trained.keys().map(|name| own.tensors().contains_key(name)).collect();
        let mut any = vec![false; found.len()];
        for found in self.gather("the parameters that took part", &found)? {
            any.iter_mut().zip(found).for_each(|(any, found)| *any |= found);
        }
        let taking_part = trained.iter().zip(any).filter_map(|(parameter, any)| any.then_some(parameter));
        let (mut own, mut sums) = (own.into_tensors(), BTreeMap::new());
        for bucket in buckets(taking_part, |(_, var)| var.elem_count(), BUCKET) {
            let part = |(name, var): &(&String, &Var)| match own.remove(*name) {
                Some(gradient) => gradient.flatten_all(),
                // [values]
                None => Tensor::zeros(var.elem_count(), DType::F32, var.device()),
            };
            let parts = bucket.iter().map(part).collect::<candle_core::Result<Vec<_>>>()?;
            // [values of the bucket]
            let sum = reducer.sum(self, &Tensor::cat(&parts, 0)?)?;
            let mut start = 0;
            for (name, var) in bucket {
                // [shape of the weight]
                let gradient = sum.narrow(0, start, var.elem_count())?.reshape(var.shape())?;
                sums.insert(name.clone(), gradient);
                start += var.elem_count();
            }
        }
        Ok(Gradients::from_tensors(sums))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::collective::threads::join;

    /// What each of `size` ranks gives.
    fn on_ranks<T: Send>(size: usize, work: impl Fn(&Ranks) -> T + Sync) -> Vec<T> {
        std::thread::scope(|scope| {
            let work = &work;
            let start = |rank| scope.spawn(move || work(&Ranks::of(Arc::new(rank), false)));
            let running: Vec<_> = join(size, Duration::from_secs(20)).into_iter().map(start).collect();
            running.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }

    /// Parameters of ragged shapes.
    fn trained() -> BTreeMap<String, Var> {
        let shapes: [&[usize]; 5] = [&[1], &[3], &[7, 5], &[2, 3, 11], &[1009]];
        let var =
            |(at, shape): (usize, &&[usize])| (format!("p{at}"), Var::zeros(*shape, DType::F32, &Device::Cpu).unwrap());
        shapes.iter().enumerate().map(var).collect()
    }

    /// The rank that has a gradient of a parameter: all have one of even parameters, rank 1 of `p1`, none of `p3`.
    fn takes_part(rank: usize, parameter: usize) -> bool {
        parameter.is_multiple_of(2) || (parameter == 1 && rank == 1)
    }

    fn value(rank: usize, parameter: usize, at: usize) -> f32 {
        ((1 + rank) as f32 * 0.37 + parameter as f32 * 1.3 + at as f32 * 0.11).sin() * 10_f32.powi(rank as i32 - 1)
    }

    fn gradients(rank: usize, trained: &BTreeMap<String, Var>) -> Gradients {
        let mut tensors = BTreeMap::new();
        for (parameter, (name, var)) in trained.iter().enumerate() {
            if takes_part(rank, parameter) {
                let values: Vec<f32> = (0..var.elem_count()).map(|at| value(rank, parameter, at)).collect();
                tensors.insert(name.clone(), Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap());
            }
        }
        Gradients::from_tensors(tensors)
    }

    #[test]
    fn sums_are_those_of_all_ranks_whoever_took_part() {
        let trained = trained();
        for size in [2, 3, 5] {
            let reduced = on_ranks(size, |ranks| {
                ranks.connect(&Device::Cpu).unwrap();
                assert!(ranks.sums_in_words().unwrap().contains("by messages, in the order of the ranks"));
                let own = gradients(ranks.rank(), &trained);
                ranks.reduce(own, &trained, ranks.reducer.get().unwrap()).unwrap().into_tensors()
            });
            for sums in reduced {
                assert_eq!(sums.keys().collect::<Vec<_>>(), ["p0", "p1", "p2", "p4"]);
                for (parameter, (name, var)) in trained.iter().enumerate() {
                    let Some(sum) = sums.get(name) else { continue };
                    assert_eq!(sum.shape(), var.shape());
                    let parts = |at| (0..size).filter(|rank| takes_part(*rank, parameter)).map(move |rank| (rank, at));
                    for (at, found) in sum.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().enumerate() {
                        let of = |(rank, at)| f64::from(value(rank, parameter, at));
                        let (wanted, scale): (f64, f64) =
                            (parts(at).map(of).sum(), parts(at).map(|part| of(part).abs()).sum());
                        assert!((f64::from(found) - wanted).abs() <= 1e-6 * scale, "{name}[{at}] on {size} ranks");
                    }
                }
            }
        }
    }

    #[test]
    fn a_rank_that_fails_in_between_is_named() {
        let trained = trained();
        let errors = on_ranks(3, |ranks| {
            if ranks.rank() == 1 {
                // It has told which parameters took part, and fails before the first sum.
                let found: Vec<bool> = trained.keys().map(|_| true).collect();
                ranks.gather("the parameters that took part", &found).unwrap();
                ranks.fail(&TrainError::Thread("out of memory".to_owned()));
                return None;
            }
            let reduce = || ranks.reduce(gradients(ranks.rank(), &trained), &trained, &Reducer::Messages);
            let (error, again) = (reduce().unwrap_err(), reduce().unwrap_err());
            assert_eq!(error.to_string(), again.to_string(), "the first error explains those that follow");
            Some(error.to_string())
        });
        assert_eq!(errors[1], None);
        for error in [&errors[0], &errors[2]] {
            assert_eq!(error.as_deref(), Some("rank 1: a compute thread failed: out of memory"));
        }
    }

    #[test]
    fn nothing_is_reduced_where_the_order_is_given_or_one_rank_is_alone() {
        let alone = Ranks::of(Arc::new(crate::collective::Solo), false);
        let ordered = Ranks::of(Arc::new(join(2, Duration::ZERO).remove(0)), true);
        for ranks in [&alone, &ordered] {
            ranks.connect(&Device::Cpu).unwrap();
            assert!(ranks.reducer.get().is_none());
        }
        assert_eq!(alone.sums_in_words(), None);
        assert!(ordered.sums_in_words().unwrap().contains("along a tree of the groups"));
    }
}
