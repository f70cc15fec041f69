//! Data sets whose check or storage broke off: what is told of them, and what goes.

use std::time::Duration;

use axum::body::Bytes;
use futures_util::stream::{self, StreamExt as _};
use serde_json::json;
use vgpo::domain::dataset::DatasetState;

use super::datasets::{LINES, checked, only_left, request, rows, send};
use super::support::Api;
use crate::store::fixture::dataset;

#[tokio::test]
async fn a_data_set_that_cannot_be_stored_says_so() {
    let api = Api::start().await;
    // Where a folder belongs stands a file.
    let place = api.service.settings().data_dir.join("artifacts/datasets");
    std::fs::remove_dir_all(&place).ok();
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(&place, "in the way").unwrap();
    assert_eq!(send(&api, "?name=mine", LINES, rows(3)).await.status, 202);
    let entry = checked(&api, "mine").await;
    let problem = entry["report"]["errors"][0]["problem"].as_str().unwrap();
    assert!(entry["state"] == "invalid" && problem.contains("could not be stored"), "{problem}");
}

#[tokio::test]
async fn what_a_dead_server_left_is_told_and_its_files_stay() {
    let api = Api::start().await;
    let data = &api.service.settings().data_dir;
    api.store().create_dataset("ds_dead", dataset("dead", DatasetState::Validating)).await.unwrap();
    for folder in ["uploads/ds_dead/work", "artifacts/datasets/ds_dead", "artifacts/datasets/ds_unknown"] {
        std::fs::create_dir_all(data.join(folder)).unwrap();
    }
    assert_eq!(send(&api, "?name=fine", LINES, rows(3)).await.status, 202);
    let fine = checked(&api, "fine").await;
    // One that is still coming: its folder is locked.
    let stuck = stream::iter([Ok::<_, std::io::Error>(Bytes::from(rows(1)))]).chain(stream::pending());
    let coming = tokio::spawn(request(&api, "?name=coming", LINES, reqwest::Body::wrap_stream(stuck)).send());
    while api.get("/v1/datasets/coming").await.status == 404 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let coming_id = api.get("/v1/datasets/coming").await.body["id"].clone();

    api.service.datasets().recover().await.unwrap();
    let dead = api.get("/v1/datasets/dead").await.body;
    assert_eq!(dead["state"], "invalid");
    let problem = dead["report"]["errors"][0]["problem"].as_str().unwrap();
    assert!(problem.contains("stopped while the data set was validating; register it again"), "{problem}");
    assert_eq!(api.get("/v1/datasets/coming").await.body["state"], "uploading");
    assert_eq!(api.get("/v1/datasets/fine/rows").await.status, 200);
    // The dead one's upload is gone; what is published stays, for this database may not be the one that knows of it.
    let expected = ["ds_dead", "ds_unknown", coming_id.as_str().unwrap(), fine["id"].as_str().unwrap()];
    only_left(&api, &expected).await;
    coming.abort();
}

#[tokio::test]
async fn an_index_that_is_not_what_it_was_is_told() {
    let api = Api::start().await;
    assert_eq!(send(&api, "?name=mine", LINES, rows(40)).await.status, 202);
    let entry = checked(&api, "mine").await;
    let files = api.service.settings().data_dir.join("artifacts/datasets").join(entry["id"].as_str().unwrap());
    let job = json!({"model": "tiny", "dataset": "mine", "data": {"max_prompt_tokens": 4000}});
    assert_eq!(api.post("/v1/jobs?dry_run=true", job.clone()).await.status, 200);
    std::fs::write(files.join("train.idx"), "").unwrap();
    let rows = api.get("/v1/datasets/mine/rows").await;
    let plan = api.post("/v1/jobs?dry_run=true", job).await;
    for problem in [rows.problem(409, "conflict"), plan.problem(422, "invalid_request")] {
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("train.idx has 0 rows instead of"), "{detail}");
    }
}
