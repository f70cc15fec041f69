//! How many verdicts a second the rewards give, next to exact match: `cargo bench --bench rewards`.
//!
//! Absolute figures say more about the machine than about the rewards; the ratio to exact match, taken in the same run,
//! is what changes of the grader should be judged by.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::pedantic, missing_docs)]

use serde_json::{Value, json};
use vgpo::clock::Stopwatch;
use vgpo::reward::{RewardInput, build};

/// Verdicts of one measurement.
const VERDICTS: usize = 200_000;
/// Measurements; the middle one counts.
const ROUNDS: usize = 5;

/// Responses with their ground truths, as training sees them: most are plain numbers, some are not.
fn rows() -> Vec<(String, &'static str)> {
    let thoughts = "<think> The legs of the triangle are labelled 36 and 77. 36^2 + 77^2 = 7225 = 85^2. </think>";
    let answers = [
        ("85", "85"),
        ("12", "85"),
        ("6/8", "3/4"),
        ("\\frac{3}{4}", "0.75"),
        ("50\\%", "\\frac{1}{2}"),
        ("(1, 2]", "(1,2]"),
        ("3 \\text{ cm}", "3"),
        ("yes", "no"),
        ("2\\sqrt{3}", "\\sqrt{12}"),
        ("B", "(B)"),
    ];
    answers.map(|(answer, truth)| (format!("{thoughts} \\boxed{{{answer}}}"), truth)).into()
}

fn verdicts_per_second(spec: Value) -> f64 {
    let reward = build(&serde_json::from_value(spec).unwrap()).unwrap();
    let rows = rows();
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let watch = Stopwatch::start();
            let mut right = 0.0;
            for at in 0..VERDICTS {
                let (response, ground_truth) = &rows[at % rows.len()];
                right += reward.judge(RewardInput { response, ground_truth, ..RewardInput::default() }).reward;
            }
            assert!(right >= 0.0);
            VERDICTS as f64 / watch.seconds()
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn main() {
    let exact = verdicts_per_second(json!({"type": "exact"}));
    let weighted = json!({"type": "weighted", "parts": [
        {"weight": 0.9, "reward": {"type": "math"}}, {"weight": 0.1, "reward": {"type": "format"}}]});
    let specs = [
        ("exact", json!({"type": "exact"})),
        ("format", json!({"type": "format"})),
        ("choice", json!({"type": "choice"})),
        ("numeric", json!({"type": "numeric"})),
        ("regex", json!({"type": "regex", "pattern": "\\d+"})),
        ("math", json!({"type": "math"})),
        ("weighted (math, format)", weighted),
    ];
    println!("{:<26}{:>14}{:>20}", "reward", "verdicts/s", "time, exact = 1");
    for (name, spec) in specs {
        let speed = verdicts_per_second(spec);
        println!("{name:<26}{speed:>14.0}{:>20.2}", exact / speed);
    }
}
