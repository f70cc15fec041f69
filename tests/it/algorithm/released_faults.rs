//! Inputs on which the released code shows a fault: what ours does instead.

use vgpo::algorithm::{BatchTotals, ResponseTokens, TrajectoryWeights, build, vgpo::shape};
use vgpo::domain::spec::Method;

use super::support::{Released, assert_close, list, rows};

fn shape_rows(case: &Released, rows: &[usize]) -> Vec<TrajectoryWeights> {
    shape(&case.group(rows), &case.spec()).unwrap().trajectories
}

/// 12: three prompts of four responses in a batch that was made for groups of eight. The released code mixes the first
/// two prompts and leaves the third without weights; ours weighs every prompt within itself.
#[test]
fn weights_stay_within_a_prompt() {
    let case = Released::read("12_batch12_group8_remainder");
    assert_eq!(list(&case.case["expected"]["alpha"])[8..], [1.0; 4], "the released code drops the remainder");
    let mut spec = case.spec();
    spec.phi_clamp = None;
    let prompts = case.prompts();
    assert_eq!(prompts.len(), 3);
    for prompt in prompts {
        let phi: Vec<f64> = shape(&case.group(&prompt), &spec).unwrap().trajectories.iter().map(|t| t.phi).collect();
        let (low, high) = phi.iter().fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(*p), h.max(*p)));
        assert!((high - low - 1.0).abs() < 1e-12, "min-max spans the prompt's own responses: {phi:?}");
        assert!(phi.iter().sum::<f64>().abs() < 1e-12, "the weights of a prompt average 1: {phi:?}");
    }
}

/// 14, 15, 16: responses to prompts without an image. The released code gives them ramps and lets them compete; ours
/// leaves their advantage as it is, and they do not touch the weights of others.
#[test]
fn text_only_prompts_keep_their_advantage() {
    for name in ["14_no_image_row_mixed_sign", "15_no_image_row_all_positive", "16_all_rows_without_image"] {
        let case = Released::read(name);
        let text: Vec<usize> = (0..case.lengths.len()).filter(|r| case.image_tokens[*r] == 0).collect();
        assert!(!text.is_empty());
        for weights in shape_rows(&case, &text) {
            assert!(weights.psi.iter().all(|p| *p == 0.0) && weights.phi == 0.0, "{name}");
            assert!(weights.shaped_advantage.iter().all(|a| *a == weights.advantage));
            assert_eq!(weights.focus.len(), weights.gate.len(), "every intermediate is still shown");
        }
    }
    let alpha = list(&Released::read("14_no_image_row_mixed_sign").case["expected"]["alpha"]);
    assert!(
        alpha.iter().any(|a| (a - 0.9).abs() < 1e-6),
        "the released code pushed a text-only row to its lower clamp"
    );
}

/// 17a: zero states at padding columns set the released range. Ours spans the response tokens alone, so that the
/// smallest valid score is 0 and the largest 1, whatever the padding holds.
#[test]
fn padding_does_not_set_the_range() {
    let case = Released::read("17a_padding_states_zero");
    let released = case.ragged(&case.case["expected"]["rho_norm"]).concat();
    let ends = |v: &[f64]| v.iter().fold((f64::MAX, f64::MIN), |(l, h), x| (l.min(*x), h.max(*x)));
    assert_ne!(ends(&released), (0.0, 1.0), "padding stretched the released range");
    let ours: Vec<f64> = shape_rows(&case, &[0, 1, 2, 3]).iter().flat_map(|w| w.focus.clone()).collect();
    assert_eq!(ends(&ours), (0.0, 1.0));
    let other = Released::read("17b_padding_states_nonzero");
    assert_eq!(case.similarities, other.similarities, "17b is the same case with other padding");
    assert_eq!(shape_rows(&case, &[0, 1, 2, 3]), shape_rows(&other, &[0, 1, 2, 3]));
}

/// 18: equal rewards leave rounding residues in the released advantages; ours are exactly 0 and train nothing.
#[test]
fn equal_rewards_teach_nothing() {
    let case = Released::read("18_all_equal_rewards_in_group");
    let spec = case.spec();
    let algorithm = build(&Method::Vgpo(spec)).unwrap();
    let logprobs = case.ragged(&case.case["inputs"]["log_probs"]);
    let old = case.ragged(&case.case["inputs"]["old_log_probs"]);
    let mut equal_groups = 0;
    for prompt in case.prompts() {
        if prompt.iter().any(|r| case.rewards[*r] != case.rewards[prompt[0]]) {
            continue;
        }
        equal_groups += 1;
        let weights = algorithm.weigh(&case.group(&prompt)).unwrap().trajectories;
        let tokens: Vec<_> = prompt
            .iter()
            .zip(&weights)
            .map(|(&r, w)| ResponseTokens {
                logprobs: &logprobs[r],
                old_logprobs: &old[r],
                advantages: &w.shaped_advantage,
                correction: None,
                reference_logprobs: None,
                masked_logprobs: None,
                ..ResponseTokens::default()
            })
            .collect();
        let output = algorithm.loss(&tokens, BatchTotals::of(prompt.iter().map(|r| case.lengths[*r]))).unwrap();
        assert_eq!(output.loss, 0.0);
        assert!(output.responses.iter().all(|r| r.grad_logprobs.iter().all(|g| *g == 0.0)));
    }
    assert!(equal_groups > 0);
}

/// 23: a positive compensation start crashes the released code; ours ramps from there.
#[test]
fn compensation_can_start_late() {
    let case = Released::read("23_start_ratio_positive_error");
    assert!(case.case["official_error"].is_string());
    for weights in shape_rows(&case, &[0, 1, 2, 3]) {
        let expected: Vec<f64> = weights.progress.iter().map(|p| 0.3 * ((p - 0.5) / 0.5).max(0.0)).collect();
        assert_close("compensation", &weights.compensation, &expected, 1e-6);
        assert!(weights.shaped_advantage.iter().all(|a| a.is_finite()));
    }
}

/// 24: scores in bfloat16 tie, and too many tokens pass the gate; scores in f32 do not tie.
#[test]
fn the_gate_passes_its_share_when_scores_are_f32() {
    let case = Released::read("24_bf16_hidden_states");
    for (weights, &tokens) in shape_rows(&case, &[0, 1, 2, 3]).iter().zip(&case.lengths) {
        let tail = tokens - tokens / 2;
        let share = ((0.2 * tail as f64).floor()).max(1.0);
        assert_eq!(weights.gate.iter().sum::<f64>(), share);
    }
}

/// 44: the released weights depend on how rows fall into micro-batches. Ours belong to the prompt; micro-batches only
/// split the loss, and their gradients add up to that of the whole mini-batch.
#[test]
fn micro_batches_add_up() {
    let case = Released::read("44_two_microbatches_step");
    let mut spec = case.spec();
    spec.policy.kl_coef = 0.01;
    let algorithm = build(&Method::Vgpo(spec)).unwrap();
    let inputs = &case.case["inputs"];
    let (new, old) = (case.ragged(&inputs["log_probs"]), case.ragged(&inputs["old_log_probs"]));
    let reference = case.ragged(&inputs["ref_log_probs"]);
    let mut weights = vec![TrajectoryWeights::default(); case.lengths.len()];
    for prompt in case.prompts() {
        for (row, w) in prompt.iter().zip(algorithm.weigh(&case.group(&prompt)).unwrap().trajectories) {
            weights[*row] = w;
        }
    }
    let tokens = |row: usize| ResponseTokens {
        logprobs: &new[row],
        old_logprobs: &old[row],
        advantages: &weights[row].shaped_advantage,
        correction: None,
        reference_logprobs: Some(&reference[row]),
        masked_logprobs: None,
        ..ResponseTokens::default()
    };
    let totals = BatchTotals::of(case.lengths.iter().copied());
    let whole = algorithm.loss(&(0..8).map(tokens).collect::<Vec<_>>(), totals).unwrap();
    let mut split_loss = 0.0;
    for part in case.case["expected"]["microbatches"].as_array().unwrap() {
        let ends = list(&part["rows"]);
        let rows: Vec<usize> = (ends[0] as usize..ends[1] as usize).collect();
        let output = algorithm.loss(&rows.iter().map(|r| tokens(*r)).collect::<Vec<_>>(), totals).unwrap();
        split_loss += output.loss;
        for (row, response) in rows.iter().zip(&output.responses) {
            assert_eq!(response, &whole.responses[*row]);
        }
    }
    assert_close("loss", &[split_loss], &[whole.loss], 1e-12);
    let advantages: Vec<f64> = rows(&case.case["expected"]["grpo_advantage"]).iter().map(|r| r[0]).collect();
    assert_close("advantage", &weights.iter().map(|w| w.advantage).collect::<Vec<_>>(), &advantages, 1e-5);
}
