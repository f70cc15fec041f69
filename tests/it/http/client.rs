//! The commands that talk to a server.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::support::Api;

async fn vgpo(api: &Api, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpo"));
    command.args(arguments).env("VGPO_SERVER", &api.url);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn submit_list_cancel_and_watch() {
    let api = Api::start().await;
    let set = ["--set", "steps=3", "--set", "method.type=grpo", "--set", "data.max_prompt_tokens=4000"];
    let submit = [&["jobs", "submit", "--model", "tiny", "--dataset", "digits", "--json"], &set[..]].concat();
    let out = vgpo(&api, &submit).await;
    assert!(out.status.success(), "{}", text(&out.stderr));
    let job: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((job["spec"]["steps"].as_u64(), job["spec"]["method"]["type"].as_str()), (Some(3), Some("grpo")));
    let id = job["id"].as_str().unwrap();
    let out = vgpo(&api, &["jobs", "list"]).await;
    assert!(text(&out.stdout).contains(id) && text(&out.stdout).contains("queued"), "{}", text(&out.stdout));
    let out = vgpo(&api, &["jobs", "cancel", id]).await;
    assert_eq!(text(&out.stdout).trim(), format!("{id} is cancelled"));
    let out = vgpo(&api, &["jobs", "watch", id]).await;
    assert!(!out.status.success(), "a cancelled job is not a success");
    assert!(text(&out.stdout).starts_with("queued: submitted\nqueued -> cancelled"), "{}", text(&out.stdout));
    assert!(text(&out.stdout).contains("end: cancelled"), "{}", text(&out.stdout));
    let out = vgpo(&api, &["runs"]).await;
    assert!(text(&out.stdout).contains(job["run_id"].as_str().unwrap()));
    let out = vgpo(&api, &["models", "tiny", "--json"]).await;
    assert_eq!(serde_json::from_slice::<Value>(&out.stdout).unwrap()["id"], "tiny");
}

/// A name that was stored before names were checked does nothing to the terminal in which it is listed.
#[tokio::test]
async fn names_of_others_move_no_terminal() {
    let api = Api::start().await;
    let name = "evil\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}x";
    api.store().upsert_model(super::support::model(name, json!({}))).await.unwrap();
    for arguments in [&["models"][..], &["models", "--json"], &["models", name]] {
        let out = vgpo(&api, arguments).await;
        for shown in [text(&out.stdout), text(&out.stderr)] {
            assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{arguments:?}: {shown:?}");
        }
    }
    let listed = vgpo(&api, &["models", "--json"]).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert!(listed.to_string().contains("owned"), "JSON is still JSON");
}

#[tokio::test]
async fn wait_succeeds_with_the_job() {
    let api = Api::start().await;
    let waiting = async { vgpo(&api, &["jobs", "submit", "--model", "tiny", "--dataset", "digits", "--wait"]).await };
    let working = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            if !api.get("/v1/jobs").await.body["data"].as_array().unwrap().is_empty() {
                break;
            }
        }
        let leased = api.claim().await;
        api.report(&leased, 1, &[("reward/mean", 0.25)]).await;
        api.store().complete(&leased.token, "finished").await.unwrap();
    };
    let (out, ()) = tokio::join!(waiting, working);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("reward/mean 0.250"), "{}", text(&out.stdout));
}

#[tokio::test]
async fn refusals_are_shown_field_by_field() {
    let api = Api::start().await;
    let out =
        vgpo(&api, &["jobs", "submit", "--model", "tiny", "--dataset", "digits", "--set", "rollout.topp=1"]).await;
    assert!(!out.status.success());
    let error = text(&out.stderr);
    assert!(error.contains("/rollout/topp: unknown field `topp`: did you mean `top_p`?"), "{error}");
    let out = vgpo(&api, &["jobs", "list", "--server", "http://127.0.0.1:1"]).await;
    assert!(text(&out.stderr).contains("cannot reach the server at http://127.0.0.1:1"), "{}", text(&out.stderr));
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("job.json");
    std::fs::write(&spec, json!({"model": "tiny", "dataset": "digits"}).to_string()).unwrap();
    let out = vgpo(&api, &["jobs", "submit", spec.to_str().unwrap(), "--dry-run"]).await;
    let plan = text(&out.stdout);
    for part in ["vgpo of tiny on digits", "Work ", "Memory ", "Prompt ", "Yours\n", "  model = tiny", "Recommended"] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
    assert!(!plan.contains(['{', '}']), "words, not JSON: {plan}");
    let out = vgpo(&api, &["jobs", "submit", spec.to_str().unwrap(), "--dry-run", "--json"]).await;
    let plan: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(plan["spec"]["model"], "tiny");
    let out = vgpo(&api, &["jobs", "list", "--state", "nowhere"]).await;
    assert_eq!(text(&out.stderr).matches("nowhere").count(), 1, "once is enough: {}", text(&out.stderr));
}

#[tokio::test]
async fn every_kind_of_thing_is_listed_and_shown() {
    let api = Api::start().await;
    let job = api.submit(json!({})).await;
    let (id, run) = (job["id"].as_str().unwrap(), job["run_id"].as_str().unwrap());
    for kind in ["jobs", "runs", "models", "datasets", "checkpoints", "sweeps", "workers", "keys"] {
        let out = vgpo(&api, &[kind, "list"]).await;
        let listed = text(&out.stdout);
        assert!(out.status.success(), "{kind}: {}", text(&out.stderr));
        let head = listed.lines().next().unwrap();
        assert!(head == head.to_uppercase() && !head.contains('_'), "{kind}: {head}");
    }
    api.store().register_worker(super::support::worker("wrk_one")).await.unwrap();
    let things = [("jobs", id), ("runs", run), ("models", "tiny"), ("datasets", "digits"), ("workers", "wrk_one")];
    for (kind, name) in things {
        let out = vgpo(&api, &[kind, "show", name]).await;
        let shown = text(&out.stdout);
        assert!(shown.contains(name) && !shown.contains(['{', '"']) && shown.lines().count() < 60, "{kind}: {shown}");
        let out = vgpo(&api, &[kind, "show", name, "--json"]).await;
        let shown: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert!(shown["id"] == name || shown["name"] == name, "{kind}: {shown}");
    }
    for (kind, word) in [("runs", "runs"), ("models", "models")] {
        let [bare, listed] = [vgpo(&api, &[kind]).await, vgpo(&api, &[word, "list"]).await];
        assert_eq!(text(&bare.stdout), text(&listed.stdout), "{kind}");
    }
    let out = vgpo(&api, &["checkpoints", "withdraw", "tiny"]).await;
    assert!(text(&out.stderr).contains("`vgpo models delete tiny`"), "{}", text(&out.stderr));
    api.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await;
    let out = vgpo(&api, &["runs", "delete", run]).await;
    assert_eq!(text(&out.stdout).trim(), format!("Deleted {run}"));
}

#[tokio::test]
async fn a_report_replaces_nothing_and_can_be_read_by_others() {
    let api = Api::start().await;
    let run = api.submit(json!({})).await["run_id"].as_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    let arguments = ["runs", "report", run.as_str(), "--out", file.to_str().unwrap()];
    let out = vgpo(&api, &arguments).await;
    assert!(out.status.success(), "{}", text(&out.stderr));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let other = folder.path().join("other");
        std::fs::write(&other, "").unwrap();
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), mode(&other), "as any new file");
    }
    std::fs::write(&file, "mine").unwrap();
    let out = vgpo(&api, &arguments).await;
    assert!(text(&out.stderr).contains("already exists") && text(&out.stderr).contains("--force"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    let out = vgpo(&api, &[&arguments[..], &["--force"]].concat()).await;
    assert!(out.status.success() && std::fs::read_to_string(&file).unwrap().contains("<html"));
}
