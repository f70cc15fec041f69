//! A release next to its predecessor: the schema expands first, and programs say what they can work with.

use std::process::{Command, Stdio};

use serde_json::json;
use vgpo::domain::job::JobState;
use vgpo::store::{self, Migrations, StoreError};

use crate::http::support::Api;
use crate::printed::printed_address;
use crate::store::fixture::{Db, Kind, claim_by, new_job};

/// What a later release that only expands does to the schema, as it does it: columns, a table, and a record of it.
async fn expand(db: &Db, oldest: &'static str) {
    for statement in [
        "ALTER TABLE jobs ADD COLUMN later_setting TEXT",
        "ALTER TABLE runs ADD COLUMN later_count BIGINT NOT NULL DEFAULT 0",
        "CREATE TABLE later_things (id TEXT PRIMARY KEY)",
        "INSERT INTO schema_migrations (version, name, sha256, applied_at) VALUES (1000, 'later', 'x', 0)",
        oldest,
    ] {
        let statement =
            if let Kind::Sqlite = db.kind() { statement.replace("BIGINT", "INTEGER") } else { statement.into() };
        db.execute(Box::leak(statement.into_boxed_str())).await;
    }
}

async fn works_on_beside_a_release_that_expands(kind: Kind) {
    let Some(db) = kind.make().await else { return };
    let (before, _) = db.store.submit(new_job(|_| ())).await.unwrap();
    expand(&db, "INSERT INTO schema_compatibility (version, oldest) VALUES (1000, 5)").await;
    // The one that was running continues.
    db.store.check().await.unwrap();
    let leased = db.store.claim(&claim_by("w")).await.unwrap().unwrap();
    assert_eq!(leased.job.id, before.id);
    db.store.complete(&leased.token, "done").await.unwrap();
    // And it may be started again.
    for migrations in [Migrations::Apply, Migrations::Check] {
        let again = store::open_with(&db.url, db.clock.clone(), migrations).await.unwrap();
        again.submit(new_job(|_| ())).await.unwrap();
        again.check().await.unwrap();
        again.close().await;
    }
    db.close().await;
}

async fn stops_before_a_release_that_contracts(kind: Kind) {
    let Some(db) = kind.make().await else { return };
    expand(&db, "INSERT INTO schema_compatibility (version, oldest) VALUES (1000, 1000)").await;
    let running = db.store.check().await.unwrap_err().to_string();
    let started = store::open(&db.url, db.clock.clone()).await.err().unwrap().to_string();
    for told in [running, started] {
        assert!(told.contains("1000 (later)") && told.contains("use a newer program"), "{told}");
    }
    db.close().await;
}

#[tokio::test]
async fn on_sqlite_an_older_program_works_on_beside_a_release_that_expands() {
    works_on_beside_a_release_that_expands(Kind::Sqlite).await;
    stops_before_a_release_that_contracts(Kind::Sqlite).await;
}

#[tokio::test]
async fn on_postgres_an_older_program_works_on_beside_a_release_that_expands() {
    works_on_beside_a_release_that_expands(Kind::Postgres).await;
    stops_before_a_release_that_contracts(Kind::Postgres).await;
}

#[tokio::test]
async fn check_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vgpo.db");
    let url = format!("sqlite:{}", path.display());
    let clock = crate::store::fixture::clock();
    let refused = store::open_with(&url, clock.clone(), Migrations::Check).await.err().unwrap().to_string();
    assert!(refused.contains("vgpo migrate"), "{refused}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    if let Some(cluster) = crate::store::postgres::shared() {
        let name = cluster.create().await;
        let refused = store::open_with(&cluster.url(&name), clock, Migrations::Check).await.err().unwrap();
        assert!(matches!(&refused, StoreError::Schema(told) if told.contains("vgpo migrate")), "{refused}");
        let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'";
        assert!(cluster.texts(&name, tables).await.is_empty());
        cluster.drop(&name).await;
    }
}

async fn reads_jobs_of_the_first_build(kind: Kind) {
    let Some(db) = kind.make().await else { return };
    let (job, _) = db.store.submit(new_job(|_| ())).await.unwrap();
    let first = include_str!("../../fixtures/stored/job_spec_first.json");
    let statement = format!("UPDATE jobs SET spec = '{first}'");
    db.execute(Box::leak(statement.into_boxed_str())).await;
    let spec = db.store.job(&job.id).await.unwrap().spec.known().unwrap().clone();
    assert_eq!((spec.seed, spec.name.as_str()), (7, "old"));
    // What it did before these were settings.
    assert_eq!((spec.eval.samples, spec.eval.temperature), (1, 0.0));
    assert_eq!((spec.best.metric.as_str(), spec.optimizer.schedule_floor), ("eval/accuracy", 0.05));
    assert!(!spec.optimizer.offload && spec.early_stop.is_none() && spec.train.lora.is_none());
    let leased = db.store.claim(&claim_by("w")).await.unwrap().unwrap();
    assert_eq!(leased.spec, spec, "a worker may go on with it");
    db.close().await;
}

#[tokio::test]
async fn jobs_of_the_first_build_are_read_on_both_databases() {
    reads_jobs_of_the_first_build(Kind::Sqlite).await;
    reads_jobs_of_the_first_build(Kind::Postgres).await;
}

/// Settings as a later release may store them: a method and a setting that are unknown here.
fn later(job: &str, version: u32) -> &'static str {
    let mut spec = serde_json::to_value(crate::store::fixture::spec()).unwrap();
    spec["method"] = json!({"type": "later"});
    spec["later_setting"] = json!(true);
    let sql = format!("UPDATE jobs SET spec = '{spec}', spec_version = {version} WHERE id = '{job}'");
    Box::leak(sql.into_boxed_str())
}

/// What a later release stored is shown as it is, may be cancelled, and is neither run here nor in the way of others.
async fn leaves_jobs_of_a_later_release_to_that_one(kind: Kind) {
    let Some(db) = kind.make().await else { return };
    let (first, _) = db.store.submit(new_job(|_| ())).await.unwrap();
    let waits = new_job(|spec| spec.after = Some(first.id.clone()));
    let (waiting, _) = db.store.submit(waits).await.unwrap();
    let (other, _) = db.store.submit(new_job(|_| ())).await.unwrap();
    // The second one is of a release that forgot to say that its settings are of a later form.
    for (job, version) in [(&first.id, 2), (&waiting.id, 1)] {
        db.execute(later(job, version)).await;
    }
    let api = Api::with(&[("database_url", &db.url)]).await;
    let listed = api.get("/v1/jobs").await;
    assert_eq!((listed.status, listed.body["data"].as_array().unwrap().len()), (200, 3), "{}", listed.body);
    let shown = api.get(&format!("/v1/jobs/{}", first.id)).await.body;
    assert_eq!((&shown["state"], &shown["spec"]["later_setting"]), (&json!("queued"), &json!(true)), "{shown}");
    assert_eq!(shown["spec"]["seed"], json!(crate::store::fixture::spec().seed));
    for path in
        ["/v1/runs".to_owned(), format!("/v1/runs/{}", first.run_id), format!("/v1/runs/{}/report", first.run_id)]
    {
        assert_eq!(api.get(&path).await.status, 200, "{path}");
    }

    let leased = db.store.claim(&claim_by("w")).await.unwrap().unwrap();
    assert_eq!(leased.job.id, other.id, "what cannot be read is passed over");
    assert!(db.store.claim(&claim_by("w")).await.unwrap().is_none());
    db.execute(later(&first.id, 1)).await;
    assert!(db.store.claim(&claim_by("w")).await.unwrap().is_none(), "whatever its form is said to be");
    let cancelled = api.post(&format!("/v1/jobs/{}/cancel", first.id), json!({})).await;
    assert_eq!((cancelled.status, &cancelled.body["state"]), (200, &json!("cancelled")), "{}", cancelled.body);
    assert_eq!(db.store.job(&waiting.id).await.unwrap().state, JobState::Cancelled, "it waited for that one");
    api.service.stopping().cancel();
    db.close().await;
}

#[tokio::test]
async fn jobs_of_a_later_release_are_left_to_it_on_both_databases() {
    leaves_jobs_of_a_later_release_to_that_one(Kind::Sqlite).await;
    leaves_jobs_of_a_later_release_to_that_one(Kind::Postgres).await;
}

/// Two servers that find an empty database, and an empty data folder, at the same moment.
async fn two_servers_start_at_once(database: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vgpo"));
        command.args(["serve", "--devices", "none", "--port", "0", "--data"]).arg(folder.path().join("data"));
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(database.map(|url| ("VGPO_DATABASE_URL", url)));
        command.spawn().unwrap()
    };
    let mut servers = [start(), start()];
    for server in &mut servers {
        let url = printed_address(server);
        assert_eq!(reqwest::get(format!("{url}/readyz")).await.unwrap().status(), 200);
    }
    for mut server in servers {
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

#[tokio::test]
async fn two_servers_may_start_at_once_on_both_databases() {
    two_servers_start_at_once(None).await;
    if let Some(cluster) = crate::store::postgres::shared() {
        let name = cluster.create().await;
        two_servers_start_at_once(Some(&cluster.url(&name))).await;
        cluster.drop(&name).await;
    }
}
