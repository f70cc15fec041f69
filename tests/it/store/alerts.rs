//! Alerts: recorded once, sent by one server, and gone with their run.

use std::time::Duration;

use serde_json::json;
use vgpo::domain::alert::{AlertRule, Delivered, DeliveryState, Finding, NewAlert, UNDELIVERED};
use vgpo::domain::event::{Event, kind};
use vgpo::domain::page::Page;
use vgpo::domain::run::Continuation;
use vgpo::store::Database;

use super::fixture::{Db, all_events, claim_by, new_checkpoint, new_job, point};

const HOLD: Duration = Duration::from_secs(60);
const WEBHOOK: &str = "https://hooks.example/secret";

fn finding(rule: AlertRule) -> Finding {
    Finding {
        rule,
        message: "it is nan".to_owned(),
        step: Some(3),
        key: Some("reward/mean".to_owned()),
        value: None,
        limit: Some(0.5),
    }
}

fn alert(job: &str, rule: AlertRule, occasion: &str) -> NewAlert {
    NewAlert { job_id: job.to_owned(), occasion: occasion.to_owned(), found: finding(rule) }
}

/// A job with a webhook.
async fn job_with_webhook(store: &dyn Database) -> (String, String) {
    let mut new = new_job(|_| ());
    new.alert_webhook = Some(WEBHOOK.to_owned());
    let (job, run) = store.submit(new).await.unwrap();
    (job.id, run.id)
}

async fn events_of(store: &dyn Database, wanted: &str) -> Vec<Event> {
    all_events(store).await.into_iter().filter(|event| event.kind == wanted).collect()
}

pub async fn an_alert_is_recorded_once(db: &Db) {
    let store = &*db.store;
    let (job, run) = job_with_webhook(store).await;
    let first = store.raise_alert(&alert(&job, AlertRule::Nan, "")).await.unwrap().unwrap();
    assert_eq!((first.run_id.as_str(), first.delivery, first.tries), (run.as_str(), DeliveryState::Pending, 0));
    assert_eq!(first.found, finding(AlertRule::Nan));
    assert!(first.id.starts_with("alrt_"), "{}", first.id);
    assert_eq!(store.raise_alert(&alert(&job, AlertRule::Nan, "")).await.unwrap(), None);
    for (rule, occasion) in [(AlertRule::Stalled, "step 3"), (AlertRule::Stalled, "step 4"), (AlertRule::Failed, "")] {
        assert!(store.raise_alert(&alert(&job, rule, occasion)).await.unwrap().is_some(), "{rule:?} {occasion}");
    }
    let events = events_of(store, kind::ALERT).await;
    assert_eq!(events.len(), 4);
    let told = json!({"alert_id": first.id, "rule": "nan", "severity": "error", "message": "it is nan", "step": 3,
        "key": "reward/mean", "value": null, "limit": 0.5});
    assert_eq!((&events[0].data, events[0].run_id.as_ref()), (&told, Some(&run)));
    let page = store.alerts(&run, &Page::first(3)).await.unwrap();
    assert_eq!((page.data.len(), page.has_more, page.data[0].found.rule), (3, true, AlertRule::Failed));
    assert_eq!(store.raise_alert(&alert("job_none", AlertRule::Nan, "")).await.unwrap(), None, "it is gone");
}

pub async fn an_alert_is_sent_by_one_server(db: &Db) {
    let store = &*db.store;
    let (job, run) = job_with_webhook(store).await;
    store.raise_alert(&alert(&job, AlertRule::Nan, "")).await.unwrap().unwrap();
    let (without, _) = store.submit(new_job(|_| ())).await.unwrap();
    let unsent = store.raise_alert(&alert(&without.id, AlertRule::Nan, "")).await.unwrap().unwrap();
    assert_eq!((unsent.delivery, unsent.next_try_at), (DeliveryState::None, None));
    let other = db.opened_by(db.clock.clone()).await;
    let (mine, theirs) = tokio::join!(store.take_alerts(10, HOLD), other.take_alerts(10, HOLD));
    let (mine, theirs) = (mine.unwrap(), theirs.unwrap());
    assert_eq!(mine.len() + theirs.len(), 1);
    let due = mine.into_iter().chain(theirs).next().unwrap();
    assert_eq!((due.webhook.as_str(), due.alert.tries), (WEBHOOK, 1));
    assert!(store.take_alerts(10, HOLD).await.unwrap().is_empty(), "it is being sent");
    db.clock.advance(HOLD);
    let again = other.take_alerts(10, HOLD).await.unwrap();
    assert_eq!((again.len(), again[0].alert.tries), (1, 2), "its server died");
    let id = &due.alert.id;
    let outcome = Delivered::Again { problem: "500".to_owned(), after: HOLD * 2 };
    store.settle_alert(id, &outcome).await.unwrap();
    db.clock.advance(HOLD);
    assert!(store.take_alerts(10, HOLD).await.unwrap().is_empty());
    db.clock.advance(HOLD);
    assert_eq!(store.take_alerts(10, HOLD).await.unwrap()[0].alert.problem.as_deref(), Some("500"));
    store.settle_alert(id, &Delivered::Sent).await.unwrap();
    let sent = store.alerts(&run, &Page::first(10)).await.unwrap().data.remove(0);
    assert_eq!((sent.delivery, sent.problem, sent.next_try_at), (DeliveryState::Sent, None, None));
    assert!(sent.sent_at.is_some());
    store.settle_alert(id, &Delivered::Lost { problem: "late".to_owned() }).await.unwrap();
    assert!(events_of(store, UNDELIVERED).await.is_empty(), "it was sent");
    other.close().await;
}

pub async fn an_alert_that_is_given_up_is_an_event(db: &Db) {
    let store = &*db.store;
    let (job, run) = job_with_webhook(store).await;
    let raised = store.raise_alert(&alert(&job, AlertRule::Finished, "")).await.unwrap().unwrap();
    let lost = Delivered::Lost { problem: "it answered 404 Not Found".to_owned() };
    for _ in 0..2 {
        store.settle_alert(&raised.id, &lost).await.unwrap();
    }
    let events = events_of(store, UNDELIVERED).await;
    assert_eq!(events.len(), 1);
    let message = events[0].data["message"].as_str().unwrap();
    assert!(message.contains("`finished`") && message.contains("404"), "{message}");
    db.clock.advance(Duration::from_hours(48));
    assert!(store.take_alerts(10, HOLD).await.unwrap().is_empty());
    assert_eq!(store.alerts(&run, &Page::first(1)).await.unwrap().data[0].delivery, DeliveryState::Failed);
}

pub async fn a_webhook_stays_with_its_run(db: &Db) {
    let store = &*db.store;
    let (job, run) = job_with_webhook(store).await;
    let leased = store.claim(&claim_by("w")).await.unwrap().unwrap();
    store.raise_alert(&alert(&job, AlertRule::Nan, "")).await.unwrap().unwrap();
    store.add_checkpoint(&leased.token, new_checkpoint("ckpt_1", 1, None)).await.unwrap();
    store.complete(&leased.token, "finished").await.unwrap();
    let more = Continuation { steps: 5, created_by: None };
    let next = store.continue_run(&run, &more).await.unwrap();
    let raised = store.raise_alert(&alert(&next.id, AlertRule::Nan, "")).await.unwrap().unwrap();
    assert_eq!(raised.delivery, DeliveryState::Pending, "the run goes on with the same webhook");
    assert_eq!(store.take_alerts(10, HOLD).await.unwrap().len(), 2);
    for event in all_events(store).await {
        assert!(!event.data.to_string().contains("secret"), "{}", event.data);
    }
    let leased = store.claim(&claim_by("w")).await.unwrap().unwrap();
    store.complete(&leased.token, "finished").await.unwrap();
    store.delete_run(&run).await.unwrap();
    db.clock.advance(HOLD);
    assert!(store.take_alerts(10, HOLD).await.unwrap().is_empty(), "they went with their run");
    assert!(store.alerts(&run, &Page::first(10)).await.unwrap().data.is_empty());
}

pub async fn servers_note_what_they_have_watched(db: &Db) {
    let store = &*db.store;
    assert_eq!(store.events_watched().await.unwrap(), None);
    for (seq, noted) in [(9, 9), (12, 12), (7, 12), (100, 100)] {
        store.watched_events(seq).await.unwrap();
        assert_eq!(store.events_watched().await.unwrap(), Some(noted), "never back");
    }
}

pub async fn jobs_that_run_are_heard_of(db: &Db) {
    use vgpo::clock::Clock as _;
    let store = &*db.store;
    store.submit(new_job(|_| ())).await.unwrap();
    assert!(store.heard_jobs().await.unwrap().is_empty(), "it waits");
    let leased = store.claim(&claim_by("w")).await.unwrap().unwrap();
    let begun = db.clock.now();
    db.clock.advance(HOLD);
    store.append_job_event(&leased.token, "warning.x", json!({})).await.unwrap();
    let heard = store.heard_jobs().await.unwrap();
    assert_eq!((heard.len(), heard[0].job_id.as_str(), heard[0].heard_at), (1, leased.job.id.as_str(), Some(begun)));
    store.append_metrics(&leased.token, &[point(db, 1, &[("reward/mean", 0.5)])]).await.unwrap();
    assert_eq!(store.heard_jobs().await.unwrap()[0].heard_at, Some(db.clock.now()));
    store.complete(&leased.token, "finished").await.unwrap();
    assert!(store.heard_jobs().await.unwrap().is_empty());
}
