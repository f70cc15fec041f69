//! Registered models and data sets.

use std::time::Duration;

use serde_json::json;
use vgpo::domain::dataset::{DatasetState, NewDataset};
use vgpo::domain::job::{JobAction, NewJob};
use vgpo::domain::model::NewModel;
use vgpo::domain::spec::JobSpec;
use vgpo::store::StoreError;

use super::fixture::{Db, all_events, claim_by, claimed, new_checkpoint, spec};

pub async fn models_and_data_sets_are_upserted(db: &Db) {
    let store = &*db.store;
    let model = |parameters: u64| NewModel {
        name: "starter".to_owned(),
        family: "qwen2_5_vl".to_owned(),
        parameters,
        path: "assets/starter".to_owned(),
        card: json!({"task": "sum the digits"}),
        recommended: json!({"optimizer": {"learning_rate": 5e-5}}),
        source: "builtin".to_owned(),
        project: "default".to_owned(),
        created_by: None,
    };
    let first = store.upsert_model(model(1)).await.unwrap();
    db.clock.advance(Duration::from_secs(5));
    let second = store.upsert_model(model(2)).await.unwrap();
    assert_eq!((second.created_at, second.parameters), (first.created_at, 2));
    assert_eq!(store.model("starter").await.unwrap(), second);
    assert_eq!(store.models().await.unwrap(), [second]);
    assert!(matches!(store.model("x").await, Err(StoreError::NotFound { kind: "model", .. })));

    assert!(
        matches!(store.create_model(model(3)).await, Err(StoreError::Conflict(told)) if told.contains("`starter`"))
    );
    assert_eq!(store.model("starter").await.unwrap().parameters, 2, "nothing of the second one is kept");

    let leased = claimed(store, "w").await;
    store.add_checkpoint(&leased.token, new_checkpoint("ckpt_1", 1, None)).await.unwrap();
    assert!(matches!(store.promote("ckpt_1", "starter").await, Err(StoreError::Conflict(_))));
    store.promote("ckpt_1", "mine").await.unwrap();
    let taken = store.upsert_model(NewModel { name: "mine".to_owned(), ..model(1) }).await;
    assert!(matches!(taken, Err(StoreError::Conflict(_))));

    let dataset = |rows: u64| NewDataset {
        name: "digits".to_owned(),
        state: DatasetState::Ready,
        source: "builtin".to_owned(),
        train_rows: rows,
        eval_rows: 256,
        fingerprint: "f".to_owned(),
        card: json!({}),
        recommended: json!({}),
        project: "default".to_owned(),
        created_by: None,
    };
    let first = store.upsert_dataset(dataset(10)).await.unwrap();
    let second = store.upsert_dataset(dataset(11)).await.unwrap();
    assert_eq!((&second.id, second.train_rows), (&first.id, 11));
    assert_eq!(store.dataset("digits").await.unwrap(), store.dataset(&first.id).await.unwrap());
    assert_eq!(store.datasets().await.unwrap(), [second]);
}

pub async fn models_are_held_and_deleted(db: &Db) {
    let store = &*db.store;
    let model = |name: &str| NewModel {
        name: name.to_owned(),
        family: "qwen2_5_vl".to_owned(),
        parameters: 1,
        path: "somewhere".to_owned(),
        card: json!({}),
        recommended: json!({}),
        source: "path".to_owned(),
        project: "default".to_owned(),
        created_by: Some("me".to_owned()),
    };
    let mine = store.upsert_model(model("mine")).await.unwrap();
    let other = store.upsert_model(model("other")).await.unwrap();
    assert!(matches!(store.delete_model("x").await, Err(StoreError::NotFound { kind: "model", .. })));
    let held = async |holders: &[&str]| match store.delete_model("mine").await {
        Err(StoreError::Held { kind: "model", id, holders: told }) => {
            assert_eq!((id.as_str(), told), ("mine", holders.iter().map(|h| (*h).to_owned()).collect()))
        }
        answer => panic!("{answer:?}"),
    };
    // A job that starts from it holds it until it has ended; so does one that starts from what grew from it.
    let submit = async |model: &str| {
        let spec = JobSpec { model: model.to_owned(), ..spec() };
        let base_model = Some("mine".to_owned());
        store
            .submit(NewJob { spec, origins: json!({}), created_by: None, base_model, alert_webhook: None })
            .await
            .unwrap()
            .0
            .id
    };
    let (first, second) = (submit("mine").await, submit("ckpt_elsewhere").await);
    held(&[&first, &second]).await;
    store.ask(&second, JobAction::Cancel, "test").await.unwrap();
    held(&[&first]).await;
    // Checkpoints that grew from it hold it after their job, until they go.
    let leased = store.claim(&claim_by("w")).await.unwrap().unwrap();
    assert_eq!(leased.job.id, first);
    store.add_checkpoint(&leased.token, new_checkpoint("ckpt_1", 1, None)).await.unwrap();
    store.complete(&leased.token, "finished").await.unwrap();
    held(&["ckpt_1"]).await;
    store.delete_run(&leased.token.run_id).await.unwrap();
    assert_eq!(store.delete_model("mine").await.unwrap(), mine);
    assert!(matches!(store.delete_model("mine").await, Err(StoreError::NotFound { .. })));
    assert_eq!(store.models().await.unwrap(), [other], "the others stay");
    store.upsert_model(model("mine")).await.unwrap();
}

pub async fn data_sets_are_registered_held_and_deleted(db: &Db) {
    let store = &*db.store;
    let new = |name: &str, state: DatasetState, rows: u64| NewDataset {
        name: name.to_owned(),
        state,
        source: "upload".to_owned(),
        train_rows: rows,
        eval_rows: 0,
        fingerprint: "f".to_owned(),
        card: json!({}),
        recommended: json!({}),
        project: "default".to_owned(),
        created_by: Some("me".to_owned()),
    };
    let first = store.create_dataset("ds_1", new("mine", DatasetState::Uploading, 0)).await.unwrap();
    assert_eq!((first.id.as_str(), first.state), ("ds_1", DatasetState::Uploading));
    let taken = store.create_dataset("ds_2", new("mine", DatasetState::Uploading, 0)).await;
    assert!(matches!(taken, Err(StoreError::Conflict(told)) if told.contains("which is uploading")));
    let ready = store.update_dataset("ds_1", &new("mine", DatasetState::Ready, 9)).await.unwrap();
    assert_eq!((ready.state, ready.train_rows, ready.created_at), (DatasetState::Ready, 9, first.created_at));
    assert_eq!(store.dataset("mine").await.unwrap(), ready);

    // A job that names it, or evaluates on it, by name or id holds it until it has ended.
    let mut held_by = Vec::new();
    for (dataset, eval) in [("mine", None), ("digits", Some("mine")), ("ds_1", None)] {
        let spec = JobSpec { dataset: dataset.to_owned(), eval_dataset: eval.map(str::to_owned), ..spec() };
        held_by.push(
            store
                .submit(NewJob { spec, origins: json!({}), created_by: None, base_model: None, alert_webhook: None })
                .await
                .unwrap()
                .0
                .id,
        );
    }
    held_by.sort();
    let held = store.delete_dataset("ds_1").await;
    assert!(matches!(held, Err(StoreError::Held { holders, .. }) if holders == held_by));
    for job in &held_by {
        store.ask(job, JobAction::Cancel, "test").await.unwrap();
    }
    assert_eq!(store.delete_dataset("ds_1").await.unwrap(), ready);
    assert!(matches!(store.delete_dataset("ds_1").await, Err(StoreError::NotFound { .. })));
    assert!(matches!(
        store.update_dataset("ds_1", &new("mine", DatasetState::Ready, 1)).await,
        Err(StoreError::NotFound { .. })
    ));

    // Every change was told, and nothing else.
    let told: Vec<_> = all_events(store).await.into_iter().filter(|event| event.kind == "dataset").collect();
    let changes: Vec<_> = told.iter().map(|event| (event.data["from"].as_str(), event.data["to"].as_str())).collect();
    assert_eq!(changes, [(None, Some("uploading")), (Some("uploading"), Some("ready")), (Some("ready"), None)]);
    assert!(told.iter().all(|event| event.data["dataset_id"] == "ds_1" && event.data["name"] == "mine"));

    // An invalid one makes room for a better try.
    store.create_dataset("ds_3", new("mine", DatasetState::Invalid, 0)).await.unwrap();
    store.create_dataset("ds_4", new("mine", DatasetState::Uploading, 0)).await.unwrap();
    assert!(matches!(store.dataset("ds_3").await, Err(StoreError::NotFound { .. })));
}
