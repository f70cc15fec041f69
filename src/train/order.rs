//! The order in which rows are visited: a permutation computed on the fly, so that a run resumes at any position
//! without a stored order.

use sha2::{Digest, Sha256};

/// Rounds of the Feistel network: four already mix well, and two more cost nothing.
const ROUNDS: u64 = 6;

/// Visits every row once per epoch.
#[derive(Debug, Clone, Copy)]
pub struct RowOrder {
    rows: u64,
    seed: u64,
    shuffle: bool,
}

impl RowOrder {
    /// An order over `rows` rows.
    pub fn new(rows: u64, seed: u64, shuffle: bool) -> Self {
        Self { rows: rows.max(1), seed, shuffle }
    }

    /// The row at position `cursor`, counted over all epochs.
    pub fn row(&self, cursor: u64) -> u64 {
        let (epoch, position) = (cursor / self.rows, cursor % self.rows);
        if !self.shuffle {
            return position;
        }
        // A permutation of the next power of four, followed until it gives a row (cycle walking): each row exactly once
        // an epoch.
        let bits = (64 - (self.rows - 1).leading_zeros()).max(2).div_ceil(2);
        let mut at = position;
        loop {
            at = self.permute(at, bits, epoch);
            if at < self.rows {
                return at;
            }
        }
    }

    fn permute(&self, value: u64, bits: u32, epoch: u64) -> u64 {
        let mask = (1_u64 << bits) - 1;
        let (mut left, mut right) = (value >> bits, value & mask);
        for round in 0..ROUNDS {
            let mut hash = Sha256::new();
            for part in [self.seed, epoch, round, right] {
                hash.update(part.to_le_bytes());
            }
            let digest = hash.finalize();
            let mut word = [0_u8; 8];
            word.copy_from_slice(&digest[..8]);
            (left, right) = (right, left ^ (u64::from_le_bytes(word) & mask));
        }
        left << bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_visits_every_row_once_and_epochs_differ() {
        for rows in [1, 2, 3, 7, 64, 1000] {
            let order = RowOrder::new(rows, 5, true);
            let epoch = |e: u64| (0..rows).map(|i| order.row(e * rows + i)).collect::<Vec<_>>();
            let mut sorted = epoch(0);
            sorted.sort_unstable();
            assert_eq!(sorted, (0..rows).collect::<Vec<_>>());
            if rows > 10 {
                assert_ne!(epoch(0), epoch(1));
                assert_ne!(epoch(0), (0..rows).collect::<Vec<_>>());
                assert_ne!(epoch(0), RowOrder::new(rows, 6, true).rows_of_first_epoch());
            }
        }
    }

    impl RowOrder {
        fn rows_of_first_epoch(&self) -> Vec<u64> {
            (0..self.rows).map(|i| self.row(i)).collect()
        }
    }

    #[test]
    fn without_shuffling_rows_come_in_order() {
        let order = RowOrder::new(3, 0, false);
        assert_eq!((0..5).map(|c| order.row(c)).collect::<Vec<_>>(), [0, 1, 2, 0, 1]);
    }
}
