//! `vgpo train`: a folder belongs to one job, which may continue there.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// Standard error of a job in the folder `out`; none where it ended well.
fn train(out: &Path, job: &Value) -> Option<String> {
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/starter");
    let mut whole = json!({
        "model": starter, "dataset": "digits", "steps": 1, "eval_before": false, "eval_every": 0, "eval_rows": 2,
        "checkpoint_every": 1, "log_samples_every": 0, "batch": { "prompts_per_step": 1, "minibatch_prompts": 1 },
        "rollout": { "group_size": 2, "max_new_tokens": 4, "filter": null },
    });
    whole.as_object_mut().unwrap().extend(job.as_object().unwrap().clone());
    let spec = out.with_extension("json");
    std::fs::write(&spec, whole.to_string()).unwrap();
    let program = env!("CARGO_BIN_EXE_vgpo");
    let done = Command::new(program).arg("train").arg("--spec").arg(spec).arg("--out").arg(out).output().unwrap();
    (!done.status.success()).then(|| String::from_utf8_lossy(&done.stderr).into_owned())
}

fn steps(out: &Path) -> usize {
    std::fs::read_to_string(out.join("metrics.jsonl")).unwrap().lines().count()
}

#[test]
fn a_run_continues_in_its_folder_and_another_job_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    assert_eq!(train(&out, &json!({})), None);
    let told = train(&out, &json!({ "method": { "type": "grpo" } })).unwrap();
    assert!(told.contains("`method.type` is \"vgpo\" and not \"grpo\"") && told.contains("--out"), "{told}");
    let told = train(&out, &json!({ "optimizer": { "learning_rate": 0.5 } })).unwrap();
    assert!(told.contains("`optimizer.learning_rate` is ") && told.contains("not 0.5"), "{told}");
    let before = steps(&out);
    assert_eq!(train(&out, &json!({ "steps": 2, "log_samples_every": 1 })), None);
    assert!(steps(&out) > before, "it went on");
}

#[test]
fn an_evaluation_does_not_report_the_rows_of_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("evaluation");
    let eval = |dataset: &str| json!({ "dataset": dataset, "method": { "type": "eval" } });
    assert_eq!(train(&out, &eval("digits")), None);
    let told = train(&out, &eval("chart")).unwrap();
    assert!(told.contains("`dataset` is \"digits\" and not \"chart\""), "{told}");
    assert_eq!(train(&out, &eval("digits")), None, "the same one may be asked for again");
}
