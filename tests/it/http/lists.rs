//! Lists and single things: pages, filters, shapes.

use serde_json::{Value, json};

use super::support::{Answer, Api};

fn names(body: &Value) -> Vec<String> {
    body["data"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pages_hold_every_entry_once() {
    let api = Api::start().await;
    for index in 0..5 {
        api.submit(json!({"name": format!("job {index}")})).await;
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = api.get(&format!("/v1/jobs?limit=2{after}")).await.body;
        seen.extend(names(&page));
        assert_eq!(page["has_more"].as_bool().unwrap(), page["next"].is_string());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["job 4", "job 3", "job 2", "job 1", "job 0"]);
    let runs = api.get("/v1/runs?limit=3").await.body;
    assert_eq!((runs["data"].as_array().unwrap().len(), runs["has_more"].as_bool()), (3, Some(true)));
}

#[tokio::test]
async fn filters_of_jobs_and_runs() {
    let api = Api::start().await;
    let first = api.submit(json!({"name": "a", "tags": {"team": "vision"}, "project": "p"})).await;
    let colons = json!({"team": "text", "mlflow:source": "a:b"});
    api.submit(json!({"name": "b", "tags": colons, "method": {"type": "grpo"}})).await;
    let cancel = format!("/v1/jobs/{}/cancel", first["id"].as_str().unwrap());
    api.post(&cancel, json!({})).await;
    for (query, expected) in [
        ("state=cancelled", vec!["a"]),
        ("state=queued,running", vec!["b"]),
        ("tag=team", vec!["b", "a"]),
        ("tag=team:vision", vec!["a"]),
        (r"tag=mlflow\:source", vec!["b"]),
        (r"tag=mlflow\:source:a:b", vec!["b"]),
        ("tag=mlflow:source", vec![]),
        ("project=p", vec!["a"]),
        ("model=tiny", vec!["b", "a"]),
        ("model=other", vec![]),
    ] {
        assert_eq!(names(&api.get(&format!("/v1/jobs?{query}")).await.body), expected, "{query}");
        assert_eq!(names(&api.get(&format!("/v1/runs?{query}")).await.body), expected, "{query}");
    }
    assert_eq!(names(&api.get("/v1/runs?dataset=digits").await.body).len(), 2);
    let twice = api.get("/v1/jobs?tag=team&tag=team:vision").await;
    let problem = twice.problem(400, "invalid_query");
    assert_eq!(problem["errors"][0]["pointer"], "?tag");
    assert_eq!(problem["detail"], "`tag`: `tag` is given more than once; give it once");
}

#[tokio::test]
async fn a_run_takes_a_name_notes_and_labels() {
    let api = Api::start().await;
    let job = api.submit(json!({})).await;
    let path = format!("/v1/runs/{}", job["run_id"].as_str().unwrap());
    let patch = async |body: Value| Answer::of(api.request("PATCH", &path).json(&body).send().await.unwrap()).await;
    let run = patch(json!({"name": "best so far", "notes": "seed 0", "tags": {"a": "b"}})).await.body;
    assert_eq!((run["name"].as_str(), run["notes"].as_str()), (Some("best so far"), Some("seed 0")));
    assert_eq!(run["tags"], json!({"a": "b"}));
    let run = patch(json!({"notes": ""})).await.body;
    assert_eq!((run["name"].as_str(), &run["notes"]), (Some("best so far"), &Value::Null));
    let answer = patch(json!({"nam": "x"})).await;
    let error = &answer.problem(422, "invalid_request")["errors"][0];
    assert_eq!(
        (error["pointer"].as_str(), error["detail"].as_str()),
        (Some("/nam"), Some("unknown field `nam`: did you mean `name`?"))
    );
    let answer = patch(json!({"tags": {"a": 1}})).await;
    assert_eq!(answer.problem(422, "invalid_request")["errors"][0]["pointer"], "/tags/a");
    assert_eq!(patch(json!({"name": " "})).await.problem(422, "invalid_request")["errors"][0]["pointer"], "/name");
}

#[tokio::test]
async fn models_have_openais_shape_and_data_sets_ours() {
    let api = Api::start().await;
    api.store().upsert_model(super::support::model("org/name", json!({}))).await.unwrap();
    let list = api.get("/v1/models").await.body;
    assert_eq!(list["object"], "list");
    let tiny = api.get("/v1/models/tiny").await.body;
    assert_eq!((tiny["object"].as_str(), tiny["family"].as_str()), (Some("model"), Some("qwen2_5_vl")));
    assert!(tiny["created"].as_i64().unwrap() > 1_700_000_000);
    assert_eq!(tiny["recommended"], json!({"steps": 7}));
    assert_eq!(api.get("/v1/models/org/name").await.body["id"], "org/name");
    let sets = api.get("/v1/datasets").await.body;
    assert_eq!(names(&sets), ["chart", "digits", "digits-6", "geometry", "objects"]);
    let digits = api.get("/v1/datasets/digits").await.body;
    assert_eq!((digits["state"].as_str(), digits["source"].as_str()), (Some("ready"), Some("builtin")));
    assert_eq!(api.get(&format!("/v1/datasets/{}", digits["id"].as_str().unwrap())).await.body, digits);
    assert_eq!(api.get("/v1/workers").await.body, json!({"data": [], "has_more": false, "next": null}));
    assert_eq!(api.get("/v1/checkpoints").await.body["data"], json!([]));
}
