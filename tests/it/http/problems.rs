//! Every error is a problem.

use serde_json::{Value, json};

use super::support::{Answer, Api};

/// The body without what differs from run to run.
fn stable(body: &Value) -> Value {
    let mut body = body.clone();
    body["request_id"] = json!("[request id]");
    body
}

#[tokio::test]
async fn routes_methods_and_ids_that_do_not_exist() {
    let api = Api::start().await;
    let answer = api.get("/v1/jbos").await;
    insta::assert_json_snapshot!("unknown_route", stable(answer.problem(404, "unknown_route")));
    let answer = Answer::of(api.request("DELETE", "/v1/jobs").send().await.unwrap()).await;
    insta::assert_json_snapshot!("method_not_allowed", stable(answer.problem(405, "method_not_allowed")));
    assert!(answer.header("allow").contains("GET"), "{}", answer.header("allow"));
    let answer = api.get("/v1/jobs/job_unknown").await;
    insta::assert_json_snapshot!("not_found", stable(answer.problem(404, "not_found")));
    for path in ["/v1/runs/x", "/v1/runs/x/metrics", "/v1/runs/x/metrics/keys", "/v1/runs/x/metrics/stream"] {
        api.get(path).await.problem(404, "not_found");
    }
    for path in ["/v1/runs/x/samples", "/v1/checkpoints/x", "/v1/models/a/b", "/v1/datasets/x", "/v1/jobs/x/events"] {
        api.get(path).await.problem(404, "not_found");
    }
    // A path that is not UTF-8 is refused in the same form.
    api.get("/v1/jobs/%FF").await.problem(400, "bad_request");
}

#[tokio::test]
async fn bodies_that_are_no_json() {
    let api = Api::start().await;
    let send = async |kind: &str, body: &'static str| {
        let request = api.request("POST", "/v1/jobs").header("content-type", kind).body(body);
        Answer::of(request.send().await.unwrap()).await
    };
    let answer = send("application/json", "{\"model\": \"tiny\",,}").await;
    insta::assert_json_snapshot!("invalid_json", stable(answer.problem(400, "invalid_json")));
    let answer = send("application/json", "").await;
    assert!(answer.problem(400, "invalid_json")["detail"].as_str().unwrap().contains("empty"));
    send("application/json", "\u{feff}{}").await.problem(400, "invalid_json");
    let answer = send("text/plain", "{}").await;
    insta::assert_json_snapshot!("unsupported_media_type", stable(answer.problem(415, "unsupported_media_type")));
    let none = Answer::of(api.request("POST", "/v1/jobs").body("{}").send().await.unwrap()).await;
    none.problem(415, "unsupported_media_type");
    // Deep nesting is refused, not followed until the stack is full.
    let deep = "[".repeat(100_000);
    let request = api.request("POST", "/v1/jobs").header("content-type", "application/json").body(deep);
    Answer::of(request.send().await.unwrap()).await.problem(400, "invalid_json");
    send("application/json", "[1]").await.problem(422, "invalid_request");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let api = Api::with(&[("max_body_bytes", "2000")]).await;
    let large = format!("{{\"model\": \"{}\"}}", "x".repeat(5000));
    let request = || api.request("POST", "/v1/jobs").header("content-type", "application/json");
    let answer = Answer::of(request().body(large.clone()).send().await.unwrap()).await;
    let detail = answer.problem(413, "body_too_large")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("2000") && detail.contains(&large.len().to_string()), "{detail}");
    let chunks = futures_util::stream::iter(vec![Ok::<_, std::io::Error>(large)]);
    let answer = Answer::of(request().body(reqwest::Body::wrap_stream(chunks)).send().await.unwrap()).await;
    answer.problem(413, "body_too_large");
}

#[tokio::test]
async fn query_strings_name_the_bad_parameter() {
    let api = Api::start().await;
    let pointer = |answer: &Answer| answer.problem(400, "invalid_query")["errors"][0]["pointer"].clone();
    let answer = api.get("/v1/jobs?limt=3").await;
    insta::assert_json_snapshot!("unknown_parameter", stable(answer.problem(400, "invalid_query")));
    assert_eq!(pointer(&api.get("/v1/jobs?limit=0").await), "?limit");
    assert_eq!(pointer(&api.get("/v1/jobs?limit=1001").await), "?limit");
    assert_eq!(pointer(&api.get("/v1/jobs?limit=many").await), "?limit");
    assert_eq!(pointer(&api.get("/v1/jobs?state=runing").await), "?state");
    assert_eq!(pointer(&api.get("/v1/events?after=now").await), "?after");
    let answer = Answer::of(api.request("POST", "/v1/jobs?dryrun=true").json(&json!({})).send().await.unwrap()).await;
    assert_eq!(pointer(&answer), "?dryrun");
}

#[tokio::test]
async fn request_ids_come_back_and_bad_ones_are_replaced() {
    let api = Api::start().await;
    let ask = async |id: &str| {
        Answer::of(api.request("GET", "/healthz").header("x-request-id", id).send().await.unwrap()).await
    };
    assert_eq!(ask("mine-1.2_3").await.header("x-request-id"), "mine-1.2_3");
    assert!(ask("a b<script>").await.header("x-request-id").starts_with("req_"));
    assert!(ask(&"x".repeat(1000)).await.header("x-request-id").starts_with("req_"));
}

#[tokio::test]
async fn every_type_has_a_page_for_people() {
    let api = Api::start().await;
    let index = api.get("/problems").await.body;
    for code in vgpo::http::problem::CODES {
        assert!(index.as_str().unwrap().contains(&format!("/problems/{}\"", code.name)));
        let page = api.get(&format!("/problems/{}", code.name)).await;
        assert_eq!(page.status, 200);
        assert!(page.body.as_str().unwrap().contains(code.explanation));
    }
    api.get("/problems/nonsense").await.problem(404, "not_found");
}

#[tokio::test]
async fn health_tells_what_is_missing() {
    let api = Api::start().await;
    assert_eq!(api.get("/healthz").await.body["status"], "ok");
    let ready = api.get("/readyz").await;
    assert_eq!((ready.status, ready.body["ready"].as_bool()), (200, Some(true)), "{}", ready.body);
    api.store().close().await;
    // An answer may be a second old.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let ready = api.get("/readyz").await;
    assert_eq!((ready.status, ready.body["ready"].as_bool()), (503, Some(false)));
    assert_eq!(ready.body["checks"][0]["ok"], false);
    // A fault of ours shows an id and nothing of the inside.
    let answer = api.get("/v1/jobs").await;
    insta::assert_json_snapshot!("internal", stable(answer.problem(500, "internal")));
}

#[tokio::test]
async fn large_answers_are_compressed() {
    let api = Api::start().await;
    let request = api.request("GET", "/openapi.json").header("accept-encoding", "gzip");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
}
