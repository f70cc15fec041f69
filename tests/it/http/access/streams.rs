//! Live streams: no longer than the key is good for, and not more than a key may have.

use std::time::Duration;

use serde_json::json;
use vgpo::domain::access::Role;

use super::place::{OWN, Place};
use crate::http::support::{Answer, Api, Stream};

/// A few times what the server takes to look at a key again.
const SOON: Duration = Duration::from_secs(20);

async fn open(place: &Place, key: &str) -> reqwest::Response {
    let request = place.api.request("GET", "/v1/events").bearer_auth(key).header("accept", "text/event-stream");
    request.send().await.unwrap()
}

/// The stream ends, whatever it says before.
async fn ends(response: reqwest::Response) {
    let read = tokio::time::timeout(SOON, Stream::of(response).rest()).await;
    assert!(read.is_ok(), "the stream continues");
}

#[tokio::test]
async fn a_revoked_keys_streams_end() {
    let place = Place::new().await;
    let admin = place.key(Role::Admin, "default").await;
    let made = place.done(&admin, "POST", "/v1/keys", json!({"role": "viewer", "project": OWN})).await;
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let (leaked, other) = (open(&place, secret).await, open(&place, &admin).await);
    assert_eq!((leaked.status(), other.status()), (200.try_into().unwrap(), 200.try_into().unwrap()));
    assert_eq!(place.send(&admin, "DELETE", &format!("/v1/keys/{id}"), None).await.status, 200);
    ends(leaked).await;
    // Another key's stream continues.
    let mut other = Stream::of(other);
    place
        .done(
            &admin,
            "POST",
            "/v1/jobs",
            json!({"model": "tiny", "dataset": "digits", "data": {"max_prompt_tokens": 4000}}),
        )
        .await;
    assert_eq!(other.next().await.unwrap().event, "job");
}

#[tokio::test]
async fn the_first_key_ends_the_streams_of_those_without() {
    let api = Api::start().await;
    let open = api.request("GET", "/v1/events").send().await.unwrap();
    assert_eq!(open.status(), 200);
    assert_eq!(api.post("/v1/keys", json!({"role": "admin"})).await.status, 201);
    ends(open).await;
}

#[tokio::test]
async fn a_key_has_so_many_streams_and_no_more() {
    let place = Place::with(&[("max_streams", "2")]).await;
    let (one, two) = (place.key(Role::Viewer, OWN).await, place.key(Role::Viewer, OWN).await);
    let (first, _second) = (open(&place, &one).await, open(&place, &one).await);
    let refused = Answer::of(open(&place, &one).await).await;
    let detail = refused.problem(429, "rate_limited")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("2 live streams") && detail.contains("max_streams"), "{detail}");
    assert_eq!(open(&place, &two).await.status(), 200, "another key has its own");
    drop(first);
    tokio::time::timeout(SOON, async {
        while open(&place, &one).await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("a stream that was left makes room");
}

#[tokio::test]
async fn a_stream_token_opens_a_stream_and_no_page() {
    let place = Place::new().await;
    let key = place.key(Role::Viewer, OWN).await;
    let token = place.done(&key, "POST", "/v1/stream-tokens", json!({})).await["token"].as_str().unwrap().to_owned();
    let ask = |accept: &'static str| {
        place.api.request("GET", &format!("/v1/events?stream_token={token}")).header("accept", accept).send()
    };
    Answer::of(ask("application/json").await.unwrap()).await.problem(401, "unauthorized");
    assert_eq!(ask("text/event-stream").await.unwrap().status(), 200, "the token is as good as before");
    Answer::of(ask("text/event-stream").await.unwrap()).await.problem(401, "unauthorized");
}
