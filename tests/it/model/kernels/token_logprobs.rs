use candle_core::{Device, Tensor};
use proptest::prelude::*;
use vgpo::model::kernels::{Distribution, Form, forms};
use vgpo::model::sampler::{stream, uniform};

use super::{difference, values};

/// A choice for each line, and two gradients.
fn choices(lines: usize, size: usize) -> (Vec<u32>, Vec<f32>, Vec<f32>) {
    let mut rng = stream(&[7, lines as u64, size as u64]);
    let tokens = (0..lines).map(|_| (uniform(&mut rng) * size as f64) as u32).collect();
    let mut slopes = || (0..lines).map(|_| (uniform(&mut rng) * 2.0 - 1.0) as f32).collect();
    (tokens, slopes(), slopes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn fused_choices_equal_composed_ones(
        (lines, size) in (1_usize..9, 2_usize..70), temperature in 0.3_f64..2.0, scale in 0.1_f64..20.0, masks: bool,
    ) {
        let logits = (values(1, &[lines, size]) * scale).unwrap();
        let (tokens, by_logprob, by_entropy) = choices(lines, size);
        // One token is left out, another one lies beyond the vocabulary, as video placeholders of small models do.
        let unused = (0..size as u32).find(|id| !tokens.contains(id));
        let excluded = if masks { unused.into_iter().chain([size as u32 + 3]).collect() } else { Vec::new() };
        let distribution = Distribution { temperature, excluded };
        let scores = |form| forms::token_logprobs(form, &logits, &tokens, &distribution, true).unwrap();
        let ((logprobs, entropy), (wanted_logprobs, wanted_entropy)) = (scores(Form::Fused), scores(Form::Composed));
        for (found, wanted) in logprobs.iter().zip(&wanted_logprobs).chain(entropy.iter().zip(&wanted_entropy)) {
            prop_assert!((found - wanted).abs() < 1e-5 * wanted.abs().max(1.0), "{found} for {wanted}");
        }
        prop_assert!(forms::token_logprobs(Form::Fused, &logits, &tokens, &distribution, false).unwrap().1.is_empty());
        for by_entropy in [None, Some(by_entropy.as_slice())] {
            let back = |form| {
                forms::token_logprobs_backward(form, &logits, &tokens, &distribution, &by_logprob, by_entropy).unwrap()
            };
            prop_assert!(difference(&back(Form::Fused), &back(Form::Composed)) < 1e-5);
        }
    }
}

/// The way back is the derivative: a small step along a logit changes log-prob and entropy as much as it says.
#[test]
fn the_way_back_is_the_derivative() {
    let (lines, size, step) = (2, 6, 1e-2_f32);
    let logits: Vec<f32> = values(5, &[lines, size]).flatten_all().unwrap().to_vec1().unwrap();
    let (tokens, by_logprob, by_entropy) = choices(lines, size);
    let distribution = Distribution { temperature: 0.7, excluded: vec![] };
    let tensor = |values: Vec<f32>| Tensor::from_vec(values, (lines, size), &Device::Cpu).unwrap();
    let loss = |values: Vec<f32>| {
        let (logprobs, entropy) =
            forms::token_logprobs(Form::Fused, &tensor(values), &tokens, &distribution, true).unwrap();
        let weighed = |scores: &[f64], slopes: &[f32]| -> f64 {
            scores.iter().zip(slopes).map(|(score, slope)| score * f64::from(*slope)).sum()
        };
        weighed(&logprobs, &by_logprob) + weighed(&entropy, &by_entropy)
    };
    let back = forms::token_logprobs_backward(
        Form::Fused,
        &tensor(logits.clone()),
        &tokens,
        &distribution,
        &by_logprob,
        Some(&by_entropy),
    );
    let back: Vec<f32> = back.unwrap().flatten_all().unwrap().to_vec1().unwrap();
    for (index, slope) in back.iter().enumerate() {
        let moved = |by: f32| {
            let mut values = logits.clone();
            values[index] += by;
            loss(values)
        };
        let wanted = (moved(step) - moved(-step)) / f64::from(2.0 * step);
        assert!((f64::from(*slope) - wanted).abs() < 1e-3, "logit {index}: {slope} for {wanted}");
    }
}

#[test]
fn choices_that_do_not_fit_are_errors() {
    let logits = values(1, &[2, 4]);
    let distribution = Distribution { temperature: 1.0, excluded: Vec::new() };
    for tokens in [&[1_u32][..], &[1, 4]] {
        let error = forms::token_logprobs(Form::Fused, &logits, tokens, &distribution, false).unwrap_err().to_string();
        assert!(error.contains("do not fit logits"), "{error}");
    }
}
