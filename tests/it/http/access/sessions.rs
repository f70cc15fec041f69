//! Sessions of browsers, and tokens of live streams.

use serde_json::{Value, json};
use vgpo::domain::access::Role;

use super::place::{OTHER, OWN, Place};
use crate::http::support::Answer;

struct Session {
    cookie: String,
    csrf: String,
}

async fn open(place: &Place, key: &str, origin: Option<&str>) -> (Session, String) {
    let mut request = place.api.request("POST", "/v1/session").json(&json!({"key": key}));
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let set = answer.header("set-cookie").to_owned();
    let cookie = set.split(';').next().unwrap().to_owned();
    (Session { cookie, csrf: answer.body["csrf"].as_str().unwrap().to_owned() }, set)
}

async fn send(place: &Place, session: &Session, method: &str, path: &str, csrf: Option<&str>, body: Value) -> Answer {
    let mut request = place.api.request(method, path).header("cookie", &session.cookie).json(&body);
    if let Some(csrf) = csrf {
        request = request.header("x-csrf-token", csrf);
    }
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn a_session_stands_for_its_key_until_it_is_closed() {
    let place = Place::new().await;
    let key = place.key(Role::User, OWN).await;
    let (session, set) = open(&place, &key, None).await;
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!set.contains("Secure") && !set.contains(&key), "{set}");
    let (_, over_tls) = open(&place, &key, Some(&place.api.url.replace("http:", "https:"))).await;
    assert!(over_tls.contains("; Secure"), "{over_tls}");
    let me = send(&place, &session, "GET", "/v1/session", None, json!({})).await;
    assert_eq!((me.status, &me.body["project"], &me.body["csrf"]), (200, &json!(OWN), &json!(session.csrf)));
    let closed = send(&place, &session, "DELETE", "/v1/session", Some(&session.csrf), json!({})).await;
    assert_eq!(closed.status, 204);
    assert!(
        closed.header("set-cookie").starts_with("vgpo_session=; ") && closed.header("set-cookie").contains("Max-Age=0")
    );
    send(&place, &session, "GET", "/v1/jobs", None, json!({})).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn a_session_changes_nothing_without_its_csrf_token() {
    let place = Place::new().await;
    let (one, _) = open(&place, &place.key(Role::User, OWN).await, None).await;
    let (two, _) = open(&place, &place.key(Role::User, OWN).await, None).await;
    let dataset = json!({"name": "mine", "source": {"upload": "parts"}});
    for wrong in [None, Some(""), Some("x"), Some(two.csrf.as_str()), one.cookie.split('=').nth(1)] {
        let answer = send(&place, &one, "POST", "/v1/datasets", wrong, dataset.clone()).await;
        answer.problem(403, "csrf_token");
    }
    assert_eq!(send(&place, &one, "POST", "/v1/datasets", Some(&one.csrf), dataset).await.status, 202);
}

#[tokio::test]
async fn sessions_and_streams_end_with_their_key() {
    let place = Place::new().await;
    let admin = place.key(Role::Admin, "default").await;
    let made = place.done(&admin, "POST", "/v1/keys", json!({"role": "viewer", "project": OWN})).await;
    let secret = made["secret"].as_str().unwrap();
    let (session, _) = open(&place, secret, None).await;
    let token = place.done(secret, "POST", "/v1/stream-tokens", json!(null)).await;
    place.send(&admin, "DELETE", &format!("/v1/keys/{}", made["id"].as_str().unwrap()), None).await;
    send(&place, &session, "GET", "/v1/jobs", None, json!({})).await.problem(401, "unauthorized");
    let stream = format!("/v1/events?stream_token={}", token["token"].as_str().unwrap());
    place.api.get(&stream).await.problem(401, "unauthorized");
    let refused = place.api.post("/v1/session", json!({"key": secret})).await;
    refused.problem(401, "unauthorized");
}

#[tokio::test]
async fn a_stream_token_opens_one_stream_of_its_project() {
    let place = Place::new().await;
    let owner = place.key(Role::User, OWN).await;
    let job = json!({"model": "tiny", "dataset": "digits", "data": {"max_prompt_tokens": 4000}});
    let job = place.done(&owner, "POST", "/v1/jobs", job).await;
    let id = job["id"].as_str().unwrap();
    let token = async |key: &str| {
        let made = place.done(key, "POST", "/v1/stream-tokens", json!(null)).await;
        made["token"].as_str().unwrap().to_owned()
    };
    let path = format!("/v1/jobs/{id}/events/stream?stream_token={}", token(&owner).await);
    let mut stream = place.api.stream(&path, None).await;
    assert_eq!(stream.next().await.unwrap().event, "job");
    place.api.get(&path).await.problem(401, "unauthorized");
    let other = token(&place.key(Role::User, OTHER).await).await;
    place.api.get(&format!("/v1/jobs/{id}/events/stream?stream_token={other}")).await.problem(404, "not_found");
    // It opens streams and nothing else.
    let wasted = token(&owner).await;
    place.api.get(&format!("/v1/jobs/{id}?stream_token={wasted}")).await.problem(401, "unauthorized");
    let written = place.api.request("POST", &format!("/v1/jobs/{id}/cancel?stream_token={wasted}"));
    Answer::of(written.send().await.unwrap()).await.problem(401, "unauthorized");
}
