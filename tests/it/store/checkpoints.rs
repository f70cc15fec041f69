//! Checkpoints: best, last, promoted, held.

use vgpo::domain::checkpoint::CheckpointFilter;
use vgpo::domain::event::{EventFilter, kind};
use vgpo::domain::page::Page;
use vgpo::store::StoreError;

use super::fixture::{Db, claimed, new_checkpoint, new_job};

pub async fn best_and_last_follow(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    let marks = async || {
        let run = store.run(&leased.token.run_id).await.unwrap();
        (run.best_checkpoint.unwrap(), run.last_checkpoint.unwrap())
    };
    let steps = [(1, None, "1", "1"), (2, None, "2", "2"), (3, Some(0.5), "3", "3"), (4, Some(0.5), "3", "4")];
    for (step, accuracy, best, last) in steps.into_iter().chain([(5, Some(0.6), "5", "5"), (6, None, "5", "6")]) {
        store.add_checkpoint(&leased.token, new_checkpoint(&step.to_string(), step, accuracy)).await.unwrap();
        assert_eq!(marks().await, (best.to_owned(), last.to_owned()), "after step {step}");
        let all = store.run_checkpoints(&leased.token.run_id).await.unwrap();
        let bests: Vec<&str> = all.iter().filter(|one| one.best).map(|one| one.id.as_str()).collect();
        assert_eq!(bests, [best], "after step {step}");
    }
    let filter = EventFilter { kinds: vec![kind::CHECKPOINT.to_owned()], ..EventFilter::default() };
    assert_eq!(store.events_after(0, &filter, 99).await.unwrap().len(), 6);
}

pub async fn held_checkpoints_stay(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    for (step, accuracy) in [(1, 0.1), (2, 0.9), (3, 0.2), (4, 0.3), (5, 0.4)] {
        store.add_checkpoint(&leased.token, new_checkpoint(&step.to_string(), step, Some(accuracy))).await.unwrap();
    }
    store.promote("3", "digits-v1").await.unwrap();
    let (needs, _) = store.submit(new_job(|s| s.model = "4".to_owned())).await.unwrap();
    for (id, holder) in [("2", "(best)"), ("5", "(last)"), ("3", "digits-v1"), ("4", needs.id.as_str())] {
        let held = store.delete_checkpoint(id, "test").await.unwrap_err();
        assert!(matches!(&held, StoreError::Held { holders, .. } if holders.len() == 1), "{held}");
        assert!(held.to_string().contains(holder), "{held}");
    }
    let gone = store.delete_checkpoint("1", "test").await.unwrap();
    assert_eq!((gone.id.as_str(), gone.key.as_str()), ("1", "checkpoints/run/1"));
    assert!(matches!(store.checkpoint("1").await, Err(StoreError::NotFound { kind: "checkpoint", .. })));
    assert_eq!(store.run_checkpoints(&leased.token.run_id).await.unwrap().len(), 4);
}

pub async fn promotion_moves_the_name(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    for step in [1, 2] {
        store.add_checkpoint(&leased.token, new_checkpoint(&step.to_string(), step, None)).await.unwrap();
    }
    assert_eq!(store.promoted("digits").await.unwrap(), None);
    store.promote("1", "digits").await.unwrap();
    let second = store.promote("2", "digits").await.unwrap();
    assert_eq!(second.promoted_as.as_deref(), Some("digits"));
    assert_eq!(store.promoted("digits").await.unwrap(), Some(second));
    assert_eq!(store.checkpoint("1").await.unwrap().promoted_as, None);
    assert!(matches!(store.promote("9", "digits").await, Err(StoreError::NotFound { .. })));
    assert!(store.promoted("digits").await.unwrap().is_some(), "a failed promotion takes nothing away");
}

pub async fn checkpoints_are_listed(db: &Db) {
    let store = &*db.store;
    let (one, two) = (claimed(store, "w").await, claimed(store, "w").await);
    for (token, id) in [(&one.token, "ckpt_a"), (&two.token, "ckpt_b"), (&one.token, "ckpt_c")] {
        let mut new = new_checkpoint(id, 3, None);
        new.last = id == "ckpt_c";
        store.add_checkpoint(token, new).await.unwrap();
    }
    let all = store.checkpoints(&CheckpointFilter::default(), &Page::first(2)).await.unwrap();
    assert_eq!(all.data.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["ckpt_c", "ckpt_b"]);
    assert!(all.data[0].last && !all.data[1].last);
    let rest = store.checkpoints(&CheckpointFilter::default(), &Page { limit: 2, after: all.next }).await.unwrap();
    assert_eq!(rest.data[0].id, "ckpt_a");
    let of_one = CheckpointFilter { run_id: Some(one.token.run_id.clone()), ..CheckpointFilter::default() };
    assert_eq!(store.checkpoints(&of_one, &Page::first(9)).await.unwrap().data.len(), 2);
}
