//! A run that was stopped ends with the same weights, bit for bit, as one that was not.

use std::path::Path;

use serde_json::json;
use vgpo::train::sink::{Control, ResumePoint};
use vgpo::train::{RunEnd, TrainError};

use super::{Recorder, run, spec, weights};

fn point(recorder: &Recorder) -> ResumePoint {
    let (step, dir) = recorder.checkpoints.last().unwrap().clone();
    ResumePoint { step, dir }
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    for method in [
        json!({ "type": "vgpo" }),
        json!({ "type": "vgpo", "control": "shuffled" }),
        json!({ "type": "grpo" }),
        json!({ "type": "papo" }),
        json!({ "type": "vppo" }),
        json!({ "type": "pepo", "estimator": "gdpo" }),
        json!({ "type": "sft" }),
    ] {
        let spec = spec(&json!({ "method": method, "steps": 3 }));
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut undisturbed = Recorder::default();
        run(&spec, whole.path(), None, &mut undisturbed).unwrap();

        // Asked to stop in the middle of the second step: the checkpoint holds the first step only.
        let polls = if method["type"] == "sft" { 3 } else { 4 };
        let controls = std::iter::repeat_n(Control::Continue, polls).chain([Control::Yield]).collect();
        let mut first = Recorder { controls, ..Recorder::default() };
        assert_eq!(run(&spec, parts.path(), None, &mut first).unwrap(), RunEnd::Yielded, "{method}");
        assert!(first.checkpoints.last().unwrap().0 < 3, "{method}");
        let mut second = Recorder::default();
        run(&spec, parts.path(), Some(point(&first)), &mut second).unwrap();

        let last = |r: &Recorder| weights(&r.checkpoints.last().unwrap().1);
        assert!(last(&undisturbed) == last(&second), "{method}: the weights must be equal bit for bit");
        let loss = |r: &Recorder| r.last("loss/policy").to_bits();
        assert_eq!(loss(&undisturbed), loss(&second), "{method}: so must the metrics");
    }
}

#[test]
fn a_run_that_was_stopped_while_it_was_evaluated_is_evaluated_when_it_goes_on() {
    let spec = spec(&json!({ "steps": 2, "eval_every": 0 }));
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut undisturbed = Recorder::default();
    let end = run(&spec, whole.path(), None, &mut undisturbed).unwrap();
    let mut first = Recorder { stop_at: Some((2, Control::Yield)), ..Recorder::default() };
    assert_eq!(run(&spec, parts.path(), None, &mut first).unwrap(), RunEnd::Yielded);
    let (step, dir) = first.checkpoints.last().unwrap();
    assert_eq!(*step, 2, "the step itself was done");
    assert!(std::fs::read_to_string(dir.join("trainer/state.json")).unwrap().contains("\"evaluation_due\": true"));
    assert!(first.metrics.iter().all(|m| m.step < 2 || !m.values.contains_key("eval/accuracy")));
    let mut second = Recorder::default();
    assert_eq!(run(&spec, parts.path(), Some(point(&first)), &mut second).unwrap(), end);
    assert_eq!(second.last("eval/accuracy").to_bits(), undisturbed.last("eval/accuracy").to_bits());
    assert_eq!(second.notices.last(), undisturbed.notices.last(), "the last checkpoint has its accuracy");
    let state = second.checkpoints.last().unwrap().1.join("trainer/state.json");
    assert!(!std::fs::read_to_string(state).unwrap().contains("\"evaluation_due\": true"));
}

#[test]
fn a_cancelled_evaluation_ends_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(&json!({ "eval_before": true }));
    let mut recorder = Recorder { stop_at: Some((0, Control::Cancel)), ..Recorder::default() };
    assert_eq!(run(&spec, dir.path(), None, &mut recorder).unwrap(), RunEnd::Cancelled);
    assert!(recorder.metrics.is_empty() && recorder.checkpoints.is_empty());
}

#[test]
fn the_checkpoint_a_run_resumed_from_may_be_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Recorder::default();
    run(&spec(&json!({ "steps": 1 })), dir.path(), None, &mut first).unwrap();
    let from = point(&first);
    let mut second = Recorder { prune: Some(from.dir.clone()), ..Recorder::default() };
    run(&spec(&json!({ "steps": 3 })), dir.path(), Some(from.clone()), &mut second).unwrap();
    assert!(!from.dir.exists());
    let (step, last) = second.checkpoints.last().unwrap();
    assert_eq!(*step, 3);
    assert!(last.join("tokenizer.json").is_file() && last.join("vgpo.json").is_file());
}

#[test]
fn a_cancelled_run_leaves_no_checkpoint_of_the_broken_step() {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder { controls: vec![Control::Continue, Control::Cancel], ..Recorder::default() };
    assert_eq!(run(&spec(&json!({})), dir.path(), None, &mut recorder).unwrap(), RunEnd::Cancelled);
    assert!(recorder.checkpoints.is_empty());
}

#[test]
fn a_checkpoint_is_complete_and_nothing_partial_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::default();
    run(&spec(&json!({ "steps": 1 })), dir.path(), None, &mut recorder).unwrap();
    let checkpoint = &recorder.checkpoints[0].1;
    for file in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "chat_template.json",
        "preprocessor_config.json",
        "vgpo.json",
        "trainer/state.json",
        "trainer/optimizer.safetensors",
        "trainer/job.json",
    ] {
        assert!(checkpoint.join(file).is_file(), "{file}");
    }
    let names: Vec<String> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names, ["step-00000001"]);
}

fn edit_state(dir: &Path, change: impl Fn(&mut serde_json::Value)) {
    let path = dir.join("trainer/state.json");
    let mut state: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut state);
    std::fs::write(path, state.to_string()).unwrap();
}

#[test]
fn a_changed_data_set_or_seed_cannot_be_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(&json!({ "steps": 1 }));
    let mut recorder = Recorder::default();
    run(&spec, dir.path(), None, &mut recorder).unwrap();
    let point = point(&recorder);
    let error = |part: &str| {
        let result = run(&spec, dir.path(), Some(point.clone()), &mut Recorder::default());
        let error = result.unwrap_err();
        assert!(error.is_permanent() && matches!(error, TrainError::Checkpoint { .. }));
        assert!(error.to_string().contains(part), "{error}");
    };
    edit_state(&point.dir, |state| state["seed"] = json!(99));
    error("seed 99");
    edit_state(&point.dir, |state| state["dataset"] = json!("other"));
    error("has changed since this run began");
}

#[test]
fn settings_that_cannot_work_end_the_run_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let error = |changes: serde_json::Value, part: &str| {
        let error = run(&spec(&changes), dir.path(), None, &mut Recorder::default()).unwrap_err();
        assert!(error.is_permanent());
        assert!(error.to_string().contains(part), "{error}");
    };
    error(json!({ "rollout": { "max_new_tokens": 4096 } }), "leaves no room for a prompt");
    error(json!({ "data": { "max_prompt_tokens": 5 } }), "row ");
    error(json!({ "data": { "max_prompt_tokens": 5, "overlong": "drop" } }), "rows in succession do not fit");
}
