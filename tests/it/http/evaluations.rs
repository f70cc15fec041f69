//! Rows of evaluations by page, summed up, and two evaluations compared.

use serde_json::{Value, json};
use vgpo::artifacts::ArtifactStore;
use vgpo::domain::eval_row::{ROWS_FILE, chunk_key, evaluation_key};

use super::support::Api;

/// Focus along an answer of four tokens: the first and the last were measured.
fn along(focus: (f64, f64)) -> Vec<Option<f64>> {
    (0..16).map(|part| [(2, focus.0), (14, focus.1)].iter().find(|(at, _)| *at == part).map(|found| found.1)).collect()
}

/// A row with one response: right or wrong, with its focus early and late.
fn row(number: u64, right: bool, focus: (f64, f64)) -> Value {
    let thirds = |mean: f64| json!({"mean": mean, "early": focus.0, "late": focus.1});
    let tag = if number.is_multiple_of(2) { "even" } else { "odd" };
    json!({
        "row": number, "tags": [tag, "all"], "prompt": format!("question {number}"), "answer": "7", "unjudged": 0,
        "responses": [{
            "text": if right { "7" } else { "8" }, "tokens": 4, "cut_off": false, "correct": right,
            "accuracy": f64::from(u8::from(right)), "reward": f64::from(u8::from(right)), "reward_parts": {},
            "extracted": null, "focus": thirds(f64::midpoint(focus.0, focus.1)), "attention_image": thirds(0.4),
            "focus_along": along(focus)
        }]
    })
}

fn publish(api: &Api, key: &str, rows: &[Value]) {
    let artifacts = vgpo::artifacts::open(&api.service.settings().artifacts_url).unwrap();
    let folder = tempfile::tempdir().unwrap().keep();
    let text: String = rows.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(folder.join(ROWS_FILE), text).unwrap();
    ArtifactStore::publish_dir(&*artifacts, &folder, key).unwrap();
}

async fn training(api: &Api, change: Value) -> String {
    api.submit(change).await["run_id"].as_str().unwrap().to_owned()
}

async fn evaluation(api: &Api, change: Value) -> String {
    let mut job = json!({"method": {"type": "eval"}, "eval_rows": 100, "batch": {"prompts_per_step": 20}});
    job.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    training(api, job).await
}

fn numbers(page: &Value) -> Vec<u64> {
    page["data"].as_array().unwrap().iter().map(|row| row["row"].as_u64().unwrap()).collect()
}

/// Every row of a list, two at a time.
async fn walk(api: &Api, path: &str) -> Vec<u64> {
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("{path}&limit=2{after}")).await;
        assert_eq!(page.status, 200, "{}", page.body);
        rows.extend(numbers(&page.body));
        assert_eq!(page.body["has_more"], page.body["next"].is_string());
        let Some(next) = page.body["next"].as_str() else { return rows };
        after = format!("&after={next}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_filtered_sorted_and_read_by_page() {
    let api = Api::start().await;
    let run = evaluation(&api, json!({})).await;
    let path = format!("/v1/runs/{run}/eval-rows");
    let none = api.get(&path).await;
    assert!(none.problem(409, "conflict")["detail"].as_str().unwrap().contains("no chunk"), "{}", none.body);
    let mut blind = row(6, false, (0.5, 0.5));
    blind["responses"][0]["focus"] = Value::Null;
    publish(
        &api,
        &chunk_key(&run, 1),
        &[row(0, true, (0.9, 0.3)), row(1, false, (0.2, 0.1)), row(2, true, (0.5, 0.5))],
    );
    publish(
        &api,
        &chunk_key(&run, 2),
        &[row(3, false, (0.9, 0.9)), row(4, true, (0.2, 0.1)), row(5, true, (0.7, 0.1)), blind],
    );
    for (query, expected) in [
        ("", vec![0, 1, 2, 3, 4, 5, 6]),
        ("order=desc", vec![6, 5, 4, 3, 2, 1, 0]),
        ("verdict=right", vec![0, 2, 4, 5]),
        ("verdict=wrong&tag=odd", vec![1, 3]),
        ("tag=none", vec![]),
        ("sort=focus", vec![1, 4, 5, 2, 0, 3, 6]),
        ("sort=focus&order=desc", vec![3, 0, 2, 5, 1, 4, 6]),
        ("sort=late_early&tag=even", vec![0, 4, 2, 6]),
        ("sort=reward&order=desc&verdict=right", vec![0, 2, 4, 5]),
    ] {
        assert_eq!(walk(&api, &format!("{path}?{query}")).await, expected, "{query}");
    }
    let whole = api.get(&format!("{path}?step=3")).await.body;
    assert_eq!(whole["data"][1], row(1, false, (0.2, 0.1)), "rows are as they were stored");
    // The evaluation continues: a page after an old row sees the new ones.
    publish(&api, &chunk_key(&run, 3), &[row(7, true, (0.1, 0.1))]);
    assert_eq!(numbers(&api.get(&format!("{path}?verdict=right&after=4")).await.body), [5, 7]);
    for (query, word) in [
        ("after=99", "99"),
        ("after=x", "whole number"),
        ("verdict=rigth", "right"),
        ("sort=focu", "focus"),
        ("order=up", "order"),
        ("limit=201", "200"),
        ("limit=0", "limit"),
        ("foo=1", "foo"),
    ] {
        let refused = api.get(&format!("{path}?{query}")).await;
        assert!([400, 422].contains(&refused.status), "{query}: {}", refused.body);
        assert!(refused.body["detail"].as_str().unwrap().contains(word), "{query}: {}", refused.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_summed_up_by_tag_and_along_the_answers() {
    let api = Api::start().await;
    let run = training(&api, json!({})).await;
    let path = format!("/v1/runs/{run}/eval-rows/summary");
    let none = api.get(&path).await.body;
    assert_eq!((&none["rows"], &none["steps"], &none["accuracy"]), (&json!(0), &json!([]), &Value::Null));
    let rows_of = api.get(&format!("/v1/runs/{run}/eval-rows")).await;
    assert!(rows_of.problem(409, "conflict")["detail"].as_str().unwrap().contains("log_samples_every"));
    let rows = |right: u64| -> Vec<Value> {
        (0..8).map(|n| row(n, n < right, (0.75, if n < right { 0.5 } else { 0.25 }))).collect()
    };
    publish(&api, &evaluation_key(&run, 0), &rows(2));
    publish(&api, &evaluation_key(&run, 40), &rows(7));
    let newest = api.get(&path).await.body;
    assert_eq!((&newest["step"], &newest["steps"]), (&json!(40), &json!([0, 40])));
    assert_eq!((&newest["rows"], &newest["right"], &newest["wrong"]), (&json!(8), &json!(7), &json!(1)));
    assert_eq!((&newest["dataset"], &newest["split"]), (&json!("digits"), &json!("eval")));
    let accuracy = &newest["accuracy"];
    assert_eq!(accuracy["mean"], 0.875);
    assert!(accuracy["low"].as_f64().unwrap() < 0.6 && accuracy["high"].as_f64().unwrap() > 0.95);
    let tags = newest["tags"].as_array().unwrap();
    let told: Vec<_> = tags.iter().map(|tag| (tag["tag"].as_str().unwrap(), tag["rows"].as_u64().unwrap())).collect();
    assert_eq!(told, [("all", 8), ("even", 4), ("odd", 4)]);
    assert_eq!(tags[2]["accuracy"]["mean"], 0.75, "row 7 is wrong and odd");
    let along = &newest["focus_along"];
    assert_eq!((&along["all"][2], &along["right"][14], &along["wrong"][14]), (&json!(0.75), &json!(0.5), &json!(0.25)));
    assert_eq!(along["all"][7], Value::Null);
    for (step, found) in [(0, 0), (39, 0), (40, 40), (1000, 40)] {
        assert_eq!(api.get(&format!("{path}?step={step}")).await.body["step"], found);
    }
    let other = training(&api, json!({})).await;
    publish(&api, &evaluation_key(&other, 5), &rows(2));
    let early = api.get(&format!("/v1/runs/{other}/eval-rows/summary?step=4")).await;
    assert!(early.problem(409, "conflict")["detail"].as_str().unwrap().contains("first evaluation is at step 5"));
    api.get("/v1/runs/run_none/eval-rows/summary").await.problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_evaluations_of_the_same_rows_are_compared() {
    let api = Api::start().await;
    let (one, two) =
        (training(&api, json!({"name": "first"})).await, evaluation(&api, json!({"name": "second"})).await);
    // Row 9 was answered by the first only. Rows 0 to 3 are right there; 2 to 7 in the second.
    let first: Vec<Value> = (0..10).map(|n| row(n, n < 4, (0.8, 0.4))).collect();
    let second: Vec<Value> = (0..9).map(|n| row(n, (2..8).contains(&n), (0.8, 0.6))).collect();
    publish(&api, &evaluation_key(&one, 0), &first[..5]);
    publish(&api, &evaluation_key(&one, 4), &first);
    publish(&api, &chunk_key(&two, 1), &second);
    let path = format!("/v1/runs/{one}/eval-rows/compare?with={two}");
    let all = api.get(&path).await;
    assert_eq!(all.status, 200, "{}", all.body);
    let all = all.body;
    assert_eq!((&all["a"]["step"], &all["b"]["step"], &all["a"]["steps"]), (&json!(4), &Value::Null, &json!([0, 4])));
    assert_eq!((&all["a"]["name"], &all["b"]["name"], &all["rows"]), (&json!("first"), &json!("second"), &json!(9)));
    assert_eq!(all["changes"], json!({"fixed": 4, "broken": 2, "both_right": 2, "both_wrong": 1, "unjudged": 0}));
    assert!((all["p_value"].as_f64().unwrap() - 2.0 * 22.0 / 64.0).abs() < 1e-12, "{}", all["p_value"]);
    let measure = |name: &str| {
        let all = all["differences"].as_array().unwrap();
        all.iter().find(|one| one["measure"] == name).unwrap_or_else(|| panic!("{name}")).clone()
    };
    let accuracy = measure("accuracy");
    assert_eq!((&accuracy["rows"], &accuracy["a"]), (&json!(9), &json!(4.0 / 9.0)));
    assert!((accuracy["difference"]["mean"].as_f64().unwrap() - 2.0 / 9.0).abs() < 1e-12);
    assert!(accuracy["difference"]["low"].as_f64().unwrap() < 0.0, "nine rows say little");
    let focus = measure("focus");
    assert!((focus["difference"]["mean"].as_f64().unwrap() - 0.1).abs() < 1e-9, "0.7 and 0.6");
    assert!((measure("late_early")["b"].as_f64().unwrap() - 0.75).abs() < 1e-9);
    assert_eq!(all["data"][0]["change"], "broken");
    assert_eq!((&all["data"][0]["a"][0]["text"], &all["data"][0]["b"][0]["text"]), (&json!("7"), &json!("8")));

    assert_eq!(walk(&api, &format!("{path}&change=fixed")).await, [4, 5, 6, 7]);
    assert_eq!(walk(&api, &format!("{path}&change=broken,both_wrong")).await, [0, 1, 8]);
    // The nearest earlier step of the one that has steps; the other has one evaluation.
    assert_eq!(api.get(&format!("{path}&step=3")).await.body["rows"], 5);
    // Two steps of one run.
    let itself = api.get(&format!("/v1/runs/{one}/eval-rows/compare?with={one}&step=0&with_step=9")).await.body;
    assert_eq!((&itself["b"]["step"], &itself["changes"]["both_right"]), (&json!(4), &json!(4)));

    let command = std::process::Command::new(env!("CARGO_BIN_EXE_vgpo"));
    let shown = compare_in_words(command, &api.url, &one, &two).await;
    for words in ["fixed", "broken", "accuracy", "+22.2", "first", "second", "question 4"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
}

async fn compare_in_words(mut command: std::process::Command, url: &str, one: &str, two: &str) -> String {
    command.args(["runs", "compare", one, two, "--rows", "3"]).env("VGPO_SERVER", url);
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_compared_is_refused_by_name() {
    let api = Api::start().await;
    let digits = evaluation(&api, json!({})).await;
    let six = evaluation(&api, json!({"dataset": "digits-6"})).await;
    let trained = evaluation(&api, json!({"method": {"type": "eval", "split": "train"}})).await;
    let later = evaluation(&api, json!({})).await;
    let changed = evaluation(&api, json!({})).await;
    let empty = evaluation(&api, json!({})).await;
    for run in [&digits, &six, &trained] {
        publish(&api, &chunk_key(run, 1), &[row(0, true, (0.5, 0.5)), row(1, true, (0.5, 0.5))]);
    }
    publish(&api, &chunk_key(&later, 1), &[row(2, true, (0.5, 0.5))]);
    let mut other = row(1, true, (0.5, 0.5));
    other["prompt"] = json!("another question");
    publish(&api, &chunk_key(&changed, 1), &[row(0, true, (0.5, 0.5)), other]);
    for (with, words) in [
        (&six, ["`digits`", "`digits-6`"]),
        (&trained, ["held-out rows", "training rows"]),
        (&later, ["no row", "in common"]),
        (&changed, ["row 1", "has changed"]),
        (&empty, ["no rows yet", empty.as_str()]),
    ] {
        let refused = api.get(&format!("/v1/runs/{digits}/eval-rows/compare?with={with}")).await;
        let detail = refused.problem(409, "conflict")["detail"].as_str().unwrap().to_owned();
        assert!(words.iter().all(|word| detail.contains(word)), "{detail}");
    }
    let path = format!("/v1/runs/{digits}/eval-rows/compare");
    api.get(&format!("{path}?with=run_none")).await.problem(404, "not_found");
    let missing = api.get(&path).await;
    assert!(missing.problem(400, "invalid_query")["detail"].as_str().unwrap().contains("with"), "{}", missing.body);
    let unknown = api.get(&format!("{path}?with={digits}&change=fixd")).await;
    assert!(unknown.problem(400, "invalid_query")["detail"].as_str().unwrap().contains("fixed"), "{}", unknown.body);
    let cursor = api.get(&format!("{path}?with={digits}&after=7")).await;
    assert!(cursor.body["detail"].as_str().unwrap().contains('7'), "{}", cursor.body);
}
