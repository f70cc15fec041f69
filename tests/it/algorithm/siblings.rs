//! DAPO, GSPO, CISPO and the estimators besides `grpo`: the released functions' numbers where there are any,
//! derivations where there are none.

use serde_json::{Value, json};
use vgpo::algorithm::advantage::{self, RewardStatistics};
use vgpo::algorithm::{BatchTotals, LossOutput, ResponseTokens, build};
use vgpo::config::method;
use vgpo::domain::spec::{Estimator, LossAverage, Method, Variant};

use super::support::{assert_close, fixture, group, rows};

/// Log-probs, old log-probs and advantages of a loss case, without padding.
fn inputs(case: &Value) -> [Vec<Vec<f64>>; 3] {
    let inputs = &case["inputs"];
    let lengths: Vec<usize> = rows(&inputs["response_mask"]).iter().map(|m| m.iter().sum::<f64>() as usize).collect();
    ["log_probs", "old_log_probs", "advantages"]
        .map(|key| rows(&inputs[key]).iter().zip(&lengths).map(|(row, n)| row[..*n].to_vec()).collect())
}

fn loss(method: &Method, [new, old, advantages]: &[Vec<Vec<f64>>; 3]) -> LossOutput {
    let tokens: Vec<_> = (0..new.len())
        .map(|i| ResponseTokens {
            logprobs: &new[i],
            old_logprobs: &old[i],
            advantages: &advantages[i],
            correction: None,
            reference_logprobs: None,
            masked_logprobs: None,
            ..ResponseTokens::default()
        })
        .collect();
    build(method).unwrap().loss(&tokens, BatchTotals::of(new.iter().map(Vec::len))).unwrap()
}

fn check(name: &str, output: &LossOutput, expected: &Value) {
    assert_close(name, &[output.loss], &[expected["pg_loss"].as_f64().unwrap()], 2e-6);
    for (i, gradient) in rows(&expected["grad_log_probs"]).iter().enumerate() {
        let found = &output.responses[i].grad_logprobs;
        assert_close(&format!("{name} gradient[{i}]"), found, &gradient[..found.len()], 1e-6);
    }
}

fn average(case: &Value) -> LossAverage {
    if case["loss_config"]["loss_avg_mode"] == "seq" { LossAverage::Sequence } else { LossAverage::Token }
}

#[test]
fn gspo_has_the_released_token_form_and_the_intended_sequence_form() {
    for (name, key) in [
        ("32_loss_gspo_token_token", "expected"),
        ("34_loss_gspo_b4_r8_error", "expected_corrected"),
        ("35_loss_gspo_b6_r6_silent", "expected_corrected"),
    ] {
        let case = fixture("vgpo_released", name);
        let mut spec = method::gspo();
        (spec.clip_low, spec.clip_high, spec.dual_clip) = (0.2, 0.28, Some(3.0));
        spec.loss_average = average(&case);
        check(name, &loss(&Method::Gspo(spec), &inputs(&case)), &case[key]);
    }
}

#[test]
fn cispo_holds_in_both_averages() {
    for name in ["36_loss_cispo_token", "37_loss_cispo_seq"] {
        let case = fixture("vgpo_released", name);
        let mut spec = method::cispo(Variant::Released);
        spec.loss_average = average(&case);
        check(name, &loss(&Method::Cispo(spec), &inputs(&case)), &case["expected"]);
    }
}

#[test]
fn the_papers_cispo_has_an_upper_bound_only() {
    let data = [vec![vec![-3.0, -0.2]], vec![vec![-1.0, -1.0]], vec![vec![2.0, 2.0]]];
    let paper = loss(&Method::Cispo(method::cispo(Variant::Paper)), &data);
    assert_close("gradient", &paper.responses[0].grad_logprobs, &[-(-2.0_f64).exp(), -1.28], 1e-12);
    assert_eq!((paper.stats.clipped_low, paper.stats.clipped_high), (0, 1));
    let released = loss(&Method::Cispo(method::cispo(Variant::Released)), &data);
    assert_close("gradient", &released.responses[0].grad_logprobs, &[-0.8, -1.28], 1e-12);
}

/// The slope is the derivative of the loss; at ratio 1 it is that of a plain policy gradient, and it fades on either
/// side, sooner where the advantage is negative.
#[test]
fn sapo_gates_smoothly() {
    let method = Method::Sapo(method::sapo());
    let base = [
        vec![vec![-1.0, -2.0, -0.5], vec![-0.7, -0.1, -1.0]],
        vec![vec![-1.0, -1.2, -1.4], vec![-0.7, -0.9, -1.9]],
        vec![vec![1.5; 3], vec![-1.5; 3]],
    ];
    let output = loss(&method, &base);
    for i in 0..2 {
        for t in 0..3 {
            let value = |step: f64| {
                let mut moved = base.clone();
                moved[0][i][t] += step;
                loss(&method, &moved).loss
            };
            let slope = (value(1e-6) - value(-1e-6)) / 2e-6;
            assert_close("slope", &[output.responses[i].grad_logprobs[t]], &[slope], 1e-8);
        }
    }
    let steepness = |i: usize, t: usize| {
        let ratio = (base[0][i][t] - base[1][i][t]).exp();
        output.responses[i].grad_logprobs[t] / (-base[2][i][t] * ratio / 6.0)
    };
    assert_close("at ratio 1", &[steepness(0, 0), steepness(1, 0)], &[1.0, 1.0], 1e-12);
    let faded: Vec<f64> = [(0, 1), (0, 2), (1, 1), (1, 2)].map(|(i, t)| steepness(i, t)).to_vec();
    assert!(faded.iter().all(|share| (0.0..1.0).contains(share)), "{faded:?}");
    assert!(faded[3] < faded[1], "the same ratio: {faded:?}");
    assert_eq!(output.stats.clipped_low + output.stats.clipped_high, 0);
}

#[test]
fn dr_grpo_is_grpo_without_its_scale() {
    let step = RewardStatistics::of([]);
    let of = |estimator| advantage::estimate(estimator, &[1.0, 0.0, 0.0, 0.5], step);
    assert_close("dr_grpo", &of(Estimator::DrGrpo), &[0.625, -0.375, -0.375, 0.125], 1e-12);
    let (scaled, rloo) = (of(Estimator::Grpo), of(Estimator::Rloo));
    for (plain, (scaled, rloo)) in of(Estimator::DrGrpo).iter().zip(scaled.iter().zip(&rloo)) {
        assert_close("a scale apart", &[scaled * 0.478_714, rloo * 0.75], &[*plain, *plain], 1e-5);
    }
}

/// With one advantage per response, the sum over its tokens is GSPO's objective of the whole response: its derivative
/// by every log-prob is checked by finite differences.
#[test]
fn gspo_gradients_are_those_of_the_sequence_objective() {
    let mut spec = method::gspo();
    (spec.clip_low, spec.clip_high) = (0.2, 0.28);
    let method = Method::Gspo(spec);
    let base = [
        vec![vec![-1.0, -2.0, -0.5], vec![-0.7, -0.1]],
        vec![vec![-1.1, -1.9, -0.6], vec![-0.9, -0.2]],
        vec![vec![1.5; 3], vec![-0.8; 2]],
    ];
    let output = loss(&method, &base);
    for (i, row) in base[0].iter().enumerate() {
        for t in 0..row.len() {
            let value = |step: f64| {
                let mut moved = base.clone();
                moved[0][i][t] += step;
                loss(&method, &moved).loss
            };
            let slope = (value(1e-6) - value(-1e-6)) / 2e-6;
            assert_close("slope", &[output.responses[i].grad_logprobs[t]], &[slope], 1e-8);
        }
    }
}

#[test]
fn dapo_is_vgpo_without_its_weights() {
    let mut spec = method::vgpo(Variant::Paper);
    (spec.intra, spec.inter) = (false, false);
    let (vgpo, dapo) = (Method::Vgpo(spec), Method::Dapo(method::dapo()));
    let group = group(vec![vec![0.5, -0.5, 0.2], vec![0.1; 4]], &[1.0, 0.0]);
    let shaped = |method: &Method| {
        let weights = build(method).unwrap().weigh(&group).unwrap();
        weights.trajectories.iter().map(|t| t.shaped_advantage.clone()).collect::<Vec<_>>()
    };
    assert_eq!(shaped(&vgpo), shaped(&dapo));
    let data = [vec![vec![-1.0, -2.0]], vec![vec![-1.3, -1.0]], vec![vec![1.0, -1.0]]];
    assert_eq!(loss(&vgpo, &data), loss(&dapo, &data));
}

#[test]
fn the_other_estimators_hold() {
    let case = fixture("vgpo_released", "41_advantage_estimators");
    let masks = rows(&case["inputs"]["response_mask"]);
    let lengths: Vec<usize> = masks.iter().map(|m| m.iter().sum::<f64>() as usize).collect();
    let rewards: Vec<f64> = rows(&case["inputs"]["token_level_rewards"]).iter().map(|r| r.iter().sum()).collect();
    let uids: Vec<&str> = case["inputs"]["uid"].as_array().unwrap().iter().map(|u| u.as_str().unwrap()).collect();
    let step = RewardStatistics::of(lengths.iter().copied().zip(rewards.iter().copied()));
    for (estimator, key) in [(Estimator::Rloo, "rloo"), (Estimator::ReinforcePlusPlus, "reinforce_plus_plus")] {
        let expected: Vec<f64> = rows(&case["expected"][key]["advantages"]).iter().map(|r| r[0]).collect();
        for prompt in ["p0", "p1", "p2"] {
            let of = |values: &[f64]| -> Vec<f64> {
                values.iter().zip(&uids).filter(|(_, u)| **u == prompt).map(|(v, _)| *v).collect()
            };
            assert_close(key, &advantage::estimate(estimator, &of(&rewards), step), &of(&expected), 1e-6);
        }
    }
    for estimator in [Estimator::Grpo, Estimator::DrGrpo, Estimator::Gdpo, Estimator::Rloo] {
        assert_eq!(advantage::estimate(estimator, &[0.9; 8], step), [0.0; 8], "equal rewards teach nothing");
    }
}

#[test]
fn the_correction_scales_the_policy_term_and_not_the_kl() {
    let mut spec = method::grpo();
    spec.kl_coef = 0.5;
    let grpo = build(&Method::Grpo(spec)).unwrap();
    let tokens = |correction| ResponseTokens {
        logprobs: &[-1.0, -1.0],
        old_logprobs: &[-1.0, -1.0],
        advantages: &[1.0, 1.0],
        correction,
        reference_logprobs: Some(&[-0.5, -1.5]),
        masked_logprobs: None,
        ..ResponseTokens::default()
    };
    let totals = BatchTotals::of([2]);
    let plain = grpo.loss(&[tokens(None)], totals).unwrap();
    let halved = grpo.loss(&[tokens(Some(&[0.5, 1.0]))], totals).unwrap();
    assert_close("policy", &[halved.policy_loss], &[plain.policy_loss * 0.75], 1e-12);
    assert_close("kl", &[halved.loss - halved.policy_loss], &[plain.loss - plain.policy_loss], 1e-12);
    assert!(grpo.loss(&[tokens(Some(&[1.0]))], totals).is_err(), "one factor per token");
}

#[test]
fn settings_of_the_siblings_are_checked() {
    for (method, field) in [
        (json!({"type": "dapo", "clip_low": 2.0}), "clip_low"),
        (json!({"type": "gspo", "clip_high": -1.0}), "clip_high"),
        (json!({"type": "cispo", "kl_coef": -1.0}), "kl_coef"),
    ] {
        let mut full = serde_json::to_value(match method["type"].as_str().unwrap() {
            "dapo" => Method::Dapo(method::dapo()),
            "gspo" => Method::Gspo(method::gspo()),
            _ => Method::Cispo(method::cispo(Variant::Paper)),
        })
        .unwrap();
        full.as_object_mut().unwrap().extend(method.as_object().unwrap().clone());
        let error = build(&serde_json::from_value(full).unwrap()).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}
