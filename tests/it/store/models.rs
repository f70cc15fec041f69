//! Registered models and data sets.

use std::time::Duration;

use serde_json::json;
use vgpo::domain::dataset::{DatasetState, NewDataset};
use vgpo::domain::model::NewModel;
use vgpo::store::StoreError;

use super::fixture::{Db, claimed, new_checkpoint};

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
