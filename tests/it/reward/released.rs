//! The verdicts of the released reward: ours agree, except where theirs are wrong.

use serde_json::Value;
use vgpo::domain::spec::{RewardSpec, WeightedReward};
use vgpo::reward::{RewardInput, Verdict, build};

/// (answer, ground truth, our verdict, why the released one is wrong).
const DIFFERENT: [(&str, &str, bool, &str); 31] = [
    (r"−3", r"-3", true, "Unicode's minus is a minus"),
    (r"50\%", r"0.5", true, "a percentage is its hundredth"),
    (r"\frac{6}{8}", r"\frac{3}{4}", true, "fractions are equal by value"),
    (r"6/8", r"\frac{3}{4}", true, "fractions are equal by value"),
    (r"4/6", r"2/3", true, "fractions are equal by value"),
    (r"2√3", r"2\sqrt{3}", true, "the sign for a root is a root"),
    (r"2^{0.5}", r"\sqrt{2}", true, "expressions are equal by value"),
    (r"4π", r"4\pi", true, "the letter pi is pi"),
    (r"0.25", r"25%", true, "a percentage is its hundredth"),
    (r"\frac{1}{4}", r"25%", true, "a percentage is its hundredth"),
    (r"5 km", r"5", true, "a truth without unit accepts any unit"),
    (r"5\,\mathrm{m}", r"5", true, "a truth without unit accepts any unit"),
    (r"30", r"30°", true, "the sign for degrees is as good as ^\\circ"),
    (r"(-∞,2)", r"(-\infty,2)", true, "the sign for infinity is infinity"),
    (r"\{3,2,1\}", r"\{1,2,3\}", true, "a set has no order"),
    (r"A.", r"A", true, "the full stop is no part of the option"),
    (r"A) 5", r"A", true, "the option is named, and its text with it"),
    (r"Option A", r"A", true, "the option is named"),
    (r"Yes.", r"Yes", true, "the full stop is no part of the word"),
    (r"1\,000", r"1000", true, "a thin space groups thousands"),
    (r"1.5 \times 10^3", r"1.5e3", true, "powers of ten are numbers"),
    (r"1.5*10^3", r"1.5e3", true, "powers of ten are numbers"),
    (r"1.2 million", r"1200000", true, "a million is a number"),
    (r"1.2 \times 10^6", r"1200000", true, "powers of ten are numbers"),
    (r"1.2 \times 10^{6}", r"1200000", true, "powers of ten are numbers"),
    (r"length=3", r"3", true, "a named value is the value, however long the name"),
    (r"1024", r"2^{10}", true, "expressions are equal by value"),
    (r"2 or 1", r"1 or 2", true, "alternatives have no order"),
    (r"x \lt 2", r"x<2", true, "\\lt is <"),
    (r"dia", r"diameter", false, "\"meter\" inside a word is no unit"),
    (r"Mon", r"Monday", false, "\"day\" inside a word is no unit"),
];

fn released_rows() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rewards/cases.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn judge(spec: &RewardSpec, row: &Value) -> Verdict {
    let response = row["response"].as_str().unwrap();
    build(spec).unwrap().judge(RewardInput {
        response,
        ground_truth: row["ground_truth"].as_str().unwrap(),
        ..RewardInput::default()
    })
}

/// Ours and the expected verdict; None where the response has no box, which the released code reads as the answer
/// "None".
fn expected(row: &Value) -> Option<bool> {
    let (answer, truth) = (row["extracted"].as_str().unwrap(), row["ground_truth"].as_str().unwrap());
    let boxed = row["response"].as_str().unwrap().contains(&format!("\\boxed{{{answer}}}"));
    let different = DIFFERENT.iter().find(|d| (d.0, d.1) == (answer, truth));
    (boxed || answer.is_empty() || answer != "None").then(|| different.map_or(row["grade"] == true, |d| d.2))
}

#[test]
fn verdicts_agree_except_where_the_released_ones_are_wrong() {
    let mut faults = Vec::new();
    for row in released_rows() {
        let verdict = judge(&RewardSpec::Math, &row);
        let found = verdict.accuracy == Some(1.0);
        match expected(&row) {
            None => {
                assert!(!found && verdict.extracted.is_none(), "an absent box is never right, even for the truth None");
            }
            Some(right) => {
                assert_eq!(verdict.extracted.as_deref().map(str::trim), row["extracted"].as_str());
                if found != right {
                    faults.push(format!("{} for {}: found {found}", row["extracted"], row["ground_truth"]));
                }
            }
        }
        assert_eq!(Some(verdict.reward), verdict.accuracy);
        assert_eq!(Some(verdict.parts["math"]), verdict.accuracy);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A list of exceptions must not hide agreement.
#[test]
fn every_listed_difference_is_one() {
    let rows = released_rows();
    for (answer, truth, ours, why) in DIFFERENT {
        let row = rows.iter().find(|r| r["extracted"] == answer && r["ground_truth"] == truth);
        assert_eq!(row.unwrap()["grade"], !ours, "{answer} for {truth}: {why}");
    }
}

#[test]
fn format_and_the_weighted_sum_agree() {
    let part = |weight, reward| WeightedReward { weight, reward };
    let weighted = RewardSpec::Weighted { parts: vec![part(0.9, RewardSpec::Math), part(0.1, RewardSpec::Format)] };
    for row in released_rows() {
        let released = &row["compute_score"];
        assert_eq!(judge(&RewardSpec::Format, &row).reward, released["format"], "{}", row["response"]);
        let verdict = judge(&weighted, &row);
        assert_eq!(verdict.parts["format"], released["format"]);
        assert_eq!(verdict.accuracy, Some(verdict.parts["math"]));
        if released["accuracy"].as_f64() == verdict.accuracy {
            assert!((verdict.reward - released["overall"].as_f64().unwrap()).abs() < 1e-12, "{}", row["response"]);
        }
    }
}
