//! Evaluation, early stopping and the marks of checkpoints.

use serde_json::{Value, json};
use vgpo::train::RunEnd;
use vgpo::train::sink::{Control, ResumePoint};

use super::{Recorder, run, spec};

fn finished(changes: &Value, resume: Option<ResumePoint>, dir: &std::path::Path) -> (Recorder, Option<String>) {
    let mut recorder = Recorder::default();
    let end = run(&spec(changes), dir, resume, &mut recorder).unwrap();
    let RunEnd::Finished { stopped_early, .. } = end else { panic!("{end:?}") };
    (recorder, stopped_early)
}

/// The learning rate never gets better than at the first step: two steps of patience end the run at the third.
fn patient() -> Value {
    json!({
        "method": { "type": "sft" }, "optimizer": { "warmup_steps": 0 }, "steps": 6, "checkpoint_every": 2,
        "early_stop": { "metric": "optimizer/learning_rate", "patience": 2 },
    })
}

#[test]
fn a_metric_that_stops_improving_ends_the_run_with_a_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (recorder, why) = finished(&patient(), None, dir.path());
    let steps: Vec<u64> = recorder.notices.iter().map(|n| n.step).collect();
    assert_eq!(steps, [2, 3]);
    assert!(!recorder.notices[0].last && recorder.notices[1].last);
    assert!(recorder.notices[1].accuracy.is_some(), "the end is evaluated");
    let why = why.unwrap();
    assert!(why.contains("`optimizer/learning_rate`") && why.contains("(step 1)"), "{why}");
    let told: Vec<_> = recorder.events.iter().filter(|(kind, _)| kind == "early_stop").collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].1.contains("step 3"), "{}", told[0].1);

    // A worker that died before it could say so finds the run at its end.
    let (step, end) = recorder.checkpoints.last().unwrap().clone();
    let (again, reason) = finished(&patient(), Some(ResumePoint { dir: end, step }), dir.path());
    assert_eq!((again.metrics.len(), reason.as_deref()), (0, Some(why.as_str())));
}

#[test]
fn patience_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Recorder { controls: vec![Control::Continue, Control::Yield], ..Recorder::default() };
    assert_eq!(run(&spec(&patient()), dir.path(), None, &mut first).unwrap(), RunEnd::Yielded);
    let (step, from) = first.checkpoints.last().unwrap().clone();
    assert_eq!(step, 1);
    let (second, why) = finished(&patient(), Some(ResumePoint { dir: from, step }), dir.path());
    assert_eq!(second.notices.last().unwrap().step, 3);
    assert!(why.is_some());
}

#[test]
fn a_checkpoint_carries_the_metric_that_decides_which_is_best() {
    let dir = tempfile::tempdir().unwrap();
    let changes = json!({
        "method": { "type": "sft" }, "steps": 2, "eval_every": 2,
        "best": { "metric": "loss/policy", "better": "lower" },
    });
    let (recorder, why) = finished(&changes, None, dir.path());
    assert_eq!(why, None);
    for notice in &recorder.notices {
        let found = recorder.metrics.iter().find(|m| m.step == notice.step && m.values.contains_key("loss/policy"));
        assert_eq!(notice.score, Some(-found.unwrap().values["loss/policy"]), "less loss is a higher score");
        assert_eq!(notice.accuracy.is_some(), notice.step == 2);
    }
    let (plain, _) = finished(&json!({ "method": { "type": "sft" }, "steps": 1 }), None, dir.path());
    assert_eq!(plain.notices[0].score, plain.notices[0].accuracy, "accuracy decides unless something else is chosen");
}

#[test]
fn several_samples_a_row_have_pass_at_k_and_an_interval() {
    let dir = tempfile::tempdir().unwrap();
    let changes = json!({
        "method": { "type": "sft" }, "steps": 1, "eval_rows": 12, "optimizer": { "learning_rate": 0.0 },
        "eval": { "samples": 4, "temperature": 1.0 },
    });
    let (recorder, _) = finished(&changes, None, dir.path());
    let of = |key: &str| recorder.last(&format!("eval/{key}"));
    assert!((of("pass_at_1") - of("accuracy")).abs() < 1e-12, "one draw is right as often as the mean says");
    assert!(of("pass_at_1") <= of("pass_at_2") && of("pass_at_2") <= of("pass_at_4"));
    assert!(of("pass_at_4") > of("accuracy"), "the starter is unsure at temperature 1");
    assert!(of("accuracy_low") < of("accuracy") && of("accuracy") < of("accuracy_high"));
    for side in ["right", "wrong"] {
        for key in ["focus_mean", "focus_early", "attention_image_late", "late_early_ratio"] {
            assert!(of(&format!("{key}_{side}")) > 0.0);
        }
    }
    let logged = recorder.samples.iter().find(|(_, group)| group.eval).unwrap();
    assert_eq!(logged.1.responses.len(), 4);
    // The same rows with the same seed get the same answers.
    let (again, _) = finished(&changes, None, dir.path());
    assert_eq!(again.last("eval/accuracy"), of("accuracy"));
}

#[test]
fn every_evaluation_hands_over_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut changes =
        json!({ "method": { "type": "sft" }, "steps": 2, "eval_every": 1, "eval_rows": 10, "eval_before": true });
    let (recorder, _) = finished(&changes, None, dir.path());
    let steps: Vec<u64> = recorder.evaluations.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [0, 1, 2]);
    for (step, rows) in &recorder.evaluations {
        assert_eq!(rows.iter().map(|row| row.row).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        let measured = recorder.metrics.iter().find(|m| m.step == *step && m.values.contains_key("eval/accuracy"));
        let right = rows.iter().filter(|row| row.responses[0].correct == Some(true)).count();
        assert!((measured.unwrap().values["eval/accuracy"] - right as f64 / 10.0).abs() < 1e-12);
        for response in rows.iter().flat_map(|row| &row.responses) {
            let along = response.focus_along.as_ref().unwrap();
            let focus = response.focus.unwrap();
            // The answers are longer than 16 tokens or not: the first part with a token is early, the last late.
            assert_eq!(along.len(), vgpo::domain::eval_row::ALONG);
            let mean = along.iter().flatten().sum::<f64>() / along.iter().flatten().count() as f64;
            assert!((mean - focus.mean).abs() < 0.1, "{mean} and {}", focus.mean);
        }
    }
    assert!(!dir.path().join("rows-step-00000001").exists(), "nothing is left in the working folder");
    changes["log_samples_every"] = json!(0);
    let (silent, _) = finished(&changes, None, dir.path());
    assert!(silent.evaluations.is_empty(), "where no samples are logged, no rows are kept");
}

#[test]
fn every_metric_of_a_run_is_described() {
    let dir = tempfile::tempdir().unwrap();
    for method in ["vgpo", "papo", "vppo"] {
        let (recorder, _) = finished(&json!({ "method": { "type": method }, "steps": 1 }), None, dir.path());
        for key in recorder.metrics.iter().flat_map(|m| m.values.keys()) {
            assert!(vgpo::domain::metric::describe(key).is_some(), "{key} is not in the catalogue");
        }
    }
}

/// What must be visible while a run trains, on a task where something is learnt at the first step.
#[test]
fn the_learner_tells_what_it_sees() {
    let dir = tempfile::tempdir().unwrap();
    let changes = json!({ "method": { "type": "vgpo" }, "steps": 1, "rollout": { "group_size": 8, "filter": null } });
    let (recorder, _) = finished(&changes, None, dir.path());
    for key in [
        "reward/std",
        "reward/math/std",
        "accuracy",
        "response_length/min",
        "response_length/cut_off",
        "groups/kept",
        "groups/dropped",
        "advantage/mean",
        "advantage/std",
        "loss/policy",
        "loss/total",
        "policy/kl",
        "policy/entropy",
        "policy/clip_fraction_low",
        "policy/clip_fraction_high",
        "policy/dual_clip_fraction",
        "optimizer/grad_norm",
        "optimizer/learning_rate",
        "throughput/tokens_per_second",
        "time/rollout",
        "time/reward",
        "time/logprob",
        "time/update",
        "time/checkpoint",
        "visual/focus_mean",
        "visual/focus_early",
        "visual/focus_late",
        "visual/late_early_ratio",
        "visual/gate_rate",
        "visual/compensation_mean",
        "visual/token_weight_std",
        "visual/token_weight_min",
        "visual/token_weight_max",
        "visual/trajectory_weight_min",
        "visual/trajectory_weight_max",
        "attention/image",
        "attention/query_early",
        "attention/generated_late",
    ] {
        recorder.last(key);
    }
}

#[test]
fn a_reward_that_never_changes_raises_one_warning() {
    let dir = tempfile::tempdir().unwrap();
    // No response can hold this text, so every reward is 0.
    let changes = json!({
        "method": { "type": "grpo" }, "steps": 4, "reward": { "type": "regex", "pattern": "never" },
        "batch": { "prompts_per_step": 1 }, "rollout": { "group_size": 2 }, "checkpoint_every": 0, "eval_rows": 1,
    });
    let (recorder, _) = finished(&changes, None, dir.path());
    let warnings: Vec<_> = recorder.events.iter().filter(|(kind, _)| kind == "warning.constant_reward").collect();
    assert_eq!(warnings.len(), 1, "{:?}", recorder.events);
    assert!(warnings[0].1.contains("first 3 steps") && warnings[0].1.contains("`reward`"), "{}", warnings[0].1);
}
