//! Tokens drawn on a device are those that the host draws from the same number.

use proptest::prelude::*;
use vgpo::model::ModelInfo;
use vgpo::model::kernels::{DrawRule, Draws};
use vgpo::model::sampler::{Sampler, raw_logprob, stream};

use super::super::FAMILIES;
use super::{Device, Tensor, values};

/// A model's facts with a vocabulary of `size` tokens.
fn info(size: usize, placeholders: Vec<u32>) -> ModelInfo {
    let info = vgpo::model::describe(&FAMILIES[1].fixture().join("checkpoint")).unwrap();
    ModelInfo { vocab_size: size, placeholders, ..info }
}

fn draw(logits: &Tensor, excluded: &[u32], rules: &[DrawRule]) -> Vec<vgpo::model::kernels::Drawn> {
    Draws::new(logits.dim(1).unwrap(), excluded, &Device::Cpu).unwrap().draw(logits, rules).unwrap()
}

/// Draws with other numbers are the same unless a number is within rounding of a token's edge.
#[test]
fn a_device_draws_what_the_host_draws() {
    let (mut same, mut all) = (0, 0);
    for (seed, size, spread) in [(1, 700, 1.0), (2, 3001, 3.0), (3, 512, 8.0), (4, 1024, 0.2)] {
        let info = info(size, vec![3, 511, size as u32 - 1]);
        let logits = (values(seed, &[64, size]) * spread).unwrap();
        let settings = [(1.0, 1.0), (0.7, 1.0), (1.3, 0.9), (1.0, 0.5), (0.0, 1.0), (0.6, 0.05)];
        let sampler = |row: usize| {
            let (temperature, top_p) = settings[row % settings.len()];
            Sampler::new(&info, temperature, top_p, stream(&[seed, row as u64]))
        };
        let mut samplers: Vec<Sampler> = (0..64).map(sampler).collect();
        let rules: Vec<DrawRule> = samplers.clone().iter_mut().map(Sampler::next_rule).collect();
        let found = draw(&logits, &info.placeholders, &rules);
        let lines: Vec<Vec<f32>> = logits.to_vec2().unwrap();
        for ((sampler, line), found) in samplers.iter_mut().zip(&lines).zip(&found) {
            let (token, logprob) = sampler.sample_scored(line);
            all += 1;
            assert!(!info.placeholders.contains(&found.token), "{found:?}");
            assert!((found.plain - raw_logprob(line, found.token)).abs() < 1e-4, "{found:?}");
            if token == found.token {
                same += 1;
                assert!(logprob == 0.0 || (logprob - found.logprob).abs() < 1e-4, "{logprob} {found:?}");
            }
        }
    }
    assert!(same * 100 >= all * 99, "{same} of {all}");
}

#[test]
fn the_edges_of_the_unit_interval_give_the_first_and_the_last_token() {
    let mut line = vec![f32::from(-100_i8); 1300];
    line[7] = 0.0;
    line[1200] = 0.0;
    let logits = Tensor::from_vec(line, (1, 1300), &Device::Cpu).unwrap();
    for (uniform, token) in [(0.0, 7), (0.499, 7), (0.501, 1200), (1.0 - f64::EPSILON, 1200)] {
        let rule = DrawRule { temperature: 1.0, top_p: 1.0, uniform };
        assert_eq!(draw(&logits, &[], &[rule])[0].token, token);
        // With one of the two excluded the other is left.
        assert_eq!(draw(&logits, &[7], &[rule])[0].token, 1200);
    }
}

#[test]
fn logits_that_are_not_finite_show() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut line = vec![0.0; 600];
        line[5] = bad;
        let logits = Tensor::from_vec(line, (1, 600), &Device::Cpu).unwrap();
        let rule = DrawRule { temperature: 1.0, top_p: 0.9, uniform: 0.3 };
        let found = draw(&logits, &[], &[rule]);
        assert!(!(found[0].logprob.is_finite() && found[0].plain.is_finite()), "{found:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Over many numbers a token comes as often as its probability says.
    #[test]
    fn shares_of_draws_are_the_probabilities(seed in any::<u64>(), size in 2_usize..40) {
        let logits = values(seed, &[1, size]);
        let count = 400;
        let rows = logits.broadcast_as((count, size)).unwrap().contiguous().unwrap();
        let rules: Vec<DrawRule> = (0..count)
            .map(|i| DrawRule { temperature: 1.0, top_p: 1.0, uniform: (i as f64 + 0.5) / count as f64 })
            .collect();
        let found = draw(&rows, &[], &rules);
        let line: Vec<f32> = logits.flatten_all().unwrap().to_vec1().unwrap();
        for token in 0..size as u32 {
            let share = found.iter().filter(|drawn| drawn.token == token).count() as f64 / count as f64;
            prop_assert!((share - raw_logprob(&line, token).exp()).abs() <= 1.5 / count as f64);
        }
    }
}
