//! How much one key may ask for.

use serde_json::json;
use vgpo::domain::access::Role;

use super::place::{OTHER, OWN, Place};
use crate::http::support::Answer;

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_ask_again() {
    let place = Place::with(&[("max_requests_per_minute", "4")]).await;
    let (one, two) = (place.key(Role::Viewer, OWN).await, place.key(Role::Viewer, OTHER).await);
    for _ in 0..4 {
        assert_eq!(place.get(&one, "/v1/jobs").await.status, 200);
    }
    let refused = place.get(&one, "/v1/jobs").await;
    let detail = refused.problem(429, "rate_limited")["detail"].as_str().unwrap();
    assert!(detail.contains("more than 4 requests") && detail.contains("max_requests_per_minute"), "{detail}");
    let seconds: u32 = refused.header("retry-after").parse().unwrap();
    assert!((1..=16).contains(&seconds), "{seconds}");
    assert_eq!(place.get(&two, "/v1/jobs").await.status, 200, "another key has its own count");
    assert_eq!(place.api.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_job_beyond_its_projects_limit_says_why_it_waits() {
    let place = Place::with(&[("projects", "{ alpha = { running_jobs = 1 } }")]).await;
    place.api.service.access().settle_quotas().await.unwrap();
    let key = place.key(Role::User, OWN).await;
    let job = json!({"model": "tiny", "dataset": "digits", "data": {"max_prompt_tokens": 4000}});
    let first = place.done(&key, "POST", "/v1/jobs", job.clone()).await;
    assert_eq!(place.api.claim().await.job.id, first["id"].as_str().unwrap());
    let second = place.done(&key, "POST", "/v1/jobs", job).await;
    let events = place.get(&key, &format!("/v1/jobs/{}/events", second["id"].as_str().unwrap())).await.body;
    let waiting = events["data"].as_array().unwrap().iter().find(|event| event["kind"] == "job.waiting").unwrap();
    assert_eq!((&waiting["data"]["running"], &waiting["data"]["most"]), (&json!(1), &json!(1)));
    assert!(waiting["data"]["reason"].as_str().unwrap().contains("project `alpha` may have 1 running jobs"));
    let first = place.get(&key, &format!("/v1/jobs/{}/events", first["id"].as_str().unwrap())).await.body;
    assert!(!first.to_string().contains("job.waiting"), "{first}");
}

#[tokio::test]
async fn a_project_that_stores_as_much_as_it_may_is_told_what_to_do() {
    let place = Place::with(&[("projects", "{ alpha = { bytes = 3000 } }")]).await;
    let key = place.key(Role::User, OWN).await;
    let rows = |count: usize| -> String {
        (0..count)
            .map(|n| json!({"problem": format!("what is {n} ?"), "answer": n.to_string()}).to_string() + "\n")
            .collect()
    };
    let upload = async |name: &str, rows: String| {
        let request = place.api.request("POST", &format!("/v1/datasets?name={name}")).bearer_auth(&key);
        Answer::of(request.header("content-type", "application/x-ndjson").body(rows).send().await.unwrap()).await
    };
    let refused = upload("large", rows(100)).await;
    let told = refused.problem(403, "forbidden")["detail"].as_str().unwrap().to_owned();
    assert!(told.contains("the limit is 3000 (max_bytes_per_project"), "{told}");
    assert!(told.contains("delete unused checkpoints or data sets"), "{told}");
    while place.get(&key, "/v1/datasets/large").await.status != 404 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }

    // What fits is taken; with its index it fills the project.
    let first = upload("small", rows(50)).await;
    assert_eq!(first.status, 202, "{}", first.body);
    while place.get(&key, "/v1/datasets/small").await.body["state"] != "ready" {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let stored = place.api.store().project_bytes("alpha").await.unwrap();
    assert!(stored > 2_000, "{stored}");
    let refused = upload("more", rows(50)).await;
    refused.problem(403, "forbidden");
    // Another project, which has no limit, is not asked.
    let other = place.key(Role::User, OTHER).await;
    let request = place.api.request("POST", "/v1/datasets?name=theirs").bearer_auth(&other);
    let taken = request.header("content-type", "application/x-ndjson").body(rows(100)).send().await.unwrap();
    assert_eq!(taken.status(), 202);
}

/// A model brings a chat template, which runs inside of the server.
#[tokio::test]
async fn models_of_the_hub_come_through_admins() {
    let nowhere = ("hf_endpoint", "http://127.0.0.1:9");
    let ask = async |place: &Place, key: &str| {
        place.send(key, "POST", "/v1/models", Some(json!({"source": {"hub": "org/model"}}))).await
    };
    let place = Place::with(&[nowhere]).await;
    let (admin, user) = (place.key(Role::Admin, "default").await, place.key(Role::User, OWN).await);
    let refused = ask(&place, &user).await;
    assert!(refused.problem(403, "forbidden")["detail"].as_str().unwrap().contains("hub_models"));
    ask(&place, &admin).await.problem(503, "unavailable");
    let trusting = Place::with(&[nowhere, ("hub_models", "user")]).await;
    let user = trusting.key(Role::User, OWN).await;
    ask(&trusting, &user).await.problem(503, "unavailable");
}
