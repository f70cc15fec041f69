//! Documents that are written from the code, and pages that need nothing else.

use std::fmt::Write as _;

use serde_json::Value;
use vgpo::domain::event::SCHEMAS;
use vgpo::domain::metric::CATALOGUE;
use vgpo::http::problem::CODES;

use super::support::Api;

fn errors_document() -> String {
    let mut text = String::from(
        "# Errors\n\nEvery error of the API is `application/problem+json` (RFC 9457) with a stable `code`; `type` \
         links to the same\nexplanation on the server (`/problems/CODE`). OpenAI-compatible routes answer in OpenAI's \
         format. In addition to the codes,\n`errors` names each bad field by its JSON pointer (`?name` for a query \
         parameter), and `request_id` identifies the request in\nthe server's log. 429 and 503 have `Retry-After`. \
         This page is generated: `UPDATE_DOCS=1 cargo test --test it http::documents`.\n\n| code | status | title | \
         what it means and what to do |\n|---|---|---|---|\n",
    );
    for code in CODES {
        writeln!(text, "| `{}` | {} | {} | {} |", code.name, code.status, code.title, code.explanation).unwrap();
    }
    text
}

#[test]
fn every_error_is_explained() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, errors_document()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == errors_document(), "docs/errors.md is not what the code says: run this test with UPDATE_DOCS=1");
}

fn metrics_document() -> String {
    let mut text = String::from(
        "# Metrics and events\n\nWhat a run measures, and what the live stream (`/v1/events`) tells. This page is \
         generated: `UPDATE_DOCS=1 cargo test --test it\nhttp::documents`.\n\n## Metrics\n\nA `*` is a name: of a \
         reward's part, a phase, a tag. A unit of 1 is a plain number; shares are from 0 to 1. A run may have others \
         of its\nown; `GET /v1/runs/{id}/metrics/keys` lists those that it has, `GET /v1/metrics/catalogue` the table \
         below.\n\n| key | unit | better | what it is |\n|---|---|---|---|\n",
    );
    for info in CATALOGUE {
        let better = format!("{:?}", info.better).to_lowercase();
        let better = if better == "neutral" { "" } else { &better };
        writeln!(text, "| `{}` | {} | {better} | {} |", info.key, info.unit, info.description).unwrap();
    }
    text.push_str(
        "\n## Events\n\n`event` of a frame is the kind, `data` an `Event`; its `data` has the schema below, in \
         `/openapi.json` and `/docs`.\nWarnings of the trainer are `warning.…` with a `message` in words.\n\n\
         A stream has frames of its own too: `reset` (`ResetFrame`) where events before its position are gone,\n\
         `end` (`EndFrame`) after the last event of a job, `error` (`Problem`). The stream of a job's log has\n\
         `log` (`LogLine`) and `end`.\n\n| kind | schema of `data` |\n|---|---|\n",
    );
    for (kind, schema) in SCHEMAS {
        writeln!(text, "| `{kind}` | `{schema}` |").unwrap();
    }
    text
}

#[test]
fn every_metric_and_event_is_on_a_page() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, metrics_document()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == metrics_document(),
        "docs/metrics.md is not what the code says: run this test with UPDATE_DOCS=1"
    );
    let document: Value = serde_json::from_str(include_str!("../../../openapi/vgpo.json")).unwrap();
    let schemas = &document["components"]["schemas"];
    let told = schemas["Event"]["properties"]["data"]["description"].as_str().unwrap();
    for (kind, schema) in SCHEMAS {
        assert!(schemas[schema]["properties"].is_object(), "{kind}: {schema}");
        assert!(told.contains(&format!("`{kind}`: `{schema}`")), "{told}");
    }
    // Every kind that the program writes is in the list.
    let source = include_str!("../../../src/domain/event.rs");
    let kinds = source.split("pub const ").filter_map(|rest| rest.split_once(": &str = \"")).count();
    assert_eq!(kinds, SCHEMAS.len(), "a kind without a schema");
}

#[tokio::test]
async fn the_page_of_the_api_needs_nothing_else() {
    let api = Api::start().await;
    let answer = api.get("/docs").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-security-policy").starts_with("default-src 'none'"));
    let page = answer.body.as_str().unwrap();
    for forbidden in ["<script", "src=", "@import", "url("] {
        assert!(!page.contains(forbidden), "the page holds {forbidden}");
    }
    let document = api.get("/openapi.json").await.body;
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        assert!(page.contains(&format!("<code>{path}</code>")), "{path} is missing");
        for operation in item.as_object().unwrap().values().filter_map(|item| item["operationId"].as_str()) {
            assert!(page.contains(&format!("<details id=\"{operation}\">")), "{operation} is missing");
            operations += 1;
        }
    }
    assert!(operations > 40);
    for link in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(page.contains(&format!("id=\"{link}\"")), "#{link} leads nowhere");
    }
}

#[tokio::test]
async fn a_nul_character_is_refused_by_name() {
    let api = Api::start().await;
    let job =
        |name: &str| serde_json::json!({"model": "tiny", "dataset": "digits", "name": name, "tags": {"a": "x\0"}});
    let refused = api.post("/v1/jobs", job("a\0b")).await;
    let pointers: Vec<_> = refused.problem(422, "invalid_request")["errors"].as_array().unwrap().clone();
    let pointers: Vec<_> = pointers.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/name", "/tags/a"]);
    let run = api.submit(serde_json::json!({})).await["run_id"].as_str().unwrap().to_owned();
    let patch = api.request("PATCH", &format!("/v1/runs/{run}")).json(&serde_json::json!({"notes": "\0"}));
    let refused = super::support::Answer::of(patch.send().await.unwrap()).await;
    assert_eq!(refused.problem(422, "invalid_request")["errors"][0]["pointer"], "/notes");
    api.get("/v1/jobs/job_%00").await.problem(400, "bad_request");
    api.get("/v1/jobs?project=%00").await.problem(400, "bad_request");
}

#[test]
fn the_example_page_is_short_and_asks_for_what_there_is() {
    let page = include_str!("../../../docs/dashboard-example.html");
    assert!(page.lines().count() <= 70);
    let document: Value = serde_json::from_str(include_str!("../../../openapi/vgpo.json")).unwrap();
    for path in ["/v1/events", "/v1/stream-tokens"] {
        assert!(page.contains(path) && document["paths"].get(path).is_some(), "{path}");
    }
}

#[test]
fn the_page_of_settings_is_what_the_program_knows() {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_vgpo")).args(["config", "document"]).output().unwrap();
    let generated = String::from_utf8(out.stdout).unwrap();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    assert!(
        std::fs::read_to_string(path).unwrap_or_default() == generated,
        "docs/settings.md is out of date: write it anew with `cargo run -- config document > docs/settings.md`"
    );
    let unexplained: Vec<&str> = generated.lines().filter(|line| line.ends_with("|  |")).collect();
    assert!(unexplained.is_empty(), "settings without a word: {unexplained:?}");
}
