//! What is old enough to go, and what stays whatever its age.

use std::collections::BTreeMap;
use std::time::Duration;

use vgpo::clock::Clock as _;
use vgpo::domain::metric::SeriesQuery;
use vgpo::domain::page::Page;
use vgpo::domain::run::RunUpdate;

use super::fixture::{Db, claimed, group, new_checkpoint, new_job, point};

const DAY: Duration = Duration::from_secs(86_400);

/// A run with three steps of everything; its job has ended if `done`. Returns its id.
async fn run(db: &Db, done: bool, prefix: &str) -> String {
    let leased = claimed(&*db.store, "w").await;
    for step in 0..3 {
        db.store
            .append_metrics(&leased.token, &[point(db, step, &[("loss", 1.0 - step as f64), ("kl", 0.5)])])
            .await
            .unwrap();
        db.store.append_samples(&leased.token, step, &[group(step), group(step + 9)]).await.unwrap();
        let accuracy = if step == 1 { 0.9 } else { 0.1 };
        let checkpoint = new_checkpoint(&format!("ckpt_{prefix}{step}"), step, Some(accuracy));
        db.store.add_checkpoint(&leased.token, checkpoint).await.unwrap();
    }
    if done {
        db.store.complete(&leased.token, "done").await.unwrap();
    } else {
        db.store.heartbeat(&leased.token, DAY * 100).await.unwrap();
    }
    leased.token.run_id
}

async fn left(db: &Db, run: &str) -> (usize, usize) {
    let samples = db.store.samples(run, None, &Page { limit: 100, after: None }).await.unwrap().data.len();
    let mut points = 0;
    let all = SeriesQuery { from_step: None, to_step: None, max_points: None };
    for key in ["loss", "kl"] {
        points += db.store.metric_series(run, key, &all).await.unwrap().len();
    }
    (samples, points)
}

pub async fn old_results_go_in_batches(db: &Db) {
    let old = run(db, true, "old").await;
    let kept = run(db, true, "kept").await;
    let tags = Some(BTreeMap::from([("keep".to_owned(), String::new())]));
    db.store.update_run(&kept, &RunUpdate { tags, ..RunUpdate::default() }).await.unwrap();
    let open = run(db, false, "open").await;
    db.clock.advance(DAY * 10);
    let limit = db.clock.now() - DAY * 9;
    let young = run(db, true, "young").await;

    assert_eq!(db.store.prune_samples(limit, 4).await.unwrap(), 4, "no more than a batch");
    assert_eq!(db.store.prune_samples(limit, 4).await.unwrap(), 2);
    assert_eq!(db.store.prune_samples(limit, 4).await.unwrap(), 0);
    assert_eq!(db.store.prune_points(limit, 5).await.unwrap(), 5);
    assert_eq!(db.store.prune_points(limit, 5).await.unwrap(), 1);
    assert_eq!(left(db, &old).await, (0, 0));
    for stays in [&kept, &open, &young] {
        assert_eq!(left(db, stays).await, (6, 6), "labelled, unfinished and young runs stay");
    }
    let keys = db.store.metric_keys(&old).await.unwrap();
    let loss = keys.iter().find(|key| key.key == "loss").unwrap();
    assert_eq!((loss.last, loss.min, loss.max), (Some(-1.0), Some(-1.0), Some(1.0)), "the summary stays");
}

pub async fn checkpoints_that_something_holds_stay(db: &Db) {
    let _old = run(db, true, "old").await;
    let _open = run(db, false, "open").await;
    db.clock.advance(DAY * 10);
    let limit = db.clock.now() - DAY * 9;
    // Step 1 is the best, step 2 the last: only step 0 may go.
    assert_eq!(db.store.prunable_checkpoints(limit, "", 10).await.unwrap(), ["ckpt_old0"]);
    assert!(db.store.prunable_checkpoints(limit, "ckpt_old0", 10).await.unwrap().is_empty());
    assert!(db.store.prunable_checkpoints(limit - DAY * 5, "", 10).await.unwrap().is_empty());
    db.store.promote("ckpt_old0", "served").await.unwrap();
    assert!(db.store.prunable_checkpoints(limit, "", 10).await.unwrap().is_empty());
    db.store.demote("ckpt_old0").await.unwrap();
    db.store.submit(new_job(|s| s.model = "ckpt_old0".to_owned())).await.unwrap();
    let held = db.store.delete_checkpoint("ckpt_old0", "old").await.unwrap_err();
    assert!(held.to_string().contains("held by"), "{held}");
}

pub async fn old_events_go_from_the_front(db: &Db) {
    run(db, true, "a").await;
    let all = super::fixture::all_events(&*db.store).await;
    db.clock.advance(DAY);
    run(db, true, "b").await;
    let whole = super::fixture::all_events(&*db.store).await;
    let limit = db.clock.now() - Duration::from_secs(60);
    assert_eq!(db.store.prune_events(limit, 3).await.unwrap(), 3);
    assert_eq!(super::fixture::all_events(&*db.store).await, whole[3..]);
    assert_eq!(db.store.prune_events(limit, 1000).await.unwrap(), all.len() as u64 - 3);
    assert_eq!(super::fixture::all_events(&*db.store).await, whole[all.len()..]);
}
