//! Sweeps: many jobs in one transaction.

use serde_json::json;
use vgpo::domain::job::{JobAction, JobFilter, JobState};
use vgpo::domain::page::Page;
use vgpo::domain::run::RunFilter;
use vgpo::domain::sweep::{NewSweep, SweepFilter, SweepSettings};
use vgpo::store::StoreError;

use super::fixture::{Db, all_events, new_job};

fn new_sweep(project: &str) -> NewSweep {
    let grid = json!({"/seed": [0, 1]}).as_object().unwrap().clone();
    let job = json!({"model": "starter", "dataset": "digits"});
    NewSweep { name: "seeds".to_owned(), project: project.to_owned(), created_by: None, job, grid }
}

fn settings(seed: u64) -> SweepSettings {
    [("/seed".to_owned(), json!(seed))].into()
}

pub async fn a_sweep_is_submitted_as_a_whole(db: &Db) {
    let store = &*db.store;
    let points = (0..2).map(|seed| (new_job(|s| s.seed = seed), settings(seed))).collect();
    let (sweep, jobs) = store.submit_sweep(new_sweep("default"), points).await.unwrap();
    assert!(sweep.id.starts_with("swp_"));
    assert_eq!((sweep.points, jobs.len(), &sweep.grid["/seed"]), (2, 2, &json!([0, 1])));
    assert_eq!(store.sweep(&sweep.id).await.unwrap(), sweep);
    let place = jobs[1].sweep.clone().unwrap();
    assert_eq!((place.id.as_str(), place.settings), (sweep.id.as_str(), settings(1)));
    let runs = store.sweep_runs(&sweep.id).await.unwrap();
    assert_eq!(runs.iter().map(|r| &r.job_id).collect::<Vec<_>>(), [&jobs[0].id, &jobs[1].id]);
    assert_eq!(runs[0].sweep.as_ref().unwrap().settings, settings(0));
    assert_eq!(all_events(store).await.len(), 2, "each job is an event");

    store.submit(new_job(|_| ())).await.unwrap();
    let of_sweep = JobFilter { sweep: Some(sweep.id.clone()), ..JobFilter::default() };
    assert_eq!(store.jobs(&of_sweep, &Page::first(9)).await.unwrap().data.len(), 2);
    let of_sweep = RunFilter { sweep: Some(sweep.id.clone()), ..RunFilter::default() };
    assert_eq!(store.runs(&of_sweep, &Page::first(9)).await.unwrap().data.len(), 2);

    let bad = vec![(new_job(|_| ()), settings(0)), (new_job(|s| s.after = Some("job_x".to_owned())), settings(1))];
    let refused = store.submit_sweep(new_sweep("default"), bad).await.unwrap_err();
    assert!(matches!(refused, StoreError::NotFound { kind: "job", .. }), "{refused}");
    assert_eq!(store.queue_depth().await.unwrap(), 3, "nothing half-submitted");
    assert_eq!(
        store.sweeps(&SweepFilter::default(), &Page::first(9)).await.unwrap().data,
        std::slice::from_ref(&sweep)
    );

    // A run that goes away leaves its sweep.
    store.ask(&jobs[0].id, JobAction::Cancel, "no").await.unwrap();
    store.delete_run(&jobs[0].run_id).await.unwrap();
    let left = store.sweep_runs(&sweep.id).await.unwrap();
    assert_eq!((left.len(), left[0].state), (1, JobState::Queued));
    assert!(matches!(store.sweep("swp_x").await, Err(StoreError::NotFound { kind: "sweep", .. })));

    // A sweep that goes away leaves the runs that it still has.
    store.delete_sweep(&sweep.id).await.unwrap();
    assert!(matches!(store.delete_sweep(&sweep.id).await, Err(StoreError::NotFound { kind: "sweep", .. })));
    assert_eq!(store.run(&jobs[1].run_id).await.unwrap().sweep, None);
}

pub async fn sweeps_are_listed(db: &Db) {
    let store = &*db.store;
    let mut ids = Vec::new();
    for project in ["a", "b", "a"] {
        let points = vec![(new_job(|_| ()), settings(0))];
        ids.push(store.submit_sweep(new_sweep(project), points).await.unwrap().0.id);
    }
    let page = store.sweeps(&SweepFilter::default(), &Page::first(2)).await.unwrap();
    assert_eq!(page.data.iter().map(|s| &s.id).collect::<Vec<_>>(), [&ids[2], &ids[1]]);
    let rest = store.sweeps(&SweepFilter::default(), &Page { limit: 2, after: page.next }).await.unwrap();
    assert_eq!(rest.data.iter().map(|s| &s.id).collect::<Vec<_>>(), [&ids[0]]);
    let of_a = SweepFilter { project: Some("a".to_owned()) };
    assert_eq!(store.sweeps(&of_a, &Page::first(9)).await.unwrap().data.len(), 2);
}
