//! Sums of gradients over groups and ranks, with bits that do not depend on who computed what.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::Tensor;

use super::Ranks;
use super::bucket::BUCKET;
use super::deal::Tree;
use crate::collective::{Part, from_bytes, share, to_bytes};
use crate::model::Parameters;
use crate::model::transfers::down;
use crate::train::error::TrainError;
use crate::train::optimizer::Gradients;

/// The trained parameters, one after the other: where the values of each are in a sum.
#[derive(Debug)]
pub(super) struct Places {
    each: Vec<Place>,
    len: usize,
}

/// A parameter, and where its values are.
#[derive(Debug)]
struct Place {
    name: String,
    values: Range<usize>,
}

/// A sum of gradients over a range of leaves.
#[derive(Debug)]
pub(super) struct Node {
    leaves: Range<usize>,
    /// Which parameters took part.
    found: Vec<bool>,
    /// The values of all parameters; zeros for those that took no part.
    values: Vec<f32>,
}

/// Sums of neighbouring leaves, joined wherever they are the halves of a node.
#[derive(Debug, Default)]
pub(super) struct Sums(Vec<Node>);

impl Places {
    pub(super) fn of(parameters: &Parameters) -> Self {
        let mut len = 0;
        let place = |(name, var): (&String, &candle_core::Var)| {
            len += var.elem_count();
            Place { name: name.clone(), values: len - var.elem_count()..len }
        };
        Self { each: parameters.trained().iter().map(place).collect(), len }
    }

    /// The gradients of the groups at `leaves`, in memory.
    pub(super) fn node(&self, leaves: Range<usize>, gradients: &Gradients) -> Result<Node, TrainError> {
        let mut node = Node { leaves, found: vec![false; self.each.len()], values: vec![0.0; self.len] };
        for (found, place) in node.found.iter_mut().zip(&self.each) {
            if let Some(gradient) = gradients.tensors().get(&place.name) {
                *found = true;
                // One zero only: a gradient of -0 counts as the 0 of a group that has none.
                let values = down("gradients", &gradient.flatten_all()?)?;
                node.values[place.values.clone()].iter_mut().zip(values).for_each(|(to, value)| *to = value + 0.0);
            }
        }
        Ok(node)
    }

    /// The gradients of a sum, as the optimizer takes them.
    pub(super) fn gradients(&self, node: &Node, parameters: &Parameters) -> Result<Gradients, TrainError> {
        let mut tensors = BTreeMap::new();
        for (found, place) in node.found.iter().zip(&self.each) {
            if let (true, Some(var)) = (*found, parameters.trained().get(&place.name)) {
                // [shape of the weight]
                let values = Tensor::from_slice(&node.values[place.values.clone()], var.shape(), var.device())?;
                tensors.insert(place.name.clone(), values);
            }
        }
        Ok(Gradients::from_tensors(tensors))
    }

    /// Nothing, over no leaves.
    fn nothing(&self) -> Node {
        Node { leaves: 0..0, found: vec![false; self.each.len()], values: vec![0.0; self.len] }
    }
}

impl Sums {
    /// Adds the next leaves.
    pub(super) fn push(&mut self, node: Node, tree: &Tree) {
        self.0.push(node);
        while let [.., left, right] = &mut self.0[..] {
            if !tree.joins(&left.leaves, &right.leaves) {
                break;
            }
            add(&mut left.values, &right.values);
            left.found.iter_mut().zip(&right.found).for_each(|(left, right)| *left |= right);
            left.leaves.end = right.leaves.end;
            self.0.pop();
        }
    }
}

fn add(to: &mut [f32], values: &[f32]) {
    to.iter_mut().zip(values).for_each(|(to, value)| *to += value);
}

impl Ranks {
    /// The sum over all ranks at every rank, along `tree`.
    pub(super) fn sum(&self, sums: Sums, tree: &Tree, places: &Places) -> Result<Node, TrainError> {
        let Sums(mut own) = sums;
        if self.size() == 1 {
            return Ok(own.pop().unwrap_or_else(|| places.nothing()));
        }
        let described: Vec<(Vec<usize>, Vec<bool>)> =
            own.iter().map(|node| (vec![node.leaves.start, node.leaves.end], node.found.clone())).collect();
        let described: Vec<Vec<(Vec<usize>, Vec<bool>)>> = self.gather("the sums of gradients", &described)?;
        let mut total = places.nothing();
        for (_, found) in described.iter().flatten() {
            total.found.iter_mut().zip(found).for_each(|(to, found)| *to |= found);
        }
        let leaves = |(leaves, _): &(Vec<usize>, Vec<bool>)| leaves[0]..leaves[1];
        let leaves: Vec<Vec<Range<usize>>> = described.iter().map(|nodes| nodes.iter().map(leaves).collect()).collect();
        for start in (0..places.len).step_by(BUCKET) {
            let bucket = start..places.len.min(start + BUCKET);
            let sums = self.sum_bucket(&own, &bucket, &leaves, tree)?;
            total.values[bucket].copy_from_slice(&sums);
        }
        own.clear();
        Ok(total)
    }

    /// Each rank adds up its share of a bucket, and hands the sums to all.
    fn sum_bucket(
        &self,
        own: &[Node],
        bucket: &Range<usize>,
        leaves: &[Vec<Range<usize>>],
        tree: &Tree,
    ) -> Result<Vec<f32>, TrainError> {
        let part = |rank| {
            let share = share(bucket.len(), rank, self.size());
            let place = bucket.start + share.start..bucket.start + share.end;
            own.iter().flat_map(|node| to_bytes(&node.values[place.clone()])).collect::<Vec<u8>>()
        };
        let parts: Vec<Part> = (0..self.size()).map(|rank| Part::new(part(rank))).collect();
        let received = self.exchange("gradients", &parts)?;
        let count = share(bucket.len(), self.rank(), self.size()).len();
        let mut sums = Sums::default();
        for (rank, message) in received.iter().enumerate() {
            let leaves = &leaves[rank];
            if message.len() != 4 * count * leaves.len() {
                return Err(Self::unexpected(rank, "gradients"));
            }
            for (at, leaves) in leaves.iter().enumerate() {
                let values = from_bytes(&message[4 * count * at..4 * count * (at + 1)]).collect();
                sums.push(Node { leaves: leaves.clone(), found: Vec::new(), values }, tree);
            }
        }
        let sum = sums.0.pop().map(|node| node.values).unwrap_or_default();
        let mut out = Vec::with_capacity(bucket.len());
        for part in self.gather_bytes("summed gradients", to_bytes(&sum))? {
            out.extend(from_bytes(&part));
        }
        if out.len() == bucket.len() { Ok(out) } else { Err(Self::unexpected(0, "summed gradients")) }
    }
}
