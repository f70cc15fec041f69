//! Connections that ask nothing, slowly or not at all.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::Api;

const HEAD: Duration = Duration::from_secs(2);
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

async fn connect(api: &Api, said: &str) -> TcpStream {
    let mut stream = TcpStream::connect(api.url.trim_start_matches("http://")).await.unwrap();
    stream.write_all(said.as_bytes()).await.unwrap();
    stream
}

/// Waits until the server closes the connection, and returns what it said.
async fn closed(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("the server closes it");
    // A reset is an end, too.
    drop(read);
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn a_head_that_never_ends_is_not_waited_for() {
    let api = Api::with_head(HEAD).await;
    let begun = vgpo::clock::Stopwatch::start();
    let slow = connect(&api, "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a: ").await;
    let silent = connect(&api, "").await;
    let idle = connect(&api, "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await;
    let (slow, silent, idle) = tokio::join!(closed(slow), closed(silent), closed(idle));
    assert!(begun.seconds() >= HEAD.as_secs_f64(), "they had their time");
    assert!(!slow.contains("200") && !silent.contains("200"), "{slow}{silent}");
    assert!(idle.starts_with("HTTP/1.1 200"), "{idle}");
}

#[tokio::test]
async fn held_connections_do_not_keep_others_out() {
    let api = Api::with(&[("max_connections", "8")]).await;
    // Long-lived ones that are being answered keep their places.
    let mut live = api.stream("/v1/events", None).await;
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(connect(&api, "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a: ").await);
    }
    for _ in 0..5 {
        let fresh = reqwest::Client::new().get(format!("{}/healthz", api.url)).timeout(PATIENCE).send().await.unwrap();
        assert_eq!(fresh.status(), 200);
    }
    api.submit(serde_json::json!({})).await;
    assert_eq!(live.next().await.unwrap().event, "job");
}

#[tokio::test]
async fn a_new_connection_is_turned_away_while_all_are_being_answered() {
    let api = Api::with(&[("max_connections", "3")]).await;
    let mut live = Vec::new();
    for _ in 0..3 {
        live.push(reqwest::Client::new().get(format!("{}/v1/events", api.url)).send().await.unwrap());
    }
    let told = closed(connect(&api, "").await).await;
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("retry-after: 1"), "{told}");
    drop(live);
    tokio::time::timeout(PATIENCE, async {
        while api.http.get(format!("{}/healthz", api.url)).send().await.map_or(true, |answer| answer.status() != 200) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("there is room again");
}
