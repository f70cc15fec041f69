//! How much one key may ask for.

use vgpo::domain::access::Role;

use super::place::{OTHER, OWN, Place};

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
