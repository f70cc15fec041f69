//! The committed API description is the one the code generates.

use super::support::Api;

#[tokio::test]
async fn the_committed_document_is_current() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/vgpo.json");
    let generated = vgpo::http::openapi_json().unwrap();
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == generated,
        "openapi/vgpo.json is out of date: write it anew with `cargo run -- openapi > openapi/vgpo.json`"
    );
    let api = Api::start().await;
    let served = api.get("/openapi.json").await.body;
    assert_eq!(served, serde_json::from_str::<serde_json::Value>(&generated).unwrap());
}

#[test]
fn every_operation_is_described() {
    let document: serde_json::Value = serde_json::from_str(&vgpo::http::openapi_json().unwrap()).unwrap();
    let mut ids = std::collections::BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}: id taken");
        }
    }
    let text = document.to_string();
    assert!(!text.contains("[`") && !text.contains("Method::"), "links of rustdoc are not for readers of the API");
    for schema in ["Problem", "Event", "JobChanged", "MetricsEvent", "RewindEvent", "JobSpec", "JobPlan"] {
        assert!(document["components"]["schemas"][schema].is_object(), "{schema}");
    }
}
