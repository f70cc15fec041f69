//! The controls of VGPO, and responses that carry no loss.

use serde_json::json;
use vgpo::algorithm::explain::explain;
use vgpo::algorithm::{
    BatchTotals, GroupWeights, LossOutput, MaskedView, ResponseTokens, TrajectoryGroup, TrajectoryWeights, build,
};
use vgpo::config::method;
use vgpo::domain::method::NAMES;
use vgpo::domain::spec::{Control, Method, Variant, VgpoSpec};

use super::support::{assert_close, group};

fn vgpo(change: impl Fn(&mut VgpoSpec)) -> Method {
    let mut spec = method::vgpo(Variant::Paper);
    change(&mut spec);
    Method::Vgpo(spec)
}

fn weigh(method: &Method, group: &TrajectoryGroup) -> GroupWeights {
    build(method).unwrap().weigh(group).unwrap()
}

/// Three responses of 12, 1 and 7 tokens with a focus of their own at every token.
fn responses() -> TrajectoryGroup {
    let similarity = |tokens: usize, start: f64| (0..tokens).map(|t| (start + 0.37 * t as f64).sin()).collect();
    group(vec![similarity(12, 0.1), similarity(1, 0.5), similarity(7, 1.3)], &[1.0, 0.0, 0.3])
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

#[test]
fn shuffled_weights_are_the_same_weights_elsewhere() {
    let plain = weigh(&vgpo(|_| ()), &responses()).trajectories;
    let shuffled = |seed: u64| {
        let group = TrajectoryGroup { seed, ..responses() };
        weigh(&vgpo(|s| s.control = Some(Control::Shuffled)), &group).trajectories
    };
    let found = shuffled(7);
    let psi = |weights: &[TrajectoryWeights]| weights.iter().map(|w| w.psi.clone()).collect::<Vec<_>>();
    for (found, plain) in found.iter().zip(&plain) {
        assert_eq!(sorted(&found.psi), sorted(&plain.psi), "the multiset of weights");
        assert_eq!(sorted(&found.shaped_advantage), sorted(&plain.shaped_advantage));
        assert_eq!((found.phi, found.advantage, &found.focus), (plain.phi, plain.advantage, &plain.focus));
        let product: Vec<f64> = found.psi.iter().map(|psi| plain.advantage * (1.0 + plain.phi) * (1.0 + psi)).collect();
        assert_close("A (1 + phi) (1 + psi)", &found.shaped_advantage, &product, 1e-12);
    }
    assert_ne!(psi(&found), psi(&plain), "they move");
    assert_eq!(psi(&found), psi(&shuffled(7)), "the seed decides");
    assert_ne!(psi(&found), psi(&shuffled(8)));
    // Two responses with the same weights are not moved alike.
    let twins = TrajectoryGroup { trajectories: vec![responses().trajectories[0].clone(); 2], ..responses() };
    let twins = weigh(&vgpo(|s| s.control = Some(Control::Shuffled)), &twins).trajectories;
    assert_ne!(twins[0].psi, twins[1].psi);
}

/// Dependencies [0, 3, 1, 0] and [2, 0], worked out by hand with beta 1, gamma 1 and kappa 0.5.
#[test]
fn oracle_weights_follow_the_dependency_of_tokens() {
    let mut seen = group(vec![vec![0.5, -0.5, 0.1, 0.0], vec![0.2, 0.9]], &[1.0, 0.0]);
    seen.trajectories[0].dependency = vec![0.0, 3.0, 1.0, 0.0];
    seen.trajectories[1].dependency = vec![2.0, 0.0];
    let oracle = vgpo(|s| (s.control, s.beta, s.gamma, s.kappa) = (Some(Control::Oracle), 1.0, 1.0, 0.5));
    let found = weigh(&oracle, &seen).trajectories;
    // The two most dependent of four tokens pass, and one of two; compensation t/T is added to those.
    assert_eq!(found[0].gate, [0.0, 1.0, 1.0, 0.0]);
    let compensated = [0.0, 3.0 * 1.5, 1.0 * 1.75, 0.0];
    assert_close("w", &found[0].compensated_focus, &compensated, 1e-12);
    assert_close("w", &found[1].compensated_focus, &[2.0 * 1.5, 0.0], 1e-12);
    let scaled = compensated.map(|w| w / 4.5);
    let mean = scaled.iter().sum::<f64>() / 4.0;
    assert_close("psi", &found[0].psi, &scaled.map(|w| w - mean), 1e-12);
    assert_close("psi", &found[1].psi, &[0.5, -0.5], 1e-12);
    // Means 6.25 / 4 and 3 / 2: the first is the larger.
    assert_close("accumulation", &[found[0].visual_accumulation, found[1].visual_accumulation], &[1.5625, 1.5], 1e-12);
    assert_close("phi", &[found[0].phi, found[1].phi], &[0.5, -0.5], 1e-12);
    assert_close("focus", &found[0].focus, &[0.75, 0.25, 0.55, 0.5], 1e-12);
    let shaped: Vec<f64> = found[0].psi.iter().map(|psi| found[0].advantage * 1.5 * (1.0 + psi)).collect();
    assert_close("shaped", &found[0].shaped_advantage, &shaped, 1e-12);
}

#[test]
fn an_oracle_that_was_not_measured_weighs_nothing() {
    let oracle = vgpo(|s| s.control = Some(Control::Oracle));
    let text_only = TrajectoryGroup { has_image: false, ..responses() };
    for group in [responses(), text_only] {
        for weights in weigh(&oracle, &group).trajectories {
            assert!(weights.phi == 0.0 && weights.psi.iter().all(|psi| *psi == 0.0));
            assert!(weights.shaped_advantage.iter().all(|a| *a == weights.advantage));
        }
    }
    let mut part = responses();
    part.trajectories[0].dependency = vec![1.0; 12];
    let error = build(&oracle).unwrap().weigh(&part).unwrap_err().to_string();
    assert!(error.contains("dependency has 0 values, but the response has 1 tokens"), "{error}");
    part.trajectories.truncate(1);
    part.trajectories[0].dependency[3] = f64::NAN;
    assert!(build(&oracle).unwrap().weigh(&part).unwrap_err().to_string().contains("dependency[3] is NaN"));
}

#[test]
fn only_the_oracle_looks_twice() {
    let view = |method: &Method| build(method).unwrap().needs().masked_view;
    let oracle = Some(Control::Oracle);
    assert_eq!(view(&vgpo(|s| s.control = oracle)), Some(MaskedView { ratio: 1.0, in_loss: false }));
    assert_eq!(view(&vgpo(|s| (s.control, s.intra, s.inter) = (oracle, false, false))), None);
    assert_eq!(view(&vgpo(|s| s.control = Some(Control::Shuffled))), None);
    assert_eq!(view(&vgpo(|_| ())), None);
}

#[test]
fn explain_takes_dependencies() {
    let case = |dependency: &[f64]| {
        json!({"config": {"control": "oracle", "gate": false, "compensation": false}, "responses": [
            {"similarity": [0.1, 0.5], "dependency": dependency, "reward": 1.0, "old_logprobs": [-1.0, -0.5],
             "logprobs": [-0.9, -0.6]},
            {"similarity": [0.3], "dependency": [0.1], "reward": 0.0, "old_logprobs": [-1.0], "logprobs": [-1.1]},
        ]})
    };
    let found = explain(&case(&[0.0, 4.0]).to_string(), method::vgpo).unwrap();
    assert_close("psi", &found.responses[0].psi, &[-0.5, 0.5], 1e-12);
    let mut missing = case(&[]);
    missing["responses"][1].as_object_mut().unwrap().remove("dependency");
    let error = explain(&missing.to_string(), method::vgpo).unwrap_err().to_string();
    assert_eq!(error, "responses[1].dependency is missing, which the control `oracle` weighs");
    let error = explain(&case(&[1.0]).to_string(), method::vgpo).unwrap_err().to_string();
    assert!(error.contains("dependency has 1 values, but the response has 2 tokens"), "{error}");
}

/// A batch with an ignored response has the loss, gradients and statistics of the same batch without it; per response
/// (`sequence`), it still counts as one.
#[test]
fn an_ignored_response_has_no_loss() {
    for name in NAMES.into_iter().filter(|name| !["sft", "eval"].contains(name)) {
        let algorithm = build(&method::defaults(name, Variant::Paper).unwrap()).unwrap();
        let tokens = |logprobs: &'static [f64], ignored| ResponseTokens {
            logprobs,
            old_logprobs: &[-0.9, -1.3],
            advantages: &[1.0, -0.5],
            masked_logprobs: Some(&[-1.5, -2.0]),
            ignored,
            ..ResponseTokens::default()
        };
        let loss = |responses: &[ResponseTokens<'_>], tokens: usize| -> LossOutput {
            algorithm.loss(responses, BatchTotals { tokens, responses: 2 }).unwrap()
        };
        let kept = tokens(&[-1.0, -1.1], false);
        let (alone, both) = (loss(&[kept], 2), loss(&[kept, tokens(&[-0.2, -3.0], true)], 2));
        assert_eq!((alone.loss, alone.policy_loss, alone.stats), (both.loss, both.policy_loss, both.stats), "{name}");
        assert_eq!(alone.responses[0], both.responses[0], "{name}");
        let ignored = &both.responses[1];
        assert_eq!(ignored.grad_logprobs, [0.0; 2], "{name}");
        assert!(ignored.grad_masked_logprobs.iter().all(|g| *g == 0.0), "{name}");
        assert_eq!(ignored.grad_masked_logprobs.len(), alone.responses[0].grad_masked_logprobs.len(), "{name}");
        assert!(alone.loss != 0.0, "{name}");
    }
}
