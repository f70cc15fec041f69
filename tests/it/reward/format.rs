//! The shape of a response, and finding the box.

use vgpo::domain::spec::RewardSpec;
use vgpo::reward::{RewardInput, Verdict, build};

fn judge(spec: &RewardSpec, response: &str) -> Verdict {
    build(spec).unwrap().judge(RewardInput { response, ground_truth: "7", ..RewardInput::default() })
}

#[test]
fn a_thought_then_a_box() {
    let table = [
        ("<think>a</think> \\boxed{7}", 1.0),
        ("<think>a\nb</think>\nso \\boxed{7}, done.", 1.0),
        ("< think >a< / think > \\boxed{}", 1.0),
        (" <think>a</think> \\boxed{7}", 1.0),
        ("well <think>a</think> \\boxed{7}", 0.0),
        ("<think>a \\boxed{7}</think>", 0.0),
        ("<think>a</think> \\boxed{7", 0.0),
        ("<think>a \\boxed{7}", 0.0),
        ("<Think>a</Think> \\boxed{7}", 0.0),
        ("", 0.0),
    ];
    for (response, expected) in table {
        let verdict = judge(&RewardSpec::Format, response);
        assert_eq!(
            (verdict.reward, verdict.accuracy, verdict.parts["format"]),
            (expected, Some(expected), expected),
            "{response}"
        );
    }
}

#[test]
fn the_last_closed_box_counts() {
    let table = [
        ("\\boxed{1} \\boxed{7}", Some("7")),
        ("\\boxed{\\boxed{7}}", Some("7")),
        ("\\boxed{\\frac{14}{2}}", Some("\\frac{14}{2}")),
        ("\\boxed{ 7 }", Some(" 7 ")),
        ("\\boxed{\\{7\\}}", Some("\\{7\\}")),
        ("\\boxed{7} \\boxed{7", None),
        ("\\boxed 7", None),
        ("7", None),
    ];
    for (response, extracted) in table {
        let verdict = judge(&RewardSpec::Math, response);
        assert_eq!(verdict.extracted.as_deref(), extracted, "{response}");
        assert_eq!(verdict.accuracy, Some(f64::from(extracted.is_some())), "{response}");
    }
}
