//! What a database knows of itself, of its servers and of the files that belong to it.

use std::time::Duration;

use serde_json::json;
use vgpo::domain::access::{Caller, Role};
use vgpo::domain::dataset::DatasetState;
use vgpo::domain::model::NewModel;
use vgpo::store::{self, DatasetHolder, StoreError};

use super::fixture::{Db, claimed, dataset, new_checkpoint, new_job};

pub async fn a_database_keeps_its_id(db: &Db) {
    let id = db.store.database_id().await.unwrap();
    assert!(id.starts_with("db_"), "{id}");
    let again = store::open(&db.url, db.clock.clone()).await.unwrap();
    assert_eq!(again.database_id().await.unwrap(), id);
    again.close().await;
}

pub async fn deleted_records_leave_a_note_for_their_files(db: &Db) {
    let store = &*db.store;
    store.create_dataset("ds_1", dataset("mine", DatasetState::Ready)).await.unwrap();
    store.delete_dataset("ds_1").await.unwrap();
    store.create_dataset("ds_2", dataset("other", DatasetState::Invalid)).await.unwrap();
    store.create_dataset("ds_3", dataset("other", DatasetState::Uploading)).await.unwrap();
    let leased = claimed(store, "w").await;
    for (id, step) in [("ckpt_1", 1), ("ckpt_2", 2), ("ckpt_3", 3)] {
        store.add_checkpoint(&leased.token, new_checkpoint(id, step, Some(0.5))).await.unwrap();
    }
    store.rewind(&leased.token, Some(2)).await.unwrap();
    let run = &leased.token.run_id;
    let expected = ["datasets/ds_1", "datasets/ds_2", "checkpoints/run/ckpt_3"].map(ToOwned::to_owned);
    let noted = |mut keys: Vec<String>| {
        keys.sort();
        keys
    };
    assert_eq!(noted(store.removals().await.unwrap()), noted(expected.to_vec()));
    for key in &expected {
        store.removed(key).await.unwrap();
    }
    assert!(store.removals().await.unwrap().is_empty());
    store.complete(&leased.token, "finished").await.unwrap();
    store.delete_run(run).await.unwrap();
    let all = [
        "checkpoints/run/ckpt_1".to_owned(),
        "checkpoints/run/ckpt_2".to_owned(),
        format!("checkpoints/{run}"),
        format!("rows/{run}"),
    ];
    assert_eq!(noted(store.removals().await.unwrap()), noted(all.to_vec()));
}

pub async fn orphans_are_old_and_seen_twice(db: &Db) {
    let store = &*db.store;
    let (hour, keys) =
        (Duration::from_hours(1), |keys: &[&str]| keys.iter().map(|k| (*k).to_owned()).collect::<Vec<_>>());
    assert!(store.note_orphans(&keys(&["a", "b"]), Duration::ZERO).await.unwrap().is_empty(), "seen once");
    db.clock.advance(hour / 2);
    assert!(store.note_orphans(&keys(&["a", "b", "c"]), hour).await.unwrap().is_empty(), "not old");
    db.clock.advance(hour / 2);
    // `b` got a record in the meantime, or its files are gone.
    assert_eq!(store.note_orphans(&keys(&["a", "c"]), hour).await.unwrap(), ["a"]);
    db.clock.advance(hour);
    assert_eq!(store.note_orphans(&keys(&["b", "c"]), hour).await.unwrap(), ["c"], "`b` counts from now on");
}

pub async fn a_data_set_that_came_to_its_end_stays_so(db: &Db) {
    let store = &*db.store;
    store.create_dataset("ds_1", dataset("mine", DatasetState::Validating)).await.unwrap();
    store.update_dataset("ds_1", &dataset("mine", DatasetState::Invalid)).await.unwrap();
    let late = store.update_dataset("ds_1", &dataset("mine", DatasetState::Ready)).await;
    assert!(matches!(&late, Err(StoreError::Conflict(told)) if told.contains("is invalid by now")), "{late:?}");
    assert_eq!(store.dataset("ds_1").await.unwrap().state, DatasetState::Invalid);
}

pub async fn data_sets_on_their_way_in_have_a_server(db: &Db) {
    let store = &*db.store;
    for (id, state) in
        [("ds_1", DatasetState::Uploading), ("ds_2", DatasetState::Validating), ("ds_3", DatasetState::Ready)]
    {
        store.create_dataset(id, dataset(id, state)).await.unwrap();
        store.hold_dataset(id, "srv_1").await.unwrap();
    }
    let holder =
        |id: &str, heard_at| DatasetHolder { dataset_id: id.to_owned(), server_id: Some("srv_1".to_owned()), heard_at };
    assert_eq!(store.dataset_holders().await.unwrap(), [holder("ds_1", None), holder("ds_2", None)]);
    store.server_heartbeat("srv_1", "here").await.unwrap();
    let heard_at = store.dataset_holders().await.unwrap()[0].heard_at;
    assert!(heard_at.is_some());
    db.clock.advance(Duration::from_secs(10));
    store.server_heartbeat("srv_1", "here").await.unwrap();
    let later = store.dataset_holders().await.unwrap()[0].heard_at;
    assert_eq!(later, heard_at.map(|at| at + Duration::from_secs(10)));
}

/// Of two projects that ask for a name at once, one gets it.
pub async fn a_name_never_leaves_its_project(db: &Db) {
    let user = |project: &str| Caller { role: Role::User, project: project.to_owned(), ..Caller::anonymous() };
    let views: Vec<_> = ["pa", "pb"].map(|project| store::view(db.store.clone(), user(project))).into();
    let mut checkpoints = Vec::new();
    for project in ["pa", "pb"] {
        db.store.submit(new_job(|spec| project.clone_into(&mut spec.project))).await.unwrap();
        let leased = db.store.claim(&super::fixture::claim_by("w")).await.unwrap().unwrap();
        let id = format!("ckpt_{project}");
        db.store.add_checkpoint(&leased.token, new_checkpoint(&id, 1, None)).await.unwrap();
        checkpoints.push(id);
    }
    for round in 0..20 {
        let model = |project: &str| NewModel {
            name: format!("model-{round}"),
            family: "f".to_owned(),
            parameters: 1,
            path: project.to_owned(),
            card: json!({}),
            recommended: json!({}),
            source: "path".to_owned(),
            project: project.to_owned(),
            created_by: None,
        };
        let (a, b) = tokio::join!(views[0].upsert_model(model("pa")), views[1].upsert_model(model("pb")));
        assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "{a:?} {b:?}");
        let owner = if a.is_ok() { "pa" } else { "pb" };
        assert_eq!(db.store.model(&format!("model-{round}")).await.unwrap().project, owner);

        // Of two that are new, whosever they are, one gets the name.
        let model = |path: &str| NewModel { name: format!("new-{round}"), path: path.to_owned(), ..model("pa") };
        let (a, b) = tokio::join!(views[0].create_model(model("one")), views[0].create_model(model("two")));
        assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "{a:?} {b:?}");
        let kept = db.store.model(&format!("new-{round}")).await.unwrap().path;
        assert_eq!(kept, if a.is_ok() { "one" } else { "two" });

        let name = format!("served-{round}");
        let (a, b) = tokio::join!(views[0].promote(&checkpoints[0], &name), views[1].promote(&checkpoints[1], &name));
        assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "{a:?} {b:?}");
        let served = db.store.promoted(&name).await.unwrap().unwrap();
        assert_eq!(served.id, checkpoints[usize::from(b.is_ok())]);
        let refused = if a.is_ok() { b } else { a };
        assert!(matches!(refused, Err(StoreError::Conflict(told)) if !told.contains("pa") && !told.contains("pb")));
    }
}
