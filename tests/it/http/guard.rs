//! Host and Origin: no DNS rebinding, no writes from other sites.

use serde_json::json;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{Answer, Api};

async fn send(api: &Api, method: &str, headers: &[(&str, &str)]) -> Answer {
    let path = if method == "GET" { "/healthz" } else { "/v1/jobs?dry_run=true" };
    let mut request = api.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if method == "POST" {
        request = request.json(&json!({"model": "tiny"}));
    }
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn only_known_host_names_are_served() {
    let api = Api::with(&[("allowed_hosts", "vgpo.example, other.example")]).await;
    for host in [
        "localhost",
        "localhost:8080",
        "127.0.0.1:1",
        "[::1]:8080",
        "app.localhost",
        "VGPO.example:99",
        "other.example",
    ] {
        assert_eq!(send(&api, "GET", &[("host", host)]).await.status, 200, "{host}");
    }
    for host in
        ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8080", "192.168.1.4", "evil.example:127"]
    {
        let answer = send(&api, "GET", &[("host", host)]).await;
        let detail = answer.problem(403, "forbidden_host")["detail"].as_str().unwrap();
        assert!(detail.contains(host), "{detail}");
    }
}

#[tokio::test]
async fn a_server_on_every_address_takes_addresses_but_no_foreign_names() {
    let api = Api::with(&[("host", "0.0.0.0")]).await;
    assert_eq!(send(&api, "GET", &[("host", "192.168.1.4:8080")]).await.status, 200);
    send(&api, "GET", &[("host", "evil.example")]).await.problem(403, "forbidden_host");
}

#[tokio::test]
async fn pages_of_other_sites_cannot_write() {
    let api = Api::with(&[("allowed_origins", "https://lab.example/")]).await;
    let own = api.url.clone();
    let port = own.rsplit(':').next().unwrap();
    let refused = 422; // past the guard: the body lacks its data set
    for origin in [own.as_str(), "https://lab.example"] {
        assert_eq!(send(&api, "POST", &[("origin", origin)]).await.status, refused, "{origin}");
    }
    assert_eq!(send(&api, "POST", &[]).await.status, refused, "no browser");
    assert_eq!(send(&api, "POST", &[("sec-fetch-site", "same-origin")]).await.status, refused);
    let other_port = format!("http://127.0.0.1:{}", port.parse::<u32>().unwrap() + 1);
    for origin in ["https://evil.example", "null", &other_port, "http://127.0.0.1"] {
        send(&api, "POST", &[("origin", origin)]).await.problem(403, "forbidden_origin");
    }
    send(&api, "POST", &[("sec-fetch-site", "cross-site")]).await.problem(403, "forbidden_origin");
    // Reading is harmless: the browser keeps the answer from the page.
    assert_eq!(send(&api, "GET", &[("origin", "https://evil.example")]).await.status, 200);
}

#[tokio::test]
async fn a_request_names_one_host() {
    let api = Api::start().await;
    let ask = async |head: &str| {
        let mut stream = tokio::net::TcpStream::connect(api.url.trim_start_matches("http://")).await.unwrap();
        stream.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        said.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    for (head, status) in [
        ("GET /healthz HTTP/1.1\r\nhost: localhost", "200"),
        ("GET /healthz HTTP/1.1\r\nhost: localhost.", "200"),
        ("GET http://localhost/healthz HTTP/1.1\r\nhost: localhost", "200"),
        ("GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: evil.example", "400"),
        ("GET http://evil.example/healthz HTTP/1.1\r\nhost: localhost", "400"),
        ("GET /healthz HTTP/1.1\r\nhost: [::1]evil.example", "403"),
        ("GET /healthz HTTP/1.1\r\nhost: localhost:80evil", "403"),
    ] {
        assert_eq!(ask(head).await, status, "{head}");
    }
}
