//! The commands `vgpo generate` and `vgpo score`.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::{engine, fixture, generate, picture, request, score};

/// Runs a command on a request in a folder of its own, without a server.
fn run(command: &str, model: &str, request: &Value) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_vgpo"))
        .args([command, "--model", model, "--request", "-"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that finds no model need not read its input.
    let _ = child.stdin.take().unwrap().write_all(request.to_string().as_bytes());
    let output = child.wait_with_output().unwrap();
    assert!(!folder.path().join("vgpo-data").exists() || model == "starter", "nothing is left behind");
    output
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn folder() -> String {
    fixture().join("checkpoint").display().to_string()
}

#[tokio::test]
async fn the_answers_are_those_of_the_api() {
    let engine = engine();
    let path = fixture().join("images/a_56x84.png").display().to_string();
    let fields = json!({"prompt": "What is red?", "max_new_tokens": 4, "seed": 5, "temperature": 1.0,
        "attention": {"maps": "summary"}});
    let with = |images: Value| {
        let mut request = fields.clone();
        request["images"] = images;
        request
    };
    let told = lines(&run("generate", &folder(), &with(json!([path])))).remove(0);
    let mut named = with(json!([picture("a_56x84")]));
    named["model"] = json!("tiny");
    let want = generate(&engine, &named).await.unwrap();
    assert_eq!(told["model"], "checkpoint");
    // Another process may use another number of threads, which moves the last digits.
    assert_eq!(told["choices"][0]["text"], want.choices[0].text);
    assert_eq!(told["usage"], json!(want.usage));
    let parts = request("p1_single", json!({"responses": ["It is 5.<|im_end|>"], "rewards": [1.0]}));
    let told = lines(&run("score", &folder(), &parts)).remove(0);
    let want = score(&engine, &parts).await.unwrap();
    for (told, want) in told["responses"][0]["tokens"].as_array().unwrap().iter().zip(&want.responses[0].tokens) {
        assert_eq!(told["id"], want.id);
        super::near("log-prob", told["logprob"].as_f64().unwrap(), want.logprob, 1e-4);
    }
}

#[test]
fn a_stream_is_a_line_per_event() {
    let streaming = json!({"prompt": "Hello", "max_new_tokens": 3, "stream": true});
    let events = lines(&run("generate", &folder(), &streaming));
    let names: Vec<&str> = events.iter().map(|e| e["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["token", "token", "token", "done"]);
}

#[test]
fn faults_are_told_in_one_line() {
    let cases = [
        ("no-such-model", json!({"prompt": "x"}), "no-such-model"),
        (&folder(), json!({"prompt": "x", "images": ["no-such-file.png"]}), "no-such-file.png"),
        (&folder(), json!({"prompt": "x", "max_new_token": 3}), "max_new_tokens"),
        (&folder(), json!({"prompt": "x", "max_new_tokens": 0}), "/max_new_tokens"),
        (&folder(), json!([1]), "object"),
    ];
    for (model, request, part) in cases {
        let output = run("generate", model, &request);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(text.starts_with("error: ") && text.contains(part), "{text}");
    }
}
