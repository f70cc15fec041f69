//! Jobs and runs as people see them.

use vgpo::domain::job::{JobAction, JobFilter, JobState};
use vgpo::domain::page::Page;
use vgpo::domain::run::{RunFilter, RunUpdate};
use vgpo::store::{Failure, StoreError};

use super::fixture::{Db, all_events, claim_by, claimed, history, new_job};

pub async fn submitting_inserts_job_run_and_event(db: &Db) {
    let (job, run) = db.store.submit(new_job(|s| s.priority = 4)).await.unwrap();
    assert!(job.id.starts_with("job_") && run.id.starts_with("run_"));
    assert_eq!((&job.run_id, &run.job_id), (&run.id, &job.id));
    assert_eq!((job.state, job.attempt, job.priority, job.lease.is_none()), (JobState::Queued, 0, 4, true));
    assert_eq!((run.method.as_str(), run.steps, run.state), ("grpo", 40, JobState::Queued));
    assert_eq!(db.store.job(&job.id).await.unwrap(), job);
    assert_eq!(db.store.run(&run.id).await.unwrap(), run);
    let events = all_events(&*db.store).await;
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].job_id.as_ref(), events[0].run_id.as_ref()), (Some(&job.id), Some(&run.id)));
    let told = history(&*db.store, &job.id).await;
    assert_eq!((told[0].from, told[0].to), (None, JobState::Queued));
    assert_eq!(db.store.queue_depth().await.unwrap(), 1);
    let missing = db.store.job("job_x").await.unwrap_err();
    assert!(matches!(missing, StoreError::NotFound { kind: "job", .. }), "{missing}");
}

pub async fn lists_are_paged_and_filtered(db: &Db) {
    let mut ids = Vec::new();
    for i in 0..5 {
        let job = new_job(|s| {
            s.project = if i == 3 { "other" } else { "default" }.to_owned();
            s.tags.insert("n".to_owned(), i.to_string());
        });
        ids.push(db.store.submit(job).await.unwrap().0.id);
    }
    ids.reverse();
    let first = db.store.jobs(&JobFilter::default(), &Page::first(2)).await.unwrap();
    assert_eq!(first.data.iter().map(|j| j.id.clone()).collect::<Vec<_>>(), ids[..2]);
    assert!(first.has_more);
    let rest = Page { limit: 3, after: first.next };
    let second = db.store.jobs(&JobFilter::default(), &rest).await.unwrap();
    assert_eq!(second.data.iter().map(|j| j.id.clone()).collect::<Vec<_>>(), ids[2..]);
    assert_eq!((second.has_more, second.next), (false, None));

    let count = async |filter: JobFilter| db.store.jobs(&filter, &Page::first(10)).await.unwrap().data.len();
    assert_eq!(count(JobFilter { project: Some("other".to_owned()), ..JobFilter::default() }).await, 1);
    assert_eq!(count(JobFilter { model: Some("none".to_owned()), ..JobFilter::default() }).await, 0);
    assert_eq!(count(JobFilter { states: vec![JobState::Failed], ..JobFilter::default() }).await, 0);
    let states = vec![JobState::Failed, JobState::Queued];
    assert_eq!(count(JobFilter { states, ..JobFilter::default() }).await, 5);
    let tag = |v: Option<&str>| Some(("n".to_owned(), v.map(str::to_owned)));
    assert_eq!(count(JobFilter { tag: tag(Some("2")), ..JobFilter::default() }).await, 1);
    assert_eq!(count(JobFilter { tag: tag(None), ..JobFilter::default() }).await, 5);
    assert_eq!(count(JobFilter { tag: Some(("m".to_owned(), None)), ..JobFilter::default() }).await, 0);
}

pub async fn asking_follows_the_table(db: &Db) {
    let store = &*db.store;
    let (queued, _) = store.submit(new_job(|_| ())).await.unwrap();
    let refused = store.ask(&queued.id, JobAction::Pause, "test").await.unwrap_err();
    assert_eq!(refused.to_string(), format!("cannot pause job `{}`: its state is queued; possible: cancel", queued.id));
    let cancelled = store.ask(&queued.id, JobAction::Cancel, "not needed").await.unwrap();
    assert_eq!((cancelled.state, cancelled.reason.as_deref()), (JobState::Cancelled, Some("not needed")));
    assert!(cancelled.finished_at.is_some());
    let before = all_events(store).await.len();
    let again = store.ask(&queued.id, JobAction::Cancel, "again").await.unwrap();
    assert_eq!(again, cancelled, "repeating a cancel changes nothing");
    assert_eq!(all_events(store).await.len(), before, "and is no event");

    let running = claimed(store, "w1").await;
    let id = &running.job.id;
    assert_eq!(store.ask(id, JobAction::Pause, "lunch").await.unwrap().state, JobState::Pausing);
    assert_eq!(store.release(&running.token, "paused").await.unwrap().state, JobState::Paused);
    assert!(store.claim(&claim_by("w1")).await.unwrap().is_none(), "a paused job is not claimed");
    assert_eq!(store.ask(id, JobAction::Resume, "back").await.unwrap().state, JobState::Queued);
    let running = store.claim(&claim_by("w2")).await.unwrap().unwrap();
    assert_eq!(store.ask(id, JobAction::Cancel, "stop").await.unwrap().state, JobState::Cancelling);
    let done = store.complete(&running.token, "finished").await.unwrap();
    assert_eq!(done.state, JobState::Cancelled, "an accepted cancel wins over a later finish");
    use JobState as S;
    let path: Vec<_> = history(store, id).await.into_iter().map(|c| c.to).collect();
    assert_eq!(
        path,
        [S::Queued, S::Running, S::Pausing, S::Paused, S::Queued, S::Running, S::Cancelling, S::Cancelled]
    );
}

pub async fn a_job_that_cannot_succeed_takes_waiting_jobs_along(db: &Db) {
    let store = &*db.store;
    let (first, _) = store.submit(new_job(|_| ())).await.unwrap();
    let (second, _) = store.submit(new_job(|s| s.after = Some(first.id.clone()))).await.unwrap();
    let (third, _) = store.submit(new_job(|s| s.after = Some(second.id.clone()))).await.unwrap();
    let leased = store.claim(&claim_by("w")).await.unwrap().unwrap();
    assert_eq!(leased.job.id, first.id);
    let failure = Failure { message: "no such column".to_owned(), retry_after: None };
    assert_eq!(store.fail(&leased.token, &failure).await.unwrap().state, JobState::Failed);
    for job in [&second, &third] {
        let job = store.job(&job.id).await.unwrap();
        assert_eq!(job.state, JobState::Cancelled);
        assert!(job.reason.unwrap().contains("it waits for job_"));
    }
}

pub async fn after_must_name_a_job_that_can_succeed(db: &Db) {
    let store = &*db.store;
    let unknown = store.submit(new_job(|s| s.after = Some("job_x".to_owned()))).await.unwrap_err();
    assert!(matches!(unknown, StoreError::NotFound { kind: "job", .. }), "{unknown}");
    let (first, _) = store.submit(new_job(|_| ())).await.unwrap();
    store.ask(&first.id, JobAction::Cancel, "no").await.unwrap();
    let hopeless = store.submit(new_job(|s| s.after = Some(first.id.clone()))).await.unwrap_err();
    assert!(matches!(hopeless, StoreError::Conflict(_)), "{hopeless}");
    assert_eq!(
        store.jobs(&JobFilter::default(), &Page::first(9)).await.unwrap().data.len(),
        1,
        "nothing half-inserted"
    );
    assert_eq!(store.runs(&RunFilter::default(), &Page::first(9)).await.unwrap().data.len(), 1);
}

pub async fn a_retried_job_counts_attempts_from_zero(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    store.fail(&leased.token, &Failure { message: "bad".to_owned(), retry_after: None }).await.unwrap();
    let job = store.ask(&leased.job.id, JobAction::Retry, "fixed the data").await.unwrap();
    assert_eq!((job.state, job.attempt, job.attempts_used), (JobState::Queued, 1, 0));
    assert_eq!(job.finished_at, None);
    let again = store.claim(&claim_by("w")).await.unwrap().unwrap();
    assert_eq!(again.token.attempt, 2, "the fencing token keeps counting");
}

pub async fn runs_are_listed_and_updated(db: &Db) {
    let store = &*db.store;
    let (_, run) = store.submit(new_job(|_| ())).await.unwrap();
    store.submit(new_job(|s| s.dataset = "charts".to_owned())).await.unwrap();
    let filter = RunFilter { dataset: Some("digits".to_owned()), ..RunFilter::default() };
    let listed = store.runs(&filter, &Page::first(5)).await.unwrap();
    assert_eq!(listed.data, std::slice::from_ref(&run));
    let update = RunUpdate {
        name: Some("baseline".to_owned()),
        notes: Some("first try".to_owned()),
        tags: Some([("seed".to_owned(), "1".to_owned())].into()),
    };
    let changed = store.update_run(&run.id, &update).await.unwrap();
    assert_eq!((changed.name.as_str(), changed.notes.as_deref()), ("baseline", Some("first try")));
    assert_eq!(changed.tags.get("seed").unwrap(), "1");
    let cleared = store.update_run(&run.id, &RunUpdate { notes: Some(String::new()), ..RunUpdate::default() }).await;
    let cleared = cleared.unwrap();
    assert_eq!((cleared.notes, cleared.name.as_str()), (None, "baseline"));
    assert!(matches!(store.update_run("run_x", &update).await, Err(StoreError::NotFound { kind: "run", .. })));
}
