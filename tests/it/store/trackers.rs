//! How far trackers have a run, and which server sends it more.

use std::time::Duration;

use vgpo::clock::Clock as _;
use vgpo::domain::run::Continuation;
use vgpo::domain::tracker::{TrackerKind, Tracking};

use super::fixture::{Db, claim_by, new_checkpoint, new_job};

const HOLD: Duration = Duration::from_secs(60);

pub async fn a_run_is_sent_by_one_server(db: &Db) {
    let store = &*db.store;
    let kinds = vec![TrackerKind::Trackio, TrackerKind::Mlflow];
    let (_, run) = store.submit(new_job(|spec| spec.report_to = kinds)).await.unwrap();
    store.submit(new_job(|_| ())).await.unwrap();
    let other = db.opened_by(db.clock.clone()).await;
    let (mine, theirs) = tokio::join!(store.take_tracking(10, HOLD), other.take_tracking(10, HOLD));
    let mut taken: Vec<Tracking> = mine.unwrap().into_iter().chain(theirs.unwrap()).collect();
    taken.sort_by_key(|tracking| tracking.tracker.name());
    assert_eq!(taken.iter().map(|one| one.tracker).collect::<Vec<_>>(), [TrackerKind::Mlflow, TrackerKind::Trackio]);
    assert!(taken.iter().all(|one| (one.run_id.as_str(), one.seq, one.tries) == (run.id.as_str(), 0, 0)));
    assert!(store.take_tracking(10, HOLD).await.unwrap().is_empty(), "another server has them");
    db.clock.advance(HOLD);
    assert_eq!(store.take_tracking(10, HOLD).await.unwrap().len(), 2, "it died");
    other.close().await;
}

pub async fn a_tracker_goes_on_where_it_is(db: &Db) {
    let store = &*db.store;
    let (_, run) = store.submit(new_job(|spec| spec.report_to = vec![TrackerKind::Mlflow])).await.unwrap();
    let taken = store.take_tracking(10, HOLD).await.unwrap().remove(0);
    let next_at = Some(db.clock.now() + HOLD);
    let there = Tracking { remote_id: Some("abc".to_owned()), seq: 9, tries: 0, problem: None, next_at, ..taken };
    store.settle_tracking(&there).await.unwrap();
    assert_eq!(store.trackers(&run.id).await.unwrap(), std::slice::from_ref(&there));
    assert!(store.take_tracking(10, HOLD).await.unwrap().is_empty());
    // A server that was slow does not take the tracker back.
    let late = Tracking { seq: 5, tries: 1, problem: Some("down".to_owned()), ..there.clone() };
    store.settle_tracking(&late).await.unwrap();
    let now = store.trackers(&run.id).await.unwrap().remove(0);
    assert_eq!((now.seq, now.tries, now.problem.as_deref()), (9, 1, Some("down")));
    store.settle_tracking(&Tracking { next_at: None, ..there.clone() }).await.unwrap();
    db.clock.advance(HOLD * 100);
    assert!(store.take_tracking(10, HOLD).await.unwrap().is_empty(), "it has everything");
    let leased = store.claim(&claim_by("w")).await.unwrap().unwrap();
    store.add_checkpoint(&leased.token, new_checkpoint("ckpt_1", 1, None)).await.unwrap();
    store.complete(&leased.token, "finished").await.unwrap();
    store.continue_run(&run.id, &Continuation { steps: 5, created_by: None }).await.unwrap();
    let again = store.take_tracking(10, HOLD).await.unwrap().remove(0);
    assert_eq!((again.remote_id.as_deref(), again.seq), (Some("abc"), 9), "the run goes on at the tracker");
    let leased = store.claim(&claim_by("w")).await.unwrap().unwrap();
    store.complete(&leased.token, "finished").await.unwrap();
    store.delete_run(&run.id).await.unwrap();
    assert!(store.trackers(&run.id).await.unwrap().is_empty());
}
