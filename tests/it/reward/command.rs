//! The command `vgpo reward`.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn run(spec: &str, rows: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vgpo"))
        .args(["reward", "--spec", spec])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its settings does not read its input.
    let _ = child.stdin.take().unwrap().write_all(rows.as_bytes());
    child.wait_with_output().unwrap()
}

const SPEC: &str = r#"{"type": "weighted", "parts": [
    {"weight": 0.9, "reward": {"type": "math"}}, {"weight": 0.1, "reward": {"type": "format"}}]}"#;

#[test]
fn rows_in_verdicts_out() {
    let row = |response: &str| format!("{}\n", json!({"response": response, "ground_truth": "1/2"}));
    let rows = row("<think></think>\\boxed{0.5}") + "\n" + &row("0.5");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), SPEC).unwrap();
    for spec in [SPEC, file.path().to_str().unwrap()] {
        let output = run(spec, &rows);
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let verdicts: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let expected = [
            json!({"reward": 1.0, "parts": {"format": 1.0, "math": 1.0}, "extracted": "0.5"}),
            json!({"reward": 0.0, "parts": {"format": 0.0, "math": 0.0}, "extracted": null}),
        ];
        assert_eq!(verdicts, expected);
    }
}

#[test]
fn mistakes_are_named() {
    let good = json!({"response": "\\boxed{1}", "ground_truth": "1"}).to_string();
    let math = r#"{"type": "math"}"#;
    let table = [
        (math, format!("{good}\n{{\"response\": 1}}\n"), "line 2:"),
        (math, format!("{good}\n{good}\nnonsense\n"), "line 3:"),
        (math, "{\"response\": \"a\", \"truth\": \"b\"}".to_owned(), "unknown field `truth`"),
        (r#"{"type": "maths"}"#, String::new(), "unknown variant `maths`"),
        (r#"{"type": "weighted", "parts": []}"#, String::new(), "non-empty list of parts"),
        ("no/such/spec.json", String::new(), "cannot read no/such/spec.json"),
    ];
    for (spec, rows, expected) in table {
        let output = run(spec, &rows);
        assert!(!output.status.success());
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(expected), "expected `{expected}`, found `{message}`");
    }
}
