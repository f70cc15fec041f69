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

/// A client with a mistake must not think that it has read everything.
#[tokio::test]
async fn a_cursor_is_the_next_of_a_page_or_refused() {
    let api = Api::start().await;
    let run = api.submit(json!({})).await["run_id"].as_str().unwrap().to_owned();
    let samples = format!("runs/{run}/samples");
    let lists = ["runs", "jobs", "checkpoints", "sweeps", "keys", "datasets", "workers", "audit", "events", &samples];
    for list in lists {
        for cursor in ["garbage", "run_nope", "ds_01a22838b47c705cadce6a89c8372c17x"] {
            let request =
                api.request("GET", &format!("/v1/{list}?after={cursor}")).header("accept", "application/json");
            let answer = Answer::of(request.send().await.unwrap()).await;
            let problem = answer.problem(400, "invalid_query");
            assert_eq!(problem["errors"][0]["pointer"], "?after", "{list} {cursor}");
        }
    }
    for query in ["datasets/digits/rows?after=x", "runs?limit=x", "runs?limit="] {
        let problem = api.get(&format!("/v1/{query}")).await;
        let detail = problem.problem(400, "invalid_query")["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("must be a whole number"), "{query}: {detail}");
    }
    for query in ["audit?after=-1", "events?after=-1", "runs?after=", "datasets/digits/rows?after=99999999999"] {
        let request = api.request("GET", &format!("/v1/{query}")).header("accept", "application/json");
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.problem(400, "invalid_query")["errors"][0]["pointer"], "?after", "{query}");
    }
    // The entry of a cursor may have been deleted since.
    let gone = "run_00000000000000000000000000000000";
    assert_eq!(api.get(&format!("/v1/runs?after={gone}")).await.body["data"], json!([]));
}

#[tokio::test]
async fn lists_that_come_whole_come_in_pages_too() {
    let api = Api::start().await;
    let all = names(&api.get("/v1/datasets").await.body);
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/datasets?limit=2{after}")).await.body;
        assert!(names(&page).len() <= 2);
        seen.extend(names(&page));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, all);
    api.get("/v1/datasets?limit=0").await.problem(400, "invalid_query");
}

/// Also where it is not used.
#[tokio::test]
async fn a_limit_is_a_number_of_entries_everywhere() {
    let api = Api::start().await;
    let job = api.submit(json!({})).await["id"].as_str().unwrap().to_owned();
    for part in ["logs", "logs/stream", "events", "events/stream"] {
        let answer = api.get(&format!("/v1/jobs/{job}/{part}?limit=0")).await;
        assert_eq!(answer.problem(400, "invalid_query")["errors"][0]["pointer"], "?limit", "{part}");
    }
}

/// One rule for every address of the API.
#[tokio::test]
async fn unknown_query_parameters_are_refused_everywhere() {
    let api = Api::start().await;
    let document: Value = serde_json::from_str(include_str!("../../../openapi/vgpo.json")).unwrap();
    for (path, calls) in document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/v1/")) {
        let address = path.replace("{id}", "x").replace("{sample}", "x").replace("{path}", "x");
        for method in calls.as_object().unwrap().keys().filter(|method| ["get", "delete"].contains(&method.as_str())) {
            let request = api.request(&method.to_uppercase(), &format!("{address}?no_such=1"));
            let answer = Answer::of(request.send().await.unwrap()).await;
            let problem = answer.problem(400, "invalid_query");
            assert_eq!(problem["errors"][0]["pointer"], "?no_such", "{method} {path}");
        }
    }
    let generated = api.post("/generate?no_such=1", json!({})).await;
    assert_eq!(generated.problem(400, "invalid_query")["errors"][0]["pointer"], "?no_such");
    assert_eq!(api.get("/healthz?from=balancer").await.status, 200, "checks of health may carry anything");
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
    assert_eq!(names(&sets), ["chart", "digits", "digits-6", "geometry", "objects", "survey"]);
    let digits = api.get("/v1/datasets/digits").await.body;
    assert_eq!((digits["state"].as_str(), digits["source"].as_str()), (Some("ready"), Some("builtin")));
    assert_eq!(api.get(&format!("/v1/datasets/{}", digits["id"].as_str().unwrap())).await.body, digits);
    assert_eq!(api.get("/v1/workers").await.body, json!({"data": [], "has_more": false, "next": null}));
    assert_eq!(api.get("/v1/checkpoints").await.body["data"], json!([]));
}
