//! Properties that hold for every input.

use proptest::prelude::*;
use vgpo::algorithm::advantage::RewardStatistics;
use vgpo::algorithm::objective::{Clipping, clipped_surrogate};
use vgpo::algorithm::vgpo::shape;
use vgpo::algorithm::{BatchTotals, ResponseTokens, ScorePrecision, TrajectoryGroup, advantage};
use vgpo::config::method;
use vgpo::domain::spec::{Estimator, LossAverage, Schedule, Variant, VgpoSpec};

use super::support::group;

/// Settings over every switch and schedule.
fn specs(variant: Variant) -> impl Strategy<Value = VgpoSpec> {
    let schedule = prop_oneof![Just(Schedule::Linear), Just(Schedule::Exponential), Just(Schedule::Step)];
    let shares = (0.001..=1.0, 0.001..=1.0, 0.0..2.0, 0.0..0.99);
    (schedule, shares, any::<[bool; 4]>()).prop_map(move |(schedule, (gamma, kappa, beta, start), switches)| VgpoSpec {
        schedule,
        gamma,
        kappa,
        beta,
        compensation_start: start,
        compensation: switches[0],
        gate: switches[1],
        intra: switches[2],
        inter: switches[3],
        ..method::vgpo(variant)
    })
}

fn groups() -> impl Strategy<Value = TrajectoryGroup> {
    let similarity = prop_oneof![4 => -1.0..=1.0, 1 => Just(0.25), 1 => Just(-1.0), 1 => Just(1.0)];
    let response = (prop::collection::vec(similarity, 0..24), prop_oneof![Just(0.0), Just(1.0), -3.0..3.0]);
    (prop::collection::vec(response, 1..9), any::<bool>(), any::<bool>()).prop_map(|(responses, has_image, f32)| {
        let (similarities, rewards): (Vec<_>, Vec<_>) = responses.into_iter().unzip();
        let precision = if f32 { ScorePrecision::F32 } else { ScorePrecision::F64 };
        TrajectoryGroup { has_image, precision, ..group(similarities, &rewards) }
    })
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-9 * (1.0 + a.abs()))
}

fn batches() -> impl Strategy<Value = Vec<[Vec<f64>; 4]>> {
    let token = (-8.0..0.0, -1.5..1.5, -4.0..4.0, -1.0..1.0);
    let response = prop::collection::vec(token, 0..7).prop_map(|tokens| {
        let new: Vec<f64> = tokens.iter().map(|t| t.0).collect();
        let old = tokens.iter().map(|t| t.0 + t.1).collect();
        let advantages = tokens.iter().map(|t| t.2).collect();
        let reference = tokens.iter().map(|t| t.0 + t.3).collect();
        [new, old, advantages, reference]
    });
    prop::collection::vec(response, 1..6)
}

fn tokens(response: &[Vec<f64>; 4]) -> ResponseTokens<'_> {
    let [logprobs, old_logprobs, advantages, reference] = response;
    ResponseTokens {
        logprobs,
        old_logprobs,
        advantages,
        correction: None,
        reference_logprobs: Some(reference),
        masked_logprobs: None,
        ..ResponseTokens::default()
    }
}

fn averages() -> impl Strategy<Value = LossAverage> {
    prop_oneof![Just(LossAverage::Token), Just(LossAverage::Sequence)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn weights_of_the_paper_stay_in_0_to_2_and_average_1(group in groups(), spec in specs(Variant::Paper)) {
        let weights = shape(&group, &spec).unwrap();
        let mut phi = 0.0;
        for t in &weights.trajectories {
            phi += t.phi;
            prop_assert!(1.0 + t.phi > 0.0 && 1.0 + t.phi < 2.0);
            prop_assert!(t.psi.iter().all(|p| 1.0 + p > 0.0 && 1.0 + p < 2.0));
            prop_assert!(t.psi.iter().sum::<f64>().abs() < 1e-9);
            if !group.has_image || !spec.intra {
                prop_assert!(t.psi.iter().all(|p| *p == 0.0));
            }
        }
        prop_assert!(phi.abs() < 1e-9);
    }

    #[test]
    fn nothing_is_ever_not_a_number(group in groups(), paper in specs(Variant::Paper),
        released in specs(Variant::Released)) {
        for spec in [paper, released] {
            for t in shape(&group, &spec).unwrap().trajectories {
                let lists = [&t.focus, &t.progress, &t.compensation, &t.gate, &t.compensated_focus, &t.psi,
                    &t.shaped_advantage];
                prop_assert!(lists.into_iter().flatten().all(|v| v.is_finite()));
                prop_assert!(t.advantage.is_finite() && t.visual_accumulation.is_finite() && t.phi.is_finite());
            }
        }
    }

    #[test]
    fn the_gate_passes_at_least_its_share_and_only_in_the_tail(group in groups(), spec in specs(Variant::Paper)) {
        let spec = VgpoSpec { gate: true, ..spec };
        for t in shape(&group, &spec).unwrap().trajectories {
            let tokens = t.gate.len();
            let tail = (spec.gamma * tokens as f64 - 1e-9).ceil() as usize;
            prop_assert!(t.gate[..tokens - tail].iter().all(|g| *g == 0.0));
            let passed = t.gate.iter().sum::<f64>();
            let share = (spec.kappa * tail as f64 + 1e-9).floor().max(1.0).min(tail as f64);
            prop_assert!(passed >= share);
            let gated = t.gate.iter().zip(&t.focus).filter(|(g, _)| **g == 1.0).map(|(_, f)| *f);
            let lowest = gated.fold(f64::MAX, f64::min);
            let above = t.focus[tokens - tail..].iter().filter(|f| **f > lowest).count();
            prop_assert!((above as f64) < share || tokens == 0, "only ties may exceed the share");
        }
    }

    #[test]
    fn the_order_of_responses_does_not_matter(group in groups(), spec in specs(Variant::Paper),
        released in specs(Variant::Released)) {
        for spec in [spec, released] {
            let straight = shape(&group, &spec).unwrap();
            let mut turned = group.clone();
            turned.trajectories.reverse();
            let mut back = shape(&turned, &spec).unwrap();
            back.trajectories.reverse();
            for (a, b) in straight.trajectories.iter().zip(&back.trajectories) {
                prop_assert!(close(&a.shaped_advantage, &b.shaped_advantage));
                prop_assert!(close(&[a.phi], &[b.phi]));
            }
        }
    }

    #[test]
    fn equal_rewards_have_advantage_exactly_0(reward in -1e9..1e9_f64, n in 1_usize..20) {
        let equal = advantage::estimate(Estimator::Grpo, &vec![reward; n], RewardStatistics::of([]));
        prop_assert!(equal.iter().all(|a| *a == 0.0));
    }

    #[test]
    fn any_finite_rewards_have_finite_advantages(rewards in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::ZERO, 1..9)) {
        let advantages = advantage::estimate(Estimator::Grpo, &rewards, RewardStatistics::of([]));
        prop_assert!(advantages.iter().all(|a| a.is_finite()));
    }

    #[test]
    fn any_finite_logprobs_have_finite_gradients(
        new in prop::num::f64::NORMAL | prop::num::f64::ZERO,
        old in prop::num::f64::NORMAL | prop::num::f64::ZERO,
        reference in prop::num::f64::NORMAL | prop::num::f64::ZERO,
        advantage in -10.0..10.0,
        dual in prop_oneof![Just(None), Just(Some(3.0))],
    ) {
        let response = [vec![new], vec![old], vec![advantage], vec![reference]];
        let clipping = Clipping { low: 0.2, high: 0.28, dual, kl_coef: 0.1 };
        let (response, totals) = ([tokens(&response)], BatchTotals::of([1]));
        let output = clipped_surrogate(&response, totals, LossAverage::Token, clipping).unwrap();
        prop_assert!(output.loss.is_finite() && output.stats.approx_kl().is_finite());
        prop_assert!(output.responses[0].grad_logprobs[0].is_finite());
    }

    #[test]
    fn any_micro_batching_adds_up(batch in batches(), average in averages(),
        cuts in prop::collection::vec(any::<bool>(), 5)) {
        let clipping = Clipping { low: 0.2, high: 0.28, dual: Some(3.0), kl_coef: 0.01 };
        let totals = BatchTotals::of(batch.iter().map(|r| r[0].len()));
        let all: Vec<_> = batch.iter().map(tokens).collect();
        let whole = clipped_surrogate(&all, totals, average, clipping).unwrap();
        let (mut loss, mut responses, mut stats) = (0.0, Vec::new(), vgpo::algorithm::LossStats::default());
        let mut start = 0;
        for end in 1..=all.len() {
            if end == all.len() || cuts[end - 1] {
                let part = clipped_surrogate(&all[start..end], totals, average, clipping).unwrap();
                loss += part.loss;
                stats.merge(&part.stats);
                responses.extend(part.responses);
                start = end;
            }
        }
        prop_assert!(close(&[loss], &[whole.loss]));
        prop_assert_eq!(responses, whole.responses);
        prop_assert_eq!(stats.tokens, whole.stats.tokens);
        prop_assert!(close(&[stats.approx_kl()], &[whole.stats.approx_kl()]));
    }

    #[test]
    fn the_gradient_is_the_derivative_of_the_loss(batch in batches(), average in averages()) {
        const STEP: f64 = 1e-6;
        let clipping = Clipping { low: 0.2, high: 0.28, dual: Some(3.0), kl_coef: 0.05 };
        let totals = BatchTotals::of(batch.iter().map(|r| r[0].len()));
        let loss = |batch: &[[Vec<f64>; 4]]| {
            clipped_surrogate(&batch.iter().map(tokens).collect::<Vec<_>>(), totals, average, clipping).unwrap()
        };
        let gradient = loss(&batch).responses;
        for i in 0..batch.len() {
            for t in 0..batch[i][0].len() {
                let ratio = (batch[i][0][t] - batch[i][1][t]).exp();
                if [0.8, 1.28, 3.0].iter().any(|kink| (ratio - kink).abs() < 1e-4) {
                    continue;
                }
                let (mut up, mut down) = (batch.clone(), batch.clone());
                up[i][0][t] += STEP;
                down[i][0][t] -= STEP;
                let numeric = (loss(&up).loss - loss(&down).loss) / (2.0 * STEP);
                prop_assert!((numeric - gradient[i].grad_logprobs[t]).abs() < 1e-6, "{numeric} {:?}", gradient[i]);
            }
        }
    }
}
