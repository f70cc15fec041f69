//! Images by URL: refused unless their host is listed and public, and fetched within limits.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use vgpo::outbound::{ImageFetcher, Lookup};

use super::support::{Answer, Api};

fn png() -> Vec<u8> {
    let picture = image::RgbImage::from_fn(56, 56, |x, y| image::Rgb([(x * 4) as u8, (y * 4) as u8, 90]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A site on this machine, and how many requests reached it.
struct Site {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Site {
    async fn start() -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let to = |place: &str| (StatusCode::FOUND, [(header::LOCATION, place.to_owned())]).into_response();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let away = format!("http://other.test:{port}/ok.png");
        let endless = || futures_util::stream::repeat(vec![0_u8; 1 << 16]).map(Ok::<_, std::io::Error>);
        let router = Router::new()
            .route("/ok.png", get(async || png()))
            .route("/text", get(async || "no picture"))
            .route("/moved", get(async move || to("/ok.png")))
            .route("/loop", get(async move || to("/loop")))
            .route("/away", get(async move || to(&away)))
            .route("/file", get(async move || to("file:///etc/passwd")))
            .route("/endless", get(async move || Body::from_stream(endless())))
            .route("/slow", get(async || tokio::time::sleep(Duration::from_secs(60)).await))
            .layer(axum::middleware::map_request(move |request: axum::extract::Request| {
                count.fetch_add(1, Ordering::SeqCst);
                std::future::ready(request)
            }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { port, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Name servers that send every name to this machine.
struct Here;

impl Lookup for Here {
    fn addresses(&self, _host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
    }
}

fn loopback(address: IpAddr) -> bool {
    address.is_loopback()
}

/// A server whose image hosts are `hosts`; with `permitted`, addresses of this machine count as public.
async fn server(hosts: &str, permitted: bool) -> Api {
    let settings = [("image_hosts", hosts), ("max_image_bytes", "1000000")];
    Api::changed(&settings, |service| {
        let fetcher = ImageFetcher::of(service.settings());
        let time = Duration::from_secs(2);
        service.with_image_fetcher(if permitted {
            fetcher.with_network(Arc::new(Here), loopback, time)
        } else {
            fetcher
        })
    })
    .await
}

fn request(url: &str) -> Value {
    json!({"model": "tiny", "prompt": "<image>What is it?", "images": [url], "max_new_tokens": 1})
}

async fn refused(api: &Api, url: &str) -> String {
    let answer = api.post("/v1/generate", request(url)).await;
    let errors = answer.problem(422, "invalid_request")["errors"].clone();
    assert_eq!(errors[0]["pointer"], "/images/0", "{errors}");
    errors[0]["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn no_host_is_listed_by_default() {
    let site = Site::start().await;
    let api = Api::start().await;
    for url in [format!("http://127.0.0.1:{}/ok.png", site.port), "https://example.com/a.png".to_owned()] {
        let detail = refused(&api, &url).await;
        assert!(detail.contains(&url) && detail.contains("image_hosts") && detail.contains("data: URL"), "{detail}");
    }
    let messages = json!([{"role": "user", "content": [
        {"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": "http://localhost/a.png"}}]}]);
    let answer = api.post("/v1/chat/completions", json!({"model": "tiny", "messages": messages})).await;
    assert_eq!(
        (answer.status, answer.body["error"]["param"].as_str()),
        (400, Some("messages[0].content[1].image_url.url"))
    );
    assert_eq!(site.asked(), 0);
}

#[tokio::test]
async fn a_listed_host_on_this_machine_is_refused_all_the_same() {
    let site = Site::start().await;
    let port = site.port;
    let hosts = format!("127.0.0.1:{port},localhost:{port},[::1]:{port},[::ffff:127.0.0.1]:{port},0.0.0.0:{port}");
    let api = server(&hosts, false).await;
    for host in hosts.split(',') {
        let detail = refused(&api, &format!("http://{host}/ok.png")).await;
        assert!(detail.contains("not an address of the public internet"), "{host}: {detail}");
    }
    // Numbers in other clothes are names, or the same address.
    for host in [format!("2130706433:{port}"), format!("0x7f.1:{port}"), format!("127.1:{port}")] {
        let api = server(&host, false).await;
        refused(&api, &format!("http://{host}/ok.png")).await;
    }
    assert_eq!(site.asked(), 0, "nothing was asked");
}

#[tokio::test]
async fn a_listed_host_is_asked_within_limits() {
    let site = Site::start().await;
    let host = format!("img.test:{}", site.port);
    let api = server(&host, true).await;
    for path in ["ok.png", "moved"] {
        let answer = api.post("/v1/generate", request(&format!("http://{host}/{path}"))).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(answer.body["usage"]["image_tokens"].as_u64().unwrap() > 0, "{}", answer.body);
    }
    for (path, why) in [
        ("missing", "answers 404"),
        ("loop", "redirects more than 3 times"),
        ("away", "`other.test:"),
        ("file", "redirects to nowhere"),
        ("endless", "more than 1000000 bytes"),
        ("slow", "cannot be fetched"),
    ] {
        let detail = refused(&api, &format!("http://{host}/{path}")).await;
        assert!(detail.contains(why), "{path}: {detail}");
    }
    let text = api.post("/v1/generate", request(&format!("http://{host}/text"))).await;
    assert_eq!(text.status, 422, "what is no picture is none: {}", text.body);
    let many: Vec<_> = (0..17).map(|_| format!("http://{host}/ok.png")).collect();
    let before = site.asked();
    let answer =
        api.post("/v1/score", json!({"model": "tiny", "prompt": "?", "images": many, "responses": ["a"]})).await;
    assert_eq!(answer.problem(422, "invalid_request")["errors"][0]["pointer"], "/images/16");
    assert_eq!(site.asked(), before, "too many: none is fetched");
}

#[tokio::test]
async fn chat_and_score_fetch_too() {
    let site = Site::start().await;
    let host = format!("img.test:{}", site.port);
    let api = server(&host, true).await;
    let url = format!("http://{host}/ok.png");
    let messages = json!([{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "?"}]}]);
    let chat = json!({"model": "tiny", "messages": messages, "max_completion_tokens": 1});
    let answer: Answer = api.post("/v1/chat/completions", chat).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let score = json!({"model": "tiny", "prompt": "<image>?", "images": [url], "responses": ["a"]});
    let answer = api.post("/v1/score", score).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(site.asked(), 2);
}
