//! Live streams: resume, rewind, end; and pages of the past.

use std::time::Duration;

use serde_json::json;

use super::support::{Api, Frame};

fn kinds(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|frame| frame.event.as_str()).collect()
}

#[tokio::test]
async fn a_job_tells_its_life_and_ends() {
    let api = Api::start().await;
    let job = api.submit(json!({})).await;
    let path = format!("/v1/jobs/{}/events", job["id"].as_str().unwrap());
    let mut stream = api.stream(&path, None).await;
    let first = stream.next().await.unwrap();
    assert_eq!((first.event.as_str(), first.data["data"]["to"].as_str()), ("job", Some("queued")));
    assert_eq!(first.id, first.data["seq"].to_string());
    let leased = api.claim().await;
    api.report(&leased, 1, &[("reward/mean", 0.5)]).await;
    api.store().complete(&leased.token, "finished").await.unwrap();
    let rest = stream.rest().await;
    assert_eq!(kinds(&rest), ["job", "metrics", "job", "end"]);
    assert_eq!(rest[1].data["data"]["values"]["reward/mean"], 0.5);
    assert_eq!(rest[3].data, json!({"state": "succeeded"}));
    // The same history as pages, and as a stream of a job that has ended.
    let page = api.get(&format!("{path}?limit=3")).await.body;
    assert_eq!((page["data"].as_array().unwrap().len(), page["has_more"].as_bool()), (3, Some(true)));
    let next = api.get(&format!("{path}?after={}", page["next"].as_str().unwrap())).await.body;
    assert_eq!((next["data"].as_array().unwrap().len(), next["has_more"].as_bool()), (1, Some(false)));
    let again = api.stream(&format!("{path}/stream"), None).await.rest().await;
    assert_eq!(kinds(&again), ["job", "job", "metrics", "job", "end"]);
    let only = api.stream(&format!("{path}/stream?types=metrics"), None).await.rest().await;
    assert_eq!(kinds(&only), ["metrics", "end"]);
}

#[tokio::test]
async fn a_metrics_stream_resumes_where_it_was_and_rewinds() {
    let api = Api::start().await;
    let job = api.submit(json!({})).await;
    let path = format!("/v1/runs/{}/metrics/stream", job["run_id"].as_str().unwrap());
    let leased = api.claim().await;
    for step in 1..=3 {
        api.report(&leased, step, &[("reward/mean", 0.1)]).await;
    }
    let mut stream = api.stream(&path, None).await;
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(stream.next().await.unwrap());
    }
    assert_eq!(kinds(&seen), ["job", "job", "metrics", "metrics"]);
    drop(stream);
    // Another attempt starts behind step 1: steps 2 and 3 come again.
    api.store().release_worker("wrk_test", "killed").await.unwrap();
    let leased = api.claim().await;
    api.store().rewind(&leased.token, Some(1)).await.unwrap();
    api.report(&leased, 2, &[("reward/mean", 0.2)]).await;
    api.store().complete(&leased.token, "finished").await.unwrap();
    let rest = api.stream(&path, Some(&seen[3].id)).await.rest().await;
    assert_eq!(kinds(&rest), ["metrics", "job", "job", "rewind", "metrics", "job", "end"]);
    assert_eq!(rest[3].data["data"]["to_step"], 1);
    assert_eq!(rest[4].data["data"]["step"], 2);
    let ids: Vec<i64> = rest.iter().map(|frame| frame.id.parse().unwrap()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] <= pair[1]), "ids never fall: {ids:?}");
    // A list after the rewind shows no step twice.
    let series = api.get(&format!("/v1/runs/{}/metrics?keys=reward/mean", job["run_id"].as_str().unwrap())).await.body;
    let means: Vec<_> =
        series["data"][0]["points"].as_array().unwrap().iter().map(|p| p["mean"].as_f64().unwrap()).collect();
    assert_eq!(means, [0.1, 0.2]);
}

#[tokio::test]
async fn one_stream_for_everything_begins_now_and_filters() {
    let api = Api::start().await;
    let old = api.submit(json!({"name": "old"})).await;
    let mut all = api.stream("/v1/events", None).await;
    let mut jobs =
        api.stream(&format!("/v1/events?jobs={}&types=job&after=0", old["id"].as_str().unwrap()), None).await;
    let new = api.submit(json!({"name": "new"})).await;
    let frame = all.next().await.unwrap();
    assert_eq!(frame.data["job_id"], new["id"], "what was before stays before");
    assert_eq!(jobs.next().await.unwrap().data["job_id"], old["id"]);
    api.post(&format!("/v1/jobs/{}/cancel", old["id"].as_str().unwrap()), json!({})).await;
    let frame = jobs.next().await.unwrap();
    assert_eq!((&frame.data["job_id"], &frame.data["data"]["to"]), (&old["id"], &json!("cancelled")));
    let page = api.request("GET", "/v1/events?types=job").header("accept", "application/json").send().await.unwrap();
    assert_eq!(page.json::<serde_json::Value>().await.unwrap()["data"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_position_that_is_gone_resets_the_stream() {
    let api = Api::start().await;
    let job = api.submit(json!({})).await;
    let leased = api.claim().await;
    api.store().complete(&leased.token, "finished").await.unwrap();
    let path = format!("/v1/jobs/{}/events", job["id"].as_str().unwrap());
    // A number of another database.
    let frames = api.stream(&path, Some("99999")).await.rest().await;
    assert_eq!(kinds(&frames), ["reset", "job", "job", "job", "end"]);
    let future = chrono::DateTime::from_timestamp(4_000_000_000, 0).unwrap();
    assert!(api.store().prune_events(future, 1_000).await.unwrap() > 0);
    let frames = api.stream(&path, Some("1")).await.rest().await;
    assert_eq!(kinds(&frames)[0], "reset");
    let answer = api.request("GET", "/v1/events").header("last-event-id", "x").send().await.unwrap();
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn streams_end_with_the_server_and_with_their_reader() {
    let api = Api::start().await;
    let mut stream = api.stream("/v1/events", None).await;
    let dropped = api.stream("/v1/events", None).await;
    drop(dropped);
    api.service.stopping().cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.next()).await.expect("the stream ends");
    assert!(ended.is_none());
}

#[tokio::test]
async fn streams_are_not_compressed() {
    let api = Api::start().await;
    let request = api.request("GET", "/v1/events").header("accept-encoding", "gzip");
    assert!(request.send().await.unwrap().headers().get("content-encoding").is_none());
}

#[tokio::test]
async fn a_list_of_types_has_a_limit() {
    let api = Api::start().await;
    let types = |count: usize| (0..count).map(|n| format!("t{n}.*")).collect::<Vec<_>>().join(",");
    let answer = api.get(&format!("/v1/events?types={}", types(1000))).await;
    let detail = answer.problem(400, "invalid_query")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("`types` has 1000 entries; the limit is 200"), "{detail}");
    let pages = api.request("GET", &format!("/v1/events?types={}", types(200))).header("accept", "application/json");
    assert_eq!(pages.send().await.unwrap().status(), 200);
}
