//! PAPO and VPPO: their terms derived independently, their gradients by finite differences, and DAPO where they are
//! off.

use vgpo::algorithm::{
    BatchTotals, DependencyRange, LossOutput, ResponseTokens, ScorePrecision, Trajectory, TrajectoryGroup, build,
};
use vgpo::config::method;
use vgpo::domain::spec::{LossAverage, Method, PapoSpec, VppoSpec};

use super::support::assert_close;

/// Two responses with a masked view and one without.
struct Batch {
    new: Vec<Vec<f64>>,
    masked: Vec<Option<Vec<f64>>>,
}

fn batch() -> Batch {
    Batch {
        new: vec![vec![-1.0, -0.3, -2.0], vec![-0.8, -0.1], vec![-0.5, -1.5]],
        masked: vec![Some(vec![-1.4, -0.2, -4.5]), Some(vec![-0.8, -3.0]), None],
    }
}

const OLD: [&[f64]; 3] = [&[-1.1, -0.4, -1.7], &[-0.7, -0.3], &[-0.6, -1.2]];
const ADVANTAGES: [&[f64]; 3] = [&[1.0; 3], &[-0.6; 2], &[0.4; 2]];

fn loss(method: &Method, batch: &Batch) -> LossOutput {
    let tokens: Vec<_> = (0..batch.new.len())
        .map(|i| ResponseTokens {
            logprobs: &batch.new[i],
            old_logprobs: OLD[i],
            advantages: ADVANTAGES[i],
            masked_logprobs: batch.masked[i].as_deref(),
            ..ResponseTokens::default()
        })
        .collect();
    build(method).unwrap().loss(&tokens, BatchTotals::of(batch.new.iter().map(Vec::len))).unwrap()
}

fn papo(change: impl Fn(&mut PapoSpec)) -> Method {
    let mut spec = method::papo();
    change(&mut spec);
    Method::Papo(spec)
}

fn vppo(change: impl Fn(&mut VppoSpec)) -> Method {
    let mut spec = method::vppo();
    change(&mut spec);
    Method::Vppo(spec)
}

#[test]
fn papo_without_its_coefficients_is_dapo() {
    let off = papo(|s| (s.perception_coef, s.entropy_penalty, s.masked_entropy_penalty) = (0.0, 0.0, 0.0));
    let dapo = loss(&Method::Dapo(method::dapo()), &batch());
    let found = loss(&off, &batch());
    assert_eq!((found.loss, found.policy_loss), (dapo.loss, dapo.policy_loss));
    for (a, b) in found.responses.iter().zip(&dapo.responses) {
        assert_eq!(a.grad_logprobs, b.grad_logprobs);
        assert!(a.grad_masked_logprobs.iter().all(|g| *g == 0.0));
    }
    assert!(build(&off).unwrap().needs().masked_view.is_none(), "no second pass without a use for it");
}

#[test]
fn papo_rewards_divergence_and_punishes_entropy() {
    let dapo = loss(&Method::Dapo(method::dapo()), &batch()).loss;
    let data = batch();
    let k3 = |new: f64, masked: f64| (masked - new).exp() - (masked - new) - 1.0;
    let pairs = || data.new.iter().zip(&data.masked).filter_map(|(new, masked)| Some((new, masked.as_ref()?)));
    let tokens = 7.0;
    let kl: f64 = pairs().flat_map(|(new, masked)| new.iter().zip(masked).map(|(n, m)| k3(*n, *m))).sum();
    let entropy: f64 = data.new.iter().flatten().map(|l| -l).sum();
    let masked_entropy: f64 = pairs().flat_map(|(_, masked)| masked).map(|l| -l).sum();
    let expected = dapo + (-0.2 * kl + 0.05 * entropy + 0.07 * masked_entropy) / tokens;
    let method = papo(|s| (s.perception_coef, s.entropy_penalty, s.masked_entropy_penalty) = (0.2, 0.05, 0.07));
    let output = loss(&method, &data);
    assert_close("loss", &[output.loss], &[expected], 1e-12);
    assert_close("kl", &[output.stats.perception_kl()], &[kl / 5.0], 1e-12);
    assert_close("surprise", &[output.stats.masked_surprise()], &[masked_entropy / 5.0], 1e-12);
    assert!(output.responses[2].grad_masked_logprobs.is_empty(), "a prompt without images has no masked view");
}

/// Every derivative by finite differences, under both log-probs, in both averages, with and without a cap.
#[test]
fn papo_gradients_go_through_both_passes() {
    for (average, cap) in [(LossAverage::Token, None), (LossAverage::Sequence, None), (LossAverage::Token, Some(1.0))] {
        let method = papo(|s| {
            (s.perception_coef, s.entropy_penalty, s.masked_entropy_penalty) = (0.2, 0.05, 0.07);
            (s.policy.loss_average, s.perception_cap) = (average, cap);
        });
        let output = loss(&method, &batch());
        let slope = |change: &dyn Fn(&mut Batch, f64)| {
            let value = |step: f64| {
                let mut moved = batch();
                change(&mut moved, step);
                loss(&method, &moved).loss
            };
            (value(1e-6) - value(-1e-6)) / 2e-6
        };
        for (i, row) in batch().new.iter().enumerate() {
            for t in 0..row.len() {
                let name = format!("{average:?} {cap:?} [{i}][{t}]");
                let expected = slope(&|b, step| b.new[i][t] += step);
                assert_close(&name, &[output.responses[i].grad_logprobs[t]], &[expected], 1e-7);
                if batch().masked[i].is_some() {
                    let expected = slope(&|b, step| b.masked[i].as_mut().unwrap()[t] += step);
                    assert_close(&name, &[output.responses[i].grad_masked_logprobs[t]], &[expected], 1e-7);
                }
            }
        }
    }
}

#[test]
fn a_masked_view_of_the_wrong_length_is_refused() {
    let tokens = ResponseTokens {
        logprobs: &[-1.0, -1.0],
        old_logprobs: &[-1.0, -1.0],
        advantages: &[1.0, 1.0],
        masked_logprobs: Some(&[-1.0]),
        ..ResponseTokens::default()
    };
    let error = build(&papo(|_| ())).unwrap().loss(&[tokens], BatchTotals::of([2])).unwrap_err();
    assert!(error.to_string().contains("masked_logprobs has 1 values"), "{error}");
}

fn group(dependency: &[&[f64]], rewards: &[f64], range: Option<DependencyRange>) -> TrajectoryGroup {
    let trajectory = |(dependency, reward): (&&[f64], &f64)| Trajectory {
        tokens: dependency.len(),
        dependency: dependency.to_vec(),
        reward: *reward,
        ..Trajectory::default()
    };
    TrajectoryGroup {
        has_image: true,
        precision: ScorePrecision::F32,
        dependency: range,
        trajectories: dependency.iter().zip(rewards).map(trajectory).collect(),
        ..TrajectoryGroup::default()
    }
}

const DEPENDENCY: [&[f64]; 3] = [&[0.1, 0.9, 0.2, 0.9, 0.0], &[0.3; 3], &[2.0, 0.0]];

#[test]
fn vppo_scales_advantages_around_one_and_lights_the_most_dependent_tokens() {
    let found = build(&vppo(|_| ())).unwrap().weigh(&group(&DEPENDENCY, &[1.0, 0.0, 0.5], None)).unwrap().trajectories;
    // Mean dependencies 0.42, 0.3 and 1.0: places 0.12/0.7, 0 and 1 of the range, mean 0.82/2.1.
    let places = [0.12 / 0.7, 0.0, 1.0];
    let mean = places.iter().sum::<f64>() / 3.0;
    let scales: Vec<f64> = places.iter().map(|p| 0.9 + 0.1 * p / mean).collect();
    for (weights, scale) in found.iter().zip(&scales) {
        assert_close("scale", &[1.0 + weights.phi], &[*scale], 1e-12);
    }
    assert_close("mean scale", &[scales.iter().sum::<f64>() / 3.0], &[1.0], 1e-12);
    // 40% of 5, 3 and 2 tokens, rounded up: 2, 2 and 1; of equals the earlier.
    let gates: Vec<&[f64]> = found.iter().map(|w| w.gate.as_slice()).collect();
    assert_eq!(gates, [&[0.0, 1.0, 0.0, 1.0, 0.0][..], &[1.0, 1.0, 0.0], &[1.0, 0.0]]);
    for weights in &found {
        let expected: Vec<f64> = weights.gate.iter().map(|g| g * weights.advantage * (1.0 + weights.phi)).collect();
        assert_eq!(weights.shaped_advantage, expected);
        let product: Vec<f64> =
            weights.psi.iter().map(|psi| weights.advantage * (1.0 + psi) * (1.0 + weights.phi)).collect();
        assert_close("1 + psi, 1 + phi", &product, &expected, 1e-12);
    }
}

#[test]
fn vppo_compares_with_the_whole_step() {
    let range = DependencyRange { low: 0.0, high: 4.0, mean: 2.0 };
    let found = build(&vppo(|_| ())).unwrap().weigh(&group(&[&[1.0], &[3.0]], &[1.0, 0.0], Some(range))).unwrap();
    let scales: Vec<f64> = found.trajectories.iter().map(|w| 1.0 + w.phi).collect();
    assert_close("scales", &scales, &[0.9 + 0.1 * 0.25 / 0.5, 0.9 + 0.1 * 0.75 / 0.5], 1e-12);
}

#[test]
fn vppo_switched_off_or_without_dependencies_is_dapo() {
    let off = vppo(|s| (s.shaping, s.filtering, s.entropy_penalty) = (false, false, 0.0));
    assert!(build(&off).unwrap().needs().masked_view.is_none());
    let dapo = Method::Dapo(method::dapo());
    assert_eq!(loss(&off, &batch()), loss(&dapo, &batch()));
    let rewards = [1.0, 0.0, 0.5];
    let advantages = |method: &Method, group: &TrajectoryGroup| {
        let found = build(method).unwrap().weigh(group).unwrap();
        found.trajectories.into_iter().map(|t| t.shaped_advantage).collect::<Vec<_>>()
    };
    let seen = group(&DEPENDENCY, &rewards, None);
    assert_eq!(advantages(&off, &seen), advantages(&dapo, &seen));
    let mut unseen = seen.clone();
    for trajectory in &mut unseen.trajectories {
        trajectory.dependency = Vec::new();
    }
    assert_eq!(advantages(&vppo(|_| ()), &unseen), advantages(&dapo, &unseen), "it was not measured");
    let text_only = TrajectoryGroup { has_image: false, ..seen };
    assert_eq!(advantages(&vppo(|_| ()), &text_only), advantages(&dapo, &text_only));
    let alike = group(&[&[0.5; 2], &[0.5; 2]], &[1.0, 0.0], None);
    let alone = vppo(|s| s.filtering = false);
    assert_eq!(advantages(&alone, &alike), advantages(&dapo, &alike), "a range of nothing scales nothing");
}

#[test]
fn settings_of_papo_and_vppo_are_checked() {
    for (method, field) in [
        (papo(|s| s.mask_ratio = 0.0), "mask_ratio"),
        (papo(|s| s.perception_cap = Some(0.0)), "perception_cap"),
        (papo(|s| s.entropy_penalty = -1.0), "entropy_penalty"),
        (papo(|s| s.policy.clip_low = 2.0), "clip_low"),
        (vppo(|s| s.token_share = 0.0), "token_share"),
        (vppo(|s| s.advantage_min = 1.5), "advantage_min"),
        (vppo(|s| s.mask_ratio = f64::NAN), "mask_ratio"),
    ] {
        let error = build(&method).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}
