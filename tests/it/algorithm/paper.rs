//! The paper's equations: every intermediate of every case of `fixtures/vgpo_paper`.

use serde_json::Value;
use vgpo::algorithm::explain::{Case, explain};
use vgpo::config::method;
use vgpo::domain::spec::Variant;

use super::support::{assert_close, assert_tree_close, fixture, list, names};

fn question(name: &str) -> (Value, Value) {
    let mut case = fixture("vgpo_paper", name);
    let expected = case.as_object_mut().unwrap().remove("expected").unwrap();
    (case, expected)
}

#[test]
fn every_intermediate_holds_in_f64() {
    let names = names("vgpo_paper");
    assert!(names.len() >= 19, "fixtures are missing");
    for name in names {
        let (case, expected) = question(&name);
        let found = explain(&case.to_string(), method::vgpo).unwrap();
        assert_tree_close(&name, &serde_json::to_value(found).unwrap(), &expected, 1e-9);
    }
}

#[test]
fn every_intermediate_holds_when_inputs_pass_through_f32() {
    for name in names("vgpo_paper") {
        let (case, expected) = question(&name);
        let mut case = Case::parse(&case.to_string(), method::vgpo).unwrap();
        let round = |v: &mut f64| *v = f64::from(*v as f32);
        for response in &mut case.responses {
            [&mut response.similarity, &mut response.logprobs, &mut response.old_logprobs]
                .into_iter()
                .for_each(|l| l.iter_mut().for_each(round));
        }
        assert_tree_close(&name, &serde_json::to_value(case.explain().unwrap()).unwrap(), &expected, 1e-5);
    }
}

/// The loss is accumulated per micro-batch in training; one response at a time must give the same.
#[test]
fn weights_and_loss_go_through_the_trait_as_through_explain() {
    use vgpo::algorithm::{BatchTotals, ResponseTokens, build};
    use vgpo::domain::spec::Method;
    for name in names("vgpo_paper") {
        let (json, expected) = question(&name);
        let case = Case::parse(&json.to_string(), method::vgpo).unwrap();
        let algorithm = build(&Method::Vgpo(case.config.clone())).unwrap();
        let similarities = case.responses.iter().map(|r| r.similarity.clone()).collect();
        let mut group =
            super::support::group(similarities, &case.responses.iter().map(|r| r.reward).collect::<Vec<_>>());
        group.has_image = case.has_image;
        let weights = algorithm.weigh(&group).unwrap();
        let totals = BatchTotals::of(case.responses.iter().map(|r| r.logprobs.len()));
        let mut loss = 0.0;
        for (i, (response, weights)) in case.responses.iter().zip(&weights.trajectories).enumerate() {
            let tokens = ResponseTokens {
                logprobs: &response.logprobs,
                old_logprobs: &response.old_logprobs,
                advantages: &weights.shaped_advantage,
                correction: None,
                reference_logprobs: None,
                masked_logprobs: None,
                ..ResponseTokens::default()
            };
            let output = algorithm.loss(&[tokens], totals).unwrap();
            let gradient = list(&expected["responses"][i]["grad_logprobs"]);
            assert_close(&format!("{name} gradient {i}"), &output.responses[0].grad_logprobs, &gradient, 1e-9);
            loss += output.loss;
        }
        assert_close(&name, &[loss], &[expected["loss"].as_f64().unwrap()], 1e-9);
    }
}

#[test]
fn variants_differ_on_the_same_case() {
    let (mut case, expected) = question("default");
    case["config"]["variant"] = "released".into();
    let found = explain(&case.to_string(), method::vgpo).unwrap();
    let focus: Vec<f64> = found.responses.iter().flat_map(|r| r.focus.iter().copied()).collect();
    assert_eq!(focus.iter().copied().fold(f64::INFINITY, f64::min), 0.0);
    assert_eq!(focus.iter().copied().fold(f64::NEG_INFINITY, f64::max), 1.0);
    assert_eq!(found.responses[0].progress[0], 0.0);
    assert!(found.responses.iter().all(|r| (-0.1 - 1e-12..=1.0).contains(&r.phi)), "1 + phi is clamped to [0.9, 2]");
    assert!((found.loss - expected["loss"].as_f64().unwrap()).abs() > 1e-6);
    assert_eq!(method::vgpo(Variant::Released).phi_clamp, Some([0.9, 2.0]));
}
