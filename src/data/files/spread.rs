//! Smallest, middle and largest of any number of values in fixed memory.

use crate::domain::dataset::Spread;

/// Buckets of one power of two: values below this are exact, larger ones within 2%.
const STEPS: u64 = 64;

/// Collects values.
#[derive(Debug)]
pub struct SpreadCounter {
    counts: Vec<u64>,
    total: u64,
    min: u64,
    max: u64,
}

impl Default for SpreadCounter {
    fn default() -> Self {
        Self { counts: vec![0; (STEPS * 60) as usize], total: 0, min: u64::MAX, max: 0 }
    }
}

impl SpreadCounter {
    /// Adds a value.
    pub fn add(&mut self, value: u64) {
        self.counts[bucket(value) as usize] += 1;
        self.total += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// The spread of what was added; none without any value.
    pub fn spread(&self) -> Option<Spread> {
        let mut left = self.total.checked_sub(1)? / 2;
        let mut median = self.max;
        for (bucket, count) in self.counts.iter().enumerate() {
            if left < *count {
                median = floor(bucket as u64);
                break;
            }
            left -= count;
        }
        Some(Spread { min: self.min, median: median.clamp(self.min, self.max), max: self.max })
    }
}

fn bucket(value: u64) -> u64 {
    let shift = u64::from(64 - (value / STEPS).leading_zeros()).saturating_sub(1);
    // Below 2 * STEPS the shift is 0 and every value has its own bucket.
    shift * STEPS + (value >> shift)
}

fn floor(bucket: u64) -> u64 {
    let shift = (bucket / STEPS).saturating_sub(1);
    (bucket - shift * STEPS) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_find_their_values_again() {
        for value in (0..5000).chain([u64::from(u32::MAX), 1 << 50, u64::MAX]) {
            let rounded = floor(bucket(value));
            assert!(rounded <= value && value - rounded <= value / STEPS, "{value} became {rounded}");
        }
    }

    #[test]
    fn the_median_is_the_lower_middle() {
        let mut counter = SpreadCounter::default();
        assert_eq!(counter.spread(), None);
        for value in [9, 1, 5, 100_000] {
            counter.add(value);
        }
        assert_eq!(counter.spread(), Some(Spread { min: 1, median: 5, max: 100_000 }));
    }
}
