//! Draws from a vocabulary beside the plain arithmetic in f64.

use proptest::prelude::*;
use vgpo::model::kernels::{TokenWeights, all_finite};
use vgpo::model::sampler::{stream, uniform};

/// Logits that look like those of a model: most are far below a few.
fn logits(count: usize, seed: u64, spread: f64) -> Vec<f32> {
    let mut rng = stream(&[seed]);
    (0..count).map(|_| (uniform(&mut rng).powi(6) * spread - spread / 2.0) as f32).collect()
}

/// The probability of each token, in f64.
fn probabilities(logits: &[f32], scale: f64, excluded: &[u32]) -> Vec<f64> {
    let allowed = |token: usize| !excluded.contains(&(token as u32));
    let max = logits.iter().enumerate().filter(|(token, _)| allowed(*token)).map(|(_, l)| *l).fold(f32::MIN, f32::max);
    let weights: Vec<f64> = logits
        .iter()
        .enumerate()
        .map(|(token, l)| if allowed(token) { (f64::from(l - max) * scale).exp() } else { 0.0 })
        .collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / total).collect()
}

fn weights_of(logits: &[f32], scale: f32, excluded: &[u32]) -> TokenWeights {
    let mut weights = TokenWeights::without(excluded);
    weights.read(logits, scale);
    weights
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_draw_is_the_token_at_its_share(
        count in 1_usize..5_000, seed in any::<u64>(), spread in 0.0..200.0, scale in 0.1_f32..10.0,
        draw in 0.0..1.0, excluded in prop::collection::vec(0_u32..5_000, 0..3),
    ) {
        let logits = logits(count, seed, spread);
        prop_assume!((0..count as u32).any(|token| !excluded.contains(&token)));
        let weights = weights_of(&logits, scale, &excluded);
        let want = probabilities(&logits, f64::from(scale), &excluded);
        let token = weights.at(&logits, draw).unwrap();
        prop_assert!(!excluded.contains(&token));
        let before: f64 = want[..token as usize].iter().sum();
        let here = want[token as usize];
        prop_assert!(here > 0.0, "{token} has no weight");
        prop_assert!(before - 1e-5 <= draw && draw <= before + here + 1e-5, "{draw} is not in {before} + {here}");
        let logprob = weights.logprob(logits[token as usize]);
        prop_assert!((logprob - here.ln()).abs() < 1e-5 * (1.0 + here.ln().abs()), "{logprob} {}", here.ln());
    }

    #[test]
    fn a_nucleus_holds_the_likeliest_tokens(
        count in 1_usize..5_000, seed in any::<u64>(), spread in 0.0..60.0, share in 0.01..0.999,
        excluded in prop::collection::vec(0_u32..5_000, 0..3),
    ) {
        let logits = logits(count, seed, spread);
        prop_assume!((0..count as u32).any(|token| !excluded.contains(&token)));
        let kept = weights_of(&logits, 1.0, &excluded).nucleus(&logits, share);
        let want = probabilities(&logits, 1.0, &excluded);
        prop_assert!(!kept.is_empty() && kept.is_sorted_by_key(|(token, _)| *token));
        let tokens: Vec<usize> = kept.iter().map(|(token, _)| *token as usize).collect();
        let least = tokens.iter().map(|token| logits[*token]).fold(f32::MAX, f32::min);
        let mass: f64 = tokens.iter().map(|token| want[*token]).sum();
        let smallest = tokens.iter().map(|token| want[*token]).fold(1.0, f64::min);
        prop_assert!(mass > share - 1e-5, "{mass} of {share}");
        prop_assert!(mass - smallest < share + 1e-5, "one token less would do: {mass} - {smallest}");
        for (token, logit) in logits.iter().enumerate() {
            if *logit > least && !excluded.contains(&(token as u32)) {
                prop_assert!(tokens.contains(&token), "{token} is likelier than one that is kept");
            }
        }
    }
}

#[test]
fn tokens_without_weight_are_never_drawn() {
    let mut logits = vec![f32::NEG_INFINITY; 3_000];
    (logits[7], logits[2_500]) = (1.0, 1.0);
    let weights = weights_of(&logits, 1.0, &[]);
    assert_eq!([0.0, 0.499, 0.501, 1.0 - 1e-16].map(|draw| weights.at(&logits, draw).unwrap()), [7, 7, 2_500, 2_500]);
    assert!((weights.logprob(1.0) - 0.5_f64.ln()).abs() < 1e-6);
    // An excluded token that is likelier than all others takes no part.
    logits[9] = 1e30;
    let weights = weights_of(&logits, 1.0, &[9]);
    assert_eq!(weights.at(&logits, 0.7).unwrap(), 2_500);
    assert_eq!(weights.nucleus(&logits, 0.4).iter().map(|(token, _)| *token).collect::<Vec<_>>(), [7]);
    // The smallest of temperatures.
    let weights = weights_of(&[0.5, 0.25, 0.5], f32::MAX, &[0]);
    assert_eq!(weights.at(&[0.5, 0.25, 0.5], 0.999), Some(2));
}

#[test]
fn what_is_not_finite_is_noticed_anywhere() {
    for length in [1, 15, 16, 17, 100] {
        for at in 0..length {
            let mut values = vec![1e38_f32; length];
            assert!(all_finite(&values), "a sum that overflows is none of its values");
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                values[at] = bad;
                assert!(!all_finite(&values));
            }
        }
    }
}
