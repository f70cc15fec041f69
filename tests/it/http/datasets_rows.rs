//! What a check promises a job: kinds of rows that it would refuse are told before it runs.

use serde_json::{Value, json};

use super::datasets::{LINES, checked, form, lines, png, send};
use super::support::Api;

const FORM: &str = "multipart/form-data; boundary=B";

/// Uploads rows with a picture of a usual shape, `a.png`, and one that is 300 times as wide as high, `thin.png`.
async fn uploaded(api: &Api, name: &str, rows: &[Value]) -> Value {
    let data = lines(rows);
    let body = form(&[
        ("name", None, name.as_bytes()),
        ("file", Some("rows.jsonl"), &data),
        ("file", Some("a.png"), &png(30, 20)),
        ("file", Some("thin.png"), &png(900, 3)),
    ]);
    assert_eq!(send(api, "", FORM, body).await.status, 202);
    checked(api, name).await
}

/// Codes and details of the warnings of a dry run.
async fn warned(api: &Api, job: Value) -> String {
    let plan = api.post("/v1/jobs?dry_run=true", job).await;
    assert_eq!(plan.status, 200, "{}", plan.body);
    let warnings = plan.body["warnings"].as_array().unwrap().clone();
    warnings.iter().map(|w| format!("{} {}\n", w["code"].as_str().unwrap(), w["detail"].as_str().unwrap())).collect()
}

fn row(prompt: &str, image: &str, split: &str) -> Value {
    json!({"problem": prompt, "answer": "1", "images": [image], "split": split})
}

#[tokio::test]
async fn rows_that_do_not_fit_are_told_before_the_start() {
    let api = Api::start().await;
    let long = "what is the sum of the digits ? ".repeat(700);
    let rows = [
        row("a", "a.png", "train"),
        row("b", "thin.png", "train"),
        row(&long, "a.png", "train"),
        row("c", "a.png", "test"),
    ];
    let entry = uploaded(&api, "mine", &rows).await;
    let report = &entry["report"];
    assert_eq!((&entry["state"], &report["rows_with_thin_image"]["rows"]), (&json!("ready"), &json!(1)), "{entry}");
    assert_eq!(report["rows_with_thin_image"]["first"]["row"], 2);
    assert_eq!(report["tokens"]["refused"]["rows"], 1, "{report}");
    let told = warned(&api, json!({"model": "tiny", "dataset": "mine", "method": {"type": "grpo"}})).await;
    assert!(told.contains("thin_images 1 rows of `mine`") && told.contains("row 2 of `rows.jsonl`"), "{told}");
    assert!(told.contains("overlong_rows the longest prompt") && told.contains("the job will fail"), "{told}");
    let job = json!({"model": "tiny", "dataset": "mine", "method": {"type": "grpo"}, "data": {"overlong": "drop"}});
    assert!(warned(&api, job).await.contains("they are dropped"));
}

#[tokio::test]
async fn rows_that_teach_nothing_are_told() {
    let api = Api::start().await;
    let rows = |split: &str| {
        lines(&[
            json!({"problem": "a", "answer": "1", "demonstration": "1"}),
            json!({"problem": "b", "answer": " ", "demonstration": "2", "split": split}),
            json!({"problem": "c", "answer": "1", "split": split}),
        ])
    };
    send(&api, "?name=mine", LINES, rows("test")).await;
    let entry = checked(&api, "mine").await;
    assert_eq!(entry["report"]["rows_without_answer"], json!({"train": 0, "eval": 1}), "{entry}");
    let job = |method: &str| json!({"model": "tiny", "dataset": "mine", "method": {"type": method}});
    let told = warned(&api, job("eval")).await;
    assert!(told.contains("rows_without_answer") && told.contains("1 evaluation rows"), "{told}");
    let told = warned(&api, job("vgpo")).await;
    assert!(told.contains("no_images no row of `mine` has an image"), "{told}");
    let told = warned(&api, job("sft")).await;
    assert!(told.contains("rows_without_demonstration 1 of 3 rows"), "{told}");
    send(&api, "?name=other", LINES, rows("train")).await;
    checked(&api, "other").await;
    let job = json!({"model": "tiny", "dataset": "digits", "eval_dataset": "mine"});
    assert!(warned(&api, job).await.contains("rows_without_answer of `mine`"), "what is measured with counts as well");
}

#[tokio::test]
async fn a_job_cannot_name_a_column_that_no_row_has() {
    let api = Api::start().await;
    let entry = uploaded(&api, "mine", &[row("a", "a.png", "train"), row("b", "a.png", "test")]).await;
    assert_eq!(entry["report"]["columns"]["images"], "images", "{entry}");
    let job = |columns: Value| json!({"model": "tiny", "dataset": "mine", "data": {"columns": columns}});
    let refused = api.post("/v1/jobs?dry_run=true", job(json!({"images": "photo"}))).await;
    let problem = refused.problem(422, "invalid_request");
    assert_eq!(problem["errors"][0]["pointer"], "/data/columns/images", "{problem}");
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("`photo`"), "{problem}");
}

#[tokio::test]
async fn rows_are_numbered_by_their_files() {
    let api = Api::start().await;
    uploaded(&api, "mine", &[row("a", "a.png", "test"), row("b", "a.png", "train"), row("c", "a.png", "train")]).await;
    let page = api.get("/v1/datasets/mine/rows?split=train").await.body;
    let last = &page["data"][1];
    assert_eq!((&last["row"], &last["file"], &last["line"]), (&json!(1), &json!("rows.jsonl"), &json!(3)), "{page}");
}
