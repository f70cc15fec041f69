//! The released formulae: cases on which our `released` variant gives the same numbers as the authors' functions.
//!
//! `siblings` has the losses of gspo and cispo and the other estimators. 42 lists rounding residues of equal rewards,
//! which ours do not have (see `released_faults`). Of 43 only the averages are this room's business.

use serde_json::Value;
use vgpo::algorithm::advantage::RewardStatistics;
use vgpo::algorithm::objective::{Clipping, clipped_surrogate, negative_log_likelihood};
use vgpo::algorithm::{
    BatchTotals, GroupWeights, LossOutput, ResponseTokens, ScorePrecision, advantage, vgpo as paper,
};
use vgpo::domain::spec::{Estimator, LossAverage, VgpoSpec};

use super::support::{Released, assert_close, fixture, list, rows};

/// Cases that hold from the hidden states on.
const END_TO_END: [&str; 11] = [
    "03_linear_nogate_intra_only",
    "05_exponential3_nogate_intra_only",
    "07_step_nogate_intra_only",
    "08_no_compensation_intra_only",
    "09_inter_only",
    "10_inter_only_compensation_flag_ignored",
    "11_microbatch4_below_group8",
    "17b_padding_states_nonzero",
    "20_gate_ties",
    "21_constant_similarity_row",
    "25_gate_kappa1_gamma0",
];

/// Cases whose range of the similarity was set by padding or by another prompt: they hold from `rho_norm` on.
const FROM_FOCUS: [&str; 3] = ["01_default_b16_g8", "02_linear_gate_intra_only", "06_step_gate_both"];

/// Weights of every row in the file's order.
fn weights(case: &Released, weigh: impl Fn(&[usize]) -> GroupWeights) -> Vec<vgpo::algorithm::TrajectoryWeights> {
    let mut out = vec![Default::default(); case.lengths.len()];
    for rows in case.prompts() {
        for (row, weights) in rows.iter().zip(weigh(&rows).trajectories) {
            out[*row] = weights;
        }
    }
    out
}

fn check(name: &str, case: &Released, spec: &VgpoSpec, found: &[vgpo::algorithm::TrajectoryWeights]) {
    let expected = &case.case["expected"];
    let compare = |key: &str, value: &dyn Fn(&vgpo::algorithm::TrajectoryWeights) -> Vec<f64>, tolerance: f64| {
        let Some(rows) = expected.get(key) else { return };
        for (row, (e, f)) in case.ragged(rows).iter().zip(found).enumerate() {
            assert_close(&format!("{name} {key}[{row}]"), &value(f), e, tolerance);
        }
    };
    compare("compensation", &|w| w.compensation.clone(), 1e-6);
    compare("gate", &|w| w.gate.clone(), 0.0);
    compare("psi", &|w| w.psi.iter().map(|p| 1.0 + p).collect(), 1e-5);
    compare("advantage_reshaped", &|w| w.shaped_advantage.clone(), 1e-5);
    compare("grpo_advantage", &|w| vec![w.advantage; w.focus.len()], 1e-5);
    if let Some(alpha) = expected.get("alpha") {
        assert_close(
            &format!("{name} alpha"),
            &found.iter().map(|w| 1.0 + w.phi).collect::<Vec<_>>(),
            &list(alpha),
            1e-5,
        );
        let accumulation: Vec<f64> = found.iter().map(|w| w.visual_accumulation).collect();
        assert_close(&format!("{name} phi"), &accumulation, &list(&expected["phi"]), 2e-5);
    }
    let output = loss(case, spec, found);
    check_loss(name, &output, expected, &case.lengths);
}

fn loss(case: &Released, spec: &VgpoSpec, weights: &[vgpo::algorithm::TrajectoryWeights]) -> LossOutput {
    let logprobs = case.ragged(&case.case["inputs"]["log_probs"]);
    let old = case.ragged(&case.case["inputs"]["old_log_probs"]);
    let tokens: Vec<_> = (0..logprobs.len())
        .map(|i| ResponseTokens {
            logprobs: &logprobs[i],
            old_logprobs: &old[i],
            advantages: &weights[i].shaped_advantage,
            correction: None,
            reference_logprobs: None,
            masked_logprobs: None,
            ..ResponseTokens::default()
        })
        .collect();
    let totals = BatchTotals::of(case.lengths.iter().copied());
    clipped_surrogate(&tokens, totals, spec.policy.loss_average, Clipping::of(&spec.policy)).unwrap()
}

fn check_loss(name: &str, output: &LossOutput, expected: &Value, lengths: &[usize]) {
    assert_close(&format!("{name} pg_loss"), &[output.loss], &[expected["pg_loss"].as_f64().unwrap()], 2e-6);
    for (i, e) in rows(&expected["grad_log_probs"]).iter().enumerate() {
        let what = format!("{name} gradient[{i}]");
        assert_close(&what, &output.responses[i].grad_logprobs, &e[..lengths[i]], 1e-6);
    }
    let (stats, metrics) = (output.stats, &expected["metrics"]);
    let metric = |key: &str| metrics[key].as_f64().unwrap();
    let clipped = stats.clip_fraction_low() + stats.clip_fraction_high();
    assert_close(&format!("{name} clipped"), &[clipped], &[metric("pg_clipfrac_higher")], 1e-6);
    assert_close(&format!("{name} dual"), &[stats.dual_clip_fraction()], &[metric("pg_clipfrac_lower")], 1e-6);
}

#[test]
fn the_released_formulae_hold_end_to_end() {
    for name in END_TO_END {
        let case = Released::read(name);
        for (row, raw) in case.ragged(&case.case["expected"]["rho_raw"]).iter().enumerate() {
            assert_close(&format!("{name} rho_raw[{row}]"), &case.similarities[row], raw, 1e-6);
        }
        let spec = case.spec();
        let found = weights(&case, |rows| paper::shape(&case.group(rows), &spec).unwrap());
        check(name, &case, &spec, &found);
    }
}

#[test]
fn the_released_formulae_hold_from_their_own_focus() {
    for name in FROM_FOCUS {
        let case = Released::read(name);
        let spec = case.spec();
        let focus = case.ragged(&case.case["expected"]["rho_norm"]);
        let found = weights(&case, |rows| {
            let rewards: Vec<f64> = rows.iter().map(|r| case.rewards[*r]).collect();
            let advantages = advantage::estimate(Estimator::Grpo, &rewards, RewardStatistics::of([]));
            let focus = rows.iter().map(|r| focus[*r].clone()).collect();
            paper::shape_focus(focus, &advantages, true, ScorePrecision::F32, &spec)
        });
        check(name, &case, &spec, &found);
    }
}

#[test]
fn losses_hold() {
    for name in ["30_loss_default_token", "31_loss_default_seq", "38_loss_empty_row_seq"] {
        let case = fixture("vgpo_released", name);
        let (inputs, config) = (&case["inputs"], &case["loss_config"]);
        let lengths: Vec<usize> =
            rows(&inputs["response_mask"]).iter().map(|m| m.iter().sum::<f64>() as usize).collect();
        let cut = |key: &str| -> Vec<Vec<f64>> {
            rows(&inputs[key]).iter().zip(&lengths).map(|(row, n)| row[..*n].to_vec()).collect()
        };
        let (new, old, advantages) = (cut("log_probs"), cut("old_log_probs"), cut("advantages"));
        let tokens: Vec<_> = (0..lengths.len())
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
        let average = if config["loss_avg_mode"] == "seq" { LossAverage::Sequence } else { LossAverage::Token };
        let number = |key: &str| config[key].as_f64().unwrap();
        let (low, high) = (number("clip_ratio_low"), number("clip_ratio_high"));
        let clipping = Clipping { low, high, dual: Some(number("clip_ratio_dual")), kl_coef: 0.0 };
        let output = clipped_surrogate(&tokens, BatchTotals::of(lengths.iter().copied()), average, clipping).unwrap();
        check_loss(name, &output, &case["expected"], &lengths);
        if average == LossAverage::Token {
            let kl = case["expected"]["metrics"]["ppo_kl"].as_f64().unwrap();
            assert_close(name, &[output.stats.approx_kl()], &[kl], 1e-6);
        }
    }
}

#[test]
fn low_variance_kl_holds() {
    let case = fixture("vgpo_released", "40_kl");
    let (inputs, expected) = (&case["inputs"], &case["expected"]["low_var_kl"]);
    let lengths: Vec<usize> = rows(&inputs["mask"]).iter().map(|m| m.iter().sum::<f64>() as usize).collect();
    let cut =
        |v: &Value| -> Vec<Vec<f64>> { rows(v).iter().zip(&lengths).map(|(row, n)| row[..*n].to_vec()).collect() };
    let (new, reference) = (cut(&inputs["log_probs"]), cut(&inputs["ref_log_probs"]));
    let (kl, gradient) = (cut(&expected["kl"]), cut(&expected["grad_of_mean_token"]));
    let zeros: Vec<Vec<f64>> = lengths.iter().map(|n| vec![0.0; *n]).collect();
    let tokens: Vec<_> = (0..lengths.len())
        .map(|i| ResponseTokens {
            logprobs: &new[i],
            old_logprobs: &new[i],
            advantages: &zeros[i],
            correction: None,
            reference_logprobs: Some(&reference[i]),
            masked_logprobs: None,
            ..ResponseTokens::default()
        })
        .collect();
    let clipping = Clipping { low: 0.2, high: 0.2, dual: None, kl_coef: 1.0 };
    for (average, key) in [(LossAverage::Token, "mean_token"), (LossAverage::Sequence, "mean_seq")] {
        let totals = BatchTotals::of(lengths.iter().copied());
        let output = clipped_surrogate(&tokens, totals, average, clipping).unwrap();
        assert_close(key, &[output.loss], &[expected[key].as_f64().unwrap()], 1e-6);
        for (i, response) in output.responses.iter().enumerate() {
            assert_close("kl", &response.token_loss, &kl[i], 2e-6);
            if average == LossAverage::Token {
                assert_close("gradient", &response.grad_logprobs, &gradient[i], 2e-6);
            }
        }
    }
}

#[test]
fn the_grpo_estimator_holds() {
    let case = fixture("vgpo_released", "41_advantage_estimators");
    let rewards: Vec<f64> = rows(&case["inputs"]["token_level_rewards"]).iter().map(|r| r.iter().sum()).collect();
    let uids: Vec<&str> = case["inputs"]["uid"].as_array().unwrap().iter().map(|u| u.as_str().unwrap()).collect();
    let expected: Vec<f64> = rows(&case["expected"]["grpo"]["advantages"]).iter().map(|r| r[0]).collect();
    for prompt in ["p0", "p1", "p2"] {
        let of = |values: &[f64]| -> Vec<f64> {
            values.iter().zip(&uids).filter(|(_, u)| **u == prompt).map(|(v, _)| *v).collect()
        };
        assert_close(
            prompt,
            &advantage::estimate(Estimator::Grpo, &of(&rewards), RewardStatistics::of([])),
            &of(&expected),
            1e-6,
        );
    }
}

#[test]
fn averages_hold_with_an_empty_response() {
    let case = fixture("vgpo_released", "43_average_loss_and_logprob");
    let masks = rows(&case["inputs"]["mask"]);
    let values: Vec<Vec<f64>> = rows(&case["inputs"]["values"])
        .iter()
        .zip(&masks)
        .map(|(v, m)| v.iter().zip(m).filter(|(_, m)| **m > 0.0).map(|(v, _)| -v).collect())
        .collect();
    let tokens: Vec<_> = values
        .iter()
        .map(|v| ResponseTokens {
            logprobs: v,
            old_logprobs: &[],
            advantages: &[],
            correction: None,
            reference_logprobs: None,
            masked_logprobs: None,
            ..ResponseTokens::default()
        })
        .collect();
    let totals = BatchTotals::of(values.iter().map(Vec::len));
    for (average, key) in [(LossAverage::Token, "token"), (LossAverage::Sequence, "seq")] {
        let output = negative_log_likelihood(&tokens, totals, average).unwrap();
        assert_close(key, &[output.loss], &[case["expected"][key].as_f64().unwrap()], 1e-6);
    }
}
