//! Logs of jobs over HTTP.

use serde_json::json;
use vgpo::artifacts::JobLogs;
use vgpo::clock::{Clock as _, SystemClock};
use vgpo::domain::log::{LogLevel, LogLine};

use super::support::Api;

fn line(number: u64) -> LogLine {
    LogLine { time: SystemClock.now(), level: LogLevel::Info, attempt: 1, message: format!("line {number}") }
}

#[tokio::test]
async fn a_log_is_read_in_parts_as_text_and_live() {
    let api = Api::start().await;
    let job = api.submit(json!({})).await;
    let id = job["id"].as_str().unwrap();
    let path = format!("/v1/jobs/{id}/logs");
    assert_eq!(api.get(&path).await.body, json!({"data": [], "has_more": false, "next": "0"}), "nothing written yet");
    let mut writer = JobLogs::new(&api.service.settings().logs_dir()).writer(id).unwrap();
    for number in 0..5 {
        writer.write(&line(number)).unwrap();
    }
    let messages = |body: &serde_json::Value| {
        let lines = body["data"].as_array().unwrap().iter();
        lines.map(|line| line["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(messages(&api.get(&format!("{path}?tail=2")).await.body), ["line 3", "line 4"]);
    let first = api.get(&format!("{path}?after=0&limit=2")).await.body;
    assert_eq!((messages(&first), first["has_more"].as_bool()), (vec!["line 0".into(), "line 1".into()], Some(true)));
    let rest = api.get(&format!("{path}?after={}", first["next"].as_str().unwrap())).await.body;
    assert_eq!(messages(&rest).len(), 3);
    let text = api.request("GET", &path).header("accept", "text/plain").send().await.unwrap().text().await.unwrap();
    assert!(text.lines().count() == 5 && text.contains("INFO  [1] line 4"), "{text}");

    let mut stream = api.stream(&format!("{path}/stream?tail=1"), None).await;
    let frame = stream.next().await.unwrap();
    assert_eq!((frame.event.as_str(), frame.data["message"].as_str()), ("log", Some("line 4")));
    writer.write(&line(5)).unwrap();
    let frame = stream.next().await.unwrap();
    assert_eq!(frame.data["message"], "line 5");
    api.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await;
    let end = stream.next().await.unwrap();
    assert_eq!((end.event.as_str(), end.data["state"].as_str()), ("end", Some("cancelled")));
    assert!(stream.next().await.is_none());
    let resumed = api.stream(&path, Some(first["next"].as_str().unwrap())).await.rest().await;
    assert_eq!(resumed.len(), 5, "four lines and the end: {resumed:?}");

    api.get("/v1/jobs/job_x/logs").await.problem(404, "not_found");
    for query in ["tail=0", "tail=10001", "tail=1&after=0", "after=0&limit=0", "lines=3"] {
        api.get(&format!("{path}?{query}")).await.problem(400, "invalid_query");
    }
    let run = format!("/v1/runs/{}", job["run_id"].as_str().unwrap());
    assert_eq!(api.request("DELETE", &run).send().await.unwrap().status(), 204);
    assert!(!api.service.settings().logs_dir().join(format!("{id}.jsonl")).exists(), "it goes with its run");
}
