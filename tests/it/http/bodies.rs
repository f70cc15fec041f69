//! Bodies: how large one may be, what becomes of it in memory, and how much of it an answer repeats.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{Answer, Api};

/// Bytes that no error's body reaches.
const MOST: usize = 8 << 10;
/// Far more than any of these needs, and far less than what they took when work grew with the square of their length.
const GENEROUS: Duration = Duration::from_secs(10);

/// Sends JSON as text; the status, and the answer's length.
async fn send(api: &Api, path: &str, body: String) -> (u16, String) {
    let begun = vgpo::clock::Stopwatch::start();
    let request = api.request("POST", path).header("content-type", "application/json").body(body);
    let answer = request.send().await.unwrap();
    let told = (answer.status().as_u16(), answer.text().await.unwrap());
    assert!(begun.seconds() < GENEROUS.as_secs_f64(), "{path} took {} s", begun.seconds());
    told
}

/// Refused, in a few words.
async fn refused_briefly(api: &Api, path: &str, body: String) -> String {
    let (status, text) = send(api, path, body).await;
    assert!((400..500).contains(&status), "{path}: {status}");
    assert!(text.len() < MOST, "{path}: an answer of {} bytes", text.len());
    text
}

fn nuls(name: usize, count: usize) -> String {
    format!("{{\"{}\": [{}]}}", "n".repeat(name), vec!["\"\\u0000\""; count].join(","))
}

#[tokio::test]
async fn who_has_no_key_is_answered_briefly() {
    let api = Api::with(&[("auth", "required")]).await;
    let told: Value = serde_json::from_str(&refused_briefly(&api, "/v1/session", nuls(400, 300)).await).unwrap();
    assert_eq!(told["errors"].as_array().unwrap().len(), 20, "the first of them are named");
    assert!(told["errors"][0]["pointer"].as_str().unwrap().chars().count() <= 81, "{told}");
    let (status, _) = send(&api, "/v1/session", json!({"key": "x".repeat(5000)}).to_string()).await;
    assert_eq!(status, 413, "a key is shorter");
    // What needs a key is not even read.
    let (status, _) = send(&api, "/v1/jobs", nuls(400, 300)).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn an_error_does_not_grow_with_what_was_sent() {
    let api = Api::start().await;
    let long = "a".repeat(4_000_000);
    let message = json!([{"role": "user", "content": "x"}]);
    let picture = json!([{"role": "user",
        "content": [{"type": "image_url", "image_url": format!("data:image/png;base64,{long}")}]}]);
    let fields: serde_json::Map<String, Value> = (0..2000).map(|n| (format!("field{n}"), json!(1))).collect();
    for path in ["/generate", "/v1/score", "/v1/chat/completions"] {
        refused_briefly(&api, path, nuls(100_000, 20_000)).await;
        refused_briefly(&api, path, json!({"model": "tiny", "messages": message, &long: 1}).to_string()).await;
        refused_briefly(&api, path, json!({"model": &long, "messages": message, "responses": ["x"]}).to_string()).await;
        refused_briefly(&api, path, json!({"model": "tiny", "messages": picture}).to_string()).await;
        refused_briefly(&api, path, json!({"model": "tiny", "messages": &long}).to_string()).await;
        let mut many = fields.clone();
        many.extend([("model".to_owned(), json!("tiny")), ("messages".to_owned(), message.clone())]);
        refused_briefly(&api, path, Value::Object(many).to_string()).await;
    }
    let long = &long[..150_000];
    let named = |job: Value| json!({"model": "tiny", "dataset": "digits", "x": job}).to_string();
    for path in ["/v1/jobs", "/v1/jobs?dry_run=true"] {
        refused_briefly(&api, path, named(json!(fields))).await;
        refused_briefly(&api, path, Value::Object(fields.clone()).to_string()).await;
        refused_briefly(&api, path, json!({"model": long, "dataset": long}).to_string()).await;
        refused_briefly(&api, path, json!({"model": "tiny", "dataset": "digits", long: 1}).to_string()).await;
        refused_briefly(&api, path, nuls(100_000, 20_000)).await;
    }
    refused_briefly(
        &api,
        "/v1/sweeps",
        json!({"job": {"model": long, "dataset": "d"}, "grid": {"seed": [1]}}).to_string(),
    )
    .await;
    refused_briefly(&api, "/v1/rewards/evaluate", json!({"reward": {"type": long}, "items": []}).to_string()).await;
    let faults: Vec<Value> = vec![json!({"response": "x".repeat(1 << 20) + "x", "ground_truth": ""}); 25];
    refused_briefly(&api, "/v1/rewards/evaluate", json!({"reward": {"type": "math"}, "items": faults}).to_string())
        .await;
    let answer = api.get(&format!("/v1/jobs/{}", "j".repeat(20_000))).await;
    assert!(answer.body.to_string().len() < MOST);
    let answer = api.get(&format!("/v1/jobs?{}=1", "j".repeat(20_000))).await;
    assert!(answer.body.to_string().len() < MOST);
}

/// A byte or two of JSON takes dozens of times its size in a tree.
#[tokio::test]
async fn what_would_fill_memory_is_refused_while_it_is_read() {
    let api = Api::start().await;
    let zeros = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
    let job = |more: &str| format!("{{\"model\": \"tiny\", \"dataset\": \"digits\", {more}}}");
    let told = refused_briefly(&api, "/v1/jobs", job(&format!("\"tags\": {}", zeros(30_000)))).await;
    assert!(told.contains("more than 20000 values"), "{told}");
    let (status, _) = send(&api, "/v1/jobs", job(&format!("\"tags\": {}", zeros(600_000)))).await;
    assert_eq!(status, 413, "a job has less than a megabyte");
    let told =
        refused_briefly(&api, "/v1/score", format!("{{\"model\": \"tiny\", \"method\": {}}}", zeros(30_000))).await;
    assert!(told.contains("/method") && told.contains("more than 20000 values"), "{told}");
    let texts = format!("[{}\"\"]", "\"\",".repeat(2000));
    for field in ["images", "stop"] {
        let told = refused_briefly(&api, "/generate", format!("{{\"model\": \"tiny\", \"{field}\": {texts}}}")).await;
        assert!(told.contains("more than 1000 entries"), "{told}");
    }
    let messages = vec![json!({"role": "user", "content": ""}); 10_001];
    for path in ["/generate", "/v1/chat/completions"] {
        let told = refused_briefly(&api, path, json!({"model": "tiny", "messages": messages}).to_string()).await;
        assert!(told.contains("more than 10000 entries"), "{told}");
    }
    // What is passed over is not kept either: the same question is answered as without it.
    let metadata = format!(
        "{{\"model\": \"tiny\", \"messages\": [{{\"role\": \"user\", \"content\": \"x\"}}], \"max_tokens\": 1, \
        \"metadata\": {}}}",
        zeros(1_000_000)
    );
    assert_eq!(send(&api, "/v1/chat/completions", metadata).await.0, 200);
    let video = format!(
        "{{\"model\": \"tiny\", \"messages\": [{{\"role\": \"user\", \"content\": [{{\"type\": \"video\", \"video\": \
        {}}}]}}]}}",
        zeros(1_000_000)
    );
    assert!(refused_briefly(&api, "/generate", video).await.contains("video"));
}

#[tokio::test]
async fn a_grid_is_counted_before_it_is_compared() {
    let api = Api::start().await;
    let seeds: Vec<u32> = (0..40_000).map(|n| n % 19_000).collect();
    let job = json!({"model": "tiny", "dataset": "digits"});
    let grid = |grid: Value| json!({"job": job, "grid": grid}).to_string();
    let told = refused_briefly(&api, "/v1/sweeps", grid(json!({"seed": seeds[..15_000]}))).await;
    assert!(told.contains("15000 points; the limit is 256"), "{told}");
    let axes: serde_json::Map<String, Value> = (0..4000).map(|n| (format!("a{n}"), json!([1]))).collect();
    let told = refused_briefly(&api, "/v1/sweeps", grid(Value::Object(axes))).await;
    assert!(told.contains("varies 4000 settings; the limit is 32"), "{told}");
    refused_briefly(&api, "/v1/sweeps", grid(json!({"seed": seeds}))).await;
}

#[tokio::test]
async fn labels_are_few_short_and_printable() {
    let api = Api::start().await;
    let job = api.submit(json!({"tags": {"team": "vision"}})).await;
    let (job, run) = (job["id"].as_str().unwrap().to_owned(), job["run_id"].as_str().unwrap().to_owned());
    let many: serde_json::Map<String, Value> = (0..65).map(|n| (format!("t{n}"), json!("x"))).collect();
    for (tags, told) in [
        (Value::Object(many), "has 65 labels; the limit is 64"),
        (json!({"n".repeat(101): "x"}), "1 to 100 printable characters"),
        (json!({"n": "x".repeat(501)}), "at most 500 printable characters"),
        (json!({"n": "\u{1b}[2J"}), "printable"),
        (json!({"\u{202e}n": "x"}), "printable"),
    ] {
        let new = api.post("/v1/jobs", json!({"model": "tiny", "dataset": "digits", "tags": tags})).await;
        let patch = async |path: String| {
            Answer::of(api.request("PATCH", &path).json(&json!({"tags": tags})).send().await.unwrap()).await
        };
        let (of_job, of_run) = (patch(format!("/v1/jobs/{job}")).await, patch(format!("/v1/runs/{run}")).await);
        for answer in [new, of_job, of_run] {
            let errors = &answer.problem(422, "invalid_request")["errors"];
            assert_eq!(errors[0]["pointer"], "/tags", "{errors}");
            assert!(errors[0]["detail"].as_str().unwrap().contains(told), "{errors}");
        }
    }
    for name in ["a\u{1b}]0;x\u{7}", "a\u{202e}b", "a\nb"] {
        let new = api.post("/v1/jobs", json!({"model": "tiny", "dataset": "digits", "name": name})).await;
        assert_eq!(new.problem(422, "invalid_request")["errors"][0]["pointer"], "/name");
        let patched = api.request("PATCH", &format!("/v1/runs/{run}")).json(&json!({"name": name}));
        Answer::of(patched.send().await.unwrap()).await.problem(422, "invalid_request");
    }
}

#[tokio::test]
async fn a_form_of_many_texts_ends_at_its_limit() {
    let api = Api::start().await;
    let part = |index: usize| {
        format!("--B\r\ncontent-disposition: form-data; name=\"field{index}\"\r\n\r\n{}\r\n", "x".repeat(400_000))
    };
    let form = (0..4).map(part).collect::<String>() + "--B--\r\n";
    let request = api.request("POST", "/v1/datasets").header("content-type", "multipart/form-data; boundary=B");
    let answer = Answer::of(request.body(form).send().await.unwrap()).await;
    let detail = answer.problem(422, "invalid_request")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("1048576 bytes together"), "{detail}");
}

/// Sends the head of a request and the beginning of its body, and keeps the connection.
async fn begin(api: &Api, announced: usize, sent: usize) -> TcpStream {
    let address = api.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /generate HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: \
        {announced}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; sent]).await.unwrap();
    stream
}

#[tokio::test]
async fn bodies_together_have_a_limit_and_leave_room_when_they_go() {
    let api = Api::with(&[("max_bodies_bytes", "100000")]).await;
    let small = json!({"model": "tiny", "prompt": "hello", "max_new_tokens": 1, "stop": ["x".repeat(30_000)]});
    let held = begin(&api, 90_000, 80_000).await;
    let refused = loop {
        let answer = api.post("/generate", small.clone()).await;
        if answer.status == 503 {
            break answer;
        }
        // The other body has not arrived yet.
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let detail = refused.problem(503, "unavailable")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("100000 bytes") && detail.contains("max_bodies_bytes"), "{detail}");
    assert_eq!(refused.header("retry-after"), "2");
    assert_eq!(api.get("/healthz").await.status, 200);
    drop(held);
    while api.post("/generate", small.clone()).await.status == 503 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_told_apart_from_one_that_is_wrong() {
    let api = Api::start().await;
    let mut stream = begin(&api, 10, 10).await;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 400");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_answered_to_who_sends_all_of_it_first() {
    let api = Api::start().await;
    let mut stream = begin(&api, 40 << 20, 40 << 20).await;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), "HTTP/1.1 413");
}
