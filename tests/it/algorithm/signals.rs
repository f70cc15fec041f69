//! Visual summaries.

use vgpo::algorithm::signals::VisualSignals;
use vgpo::algorithm::{GroupWeights, TrajectoryWeights, vgpo::shape};
use vgpo::config::method;
use vgpo::domain::metric;
use vgpo::domain::spec::Variant;

use super::support::{assert_close, group};

fn weights(focus: Vec<f64>, gate: Vec<f64>, psi: Vec<f64>, phi: f64) -> TrajectoryWeights {
    TrajectoryWeights { compensation: vec![0.2; gate.len()], focus, gate, psi, phi, ..TrajectoryWeights::default() }
}

#[test]
fn thirds_ratio_and_spreads_are_as_named() {
    let long = weights(
        vec![0.8, 0.8, 0.5, 0.5, 0.5, 0.4, 0.2],
        vec![0., 0., 0., 1., 0., 1., 0.],
        vec![0.5, -0.5, 0., 0., 0., 0., 0.],
        0.25,
    );
    let short = weights(vec![0.6], vec![1.0], vec![0.0], -0.25);
    let image = GroupWeights { has_image: true, trajectories: vec![long, short] };
    let text =
        GroupWeights { has_image: false, trajectories: vec![weights(vec![0.5; 9], vec![0.; 9], vec![0.; 9], 0.0)] };
    let s = VisualSignals::of([&image, &text]);
    let close =
        |name: &str, found: Option<f64>, expected: f64| assert_close(name, &[found.unwrap()], &[expected], 1e-12);
    close("mean", s.focus_mean, 4.3 / 8.0);
    close("early", s.focus_early, (0.8 + 0.8 + 0.6) / 3.0);
    close("late", s.focus_late, (0.4 + 0.2 + 0.6) / 3.0);
    close("ratio", s.late_early_ratio, 1.2 / 2.2);
    close("gate", s.gate_rate, 3.0 / 8.0);
    close("compensation", s.compensation_mean, 0.2);
    close("std", s.token_weight_std, (0.5_f64 / 8.0).sqrt());
    close("min", s.token_weight_min, 0.5);
    close("max", s.token_weight_max, 1.5);
    close("trajectory min", s.trajectory_weight_min, 0.75);
    close("trajectory max", s.trajectory_weight_max, 1.25);
}

#[test]
fn every_key_is_in_the_catalogue() {
    let group = group(vec![vec![0.4, 0.1, 0.3], vec![0.2; 5]], &[1.0, 0.0]);
    let metrics = VisualSignals::of([&shape(&group, &method::vgpo(Variant::Paper)).unwrap()]).metrics();
    assert_eq!(metrics.len(), 11);
    for (key, value) in metrics {
        assert!(metric::describe(key).is_some(), "{key}");
        assert!(value.is_finite());
    }
}

#[test]
fn nothing_seen_means_no_value() {
    assert!(VisualSignals::of([]).metrics().is_empty());
}
