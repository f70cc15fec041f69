//! The files in `docker/` name figures, settings, flags, tables and roles that exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};
use vgpo::config::app::{AppSettings, Sources};
use vgpo::domain::spec::DeviceClass;
use vgpo::domain::worker::NewWorker;
use vgpo::store::{self, Migrations};

use crate::http::support::Api;
use crate::store::fixture::{self, Kind, claim_by, new_job, point};

fn docker(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docker").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(docker(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every word of `text` that begins with `prefix`.
fn words(text: &str, prefix: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c: char| !word(c)).filter(|found| found.starts_with(prefix)).map(str::to_owned).collect()
}

fn dashboard(name: &str) -> Value {
    serde_json::from_str(&read(&format!("grafana/dashboards/{name}"))).unwrap()
}

fn worker() -> NewWorker {
    NewWorker {
        id: "wrk_1".to_owned(),
        role: "trainer".to_owned(),
        version: "0".to_owned(),
        host: "here".to_owned(),
        pid: 1,
        device_class: DeviceClass::Cpu,
        device: "cpu".to_owned(),
        memory_bytes: None,
        ranks: 1,
    }
}

fn targets(board: &Value) -> impl Iterator<Item = &Value> {
    let panels = board["panels"].as_array().unwrap().iter();
    panels.flat_map(|panel| panel["targets"].as_array().unwrap())
}

#[tokio::test]
async fn alerts_and_dashboards_ask_for_figures_that_are_told() {
    let api = Api::start().await;
    api.submit(json!({})).await;
    let leased = api.claim().await;
    api.report(&leased, 1, &[("time/rollout", 1.0)]).await;
    let request = json!({"model": "tiny", "prompt": "hello", "max_new_tokens": 2});
    assert_eq!(api.post("/generate", request).await.status, 200);
    api.store().register_worker(worker()).await.unwrap();
    let told = api.get("/metrics").await;
    let told = words(told.body.as_str().unwrap(), "vgpo_");
    let board = dashboard("service.json");
    let expressions: Vec<&str> = targets(&board).filter_map(|target| target["expr"].as_str()).collect();
    let asked = words(&(read("prometheus/alerts.yml") + &expressions.join("\n")), "vgpo_");
    assert!(asked.len() > 12, "{asked:?}");
    let missing: Vec<_> = asked.difference(&told).collect();
    assert!(missing.is_empty(), "{missing:?} are not documented");
}

#[test]
fn commands_and_settings_are_those_of_the_program() {
    let settings = AppSettings::load(&Sources { flags: &[], environment: &|_| None, file: None }).unwrap();
    let known: BTreeSet<String> =
        settings.shown().iter().map(|shown| format!("VGPO_{}", shown.key.to_ascii_uppercase())).collect();
    // Passwords that only the compose file's own parts read.
    let own = ["VGPO_OWNER_PASSWORD", "VGPO_APP_PASSWORD", "VGPO_READER_PASSWORD"].map(str::to_owned);
    let mut commands = 0;
    for file in [
        "Dockerfile",
        "Dockerfile.cuda",
        "Dockerfile.ranks",
        "compose.yaml",
        "compose.vllm.yaml",
        "kubernetes/server.yaml",
        "kubernetes/worker.yaml",
        "kubernetes/engine.yaml",
        "kubernetes/ranks.yaml",
        "kubernetes/vllm.yaml",
        "kubernetes/secrets.example.yaml",
    ] {
        let text = read(file);
        let unknown: Vec<_> =
            words(&text, "VGPO_").into_iter().filter(|name| !known.contains(name) && !own.contains(name)).collect();
        assert!(unknown.is_empty(), "{file} sets {unknown:?}, which are not settings");
        for line in text.lines().map(str::trim) {
            let list = ["command: ", "args: ", "CMD "].into_iter().find_map(|head| line.strip_prefix(head));
            let Some(words) = list.and_then(|list| serde_json::from_str::<Vec<String>>(list).ok()) else { continue };
            if !["serve", "worker", "migrate", "health"].contains(&words[0].as_str()) {
                continue;
            }
            let done = Command::new(env!("CARGO_BIN_EXE_vgpo")).args(&words).arg("--help").output().unwrap();
            assert!(done.status.success(), "{file}: {words:?}: {}", String::from_utf8_lossy(&done.stderr));
            commands += 1;
        }
    }
    assert!(commands >= 8, "{commands}");
}

#[tokio::test]
async fn roles_have_the_rights_they_need_and_no_others() {
    let Some(db) = Kind::Postgres.make().await else { return };
    if Command::new("psql").arg("--version").output().is_err() {
        return;
    }
    let (cluster, name) = db.postgres();
    let owner = cluster.url(name);
    for _ in 0..2 {
        let done = Command::new("psql")
            .args(["--quiet", "--dbname", &owner, "--file"])
            .arg(docker("postgres/roles.sql"))
            .envs([("VGPO_APP_PASSWORD", "app"), ("VGPO_READER_PASSWORD", "reader")])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let app = owner.replace("vgpo@", "vgpo_app:app@");
    let store = store::open_with(&app, db.clock.clone(), Migrations::Check).await.unwrap();
    store.check().await.unwrap();
    store.submit(new_job(|_| ())).await.unwrap();
    let leased = store.claim(&claim_by("w")).await.unwrap().unwrap();
    store
        .append_metrics(&leased.token, &[point(&db, 1, &[("eval/accuracy", 0.5), ("time/update", 1.0)])])
        .await
        .unwrap();
    assert!(!fixture::all_events(&*store).await.is_empty());
    store.complete(&leased.token, "done").await.unwrap();
    store.close().await;

    let refused = async |url: &str, sql: &str| {
        let mut connection = PgConnection::connect(url).await.unwrap();
        let told = connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))).await;
        assert!(told.is_err_and(|error| error.to_string().contains("permission denied")), "{sql} is allowed");
    };
    for sql in ["CREATE TABLE mine (id INT)", "DELETE FROM schema_migrations"] {
        refused(&app, sql).await;
    }
    let reader = owner.replace("vgpo@", "vgpo_reader:reader@");
    for sql in ["SELECT * FROM api_keys", "SELECT * FROM samples", "UPDATE runs SET name = 'x'", "DELETE FROM jobs"] {
        refused(&reader, sql).await;
    }

    // Every query of the dashboard runs, as Grafana fills it in.
    let board = dashboard("runs.json");
    let variable = board["templating"]["list"][0]["query"].as_str().unwrap();
    let mut connection = PgConnection::connect(&reader).await.unwrap();
    let queries = targets(&board).filter_map(|target| target["rawSql"].as_str()).chain([variable]);
    let mut rows = 0;
    for query in queries {
        let filled = query.replace("$run", &format!("'{}'", leased.token.run_id));
        let filled = filled.replace("$__unixEpochFilter(s.time / 1000)", "s.time / 1000 BETWEEN 0 AND 99999999999");
        let filled =
            filled.replace("$__unixEpochFilter(created_at / 1000)", "created_at / 1000 BETWEEN 0 AND 99999999999");
        assert!(!filled.contains("$__"), "{filled}");
        let found = sqlx::query(sqlx::AssertSqlSafe(filled.clone())).fetch_all(&mut connection).await;
        rows += found.unwrap_or_else(|error| panic!("{filled}: {error}")).len();
    }
    assert!(rows >= 4, "the run, its accuracy, its phase and its day are shown: {rows}");
    connection.close().await.unwrap();
    db.close().await;
}
