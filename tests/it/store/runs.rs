//! Runs that go on, and runs that go away; jobs that are changed or wait for a model.

use chrono::TimeDelta;
use vgpo::clock::Clock as _;
use vgpo::domain::event::{EventFilter, JobUpdated, RunDeleted, kind};
use vgpo::domain::job::{JobAction, JobState, JobUpdate};
use vgpo::domain::page::Page;
use vgpo::domain::run::{Continuation, RunFilter};
use vgpo::domain::spec::{Direction, EarlyStopSpec};
use vgpo::store::{Failure, StoreError};

use super::fixture::{Db, all_events, claim_by, claimed, group, history, new_checkpoint, new_job, point};

fn more(steps: u64) -> Continuation {
    Continuation { steps, created_by: Some("ada".to_owned()) }
}

pub async fn asking_the_same_again_is_a_repeat(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    let id = &leased.job.id;
    let never = store.ask(id, JobAction::Resume, "test").await.unwrap_err();
    assert!(matches!(never, StoreError::IllegalAction { .. }), "a running job was never resumed: {never}");
    store.ask(id, JobAction::Pause, "lunch").await.unwrap();
    store.release(&leased.token, "paused").await.unwrap();
    assert_eq!(store.ask(id, JobAction::Pause, "again").await.unwrap().state, JobState::Paused);
    assert_eq!(store.ask(id, JobAction::Resume, "back").await.unwrap().state, JobState::Queued);
    let before = all_events(store).await.len();
    assert_eq!(store.ask(id, JobAction::Resume, "back").await.unwrap().state, JobState::Queued);
    let leased = store.claim(&claim_by("w")).await.unwrap().unwrap();
    assert_eq!(store.ask(id, JobAction::Resume, "back").await.unwrap().state, JobState::Running);
    assert_eq!(all_events(store).await.len(), before + 1, "nothing but the claim");
    store.fail(&leased.token, &Failure { message: "bad".to_owned(), retry_after: None }).await.unwrap();
    let over = store.ask(id, JobAction::Resume, "back").await.unwrap_err();
    assert!(matches!(&over, StoreError::IllegalAction { allowed, .. } if allowed == &[JobAction::Retry]), "{over}");
    assert_eq!(store.ask(id, JobAction::Retry, "fixed").await.unwrap().attempts_used, 0);
    assert_eq!(store.ask(id, JobAction::Retry, "fixed").await.unwrap().asked, Some(JobAction::Retry));
    assert_eq!(history(store, id).await.last().unwrap().reason, "fixed");
}

pub async fn priority_and_labels_change_with_an_event(db: &Db) {
    let store = &*db.store;
    let (first, _) = store.submit(new_job(|_| ())).await.unwrap();
    let (second, _) = store.submit(new_job(|_| ())).await.unwrap();
    let update = JobUpdate { priority: Some(7), tags: None };
    let job = store.update_job(&second.id, &update).await.unwrap();
    assert_eq!((job.priority, &job.tags, job.state), (7, &second.tags, JobState::Queued));
    store.update_job(&second.id, &update).await.unwrap();
    let tags = JobUpdate { priority: None, tags: Some([("a".to_owned(), "b".to_owned())].into()) };
    let job = store.update_job(&second.id, &tags).await.unwrap();
    assert_eq!((job.priority, job.tags.get("a").map(String::as_str)), (7, Some("b")));
    let filter = EventFilter { kinds: vec![kind::JOB_UPDATED.to_owned()], ..EventFilter::default() };
    let told = store.events_after(0, &filter, 9).await.unwrap();
    assert_eq!(told.len(), 2, "what changes nothing is no event");
    let told: JobUpdated = serde_json::from_value(told[0].data.clone()).unwrap();
    assert_eq!(told, JobUpdated { priority: 7, tags: second.tags.clone() });
    assert_eq!(store.claim(&claim_by("w")).await.unwrap().unwrap().job.id, second.id, "the queue follows");
    store.ask(&first.id, JobAction::Cancel, "no").await.unwrap();
    let late = store.update_job(&first.id, &update).await.unwrap_err();
    assert!(matches!(late, StoreError::Conflict(_)), "{late}");
    assert_eq!(store.update_job(&first.id, &tags).await.unwrap().tags.len(), 1, "labels of an ended job may change");
}

pub async fn a_scheduled_job_starts_not_before_its_time(db: &Db) {
    let store = &*db.store;
    let time = db.clock.now() + TimeDelta::hours(2);
    let (job, _) = store.submit(new_job(|s| s.not_before = Some(time))).await.unwrap();
    assert_eq!(job.not_before, Some(time));
    assert!(store.claim(&claim_by("w")).await.unwrap().is_none());
    assert!(!store.has_work(vgpo::domain::spec::DeviceClass::Cpu, 1).await.unwrap());
    db.clock.advance(std::time::Duration::from_secs(7200));
    assert_eq!(store.claim(&claim_by("w")).await.unwrap().unwrap().job.id, job.id);
}

pub async fn a_waiting_job_starts_from_what_the_other_left(db: &Db) {
    let store = &*db.store;
    let (first, run) = store.submit(new_job(|_| ())).await.unwrap();
    let model = |name: String| {
        let after = first.id.clone();
        new_job(move |s| (s.model, s.after) = (name, Some(after)))
    };
    let (by_job, _) = store.submit(model(first.id.clone())).await.unwrap();
    let (by_best, _) = store.submit(model(format!("{}@best", run.id))).await.unwrap();
    let leased = store.claim(&claim_by("w")).await.unwrap().unwrap();
    for (id, step, accuracy) in [("ckpt_a", 1, 0.9), ("ckpt_b", 2, 0.5)] {
        store.add_checkpoint(&leased.token, new_checkpoint(id, step, Some(accuracy))).await.unwrap();
    }
    assert_eq!(store.job(&by_job.id).await.unwrap().spec.known().unwrap().model, first.id, "not before it has ended");
    store.complete(&leased.token, "finished").await.unwrap();
    for (job, checkpoint) in [(&by_job, "ckpt_b"), (&by_best, "ckpt_a")] {
        let job = store.job(&job.id).await.unwrap();
        assert_eq!(job.spec.known().unwrap().model, checkpoint);
        assert_eq!(store.run(&job.run_id).await.unwrap().model, checkpoint);
    }
    let held = store.delete_run(&run.id).await.unwrap_err();
    assert!(matches!(&held, StoreError::Held { holders, .. } if holders.len() == 2), "{held}");
    // A job that was cancelled while it waited finds its model when it is claimed.
    let (late, _) = store.submit(model(first.id.clone())).await.unwrap();
    for job in [&by_job, &by_best] {
        store.ask(&job.id, JobAction::Cancel, "make room").await.unwrap();
    }
    let leased = store.claim(&claim_by("w")).await.unwrap().unwrap();
    assert_eq!((leased.job.id, leased.spec.model.as_str()), (late.id, "ckpt_b"));
}

pub async fn more_steps_end_early_stopping(db: &Db) {
    let store = &*db.store;
    let early_stop =
        EarlyStopSpec { metric: "accuracy".to_owned(), better: Direction::Higher, patience: 1, min_delta: 0.0 };
    let mut new = new_job(|spec| spec.early_stop = Some(early_stop));
    new.origins["/early_stop/metric"] = "request".into();
    store.submit(new).await.unwrap();
    let leased = store.claim(&claim_by("w")).await.unwrap().unwrap();
    store.add_checkpoint(&leased.token, new_checkpoint("ckpt_3", 3, None)).await.unwrap();
    store.complete(&leased.token, "stopped early").await.unwrap();
    let job = store.continue_run(&leased.token.run_id, &more(2)).await.unwrap();
    let spec = job.spec.known().unwrap();
    assert_eq!((spec.steps, spec.early_stop.as_ref()), (5, None));
    assert_eq!((job.origins["/early_stop"].as_str(), job.origins.get("/early_stop/metric")), (Some("request"), None));
}

pub async fn a_run_goes_on_with_another_job(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    let (run_id, first) = (leased.token.run_id.clone(), leased.job.id.clone());
    let early = store.continue_run(&run_id, &more(5)).await.unwrap_err();
    assert!(matches!(early, StoreError::Conflict(_)) && early.to_string().contains("is running"), "{early}");
    store.append_metrics(&leased.token, &[point(db, 40, &[("reward/mean", 0.5)])]).await.unwrap();
    let mut last = new_checkpoint("ckpt_40", 40, None);
    last.last = true;
    store.add_checkpoint(&leased.token, last).await.unwrap();
    store.complete(&leased.token, "finished").await.unwrap();
    let job = store.continue_run(&run_id, &more(5)).await.unwrap();
    assert_eq!(
        (job.run_id.as_str(), job.spec.known().unwrap().steps, job.state),
        (run_id.as_str(), 45, JobState::Queued)
    );
    assert_eq!((job.created_by.as_deref(), job.origins["/steps"].as_str()), (Some("ada"), Some("request")));
    assert_eq!(job.reason.as_deref(), Some(format!("continues {first} from step 40").as_str()));
    let run = store.run(&run_id).await.unwrap();
    assert_eq!((run.job_id.as_str(), run.steps, run.last_step), (job.id.as_str(), 45, Some(40)));
    assert!(!store.checkpoint("ckpt_40").await.unwrap().last, "it is no end any more");
    let leased = store.claim(&claim_by("w")).await.unwrap().unwrap();
    assert_eq!((leased.job.id.as_str(), leased.token.run_id.as_str()), (job.id.as_str(), run_id.as_str()));
    store.append_metrics(&leased.token, &[point(db, 41, &[("reward/mean", 0.6)])]).await.unwrap();
    store.fail(&leased.token, &Failure { message: "bad".to_owned(), retry_after: None }).await.unwrap();
    let third = store.continue_run(&run_id, &more(1)).await.unwrap();
    assert_eq!(third.spec.known().unwrap().steps, 41, "counted from the newest checkpoint");
    assert_eq!(store.run_jobs(&run_id).await.unwrap(), [first, job.id.clone(), third.id.clone()]);
    let old = store.ask(&job.id, JobAction::Retry, "test").await.unwrap_err();
    assert!(old.to_string().contains(&third.id), "two jobs may not write to one run: {old}");
    let (empty, run) = store.submit(new_job(|_| ())).await.unwrap();
    store.ask(&empty.id, JobAction::Cancel, "no").await.unwrap();
    let nothing = store.continue_run(&run.id, &more(1)).await.unwrap_err();
    assert!(nothing.to_string().contains("no checkpoint"), "{nothing}");
    assert!(matches!(store.continue_run("run_x", &more(1)).await, Err(StoreError::NotFound { kind: "run", .. })));
}

pub async fn a_deleted_run_takes_everything_along(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    let run_id = leased.token.run_id.clone();
    store.append_metrics(&leased.token, &[point(db, 1, &[("reward/mean", 0.5)])]).await.unwrap();
    store.append_samples(&leased.token, 1, &[group(3)]).await.unwrap();
    store.add_checkpoint(&leased.token, new_checkpoint("ckpt_1", 1, None)).await.unwrap();
    let sample = store.samples(&run_id, None, &Page::first(9)).await.unwrap().data.remove(0);
    assert_eq!(store.sample(&run_id, &sample.id).await.unwrap(), sample);
    assert!(matches!(store.sample("run_x", &sample.id).await, Err(StoreError::NotFound { kind: "sample", .. })));
    let running = store.delete_run(&run_id).await.unwrap_err();
    assert!(matches!(&running, StoreError::Conflict(problem) if problem.contains("cancel job")), "{running}");
    store.complete(&leased.token, "finished").await.unwrap();
    store.promote("ckpt_1", "served").await.unwrap();
    assert_eq!(store.promotions().await.unwrap().len(), 1);
    let (waits, other) = store.submit(new_job(|s| s.after = Some(leased.job.id.clone()))).await.unwrap();
    let held = store.delete_run(&run_id).await.unwrap_err();
    let StoreError::Held { holders, .. } = &held else { panic!("{held}") };
    assert_eq!(holders, &["the served model `served`".to_owned(), waits.id.clone()]);
    assert_eq!(store.demote("ckpt_1").await.unwrap().promoted_as, None);
    assert_eq!(store.promotions().await.unwrap(), []);
    store.ask(&waits.id, JobAction::Cancel, "no").await.unwrap();
    let gone = store.delete_run(&run_id).await.unwrap();
    assert_eq!(gone.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["ckpt_1"]);
    assert!(matches!(store.run(&run_id).await, Err(StoreError::NotFound { .. })));
    assert!(matches!(store.job(&leased.job.id).await, Err(StoreError::NotFound { .. })));
    assert!(store.metric_keys(&run_id).await.unwrap().is_empty());
    let left = store.runs(&RunFilter::default(), &Page::first(9)).await.unwrap();
    assert_eq!(left.data.iter().map(|r| &r.id).collect::<Vec<_>>(), [&other.id]);
    assert_eq!(store.job(&waits.id).await.unwrap().after, None, "a job that has ended waits for nothing");
    let told = all_events(store).await.pop().unwrap();
    let data: RunDeleted = serde_json::from_value(told.data).unwrap();
    assert_eq!((told.kind.as_str(), data.checkpoints), (kind::RUN_DELETED, vec!["ckpt_1".to_owned()]));
}
