//! The method `eval`: rows in chunks, the same numbers as an evaluation during training, and restarts that change
//! nothing.

use serde_json::{Value, json};
use vgpo::domain::eval_row::{EvalRow, ROWS_FILE};
use vgpo::domain::metric::EVAL_ACCURACY;
use vgpo::train::RunEnd;
use vgpo::train::sink::Control;

use super::{Recorder, run, spec};

fn job(changes: &Value) -> Value {
    let mut job = json!({
        "method": { "type": "eval" }, "eval_rows": 10, "batch": { "prompts_per_step": 4 },
        "eval": { "samples": 2, "temperature": 1.0 },
    });
    job.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    job
}

fn rows(recorder: &Recorder) -> Vec<EvalRow> {
    let text = |dir: &std::path::PathBuf| std::fs::read_to_string(dir.join(ROWS_FILE)).unwrap();
    let all: String = recorder.rows.iter().map(text).collect();
    all.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn results(recorder: &Recorder) -> Vec<(String, u64)> {
    let last = recorder.metrics.last().unwrap();
    let told = last.values.iter().filter(|(key, _)| key.starts_with("eval/") || key.starts_with("audit/"));
    told.map(|(key, value)| (key.clone(), value.to_bits())).collect()
}

#[test]
fn an_evaluation_measures_what_training_would_measure() {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::default();
    let end = run(&spec(&job(&json!({}))), dir.path(), None, &mut recorder).unwrap();
    let RunEnd::Finished { accuracy: Some(accuracy), stopped_early: None } = end else { panic!("{end:?}") };
    let steps: Vec<u64> = recorder.metrics.iter().map(|m| m.step).collect();
    assert_eq!(steps, [1, 2, 3], "ten rows in chunks of four");
    assert!(!recorder.metrics[0].values.contains_key("eval/accuracy"), "a part of the rows has no result yet");
    assert_eq!(recorder.metrics[2].samples, 20);
    assert!(recorder.checkpoints.is_empty());
    assert_eq!(recorder.samples.len(), 4, "rows of the first chunk to look at");

    let all = rows(&recorder);
    assert_eq!(all.iter().map(|row| row.row).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    let right: usize =
        all.iter().flat_map(|row| &row.responses).filter(|response| response.correct == Some(true)).count();
    assert!((accuracy - right as f64 / 20.0).abs() < 1e-12);
    let response = &all[0].responses[0];
    assert!(!response.text.is_empty() && response.tokens > 1 && response.reward_parts.contains_key("math"));
    assert!(response.focus.unwrap().mean > 0.0 && response.attention_image.unwrap().mean > 0.0);

    let mut trained = Recorder::default();
    let training = json!({
        "method": { "type": "sft" }, "steps": 1, "optimizer": { "learning_rate": 0.0 }, "eval_rows": 10,
        "eval": { "samples": 2, "temperature": 1.0 },
    });
    run(&spec(&training), dir.path(), None, &mut trained).unwrap();
    for key in ["eval/accuracy", "eval/accuracy_low", "eval/pass_at_2", "eval/late_early_ratio_right", "eval/reward"] {
        assert!((recorder.last(key) - trained.last(key)).abs() < 1e-6, "{key}");
    }
}

#[test]
fn a_restart_goes_on_behind_the_last_chunk_and_ends_with_the_same_numbers() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let spec = spec(&job(&json!({})));
    let mut whole = Recorder::default();
    run(&spec, one.path(), None, &mut whole).unwrap();
    let mut first = Recorder { controls: vec![Control::Continue, Control::Yield], ..Recorder::default() };
    assert_eq!(run(&spec, two.path(), None, &mut first).unwrap(), RunEnd::Yielded);
    assert_eq!(first.rows.len(), 1);
    let mut second = Recorder { rows: first.rows.clone(), ..Recorder::default() };
    run(&spec, two.path(), None, &mut second).unwrap();
    assert_eq!(second.metrics.iter().map(|m| m.step).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(rows(&second), rows(&whole));
    assert_eq!(results(&second), results(&whole), "bit for bit");
    // A run that died after its last chunk only has to finish.
    let mut third = Recorder { rows: second.rows.clone(), ..Recorder::default() };
    let end = run(&spec, two.path(), None, &mut third).unwrap();
    assert!(matches!(end, RunEnd::Finished { accuracy: Some(_), .. }) && third.metrics.is_empty());
}

#[test]
fn rows_to_train_on_can_be_evaluated_and_a_cancel_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let split = json!({ "method": { "type": "eval", "split": "train" }, "eval_rows": 4 });
    let (mut train, mut held_out) = (Recorder::default(), Recorder::default());
    run(&spec(&job(&split)), dir.path(), None, &mut train).unwrap();
    run(&spec(&job(&json!({ "eval_rows": 4 }))), dir.path(), None, &mut held_out).unwrap();
    let mut cancelled = Recorder { controls: vec![Control::Cancel], ..Recorder::default() };
    assert_eq!(run(&spec(&job(&json!({}))), dir.path(), None, &mut cancelled).unwrap(), RunEnd::Cancelled);
    assert!(cancelled.rows.is_empty());
    let samples = |recorder: &Recorder| recorder.samples.iter().map(|(_, g)| g.images.clone()).collect::<Vec<_>>();
    assert_ne!(samples(&train), samples(&held_out), "other rows");
}

#[test]
fn an_audit_measures_what_tokens_depend_on_the_image_for() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let method = json!({ "method": { "type": "eval", "audit": true }, "eval_rows": 6 });
    let spec = spec(&job(&method));
    let mut whole = Recorder::default();
    run(&spec, one.path(), None, &mut whole).unwrap();
    assert_eq!(whole.last("audit/responses"), 12.0);
    for key in ["dependent_mean", "dependent_late", "auc", "auc_predicting", "independent_gradient"] {
        let share = whole.last(&format!("audit/{key}"));
        assert!(share > 0.0 && share < 1.0, "{key}: {share}");
    }
    for key in ["spearman", "spearman_predicting", "spearman_right", "spearman_wrong"] {
        assert!(whole.last(&format!("audit/{key}")).abs() < 1.0, "{key}");
    }
    assert!(whole.last("audit/dependency_mean") > whole.last("audit/dependent_mean") * 0.1, "at least the threshold");
    let all = rows(&whole);
    let audits: Vec<_> = all.iter().flat_map(|row| &row.responses).map(|r| (r.tokens, r.audit.unwrap())).collect();
    let tokens: u64 = audits.iter().map(|(tokens, _)| tokens).sum();
    let dependent: f64 = audits.iter().map(|(tokens, audit)| *tokens as f64 * audit.dependent.mean).sum();
    assert!((whole.last("audit/dependent_mean") - dependent / tokens as f64).abs() < 1e-12);
    let sums = |of: fn(&vgpo::domain::eval_row::ResponseAudit) -> f64| audits.iter().map(|(_, a)| of(a)).sum::<f64>();
    let share = sums(|audit| audit.gradient_independent) / sums(|audit| audit.gradient);
    assert!((whole.last("audit/independent_gradient") - share).abs() < 1e-12);

    let mut first = Recorder { controls: vec![Control::Continue, Control::Yield], ..Recorder::default() };
    assert_eq!(run(&spec, two.path(), None, &mut first).unwrap(), RunEnd::Yielded);
    let mut second = Recorder { rows: first.rows.clone(), ..Recorder::default() };
    run(&spec, two.path(), None, &mut second).unwrap();
    assert_eq!(results(&second), results(&whole), "bit for bit");
}

#[test]
fn evaluations_measure_how_much_answers_depend_on_the_image() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let (mut plain, mut asked, mut audited) = (Recorder::default(), Recorder::default(), Recorder::default());
    run(&spec(&job(&json!({ "eval_rows": 6 }))), dirs[0].path(), None, &mut plain).unwrap();
    let eval = json!({ "eval_rows": 6, "eval": { "samples": 2, "temperature": 1.0, "image_dependence": true } });
    run(&spec(&job(&eval)), dirs[1].path(), None, &mut asked).unwrap();
    let mut both = eval;
    both["method"] = json!({ "type": "eval", "audit": true });
    run(&spec(&job(&both)), dirs[2].path(), None, &mut audited).unwrap();
    assert!(rows(&plain).iter().flat_map(|row| &row.responses).all(|response| response.dependence().is_none()));
    assert_eq!(plain.last(EVAL_ACCURACY), asked.last(EVAL_ACCURACY), "the answers are the same");
    let value = asked.last("eval/image_dependence");
    assert!(value > 0.0, "{value}");
    assert!((value - audited.last("audit/dependency_mean")).abs() < 1e-9 * value, "an audit measures the same");
    for response in rows(&audited).iter().flat_map(|row| &row.responses) {
        assert_eq!(response.image_dependence, response.audit.map(|audit| audit.dependency), "by one pair of passes");
    }
    let all = rows(&asked);
    let measured =
        all.iter().flat_map(|row| &row.responses).map(|r| (r.tokens as f64, r.image_dependence.unwrap().mean));
    let (sum, tokens) = measured.fold((0.0, 0.0), |(sum, count), (tokens, mean)| (sum + tokens * mean, count + tokens));
    assert!((value - sum / tokens).abs() < 1e-12);
}
