//! The program itself: `serve`, its port, its settings.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::printed::printed_address;

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(data: &Path) -> Self {
        let mut child = serve(data, "0").spawn().unwrap();
        let url = printed_address(&mut child);
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn vgpo(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpo"));
    command.current_dir(data).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn serve(data: &Path, port: &str) -> Command {
    let mut command = vgpo(data);
    command.args(["serve", "--devices", "none", "--port", port, "--data"]).arg(data.join("data"));
    command
}

#[tokio::test]
async fn serve_stops_cleanly_and_starts_again_on_the_same_data() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut server = Server::start(folder.path());
        let ready = reqwest::get(format!("{}/readyz", server.url)).await.unwrap();
        assert_eq!(ready.status(), 200);
        let stream = reqwest::get(format!("{}/v1/events", server.url)).await.unwrap();
        let pid = server.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(server.child.wait().unwrap().success(), "an orderly end is a success");
        drop(stream);
    }
    assert!(folder.path().join("data/vgpo.db").exists());
}

/// Starts the quickstart, waits for a line that names its job, interrupts it, and returns the line.
fn interrupted_quickstart(data: &Path) -> String {
    let mut command = vgpo(data);
    command.args(["quickstart", "--port", "0", "--steps", "50", "--data"]).arg(data.join("data"));
    let mut child = Server { child: command.stderr(Stdio::inherit()).spawn().unwrap(), url: String::new() };
    let mut lines = BufReader::new(child.child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("job_")).expect("it names its job");
    // Let the worker take it, so that the interrupt meets a job at work.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let pid = child.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(lines.any(|line| line.contains("stopping")), "it says that it stops");
    assert!(child.child.wait().unwrap().success(), "an interrupt is an orderly end");
    line
}

fn job_id(line: &str) -> &str {
    let start = line.find("job_").unwrap();
    line[start..].split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()
}

#[test]
fn a_quickstart_that_was_interrupted_goes_on_with_its_job() {
    let folder = tempfile::tempdir().unwrap();
    let first = interrupted_quickstart(folder.path());
    assert!(first.contains("submitted"), "{first}");
    let second = interrupted_quickstart(folder.path());
    assert!(second.contains("continuing"), "{second}");
    assert_eq!(job_id(&first), job_id(&second));
}

#[test]
fn a_taken_port_is_told_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let out = serve(folder.path(), &port).output().unwrap();
    assert!(!out.status.success());
    let error = String::from_utf8(out.stderr).unwrap();
    assert!(error.contains(&port) && error.contains("in use") && error.contains("--port"), "{error}");
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[test]
fn config_show_names_origins_and_hides_secrets() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("vgpo.toml"), "max_map_values = 5\n").unwrap();
    let out = vgpo(folder.path())
        .args(["config", "show", "--port", "9"])
        .env("VGPO_DATABASE_URL", "postgres://u:opensesame@h/d")
        .env("VGPO_WEBHOOK_SECRET", "opensesame-too")
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    for part in [
        "9  (flag)",
        "5  (file vgpo.toml)",
        "postgres://u:***@h/d  (environment VGPO_DATABASE_URL)",
        "127.0.0.1  (default)",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(!text.contains("opensesame"), "{text}");
}

#[test]
fn openapi_and_migrate_need_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let out = vgpo(folder.path()).arg("openapi").output().unwrap();
    assert_eq!(String::from_utf8(out.stdout).unwrap(), vgpo::http::openapi_json().unwrap());
    let out = vgpo(folder.path()).args(["migrate", "--data", "data"]).output().unwrap();
    assert!(out.status.success());
    assert!(folder.path().join("data/vgpo.db").exists());
    let mut help = String::new();
    let mut child = vgpo(folder.path()).arg("--help").spawn().unwrap();
    child.stdout.take().unwrap().read_to_string(&mut help).unwrap();
    child.wait().unwrap();
    assert!(help.contains("serve") && help.contains("jobs"), "{help}");
}
