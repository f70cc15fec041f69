//! Engines that serve other servers.

use std::time::Duration;

use vgpo::clock::Clock as _;
use vgpo::domain::engine::{EngineBeat, EngineRecord, NewEngine};
use vgpo::store::StoreError;

use super::fixture::Db;

fn engine(id: &str) -> NewEngine {
    NewEngine {
        id: id.to_owned(),
        address: format!("http://{id}:8080"),
        version: "0.1.0".to_owned(),
        host: "here".to_owned(),
        device: "cuda:1".to_owned(),
    }
}

async fn alive(db: &Db) -> Vec<EngineRecord> {
    db.store.engines(db.clock.now() - Duration::from_secs(10)).await.unwrap()
}

pub async fn engines_register_beat_and_leave(db: &Db) {
    let store = &*db.store;
    let told = store.register_engine(engine("eng_1")).await.unwrap();
    assert_eq!((told.address.as_str(), told.device.as_str(), told.load), ("http://eng_1:8080", "cuda:1", 0));
    assert!(told.models.is_empty());
    assert_eq!(alive(db).await, [told]);

    db.clock.advance(Duration::from_secs(3));
    let beat = EngineBeat { models: vec!["ckpt_b".to_owned(), "starter".to_owned()], load: 7 };
    store.engine_heartbeat("eng_1", &beat).await.unwrap();
    store.register_engine(engine("eng_2")).await.unwrap();
    let seen = alive(db).await;
    assert_eq!(
        seen.iter().map(|engine| engine.id.as_str()).collect::<Vec<_>>(),
        ["eng_1", "eng_2"],
        "the oldest first"
    );
    assert_eq!((&seen[0].models, seen[0].load, seen[0].heartbeat_at), (&beat.models, 7, db.clock.now()));

    let moved = NewEngine { address: "http://elsewhere:1".to_owned(), ..engine("eng_1") };
    let moved = store.register_engine(moved).await.unwrap();
    assert_eq!((moved.address.as_str(), moved.started_at), ("http://elsewhere:1", seen[0].started_at));
    for _ in 0..2 {
        store.remove_engine("eng_1").await.unwrap();
    }
    assert_eq!(alive(db).await.len(), 1);
    let gone = store.engine_heartbeat("eng_1", &beat).await;
    assert!(matches!(gone, Err(StoreError::NotFound { kind: "engine", .. })), "{gone:?}");
}

pub async fn silent_engines_expire_and_are_forgotten(db: &Db) {
    let store = &*db.store;
    store.register_engine(engine("eng_1")).await.unwrap();
    store.register_engine(engine("eng_2")).await.unwrap();
    db.clock.advance(Duration::from_secs(11));
    assert!(alive(db).await.is_empty());
    store.engine_heartbeat("eng_2", &EngineBeat::default()).await.unwrap();
    assert_eq!(alive(db).await[0].id, "eng_2", "it was only slow");
    assert_eq!(store.forget_engines(db.clock.now() - Duration::from_secs(5)).await.unwrap(), 1);
    let gone = store.engine_heartbeat("eng_1", &EngineBeat::default()).await;
    assert!(matches!(gone, Err(StoreError::NotFound { .. })), "{gone:?}");
    store.engine_heartbeat("eng_2", &EngineBeat::default()).await.unwrap();
}
