//! Which rank works on which groups, and in which order their gradients are added up.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::collective::share;

/// The groups as the leaves of a binary tree, along which their gradients are added up. It depends on the sizes of the
/// groups only, so a sum has the same bits however many ranks share the work. Both halves of every node are about the
/// same size, so that a power of two of ranks has one node each, of about the same work.
#[derive(Debug, PartialEq)]
pub(super) struct Tree {
    /// The group at each leaf, from left to right.
    pub(super) leaves: Vec<usize>,
    /// Where each range of leaves that is an inner node is divided.
    middles: BTreeMap<(usize, usize), usize>,
}

impl Tree {
    /// The tree over groups of these sizes.
    pub(super) fn of(sizes: &[u64]) -> Self {
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|group| (Reverse(sizes[*group]), *group));
        let mut tree = Self { leaves: Vec::with_capacity(sizes.len()), middles: BTreeMap::new() };
        tree.grow(&order);
        tree
    }

    /// Adds a node over `groups`, which are sorted by size: every second one goes to the same half.
    fn grow(&mut self, groups: &[usize]) {
        if groups.len() < 2 {
            self.leaves.extend(groups);
            return;
        }
        let half = |first: usize| groups.iter().skip(first).step_by(2).copied().collect::<Vec<_>>();
        let start = self.leaves.len();
        self.grow(&half(0));
        let middle = self.leaves.len();
        self.grow(&half(1));
        self.middles.insert((start, self.leaves.len()), middle);
    }

    /// Are these two ranges the halves of one node?
    pub(super) fn joins(&self, left: &Range<usize>, right: &Range<usize>) -> bool {
        self.middles.get(&(left.start, right.end)) == Some(&left.end) && left.end == right.start
    }

    /// The leaves of each of `ranks`: whole nodes where the number of ranks allows it.
    pub(super) fn ranges(&self, ranks: usize) -> Vec<Range<usize>> {
        let mut ranges = Vec::with_capacity(ranks);
        self.divide(0..self.leaves.len(), ranks, &mut ranges);
        ranges
    }

    fn divide(&self, leaves: Range<usize>, ranks: usize, out: &mut Vec<Range<usize>>) {
        match self.middles.get(&(leaves.start, leaves.end)) {
            Some(middle) if ranks > 1 && ranks.is_multiple_of(2) => {
                self.divide(leaves.start..*middle, ranks / 2, out);
                self.divide(*middle..leaves.end, ranks / 2, out);
            }
            _ => out.extend((0..ranks).map(|rank| {
                let part = share(leaves.len(), rank, ranks);
                leaves.start + part.start..leaves.start + part.end
            })),
        }
    }
}

/// The groups of each rank, largest first to the rank that has the least: the best balance where the order of sums does
/// not matter.
pub(super) fn balanced(sizes: &[u64], ranks: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|group| (Reverse(sizes[*group]), *group));
    let mut dealt: Vec<(u64, Vec<usize>)> = vec![(0, Vec::new()); ranks];
    for group in order {
        if let Some(least) = dealt.iter_mut().min_by_key(|(work, _)| *work) {
            least.0 += sizes[group];
            least.1.push(group);
        }
    }
    dealt.into_iter().map(|(_, groups)| groups).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_is_dealt_once_in_whole_nodes() {
        for groups in [1, 2, 3, 5, 8, 33] {
            let sizes: Vec<u64> = (0..groups).map(|group| 10 + group * group % 7).collect();
            let tree = Tree::of(&sizes);
            let mut sorted = tree.leaves.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..groups as usize).collect::<Vec<_>>());
            for ranks in [1, 2, 3, 4, 6, 8, 40] {
                let ranges = tree.ranges(ranks);
                assert_eq!(ranges.len(), ranks);
                assert_eq!((ranges[0].start, ranges[ranks - 1].end), (0, groups as usize));
                assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
                if ranks.is_power_of_two() && groups as usize >= ranks {
                    let node = |r: &Range<usize>| r.len() == 1 || tree.middles.contains_key(&(r.start, r.end));
                    assert!(ranges.iter().all(node), "{groups} groups on {ranks} ranks: {ranges:?}");
                }
                let mut dealt = balanced(&sizes, ranks).concat();
                dealt.sort_unstable();
                assert_eq!(dealt, sorted);
            }
        }
    }

    #[test]
    fn ranks_get_about_the_same_work() {
        let sizes: Vec<u64> = (0..64).map(|group| 100 + 37 * group % 400).collect();
        let tree = Tree::of(&sizes);
        let by_tree = tree.ranges(4).into_iter().map(|leaves| leaves.map(|leaf| sizes[tree.leaves[leaf]]).sum());
        let by_size = balanced(&sizes, 4).into_iter().map(|groups| groups.iter().map(|group| sizes[*group]).sum());
        let ideal = sizes.iter().sum::<u64>() / 4;
        for work in by_tree.chain::<Vec<u64>>(by_size.collect()) {
            assert!(work.abs_diff(ideal) * 20 < ideal, "{work}, ideal {ideal}");
        }
    }
}
