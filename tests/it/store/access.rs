//! API keys, what they are exchanged for, and the audit log.

use std::time::Duration;

use chrono::TimeDelta;
use vgpo::clock::Clock as _;
use vgpo::domain::access::{ApiKey, NewAudit, NewKey, NewTicket, Role, TicketKind};
use vgpo::domain::page::Page;
use vgpo::store::StoreError;

use super::fixture::Db;

const MINUTE: Duration = Duration::from_secs(60);

async fn key(db: &Db, prefix: &str, role: Role) -> ApiKey {
    let new = NewKey {
        name: format!("key {prefix}"),
        role,
        project: "vision".to_owned(),
        prefix: prefix.to_owned(),
        hash: format!("hash of {prefix}"),
        created_by: None,
    };
    db.store.create_key(new).await.unwrap()
}

fn ticket(db: &Db, kind: TicketKind, key: &ApiKey, hash: &str, seconds: i64) -> NewTicket {
    let expires_at = db.clock.now() + TimeDelta::seconds(seconds);
    NewTicket { kind, key_id: key.id.clone(), hash: hash.to_owned(), expires_at }
}

pub async fn keys_are_kept_found_and_listed(db: &Db) {
    let store = &*db.store;
    assert!(!store.has_keys().await.unwrap() && !store.had_keys().await.unwrap());
    let one = key(db, "aaaa", Role::Admin).await;
    let two = key(db, "bbbb", Role::Viewer).await;
    assert!(one.id.starts_with("key_") && store.has_keys().await.unwrap());
    assert!(store.had_keys().await.unwrap() && store.is_open_key(&one.id).await.unwrap());
    assert_eq!((one.role, one.created_at, one.last_used_at, one.revoked_at), (Role::Admin, db.clock.now(), None, None));
    let found = store.key_by_prefix("bbbb").await.unwrap().unwrap();
    assert_eq!((&found.key, found.hash.as_str()), (&two, "hash of bbbb"));
    assert_eq!(store.key_by_prefix("cccc").await.unwrap(), None);
    let page = store.keys(&Page::first(1)).await.unwrap();
    assert_eq!((page.data.as_slice(), page.has_more), ([two.clone()].as_slice(), true), "newest first");
    let rest = store.keys(&Page { limit: 1, after: page.next }).await.unwrap();
    assert_eq!((rest.data.as_slice(), rest.has_more), ([one].as_slice(), false));
    let taken = NewKey {
        name: "again".to_owned(),
        role: Role::User,
        project: "x".to_owned(),
        prefix: "bbbb".to_owned(),
        hash: "other".to_owned(),
        created_by: None,
    };
    assert!(store.create_key(taken).await.is_err(), "a public part stands for one key");
}

pub async fn last_use_is_written_once_a_minute(db: &Db) {
    let store = &*db.store;
    let key = key(db, "aaaa", Role::User).await;
    let used = async || store.key_by_prefix("aaaa").await.unwrap().unwrap().key.last_used_at;
    let first = db.clock.now();
    store.touch_key(&key.id, MINUTE).await.unwrap();
    assert_eq!(used().await, Some(first));
    db.clock.advance(Duration::from_secs(59));
    store.touch_key(&key.id, MINUTE).await.unwrap();
    assert_eq!(used().await, Some(first), "too early");
    db.clock.advance(Duration::from_secs(1));
    store.touch_key(&key.id, MINUTE).await.unwrap();
    assert_eq!(used().await, Some(first + TimeDelta::seconds(60)));
}

pub async fn a_revoked_key_stays_in_the_list_with_the_time_of_its_end(db: &Db) {
    let store = &*db.store;
    let key = key(db, "aaaa", Role::User).await;
    let session = ticket(db, TicketKind::Session, &key, "s", 600);
    store.issue_ticket(session).await.unwrap();
    let ended = db.clock.now();
    assert_eq!(store.revoke_key(&key.id).await.unwrap().revoked_at, Some(ended));
    db.clock.advance(MINUTE);
    assert_eq!(store.revoke_key(&key.id).await.unwrap().revoked_at, Some(ended), "a repeat changes nothing");
    assert_eq!(store.key_by_prefix("aaaa").await.unwrap().unwrap().key.revoked_at, Some(ended));
    assert!(!store.has_keys().await.unwrap() && !store.is_open_key(&key.id).await.unwrap());
    assert!(store.had_keys().await.unwrap() && !store.is_open_key("key_x").await.unwrap());
    assert_eq!(store.ticket(TicketKind::Session, "s").await.unwrap(), None, "its sessions end with it");
    assert!(matches!(store.revoke_key("key_x").await, Err(StoreError::NotFound { kind: "key", .. })));
}

pub async fn tickets_run_out_and_are_taken_once(db: &Db) {
    let store = &*db.store;
    let key = key(db, "aaaa", Role::Viewer).await;
    store.issue_ticket(ticket(db, TicketKind::Session, &key, "long", 600)).await.unwrap();
    store.issue_ticket(ticket(db, TicketKind::Stream, &key, "once", 60)).await.unwrap();
    store.issue_ticket(ticket(db, TicketKind::Stream, &key, "late", 60)).await.unwrap();
    assert_eq!(store.ticket(TicketKind::Session, "long").await.unwrap().as_ref(), Some(&key));
    assert_eq!(store.ticket(TicketKind::Stream, "long").await.unwrap(), None, "a session opens no stream");
    assert_eq!(store.take_ticket(TicketKind::Session, "once").await.unwrap(), None, "and the other way round");
    let both =
        tokio::join!(store.take_ticket(TicketKind::Stream, "once"), store.take_ticket(TicketKind::Stream, "once"));
    let taken = [both.0.unwrap(), both.1.unwrap()].into_iter().flatten().count();
    assert_eq!(taken, 1, "one of two gets it");
    db.clock.advance(MINUTE);
    assert_eq!(store.take_ticket(TicketKind::Stream, "late").await.unwrap(), None, "it has run out");
    assert!(store.ticket(TicketKind::Session, "long").await.unwrap().is_some());
}

pub async fn the_audit_log_is_read_backwards(db: &Db) {
    let store = &*db.store;
    for (action, target) in [("job.create", "job_1"), ("job.cancel", "job_1"), ("key.create", "key_2")] {
        let entry = NewAudit {
            key_id: Some("key_1".to_owned()),
            project: "vision".to_owned(),
            action,
            target: target.to_owned(),
            detail: (action == "job.cancel").then(|| "too slow".to_owned()),
        };
        let kept = store.append_audit(entry).await.unwrap();
        assert_eq!((kept.action.as_str(), kept.time), (action, db.clock.now()));
    }
    let newest = store.audit(None, 2).await.unwrap();
    let actions: Vec<_> = newest.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["key.create", "job.cancel"]);
    assert_eq!((newest[1].detail.as_deref(), newest[1].key_id.as_deref()), (Some("too slow"), Some("key_1")));
    let older = store.audit(Some(newest[1].seq), 9).await.unwrap();
    assert_eq!(older.iter().map(|entry| entry.target.as_str()).collect::<Vec<_>>(), ["job_1"]);
}
