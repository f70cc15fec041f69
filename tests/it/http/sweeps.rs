//! Sweeps, and the comparison of runs.

use serde_json::{Value, json};

use super::support::{Answer, Api};

fn job() -> Value {
    json!({"model": "tiny", "dataset": "digits", "data": {"max_prompt_tokens": 4000}, "steps": 4})
}

#[tokio::test]
async fn a_grid_becomes_jobs_that_can_be_compared() {
    let api = Api::start().await;
    let request = json!({"job": job(), "grid": {"method.type": ["vgpo", "grpo"], "/seed": [0, 1, 2]}});
    let answer = api.post("/v1/sweeps", request).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let sweep = answer.body;
    assert_eq!((&sweep["name"], &sweep["points"]), (&json!("digits over method.type, seed"), &json!(6)));
    let names: Vec<_> = sweep["jobs"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap()).collect();
    assert_eq!((names[0], names[5]), ("digits-vgpo type=vgpo seed=0", "digits-grpo type=grpo seed=2"));
    assert_eq!(sweep["jobs"][4]["sweep"]["settings"], json!({"/method/type": "grpo", "/seed": 1}));
    assert_eq!(sweep["jobs"][4]["origins"]["/seed"], "request");

    // vgpo: 1, 2, 3; grpo: 2, 4, 6 at step 1.
    for index in 0..6 {
        let leased = api.claim().await;
        let value = (index % 3 + 1) as f64 * if index < 3 { 1.0 } else { 2.0 };
        api.report(&leased, 1, &[("reward/mean", value)]).await;
        api.report(&leased, 2, &[("reward/mean", value + 1.0)]).await;
        if index == 0 {
            api.store().complete(&leased.token, "finished").await.unwrap();
        }
    }
    let id = sweep["id"].as_str().unwrap();
    let whole = api.get(&format!("/v1/sweeps/{id}")).await.body;
    assert_eq!(whole["states"], json!({"succeeded": 1, "running": 5}));
    assert_eq!(whole["runs"][3]["metrics"]["reward/mean"]["best"], 3.0);
    assert_eq!(whole["runs"][3]["settings"], json!({"/method/type": "grpo", "/seed": 0}));

    let compared = api.get(&format!("/v1/metrics?sweep={id}&key=reward/mean&group_by=method.type")).await.body;
    let groups = compared["groups"].as_array().unwrap();
    assert_eq!((groups[0]["label"].as_str(), groups[1]["label"].as_str()), (Some("vgpo"), Some("grpo")));
    let point = &groups[1]["points"][0];
    assert_eq!((&point["step"], &point["mean"], &point["n"]), (&json!(1), &json!(4.0), &json!(3)));
    // t = 4.3027 with two degrees of freedom; s = 2, n = 3.
    let half = 4.302_652_73 * 2.0 / 3.0_f64.sqrt();
    assert!((point["high"].as_f64().unwrap() - (4.0 + half)).abs() < 1e-4, "{point}");
    assert!((point["low"].as_f64().unwrap() - (4.0 - half)).abs() < 1e-4, "{point}");

    let runs: Vec<_> = whole["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap()).collect();
    let alone = api.get(&format!("/v1/metrics?runs={},{}&key=reward/mean", runs[0], runs[1])).await.body;
    assert_eq!(alone["groups"].as_array().unwrap().len(), 2);
    assert_eq!(
        alone["groups"][1]["points"][1],
        json!({"step": 2, "mean": 3.0, "low": null, "high": null, "min": 3.0, "max": 3.0, "n": 1})
    );
    let unknown = api.get(&format!("/v1/metrics?sweep={id}&key=reward/mean&group_by=methd.type")).await;
    assert!(
        unknown.body["errors"][0]["detail"].as_str().unwrap().contains("did you mean `method.type`"),
        "{}",
        unknown.body
    );
    let unknown = api.get(&format!("/v1/metrics?sweep={id}&key=eval/acc")).await;
    let error = &unknown.problem(400, "invalid_query")["errors"][0];
    assert_eq!(error["pointer"], "?key");
    assert!(error["detail"].as_str().unwrap().contains("did you mean `eval/accuracy`?"), "{error}");
    let none_yet = api.get(&format!("/v1/metrics?sweep={id}&key=eval/accuracy")).await.body;
    assert_eq!(none_yet["groups"].as_array().unwrap().len(), 6, "it may still come");
    api.get("/v1/metrics?key=reward/mean").await.problem(400, "invalid_query");
    api.get("/v1/metrics?runs=run_x&key=reward/mean").await.problem(404, "not_found");

    assert_eq!(api.get(&format!("/v1/runs?sweep={id}&limit=9")).await.body["data"].as_array().unwrap().len(), 6);
    let listed = api.get("/v1/sweeps").await.body;
    assert_eq!((&listed["data"][0]["id"], &listed["data"][0]["states"]["running"]), (&sweep["id"], &json!(5)));
    let cancelled = api.post(&format!("/v1/sweeps/{id}/cancel"), json!({"reason": "enough"})).await.body;
    assert_eq!(cancelled["states"], json!({"succeeded": 1, "cancelling": 5}));
    assert_eq!(api.post(&format!("/v1/sweeps/{id}/cancel"), json!({})).await.status, 200, "a repeat is fine");
    api.get("/v1/sweeps/swp_x").await.problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_is_deleted_with_its_runs_once_all_of_its_jobs_have_ended() {
    let api = Api::start().await;
    let sweep = api.post("/v1/sweeps", json!({"job": job(), "grid": {"seed": [1, 2]}})).await.body;
    let other = api.submit(json!({})).await;
    let id = sweep["id"].as_str().unwrap();
    let path = format!("/v1/sweeps/{id}");
    let delete = async || Answer::of(api.request("DELETE", &path).send().await.unwrap()).await;
    let refused = delete().await;
    assert!(refused.problem(409, "conflict")["detail"].as_str().unwrap().contains("2 jobs"), "{}", refused.body);
    assert_eq!(api.get(&path).await.body["states"], json!({"queued": 2}), "nothing was deleted");
    api.post(&format!("{path}/cancel"), json!({})).await;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vgpo"));
    command.args(["sweeps", "delete", id]).env("VGPO_SERVER", &api.url);
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(String::from_utf8(done.stdout).unwrap().trim(), format!("Deleted {id}"));
    api.get(&path).await.problem(404, "not_found");
    delete().await.problem(404, "not_found");
    let runs = api.get("/v1/runs").await.body["data"].clone();
    assert_eq!(runs.as_array().unwrap().len(), 1, "{runs}");
    assert_eq!(runs[0]["id"], other["run_id"], "runs of others stay");
}

#[tokio::test]
async fn a_sweep_is_refused_as_a_whole() {
    let api = Api::start().await;
    let refused = async |grid: Value| {
        let answer = api.post("/v1/sweeps", json!({"job": job(), "grid": grid})).await;
        let errors = answer.problem(422, "invalid_request")["errors"].clone();
        (errors[0]["pointer"].as_str().unwrap().to_owned(), errors[0]["detail"].as_str().unwrap().to_owned())
    };
    let (pointer, detail) = refused(json!({"method.beta": [0.1, -1], "seed": [0, 1]})).await;
    assert_eq!(pointer, "/grid/method.beta");
    assert!(detail.contains("at beta=-1 seed=0"), "{detail}");
    let (pointer, detail) = refused(json!({"method.bta": [0.1]})).await;
    assert!(pointer == "/grid/method.bta" && detail.contains("did you mean `beta`?"), "{pointer} {detail}");
    let (pointer, detail) = refused(json!({"seed": (0..300).collect::<Vec<_>>()})).await;
    assert!(pointer == "/grid" && detail.contains("limit is 256"), "{detail}");
    assert_eq!(refused(json!({})).await.0, "/grid");
    let answer = api.post("/v1/sweeps", json!({"job": {"dataset": "digits"}, "grid": {"seed": [1]}})).await;
    assert_eq!(answer.problem(422, "invalid_request")["errors"][0]["pointer"], "/job/model");
    assert_eq!(api.get("/v1/jobs").await.body["data"], json!([]), "nothing was stored");
    assert_eq!(api.get("/v1/sweeps").await.body["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_counts_and_checks_every_point_and_stores_nothing() {
    let api = Api::start().await;
    let request = json!({"job": job(), "grid": {"method.type": ["vgpo", "grpo"], "steps": [4, 6]}});
    let answer = api.post("/v1/sweeps?dry_run=true", request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let plan = answer.body;
    assert_eq!((&plan["name"], &plan["points"]), (&json!("digits over method.type, steps"), &json!(4)));
    assert_eq!(plan["max_points"], 256);
    let alone = api.post("/v1/jobs?dry_run=true", job()).await.body;
    let responses = alone["work"]["responses"].as_u64().unwrap();
    assert_eq!((&plan["work"]["steps"], &plan["work"]["responses"]), (&json!(20), &json!(responses * 5)));
    let refused = api.post("/v1/sweeps?dry_run=true", json!({"job": job(), "grid": {"method.beta": [0.1, -1]}})).await;
    assert_eq!(refused.problem(422, "invalid_request")["errors"][0]["pointer"], "/grid/method.beta");

    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vgpo"));
    command.args([
        "sweeps",
        "submit",
        "--model",
        "tiny",
        "--dataset",
        "digits",
        "--set",
        "data.max_prompt_tokens=4000",
    ]);
    command.args(["--set", "steps=4", "--vary", "seed=0,1,2", "--dry-run"]).env("VGPO_SERVER", &api.url);
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = String::from_utf8(done.stdout).unwrap();
    assert!(told.contains("3 jobs of at most 256") && told.contains("12 steps"), "{told}");
    assert_eq!(api.get("/v1/jobs").await.body["data"], json!([]), "nothing was stored");
    assert_eq!(api.get("/v1/sweeps").await.body["data"], json!([]));
}

#[tokio::test]
async fn runs_tell_summaries_and_sparklines() {
    let api = Api::start().await;
    let job = api.submit(json!({})).await;
    let leased = api.claim().await;
    for step in 1..=40 {
        api.report(&leased, step, &[("reward/mean", step as f64), ("time/step", 1.0)]).await;
    }
    api.report(&leased, 41, &[("reward/mean", f64::NAN)]).await;
    let plain = api.get("/v1/runs").await.body;
    assert!(plain["data"][0].get("summary").is_none());
    let told = api.get("/v1/runs?include=summary,sparklines&points=10").await.body["data"][0].clone();
    assert_eq!(told["id"], job["run_id"]);
    assert_eq!(
        told["summary"]["reward/mean"],
        json!({"last_step": 41, "last": null, "min": 1.0, "max": 40.0, "best": 40.0})
    );
    let line = told["sparklines"]["reward/mean"].as_array().unwrap();
    assert!(line.len() <= 10 && line[0][1].as_f64().unwrap() < line[8][1].as_f64().unwrap(), "{line:?}");
    assert!(told["sparklines"].get("time/step").is_none(), "only the usual keys");
    let chosen = api.get("/v1/runs?include=sparklines&keys=time/step").await.body;
    assert_eq!(chosen["data"][0]["sparklines"].as_object().unwrap().keys().collect::<Vec<_>>(), ["time/step"]);
    let wrong = api.get("/v1/runs?include=sparkline").await;
    assert!(wrong.problem(400, "invalid_query")["detail"].as_str().unwrap().contains("`sparklines`"));
    api.get("/v1/runs?include=sparklines&points=0").await.problem(400, "invalid_query");

    let run = job["run_id"].as_str().unwrap();
    let table = api.get(&format!("/v1/runs/{run}/metrics.csv?keys=reward/mean,time/step&from_step=40")).await;
    assert_eq!(table.header("content-type"), "text/csv; charset=utf-8");
    let lines: Vec<_> = table.body.as_str().unwrap().lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "step,time,samples,tokens,reward/mean,time/step"));
    assert!(lines[1].starts_with("40,") && lines[1].ends_with(",320,3200,40,1"), "{lines:?}");
    assert!(lines[2].ends_with(",328,3280,nan,"), "{lines:?}");
}

#[tokio::test]
async fn points_that_no_worker_can_run_are_told_once() {
    let api = Api::start().await;
    let mut job = job();
    job["resources"] = json!({"device": "cuda"});
    let answer = api.post("/v1/sweeps", json!({"job": job, "grid": {"seed": [0, 1]}})).await;
    let codes: Vec<&Value> = answer.body["warnings"].as_array().unwrap().iter().map(|told| &told["code"]).collect();
    assert_eq!(codes.iter().filter(|code| **code == "no_such_worker").count(), 1, "{}", answer.body);
}
