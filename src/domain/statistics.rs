//! Statistics of an evaluation: accuracy with its confidence interval, pass@k, and two evaluations of the same rows.

/// The 97.5% quantile of the normal distribution, for 95% intervals.
const Z: f64 = 1.959_963_984_540_054;

/// A mean with its 95% interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The mean over rows.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// Accuracy over rows, each with the accuracies (in [0, 1]) of its `samples`: the mean of the rows' means.
///
/// Samples of one row are not independent, so rows are the units: the interval is Wilson's for the effective sample
/// size (Korn & Graubard), which follows from the spread between the rows and is between the number of rows and the
/// number of samples. With one right-or-wrong answer a row it is Wilson's interval itself.
pub fn accuracy(rows: &[f64], samples: usize) -> Option<Estimate> {
    let count = rows.len() as f64;
    if rows.is_empty() {
        return None;
    }
    let mean = rows.iter().sum::<f64>() / count;
    let spread = rows.iter().map(|row| (row - mean).powi(2)).sum::<f64>() / count;
    // Equal rows have no spread: count every row once.
    let samples_per_row = if spread > 0.0 { mean * (1.0 - mean) / spread } else { 1.0 };
    let (low, high) = wilson(mean, count * samples_per_row.clamp(1.0, samples.max(1) as f64));
    Some(Estimate { mean, low, high })
}

/// Wilson's score interval of a share among `n` answers (E. B. Wilson, 1927).
fn wilson(share: f64, n: f64) -> (f64, f64) {
    let z2 = Z * Z / n;
    let centre = share + z2 / 2.0;
    let half = Z * (share * (1.0 - share) / n + z2 / (4.0 * n)).max(0.0).sqrt();
    // At 0 and 1 rounding could leave the share outside of its interval.
    let low = ((centre - half) / (1.0 + z2)).clamp(0.0, share);
    let high = ((centre + half) / (1.0 + z2)).clamp(share, 1.0);
    (low, high)
}

/// The mean of paired differences in [-1, 1], such as those of accuracy, with the interval of Bonett and Price (2012):
/// Wald's, after one row that got wholly better and one that got wholly worse were added. For right-or-wrong answers it
/// keeps close to 95% with few rows too, and it never has no width. None for no rows.
pub fn paired_share(differences: &[f64]) -> Option<Estimate> {
    if differences.is_empty() {
        return None;
    }
    let count = differences.len() as f64;
    let sum = differences.iter().sum::<f64>();
    let squares = differences.iter().map(|difference| difference * difference).sum::<f64>();
    let centre = sum / (count + 2.0);
    let spread = (squares + 2.0) / (count + 2.0) - centre * centre;
    let half = Z * (spread.max(0.0) / (count + 2.0)).sqrt();
    let mean = sum / count;
    let (low, high) = ((centre - half).max(-1.0), (centre + half).min(1.0));
    Some(Estimate { mean, low: low.min(mean), high: high.max(mean) })
}

/// The chance that at least one of `k` samples drawn from `n` is right when `right` of the `n` are:
/// `1 - C(n-c, k) / C(n, k)`, the unbiased estimate of pass@k (Chen et al., arXiv 2107.03374). None when there are
/// fewer samples than `k`.
pub fn pass_at(n: usize, right: usize, k: usize) -> Option<f64> {
    if k > n || k == 0 {
        return None;
    }
    let wrong = n - right.min(n);
    if wrong < k {
        return Some(1.0);
    }
    let all_wrong: f64 = ((wrong - k + 1)..=wrong).zip((n - k + 1)..=n).map(|(a, b)| a as f64 / b as f64).product();
    Some(1.0 - all_wrong)
}

/// The `k` for which pass@k is measured: 1, 2, 4 … and all samples.
pub fn pass_sizes(samples: usize) -> Vec<usize> {
    let mut sizes: Vec<usize> = std::iter::successors(Some(1), |k| Some(k * 2)).take_while(|k| *k < samples).collect();
    sizes.push(samples);
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6, "{a}, expected {b}");
    }

    #[test]
    fn one_answer_a_row_has_wilsons_interval() {
        // Both ends solve the defining equation |p - x| = z sqrt(x (1 - x) / n).
        for (right, n) in [(7, 10), (1, 50), (255, 512), (40, 41)] {
            let rows: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i < right))).collect();
            let found = accuracy(&rows, 1).unwrap();
            let p = f64::from(right) / f64::from(n);
            close(found.mean, p);
            for end in [found.low, found.high] {
                close((p - end).abs(), Z * (end * (1.0 - end) / f64::from(n)).sqrt());
            }
            assert!(found.low < p && p < found.high);
        }
        let all = accuracy(&[1.0; 20], 1).unwrap();
        close(all.high, 1.0);
        close(all.low, 1.0 / (1.0 + Z * Z / 20.0));
        assert_eq!(accuracy(&[0.0; 5], 4).unwrap().low, 0.0);
        assert_eq!(accuracy(&[], 1), None);
    }

    #[test]
    fn samples_of_a_row_are_worth_between_one_answer_and_all_of_them() {
        let width = |rows: &[f64], samples| {
            let found = accuracy(rows, samples).unwrap();
            found.high - found.low
        };
        let answers = |n: usize| -> Vec<f64> { (0..n).map(|i| f64::from(u8::from(i % 2 == 0))).collect() };
        // Rows whose samples all agree: four samples are worth one.
        close(width(&answers(40), 4), width(&answers(40), 1));
        // Rows that all have two of four right, nearly: as good as independent answers.
        let even: Vec<f64> = (0..40).map(|i| if i % 2 == 0 { 0.45 } else { 0.55 }).collect();
        close(width(&even, 4), width(&answers(160), 1));
        assert!(width(&even, 4) < width(&answers(40), 1));
    }

    #[test]
    fn pass_at_k_is_the_share_of_draws_with_a_right_sample() {
        // Counted over every subset of k of n samples, of which the first c are right.
        for n in 1..=7_usize {
            for right in 0..=n {
                for k in 1..=n {
                    let subsets = (0..1_u32 << n).filter(|set| set.count_ones() as usize == k);
                    let (hits, all) = subsets.fold((0, 0), |(hits, all), set| {
                        (hits + u32::from(set & ((1_u32 << right) - 1) != 0), all + 1)
                    });
                    close(pass_at(n, right, k).unwrap(), f64::from(hits) / f64::from(all));
                }
            }
        }
        assert_eq!(pass_at(3, 1, 4), None);
        assert_eq!(pass_at(3, 1, 0), None);
    }

    #[test]
    fn paired_differences_have_the_interval_of_bonett_and_price() {
        // 20 rows fixed, 10 broken, 70 the same: (21 - 11) / 102 and its deviation, by hand.
        let rows = [vec![1.0; 20], vec![-1.0; 10], vec![0.0; 70]].concat();
        let found = paired_share(&rows).unwrap();
        let centre = 10.0 / 102.0;
        let half = Z * ((32.0 / 102.0 - centre * centre) / 102.0_f64).sqrt();
        close(found.mean, 0.1);
        close(found.low, centre - half);
        close(found.high, centre + half);
        // Nothing changed in four rows, which says little; in a thousand it says much.
        let (few, many) = (paired_share(&[0.0; 4]).unwrap(), paired_share(&[0.0; 1000]).unwrap());
        assert!(few.high > 0.3 && many.high < 0.01 && many.low > -0.01);
        // Three rows that are all fixed: (4 - 1) / 5 and its deviation; the interval ends at what is possible.
        let all = paired_share(&[1.0; 3]).unwrap();
        close(all.low, 0.6 - Z * ((1.0 - 0.36) / 5.0_f64).sqrt());
        assert_eq!((all.mean, all.high), (1.0, 1.0));
        assert_eq!(paired_share(&[]), None);
    }

    /// Of many draws of 40 rows whose true difference is known, about 95% of the intervals hold it.
    #[test]
    fn the_interval_of_paired_differences_holds_the_truth_as_often_as_it_says() {
        let (fixed, broken, rows) = (0.2, 0.1, 40);
        let mut state = 7_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut held = 0;
        for _ in 0..4000 {
            let draw = |u: f64| {
                if u < fixed {
                    1.0
                } else if u < fixed + broken {
                    -1.0
                } else {
                    0.0
                }
            };
            let differences: Vec<f64> = (0..rows).map(|_| draw(uniform())).collect();
            let found = paired_share(&differences).unwrap();
            held += i32::from(found.low <= fixed - broken && fixed - broken <= found.high);
        }
        let share = f64::from(held) / 4000.0;
        assert!((0.93..=0.98).contains(&share), "{share}");
    }

    #[test]
    fn pass_sizes_double_and_end_with_all() {
        assert_eq!(pass_sizes(1), [1]);
        assert_eq!(pass_sizes(6), [1, 2, 4, 6]);
        assert_eq!(pass_sizes(8), [1, 2, 4, 8]);
    }
}
