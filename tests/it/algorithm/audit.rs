//! The statistics of audits: by hand, and against counting pairs.

use proptest::prelude::*;
use vgpo::algorithm::audit::{TokenAudit, auc, spearman};

use super::support::assert_close;

#[test]
fn rank_correlation_is_that_of_the_ranks() {
    assert_eq!(spearman(&[1.0, 2.0, 9.0], &[0.1, 0.5, 0.6]), Some(1.0));
    assert_eq!(spearman(&[1.0, 2.0, 9.0], &[5.0, 0.5, -3.0]), Some(-1.0));
    // Without ties: 1 - 6 sum d^2 / (n (n^2 - 1)); ranks 1 2 3 4 5 and 2 1 4 3 5.
    let found = spearman(&[0.0, 1.0, 2.0, 3.0, 4.0], &[7.0, 6.0, 9.0, 8.0, 10.0]).unwrap();
    assert_close("spearman", &[found], &[1.0 - 6.0 * 4.0 / (5.0 * 24.0)], 1e-12);
    // Ties share the mean of their ranks: 1.5 1.5 3 4 and 1 2 3.5 3.5.
    let found = spearman(&[0.0, 0.0, 1.0, 2.0], &[1.0, 2.0, 3.0, 3.0]).unwrap();
    assert_close("ties", &[found], &[4.0 / (4.5_f64 * 4.5).sqrt()], 1e-12);
    assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None, "nothing to rank");
    assert_eq!((spearman(&[1.0], &[1.0]), spearman(&[], &[]), spearman(&[1.0, 2.0], &[1.0])), (None, None, None));
}

proptest! {
    #[test]
    fn the_area_counts_pairs(tokens in prop::collection::vec((0..5_u8, any::<bool>()), 0..30)) {
        let scores: Vec<f64> = tokens.iter().map(|(score, _)| f64::from(*score)).collect();
        let positive: Vec<bool> = tokens.iter().map(|(_, positive)| *positive).collect();
        let of = |wanted: bool| tokens.iter().filter(move |(_, positive)| *positive == wanted).map(|(score, _)| score);
        let pairs = of(true).flat_map(|a| of(false).map(move |b| match a.cmp(b) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        }));
        let pairs: Vec<f64> = pairs.collect();
        let expected = (!pairs.is_empty()).then(|| pairs.iter().sum::<f64>() / pairs.len() as f64);
        match (auc(&scores, &positive), expected) {
            (Some(found), Some(expected)) => prop_assert!((found - expected).abs() < 1e-12),
            (found, expected) => prop_assert_eq!(found, expected),
        }
    }
}

/// Nine tokens of which the first, the fifth and the eighth depend on the image.
#[test]
fn a_response_is_summed_up() {
    let tokens = TokenAudit {
        dependency: vec![0.5, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 2.0, 0.02],
        reading: vec![0.9, 0.1, 0.2, 0.3, 0.3, 0.4, 0.5, 0.1, 0.6],
        predicting: vec![0.9, 0.0, 0.0, 0.0, 0.8, 0.0, 0.0, 0.7, 0.1],
        gradient: vec![0.5, 0.25, 0.0, 0.0, 1.0, 0.0, 0.25, 0.5, 0.5],
    };
    let found = tokens.summary(0.1).unwrap();
    assert_close("dependent", &[found.dependent.mean], &[1.0 / 3.0], 1e-12);
    assert_close("early, late", &[found.dependent.early, found.dependent.late], &[1.0 / 3.0; 2], 1e-12);
    assert_close("dependency", &[found.dependency.mean, found.dependency.late], &[2.62 / 9.0, 2.02 / 3.0], 1e-12);
    assert_eq!(found.auc_predicting, Some(1.0));
    // The first third: 0.9 beats 0.1 and 0.2; the second: 0.3 equals one and loses to one; the last: 0.1 loses to both.
    assert_eq!((found.auc_early, found.auc_middle, found.auc_late), (Some(1.0), Some(0.25), Some(0.0)));
    assert!(found.spearman_predicting.unwrap() > found.spearman.unwrap());
    assert_close("gradient", &[found.gradient, found.gradient_independent], &[3.0, 1.0], 1e-12);
    let none = tokens.summary(10.0).unwrap();
    assert_eq!((none.auc, none.auc_late, none.dependent.mean), (None, None, 0.0));
    assert_eq!(none.gradient, none.gradient_independent);
    assert_eq!(TokenAudit::default().summary(0.1), None);
}
