//! Objectives: averages, clips, limits, and what they refuse.

use vgpo::algorithm::objective::Clipping;
use vgpo::algorithm::{BatchTotals, LossOutput, ResponseTokens, build, objective};
use vgpo::config::method;
use vgpo::domain::spec::{LossAverage, Method, PolicySpec, Variant};

use super::support::{assert_close, group};

fn one_token(ratio: f64, advantage: f64, dual: Option<f64>) -> LossOutput {
    let tokens = ResponseTokens {
        logprobs: &[ratio.ln() - 1.0],
        old_logprobs: &[-1.0],
        advantages: &[advantage],
        correction: None,
        reference_logprobs: None,
        masked_logprobs: None,
        ..ResponseTokens::default()
    };
    let clipping = Clipping { low: 0.2, high: 0.28, dual, kl_coef: 0.0 };
    objective::clipped_surrogate(&[tokens], BatchTotals { tokens: 1, responses: 1 }, LossAverage::Token, clipping)
        .unwrap()
}

#[test]
fn each_limit_holds_its_side_only() {
    // (ratio, advantage, loss, gradient, low, high, dual)
    let table = [
        (1.1, 2.0, -2.2, -2.2, 0, 0, 0),
        (1.5, 2.0, -2.56, 0.0, 0, 1, 0),
        (0.5, 2.0, -1.0, -1.0, 0, 0, 0),
        (0.5, -2.0, 1.6, 0.0, 1, 0, 0),
        (1.5, -2.0, 3.0, 3.0, 0, 0, 0),
        (4.0, -2.0, 6.0, 0.0, 0, 0, 1),
    ];
    for (ratio, advantage, loss, gradient, low, high, dual) in table {
        let output = one_token(ratio, advantage, Some(3.0));
        assert_close("loss", &[output.loss], &[loss], 1e-12);
        assert_close("gradient", &output.responses[0].grad_logprobs, &[gradient], 1e-12);
        let stats = output.stats;
        assert_eq!((stats.clipped_low, stats.clipped_high, stats.dual_clipped), (low, high, dual), "ratio {ratio}");
    }
    assert_close("without dual clip", &[one_token(4.0, -2.0, None).loss], &[8.0], 1e-12);
}

#[test]
fn grpo_averages_per_response_and_ignores_the_image() {
    let grpo = build(&Method::Grpo(method::grpo())).unwrap();
    let weights = grpo.weigh(&group(vec![vec![0.5, -0.5], vec![0.1; 4]], &[1.0, 0.0])).unwrap();
    for trajectory in &weights.trajectories {
        assert!(trajectory.psi.iter().all(|p| *p == 0.0) && trajectory.phi == 0.0);
        assert!(trajectory.shaped_advantage.iter().all(|a| *a == trajectory.advantage));
    }
    assert_eq!(weights.trajectories[0].focus, [0.75, 0.25], "the focus is known for the logs");
    let logprobs = [vec![-1.0; 2], vec![-1.0; 4]];
    let tokens: Vec<_> = logprobs
        .iter()
        .zip(&weights.trajectories)
        .map(|(l, w)| ResponseTokens {
            logprobs: l,
            old_logprobs: l,
            advantages: &w.shaped_advantage,
            correction: None,
            reference_logprobs: None,
            masked_logprobs: None,
            ..ResponseTokens::default()
        })
        .collect();
    let output = grpo.loss(&tokens, BatchTotals::of([2, 4])).unwrap();
    let a = weights.trajectories[0].advantage;
    assert_close("first", &output.responses[0].grad_logprobs, &[-a / 4.0; 2], 1e-12);
    assert_close("second", &output.responses[1].grad_logprobs, &[a / 8.0; 4], 1e-12);
    assert!(!grpo.needs().visual_focus && grpo.needs().old_logprobs && !grpo.needs().reference);
}

#[test]
fn sft_is_the_mean_negative_log_likelihood() {
    let sft = build(&Method::Sft(method::sft())).unwrap();
    let tokens = |l| ResponseTokens {
        logprobs: l,
        old_logprobs: &[],
        advantages: &[],
        correction: None,
        reference_logprobs: None,
        masked_logprobs: None,
        ..ResponseTokens::default()
    };
    let output = sft.loss(&[tokens(&[-1.0, -3.0]), tokens(&[-2.0])], BatchTotals::of([2, 1])).unwrap();
    assert_close("loss", &[output.loss], &[2.0], 1e-12);
    assert_close("gradient", &output.responses[0].grad_logprobs, &[-1.0 / 3.0; 2], 1e-12);
    assert!(!sft.needs().old_logprobs);
    let weights = sft.weigh(&group(vec![vec![0.0; 2]], &[0.0])).unwrap();
    assert_eq!(weights.trajectories[0].shaped_advantage, [1.0, 1.0]);
}

#[test]
fn settings_outside_their_limits_are_refused_by_name() {
    let paper = || method::vgpo(Variant::Paper);
    let with_policy = |policy: PolicySpec| vgpo::domain::spec::VgpoSpec { policy, ..paper() };
    let broken = [
        ("gamma", vgpo::domain::spec::VgpoSpec { gamma: 0.0, ..paper() }),
        ("kappa", vgpo::domain::spec::VgpoSpec { kappa: 1.5, ..paper() }),
        ("beta", vgpo::domain::spec::VgpoSpec { beta: f64::NAN, ..paper() }),
        ("compensation_start", vgpo::domain::spec::VgpoSpec { compensation_start: 1.0, ..paper() }),
        ("clip_low", with_policy(PolicySpec { clip_low: -0.1, ..paper().policy })),
        ("dual_clip", with_policy(PolicySpec { dual_clip: Some(0.5), ..paper().policy })),
        ("psi_clamp", vgpo::domain::spec::VgpoSpec { psi_clamp: Some([2.0, 1.0]), ..paper() }),
    ];
    for (field, spec) in broken {
        let message = build(&Method::Vgpo(spec)).unwrap_err().to_string();
        assert!(message.contains(&format!("method.{field} is")), "{message}");
    }
}

#[test]
fn inputs_that_cannot_be_are_refused_by_name() {
    let algorithm = build(&Method::Vgpo(method::vgpo(Variant::Paper))).unwrap();
    let refused = |similarity: Vec<f64>, tokens: usize, reward: f64| {
        let mut group = group(vec![vec![0.1], similarity], &[1.0, reward]);
        group.trajectories[1].tokens = tokens;
        algorithm.weigh(&group).unwrap_err().to_string()
    };
    assert!(refused(vec![0.1], 2, 0.0).contains("response 1: similarity has 1 values, but the response has 2 tokens"));
    assert!(refused(vec![f64::NAN], 1, 0.0).contains("response 1: similarity[0] is NaN"));
    assert!(refused(vec![1.5], 1, 0.0).contains("a cosine in [-1, 1]"));
    assert!(refused(vec![0.1], 1, f64::INFINITY).contains("response 1: reward[0] is inf"));
    let tokens = ResponseTokens {
        logprobs: &[-1.0],
        old_logprobs: &[f64::NAN],
        advantages: &[1.0],
        correction: None,
        reference_logprobs: None,
        masked_logprobs: None,
        ..ResponseTokens::default()
    };
    let totals = BatchTotals::of([1]);
    assert!(algorithm.loss(&[tokens], totals).unwrap_err().to_string().contains("old_logprobs[0] is NaN"));
    let mut with_kl = method::vgpo(Variant::Paper);
    with_kl.policy.kl_coef = 0.1;
    let algorithm = build(&Method::Vgpo(with_kl)).unwrap();
    let tokens = ResponseTokens { old_logprobs: &[-1.0], ..tokens };
    assert!(algorithm.needs().reference);
    assert!(algorithm.loss(&[tokens], totals).unwrap_err().to_string().contains("reference log-probs are missing"));
}
