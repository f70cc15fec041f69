//! Weighted sums of rewards.

use vgpo::domain::spec::{RewardSpec, WeightedReward};
use vgpo::reward::{RewardInput, build};

fn weighted(parts: Vec<(f64, RewardSpec)>) -> RewardSpec {
    RewardSpec::Weighted {
        parts: parts.into_iter().map(|(weight, reward)| WeightedReward { weight, reward }).collect(),
    }
}

#[test]
fn weights_add_up_and_math_decides_accuracy() {
    let spec = weighted(vec![(2.0, RewardSpec::Math), (-0.5, weighted(vec![(1.0, RewardSpec::Format)]))]);
    let reward = build(&spec).unwrap();
    let judge = |response| reward.judge(RewardInput { response, ground_truth: "7", ..RewardInput::default() });
    let right = judge("\\boxed{7}");
    assert_eq!((right.reward, right.accuracy, right.parts["format"]), (2.0, Some(1.0), 0.0));
    assert_eq!(right.extracted.as_deref(), Some("7"));
    let tidy = judge("<think></think>\\boxed{8}");
    assert_eq!((tidy.reward, tidy.accuracy, tidy.parts["math"]), (-0.5, Some(0.0), 0.0));
}

#[test]
fn without_math_every_part_must_succeed() {
    let reward = build(&weighted(vec![(0.5, RewardSpec::Format)])).unwrap();
    let judge = |response| reward.judge(RewardInput { response, ground_truth: "7", ..RewardInput::default() }).accuracy;
    assert_eq!((judge("<think></think>\\boxed{}"), judge("7")), (Some(1.0), Some(0.0)));
}

#[test]
fn what_cannot_work_is_refused_by_name() {
    let refused = |spec| build(&spec).err().unwrap().to_string();
    assert!(refused(weighted(vec![])).contains("reward.parts is empty"));
    let nan = weighted(vec![(1.0, RewardSpec::Math), (f64::NAN, RewardSpec::Format)]);
    assert!(refused(nan).contains("reward.parts[1].weight is NaN"));
    let mut deep = RewardSpec::Math;
    for _ in 0..20 {
        deep = weighted(vec![(1.0, deep)]);
    }
    assert!(refused(deep).contains("nested deeper"));
}
