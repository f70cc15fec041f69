//! The program itself with keys: the first one, other hosts, and what is never written down.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::printed::printed_address;

struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn vgpo(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpo"));
    command.current_dir(folder).stdin(Stdio::null()).args(args);
    for variable in ["VGPO_SERVER", "VGPO_API_KEY", "VGPO_API_KEY_FILE", "VGPO_AUTH", "VGPO_HOST"] {
        command.env_remove(variable);
    }
    command
}

fn run(folder: &Path, args: &[&str]) -> Output {
    vgpo(folder, args).output().unwrap()
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

const SERVE: [&str; 7] = ["serve", "--host", "0.0.0.0", "--port", "0", "--devices", "none"];

#[test]
fn no_key_no_server_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let refused = run(folder.path(), &SERVE);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(told.contains("vgpo keys create --role admin --data ./vgpo-data") && told.contains("0.0.0.0"), "{told}");
    // A revoked key opens nothing.
    let key = json_of(&run(folder.path(), &["keys", "create", "--role", "admin", "--json"]));
    assert!(run(folder.path(), &["keys", "revoke", key["id"].as_str().unwrap()]).status.success());
    assert!(!run(folder.path(), &SERVE).status.success());
}

#[tokio::test]
async fn keys_open_a_server_and_are_never_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let key = json_of(&run(path, &["keys", "create", "--role", "admin", "--json"]));
    let secret = key["secret"].as_str().unwrap().to_owned();
    let log = path.join("log");
    let mut command = vgpo(path, &SERVE);
    command.env("RUST_LOG", "trace").stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let url = printed_address(&mut child).replace("0.0.0.0", "127.0.0.1");
    let server = Server { child, url };

    let refused = run(path, &["jobs", "list", "--server", &server.url]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("API key"), "{refused:?}");
    let file = path.join("key");
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let mut listed = vgpo(path, &["keys", "list", "--json", "--server", &server.url]);
    let listed = json_of(&listed.env("VGPO_API_KEY_FILE", &file).output().unwrap());
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &key["id"]));
    let mut made = vgpo(path, &["keys", "create", "--role", "user", "--project", "vision", "--json"]);
    let made = json_of(&made.env("VGPO_SERVER", &server.url).env("VGPO_API_KEY", &secret).output().unwrap());
    assert_eq!((&made["project"], &made["created_by"]), (&json!("vision"), &key["id"]));

    // A folder on the command line goes before the server of the environment.
    let mut shown = vgpo(path, &["keys", "show", key["id"].as_str().unwrap(), "--data", "vgpo-data", "--json"]);
    let shown = json_of(&shown.env("VGPO_SERVER", "http://127.0.0.1:1").output().unwrap());
    assert_eq!((&shown["id"], shown.get("secret")), (&key["id"], None));

    let http = reqwest::Client::new();
    let opened = http.post(format!("{}/v1/session", server.url)).json(&json!({"key": secret})).send().await.unwrap();
    let cookie = opened.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let csrf = opened.json::<Value>().await.unwrap()["csrf"].as_str().unwrap().to_owned();
    let token = http.post(format!("{}/v1/stream-tokens", server.url)).header("cookie", &cookie);
    let token = token.header("x-csrf-token", &csrf).send().await.unwrap().json::<Value>().await.unwrap();
    let token = token["token"].as_str().unwrap().to_owned();
    let stream = http.get(format!("{}/v1/events?stream_token={token}", server.url)).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    drop(stream);

    let mut hidden = vec![csrf, token, cookie.split('=').nth(1).unwrap().to_owned()];
    hidden.extend([&secret, made["secret"].as_str().unwrap()].map(|key| key.rsplit('_').next().unwrap().to_owned()));
    drop(server);
    let mut said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("/v1/stream-tokens"), "requests are logged");
    for file in std::fs::read_dir(path.join("vgpo-data")).unwrap().map(|entry| entry.unwrap().path()) {
        if file.is_file() {
            said.push_str(&String::from_utf8_lossy(&std::fs::read(&file).unwrap()));
        }
    }
    for secret in hidden {
        assert!(secret.len() >= 64 && !said.contains(&secret), "a secret stands in the log or in the data folder");
    }
}
