//! `examples/minimal_vgpo.rs`, the page to read first: it runs, and its objective is the program's.

use vgpo::algorithm::{
    self, Algorithm, BatchTotals, ResponseTokens, ScorePrecision, Trajectory, TrajectoryGroup, TrajectoryWeights,
};
use vgpo::config::method;
use vgpo::domain::spec::{Method, Variant};
use vgpo::model::sampler::{stream, uniform};

#[allow(dead_code, reason = "nothing calls the example's `main` here")]
#[path = "../../../examples/minimal_vgpo.rs"]
mod minimal_vgpo;

use minimal_vgpo::{Line, Vgpo, train};

/// VGPO as published, without the bound on negative advantages that the page leaves out.
fn published() -> Box<dyn Algorithm> {
    let mut spec = method::vgpo(Variant::Paper);
    spec.policy.dual_clip = None;
    algorithm::build(&Method::Vgpo(spec)).unwrap()
}

fn group(seed: u64) -> TrajectoryGroup {
    let mut rng = stream(&[seed]);
    let trajectory = |_| {
        let tokens = 1 + (uniform(&mut rng) * 40.0) as usize;
        let similarity = (0..tokens).map(|_| 2.0 * uniform(&mut rng) - 1.0).collect();
        Trajectory { tokens, similarity, reward: uniform(&mut rng).round(), ..Trajectory::default() }
    };
    TrajectoryGroup {
        has_image: true,
        precision: ScorePrecision::F32,
        trajectories: (0..8).map(trajectory).collect(),
        ..TrajectoryGroup::default()
    }
}

fn assert_close(found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len());
    for (a, b) in found.iter().zip(wanted) {
        assert!((a - b).abs() < 1e-9, "{a}, the program has {b}");
    }
}

#[test]
fn the_page_weighs_as_the_program_does() {
    for seed in 0..50 {
        let group = group(seed);
        let (found, wanted) = (Vgpo.weigh(&group).unwrap(), published().weigh(&group).unwrap());
        let lists: [fn(&TrajectoryWeights) -> &[f64]; 4] =
            [|w| &w.focus, |w| &w.compensated_focus, |w| &w.psi, |w| &w.shaped_advantage];
        for (found, wanted) in found.trajectories.iter().zip(&wanted.trajectories) {
            assert_close(&[found.advantage, found.phi], &[wanted.advantage, wanted.phi]);
            lists.iter().for_each(|list| assert_close(list(found), list(wanted)));
        }
    }
}

#[test]
fn the_page_has_the_programs_loss_and_gradient() {
    let mut rng = stream(&[3]);
    let mut list = |spread: f64| -> Vec<f64> { (0..200).map(|_| spread * (uniform(&mut rng) - 0.5)).collect() };
    // Log-ratios of both signs, well beyond the clip.
    let (logprobs, old_logprobs, advantages) = (list(1.0), list(1.0), list(4.0));
    let tokens = ResponseTokens {
        logprobs: &logprobs,
        old_logprobs: &old_logprobs,
        advantages: &advantages,
        ..ResponseTokens::default()
    };
    let totals = BatchTotals::of([200]);
    let (found, wanted) = (Vgpo.loss(&[tokens], totals).unwrap(), published().loss(&[tokens], totals).unwrap());
    assert_close(&[found.loss], &[wanted.loss]);
    assert_close(&found.responses[0].grad_logprobs, &wanted.responses[0].grad_logprobs);
    assert!(found.responses[0].grad_logprobs.contains(&0.0), "the clip must hold somewhere");
}

#[test]
fn the_page_fits_on_a_page_and_runs() {
    let text = include_str!("../../../examples/minimal_vgpo.rs");
    assert!(text.lines().count() < 300);
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    assert!(readme.contains("(examples/minimal_vgpo.rs)"), "the README links the page");
    let mut lines: Vec<Line> = Vec::new();
    train(2, |line| lines.push(line)).unwrap();
    assert_eq!(lines.iter().map(|line| line.step).collect::<Vec<_>>(), [1, 2]);
    for Line { accuracy, late_over_early, loss, .. } in lines {
        assert!((0.05..0.95).contains(&accuracy), "the starter knows some answers: {accuracy}");
        assert!(late_over_early > 0.0 && loss.is_finite(), "{late_over_early} {loss}");
    }
}
