//! `POST /v1/audits` and `vgpo audit`.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::datasets::{LINES, checked, rows, send};
use super::support::Api;

#[tokio::test]
async fn an_audit_is_a_job_that_evaluates() {
    let api = Api::start().await;
    let body = json!({"model": "tiny", "dataset": "digits", "data": {"max_prompt_tokens": 4000}});
    let answer = api.post("/v1/audits", body.clone()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let spec = &answer.body["spec"];
    assert_eq!(spec["method"], json!({"type": "eval", "split": "eval", "audit": true, "dependency_threshold": 0.1}));
    assert_eq!(
        (&spec["eval_rows"], &spec["eval"]["samples"], &spec["eval"]["temperature"]),
        (&json!(128), &json!(2), &json!(1.0))
    );

    let with = |more: Value| {
        let mut body = body.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let api = &api;
        async move { api.post("/v1/audits", body).await }
    };
    let chosen =
        with(json!({"split": "train", "dependency_threshold": 0.5, "eval": {"samples": 4}, "eval_rows": 9})).await;
    assert_eq!(chosen.status, 201, "{}", chosen.body);
    let spec = &chosen.body["spec"];
    assert_eq!((&spec["method"]["split"], &spec["method"]["dependency_threshold"]), (&json!("train"), &json!(0.5)));
    assert_eq!((&spec["eval"]["samples"], &spec["eval"]["temperature"]), (&json!(4), &json!(1.0)));

    let made = send(&api, "?name=texts", LINES, rows(8)).await;
    assert_eq!(made.status, 202, "{}", made.body);
    assert_eq!(checked(&api, "texts").await["state"], "ready");
    for (more, pointer, part) in [
        (json!({"method": {"type": "vgpo"}}), "/method", "leave `method` out"),
        (json!({"dataset": "texts"}), "/dataset", "the rows of data set `texts` have none"),
        (json!({"dependency_threshold": 0}), "/method/dependency_threshold", "above 0"),
        (json!({"thresholds": 1}), "/thresholds", "thresholds"),
        (json!({"eval": {"temperature": 0}}), "/eval/temperature", "at which all 2 `samples`"),
    ] {
        let answer = with(more).await;
        let fault = &answer.problem(422, "invalid_request")["errors"][0];
        assert_eq!(fault["pointer"], pointer, "{fault}");
        assert!(fault["detail"].as_str().unwrap().contains(part), "{fault}");
    }
}

#[tokio::test]
async fn the_results_of_an_audit_come_with_a_forecast() {
    let api = Api::start().await;
    let run = api.submit(json!({})).await["run_id"].as_str().unwrap().to_owned();
    let (path, leased) = (format!("/v1/runs/{run}/audit"), api.claim().await);
    assert_eq!(api.get(&path).await.body, json!({"run_id": run, "metrics": {}, "forecast": null}));
    // Accuracy alone is no audit.
    api.report(&leased, 1, &[("eval/accuracy", 0.5), ("loss/policy", 1.0)]).await;
    assert_eq!(api.get(&path).await.body["metrics"], json!({}));
    api.report(&leased, 2, &[("eval/accuracy", 0.75), ("audit/spearman", 0.25), ("loss/policy", 1.0)]).await;
    let found = api.get(&path).await.body;
    assert_eq!(found["metrics"], json!({"eval/accuracy": 0.75, "audit/spearman": 0.25}));
    assert_eq!(found["forecast"]["verdict"], "unknown");
    api.get("/v1/runs/run_none/audit").await.problem(404, "not_found");
}

fn vgpo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vgpo")).arg("audit").args(arguments).output().unwrap()
}

#[test]
fn the_command_prints_a_table_and_a_forecast() {
    let place = tempfile::tempdir().unwrap();
    let starter = format!("{}/assets/starter", env!("CARGO_MANIFEST_DIR"));
    let out = place.path().join("out").display().to_string();
    let data = place.path().join("data").display().to_string();
    let arguments = [&starter, "digits", "--rows", "3", "--samples", "2", "--out", &out, "--data", &data];
    let first = vgpo(&arguments);
    let text = String::from_utf8(first.stdout).unwrap();
    assert!(first.status.success(), "{text}{}", String::from_utf8_lossy(&first.stderr));
    for part in ["rank correlation", "AUC, last third", "tokens that depend on the image", "gradient variance"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // It is there already: the same again, as JSON.
    let again = vgpo(&[&arguments[..], &["--json"]].concat());
    let printed: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(printed["metrics"]["audit/responses"], 6.0);
    let forecast = printed["forecast"]["text"].as_str().unwrap();
    assert!(text.trim_end().ends_with(forecast), "{forecast}: {text}");
    // Another audit does not mix with it.
    let other = vgpo(&[&starter, "digits", "--rows", "4", "--out", &out, "--data", &data]);
    assert!(
        !other.status.success() && String::from_utf8_lossy(&other.stderr).contains("holds the results of another job")
    );
    // Rows without images.
    let file = place.path().join("texts.jsonl");
    let row = |split: &str| json!({"problem": "1 + 1 ?", "answer": "2", "split": split}).to_string();
    std::fs::write(&file, format!("{}\n{}\n", row("train"), row("test"))).unwrap();
    let blind = place.path().join("blind").display().to_string();
    let refused = vgpo(&[&starter, &file.display().to_string(), "--out", &blind, "--data", &data]);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && error.contains("none of the first 1 rows has one"), "{error}");
}
