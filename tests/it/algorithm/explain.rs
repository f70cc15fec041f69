//! `explain`: what it reads and what it refuses.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use vgpo::algorithm::explain::explain;
use vgpo::config::method;

use super::support::{assert_tree_close, fixture};

fn case() -> Value {
    json!({"responses": [
        {"similarity": [0.1, 0.5], "reward": 1.0, "old_logprobs": [-1.0, -0.5], "logprobs": [-0.9, -0.6]},
        {"similarity": [0.3], "reward": 0.0, "old_logprobs": [-1.0], "logprobs": [-1.1]},
    ]})
}

fn fault(case: &Value) -> String {
    explain(&case.to_string(), method::vgpo).unwrap_err().to_string()
}

#[test]
fn absent_settings_are_the_defaults() {
    let mut spelled_out = case();
    spelled_out["config"] = fixture("vgpo_paper", "default")["config"].clone();
    spelled_out["has_image"] = true.into();
    let found = explain(&case().to_string(), method::vgpo).unwrap();
    assert_eq!(found, explain(&spelled_out.to_string(), method::vgpo).unwrap());
}

#[test]
fn mistakes_are_named() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut case = case();
        change(&mut case);
        fault(&case)
    };
    let table: [(&str, String); 10] = [
        ("config has an unknown field `gama`; did you mean `gamma`?", with(&|c| c["config"] = json!({"gama": 0.5}))),
        ("the case has an unknown field `response`; did you mean `responses`?", with(&|c| c["response"] = json!([]))),
        (
            "responses[0] has an unknown field `logprob`; did you mean `logprobs`?",
            with(&|c| c["responses"][0]["logprob"] = json!([])),
        ),
        ("config.beta: invalid type", with(&|c| c["config"] = json!({"beta": "strong"}))),
        (
            "config.variant: unknown variant `papr`, expected `paper` or `released`",
            with(&|c| c["config"] = json!({"variant": "papr"})),
        ),
        ("method.kappa is 0", with(&|c| c["config"] = json!({"kappa": 0.0}))),
        ("responses[1].reward: invalid type", with(&|c| c["responses"][1]["reward"] = json!("good"))),
        (
            "similarity has 1 values, but the response has 2 tokens",
            with(&|c| c["responses"][0]["similarity"] = json!([0.1])),
        ),
        ("`responses` is empty", with(&|c| c["responses"] = json!([]))),
        ("has_image is 1", with(&|c| c["has_image"] = json!(1))),
    ];
    for (expected, found) in table {
        assert!(found.contains(expected), "expected `{expected}`, found `{found}`");
    }
    assert!(explain("{", method::vgpo).unwrap_err().to_string().contains("not valid JSON"));
    let mut kl = case();
    kl["config"] = json!({"kl_coef": 0.1});
    assert!(fault(&kl).contains("reference log-probs are missing"));
}

#[test]
fn the_command_prints_the_expected_object() {
    let mut case = fixture("vgpo_paper", "exponential");
    let expected = case.as_object_mut().unwrap().remove("expected").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_vgpo"))
        .args(["explain", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(case.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_tree_close("stdout", &serde_json::from_slice(&output.stdout).unwrap(), &expected, 1e-9);

    let missing = Command::new(env!("CARGO_BIN_EXE_vgpo")).args(["explain", "no/such/file.json"]).output().unwrap();
    assert!(!missing.status.success() && missing.stdout.is_empty());
    assert!(String::from_utf8(missing.stderr).unwrap().contains("no/such/file.json"));
}
