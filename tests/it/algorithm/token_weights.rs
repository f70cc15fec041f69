//! PGPO and PEPO, which weigh the tokens of a response, and `gdpo`, which weighs the parts of a reward: numbers of the
//! authors' or of TRL's code where there are any, derivations where there are none.

use serde_json::Value;
use vgpo::algorithm::advantage::{self, RewardPart, RewardStatistics};
use vgpo::algorithm::{MaskedView, Trajectory, TrajectoryGroup, TrajectoryWeights, build};
use vgpo::config::method;
use vgpo::domain::spec::{Estimator, Method, PepoSpec, PgpoSpec};

use super::support::{assert_close, fixture, list, rows};

fn weigh(method: &Method, group: &TrajectoryGroup) -> Vec<TrajectoryWeights> {
    build(method).unwrap().weigh(group).unwrap().trajectories
}

fn group(trajectories: Vec<Trajectory>) -> TrajectoryGroup {
    TrajectoryGroup { has_image: true, trajectories, ..TrajectoryGroup::default() }
}

fn shaped(weights: &[TrajectoryWeights]) -> Vec<&[f64]> {
    weights.iter().map(|w| w.shaped_advantage.as_slice()).collect()
}

fn pgpo(change: impl Fn(&mut PgpoSpec)) -> Method {
    let mut spec = method::pgpo();
    change(&mut spec);
    Method::Pgpo(spec)
}

fn pepo(change: impl Fn(&mut PepoSpec)) -> Method {
    let mut spec = method::pepo();
    change(&mut spec);
    Method::Pepo(spec)
}

fn depending(dependency: &[f64], reward: f64) -> Trajectory {
    Trajectory { tokens: dependency.len(), dependency: dependency.to_vec(), reward, ..Trajectory::default() }
}

/// Dependencies 0, 1, 2, 5, scaled to 0, 0.2, 0.4 and 1: weights 0, 0.5, 1 and 3 before they are scaled to a mean of 1.
#[test]
fn pgpo_moves_advantage_to_dependent_tokens_and_keeps_its_sum() {
    let seen = group(vec![depending(&[0.0, 1.0, 2.0, 5.0], 1.0), depending(&[0.3, 0.3], 0.0)]);
    let found = weigh(&pgpo(|_| ()), &seen);
    let weights: Vec<f64> = [0.0, 0.5, 1.0, 3.0].map(|w| w / 1.125).to_vec();
    let expected: Vec<f64> = weights.iter().map(|w| w * found[0].advantage).collect();
    assert_close("A w", &found[0].shaped_advantage, &expected, 1e-12);
    assert_close("1 + psi", &found[0].psi, &weights.iter().map(|w| w - 1.0).collect::<Vec<_>>(), 1e-12);
    let sum: f64 = found[0].shaped_advantage.iter().sum();
    assert_close("the sum stays", &[sum], &[4.0 * found[0].advantage], 1e-12);
    assert_eq!(found[1].shaped_advantage, [found[1].advantage; 2], "all tokens depend alike");
    let view = build(&pgpo(|_| ())).unwrap().needs().masked_view;
    assert_eq!(view, Some(MaskedView { ratio: 1.0, in_loss: false }));
}

#[test]
fn pgpo_without_threshold_and_boost_or_dependencies_is_dapo() {
    let seen = group(vec![depending(&[0.1, 0.9, 0.2], 1.0), depending(&[2.0, 0.0], 0.0)]);
    let dapo = weigh(&Method::Dapo(method::dapo()), &seen);
    let off = pgpo(|s| (s.threshold, s.boost) = (0.0, 0.0));
    assert_eq!(shaped(&weigh(&off, &seen)), shaped(&dapo));
    let mut unseen = seen.clone();
    unseen.trajectories.iter_mut().for_each(|trajectory| trajectory.dependency.clear());
    for group in [unseen, TrajectoryGroup { has_image: false, ..seen.clone() }] {
        assert_eq!(shaped(&weigh(&pgpo(|_| ()), &group)), shaped(&dapo));
    }
    let mut short = seen;
    short.trajectories[0].dependency.pop();
    let error = build(&pgpo(|_| ())).unwrap().weigh(&short).unwrap_err().to_string();
    assert!(error.contains("dependency has 2 values, but the response has 3 tokens"), "{error}");
}

fn looking(similarity: &[f64], entropy: &[f64], reward: f64) -> Trajectory {
    let (similarity, entropy) = (similarity.to_vec(), entropy.to_vec());
    Trajectory { tokens: similarity.len(), similarity, entropy, reward, ..Trajectory::default() }
}

#[test]
fn pepos_weights_are_those_of_its_authors_code() {
    for case in fixture("objectives", "pepo")["cases"].as_array().unwrap() {
        let number = |key: &str| case[key].as_f64().unwrap();
        let method = pepo(|s| {
            (s.entropy_gate, s.weight_temperature) = (number("entropy_gate"), number("weight_temperature"));
        });
        let (similarity, entropy) = (rows(&case["similarity"]), rows(&case["entropy"]));
        let trajectory = |i: usize| looking(&similarity[i], &entropy[i], i as f64);
        let seen = group((0..similarity.len()).map(trajectory).collect());
        for (found, expected) in weigh(&method, &seen).iter().zip(rows(&case["weights"])) {
            let weights: Vec<f64> = found.psi.iter().map(|psi| 1.0 + psi).collect();
            assert_close("weights", &weights, &expected, 1e-12);
            let shaped: Vec<f64> = expected.iter().map(|w| w * found.advantage).collect();
            assert_close("A w", &found.shaped_advantage, &shaped, 1e-12);
        }
        // Half of the run: half of the way from weight 1.
        let half = weigh(&method, &TrajectoryGroup { progress: Some(0.5), ..seen.clone() });
        for (half, full) in half.iter().zip(weigh(&method, &seen)) {
            assert_close("half", &half.psi, &full.psi.iter().map(|psi| 0.5 * psi).collect::<Vec<_>>(), 1e-12);
        }
    }
}

#[test]
fn pepo_begins_as_dapo_and_needs_entropies() {
    let seen = group(vec![looking(&[0.1, 0.7, -0.2], &[0.0, 1.0, 2.0], 1.0), looking(&[0.5, 0.2], &[0.3, 0.1], 0.0)]);
    let dapo = weigh(&Method::Dapo(method::dapo()), &seen);
    let first = TrajectoryGroup { progress: Some(0.0), ..seen.clone() };
    assert_eq!(shaped(&weigh(&pepo(|_| ()), &first)), shaped(&dapo));
    assert_ne!(shaped(&weigh(&pepo(|s| s.anneal = false), &first)), shaped(&dapo));
    let mut unseen = seen.clone();
    unseen.trajectories.iter_mut().for_each(|trajectory| trajectory.entropy.clear());
    for group in [unseen, TrajectoryGroup { has_image: false, ..seen.clone() }] {
        assert_eq!(shaped(&weigh(&pepo(|_| ()), &group)), shaped(&dapo));
    }
    assert!(build(&pepo(|_| ())).unwrap().needs().token_entropy);
    let mut wrong = seen;
    wrong.trajectories[1].entropy[0] = f64::NAN;
    assert!(build(&pepo(|_| ())).unwrap().weigh(&wrong).unwrap_err().to_string().contains("entropy[0] is NaN"));
}

#[test]
fn settings_of_pgpo_and_pepo_are_checked() {
    for (method, field) in [
        (pgpo(|s| s.threshold = 1.0), "threshold"),
        (pgpo(|s| s.boost = -0.1), "boost"),
        (pgpo(|s| s.mask_ratio = 0.0), "mask_ratio"),
        (pepo(|s| s.weight_temperature = 0.0), "weight_temperature"),
        (pepo(|s| s.entropy_gate = f64::NAN), "entropy_gate"),
    ] {
        let error = build(&method).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

/// The parts of every response of a case, group by group.
fn parts(case: &Value) -> Vec<Vec<Vec<RewardPart>>> {
    let weights = list(&case["weights"]);
    let of = |values: &Vec<f64>| -> Vec<RewardPart> {
        weights.iter().zip(values).map(|(weight, value)| RewardPart { weight: *weight, value: *value }).collect()
    };
    let responses: Vec<Vec<RewardPart>> = rows(&case["rewards"]).iter().map(of).collect();
    responses.chunks(case["group_size"].as_u64().unwrap() as usize).map(<[_]>::to_vec).collect()
}

#[test]
fn gdpo_is_trls_normalize_then_sum() {
    for case in fixture("objectives", "gdpo")["cases"].as_array().unwrap() {
        let groups = parts(case);
        let sums: Vec<Vec<f64>> = groups.iter().map(|group| advantage::decoupled(group)).collect();
        let deviation = advantage::deviation(&sums.concat());
        let found: Vec<f64> = sums.iter().flat_map(|sums| advantage::of_decoupled(sums, Some(deviation))).collect();
        assert_close("advantages", &found, &list(&case["advantages"]), 1e-9);
        // The same through an objective.
        let mut spec = method::dapo();
        spec.policy.estimator = Estimator::Gdpo;
        let of_group = |group: &Vec<Vec<RewardPart>>| {
            let trajectory = |parts: &Vec<RewardPart>| Trajectory {
                tokens: 1,
                reward: parts.iter().map(|part| part.weight * part.value).sum(),
                parts: parts.clone(),
                ..Trajectory::default()
            };
            TrajectoryGroup {
                decoupled_deviation: Some(deviation),
                ..self::group(group.iter().map(trajectory).collect())
            }
        };
        let method = Method::Dapo(spec);
        let weighed = groups.iter().flat_map(|group| weigh(&method, &of_group(group)));
        assert_eq!(weighed.map(|weights| weights.advantage).collect::<Vec<_>>(), found);
    }
}

#[test]
fn gdpo_tells_apart_what_a_sum_does_not() {
    let part = |value| RewardPart { weight: 1.0, value };
    // Sums 1, 1, 0 and 0; the second part is rarer.
    let responses =
        [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]].map(|values| values.map(part).to_vec());
    let found = advantage::of_decoupled(&advantage::decoupled(&responses), None);
    assert!(found[1] > found[0] && found[0] > found[2], "{found:?}");
    assert_close("mean", &[found.iter().sum()], &[0.0], 1e-12);
    // Rewards without parts: one part in a step of one group.
    let plain = advantage::estimate(Estimator::Gdpo, &[1.0, 0.0, 0.0, 0.5], RewardStatistics::of([]));
    let grpo = advantage::estimate(Estimator::Grpo, &[1.0, 0.0, 0.0, 0.5], RewardStatistics::of([]));
    assert_close("one part", &plain, &grpo, 1e-3);
}
