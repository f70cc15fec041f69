//! The server under the limits of the system: few file descriptors.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::printed::printed_address;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn connections_leave_files_to_the_database() {
    let folder = tempfile::tempdir().unwrap();
    // For good: the server raises a limit that may be raised.
    let command = format!(
        "ulimit -n 400; exec {} serve --devices none --port 0 --data {}",
        env!("CARGO_BIN_EXE_vgpo"),
        folder.path().display()
    );
    let mut child = Command::new("sh")
        .args(["-c", &command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let url = printed_address(&mut child);
    let _server = Server(child);
    let address = url.trim_start_matches("http://").to_owned();
    let mut held = Vec::new();
    for _ in 0..450 {
        let mut stream = TcpStream::connect(&address).unwrap();
        // The server may have closed it already, to make room.
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-a: ");
        held.push(stream);
    }
    for path in ["/healthz", "/readyz", "/v1/jobs"] {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        let answer = client.get(format!("{url}{path}")).send().await;
        assert_eq!(answer.expect("it is answered").status(), 200, "{path}");
    }
    drop(held);
}

/// A request that computes, and whose client is gone, does not keep the server from its end.
#[tokio::test]
async fn a_signal_ends_the_server_whatever_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_vgpo"))
        .args(["serve", "--devices", "none", "--port", "0", "--data"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let url = printed_address(&mut child);
    let mut server = Server(child);
    let client = reqwest::Client::new();
    let row = serde_json::json!({"problem": "word ".repeat(20_000), "answer": "b"}).to_string() + "\n";
    let upload = client.post(format!("{url}/v1/datasets?name=long")).header("content-type", "application/x-ndjson");
    assert_eq!(upload.body(row.repeat(20)).send().await.unwrap().status(), 202);
    loop {
        let state =
            client.get(format!("{url}/v1/datasets/long")).send().await.unwrap().json::<serde_json::Value>().await;
        if state.unwrap()["state"] == "ready" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let template = "{% for a in prompt|list %}{% if prompt|list|sort|length == 0 %}x{% endif %}{% endfor %}";
    let slow = serde_json::json!({"model": "starter", "dataset": "long", "data": {"prompt_template": template}});
    for _ in 0..4 {
        let ask = client.post(format!("{url}/v1/jobs?dry_run=true")).json(&slow).timeout(Duration::from_millis(200));
        let _ = ask.send().await;
    }
    let pid = server.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ended = tokio::task::spawn_blocking(move || {
        for _ in 0..400 {
            if server.0.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        false
    });
    assert!(ended.await.unwrap(), "the server still runs 40 seconds after it was asked to end");
}
