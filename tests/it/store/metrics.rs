//! Metrics, samples and what a resume does to them.

use std::time::Duration;

use vgpo::domain::event::{EventFilter, MetricsEvent, kind};
use vgpo::domain::metric::{MetricKey, SeriesQuery};
use vgpo::domain::page::Page;

use super::fixture::{Db, all_events, claimed, group, new_checkpoint, point};

const WHOLE: SeriesQuery = SeriesQuery { from_step: None, to_step: None, max_points: None };

pub async fn points_come_back_as_they_went_in(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    let run = &leased.token.run_id;
    let third = 1.0 / 3.0;
    let batch = [
        point(db, 1, &[("a", third), ("b", f64::NAN)]),
        point(db, 2, &[("a", -0.0), ("b", f64::NEG_INFINITY)]),
        point(db, 3, &[("a", 1e-300), ("b", 2.0)]),
    ];
    store.append_metrics(&leased.token, &batch).await.unwrap();
    let a = store.metric_series(run, "a", &WHOLE).await.unwrap();
    assert_eq!(a.iter().map(|p| (p.step, p.mean.unwrap())).collect::<Vec<_>>(), [(1, third), (2, 0.0), (3, 1e-300)]);
    assert_eq!((a[1].samples, a[1].tokens, a[1].count, a[1].time), (512, 20_000, 1, batch[1].time));
    let b = store.metric_series(run, "b", &WHOLE).await.unwrap();
    let read: Vec<_> = b.iter().map(|p| (p.mean, p.nonfinite.as_deref())).collect();
    assert_eq!(read, [(None, Some("nan")), (None, Some("-inf")), (Some(2.0), None)]);
    let part = SeriesQuery { from_step: Some(2), to_step: Some(2), max_points: Some(9) };
    assert_eq!(store.metric_series(run, "a", &part).await.unwrap(), a[1..2]);
    assert!(store.metric_series(run, "none", &WHOLE).await.unwrap().is_empty());
    assert!(store.metric_series("run_x", "a", &WHOLE).await.unwrap().is_empty());

    let filter = EventFilter { kinds: vec![kind::METRICS.to_owned()], ..EventFilter::default() };
    let feed = store.events_after(0, &filter, 10).await.unwrap();
    assert_eq!(feed.len(), 3, "one event for each step");
    let second: MetricsEvent = serde_json::from_value(feed[1].data.clone()).unwrap();
    assert_eq!((second.step, second.values["a"], second.values["b"]), (2, Some(-0.0), None));
    assert_eq!(second.nonfinite["b"], "-inf");
    assert_eq!(store.run(run).await.unwrap().last_step, Some(3));
}

pub async fn buckets_keep_min_mean_and_max(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    let batch: Vec<_> = (1..=1000u64).map(|s| point(db, s, &[("x", ((s * 37) % 101) as f64)])).collect();
    store.append_metrics(&leased.token, &batch).await.unwrap();
    for (from, to, n) in [(1u64, 1000u64, 7u64), (101, 350, 10), (5, 1000, 333), (1, 1000, 1), (1, 1000, 1000)] {
        let query = SeriesQuery { from_step: Some(from), to_step: Some(to), max_points: Some(n as u32) };
        let buckets = store.metric_series(&leased.token.run_id, "x", &query).await.unwrap();
        assert!(buckets.len() as u64 <= n && !buckets.is_empty(), "{} of {n}", buckets.len());
        let width = to - from + 1;
        let mut expected = std::collections::BTreeMap::<u64, Vec<(u64, f64)>>::new();
        for s in from..=to {
            expected.entry((s - from) * n / width).or_default().push((s, ((s * 37) % 101) as f64));
        }
        assert_eq!(buckets.len(), expected.len());
        for (bucket, points) in buckets.iter().zip(expected.values()) {
            let values: Vec<f64> = points.iter().map(|p| p.1).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            assert_eq!(bucket.step, points.last().unwrap().0);
            assert_eq!((bucket.count, bucket.samples), (values.len() as u64, bucket.step * 256));
            assert_eq!(bucket.min, values.iter().copied().reduce(f64::min));
            assert_eq!(bucket.max, values.iter().copied().reduce(f64::max));
            assert!((bucket.mean.unwrap() - mean).abs() < 1e-9);
        }
    }
}

fn key(name: &str, last_step: u64, last: Option<f64>, min: Option<f64>, max: Option<f64>) -> MetricKey {
    MetricKey { key: name.to_owned(), last_step, last, min, max }
}

pub async fn keys_know_last_and_extremes(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    let first = [point(db, 1, &[("b", 5.0), ("a", f64::NAN)]), point(db, 2, &[("b", -1.0)])];
    store.append_metrics(&leased.token, &first).await.unwrap();
    let keys = store.metric_keys(&leased.token.run_id).await.unwrap();
    assert_eq!(keys, [key("a", 1, None, None, None), key("b", 2, Some(-1.0), Some(-1.0), Some(5.0))]);
    let second = [point(db, 3, &[("b", 2.0), ("a", 4.0)]), point(db, 4, &[("b", f64::INFINITY)])];
    store.append_metrics(&leased.token, &second).await.unwrap();
    let keys = store.metric_keys(&leased.token.run_id).await.unwrap();
    assert_eq!(keys, [key("a", 3, Some(4.0), Some(4.0), Some(4.0)), key("b", 4, None, Some(-1.0), Some(5.0))]);
}

pub async fn a_later_value_replaces_an_earlier_one(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    let batch = [point(db, 1, &[("a", 1.0)]), point(db, 1, &[("a", 2.0), ("b", 3.0)])];
    store.append_metrics(&leased.token, &batch).await.unwrap();
    store.append_metrics(&leased.token, &[point(db, 1, &[("b", f64::NAN)])]).await.unwrap();
    let a = store.metric_series(&leased.token.run_id, "a", &WHOLE).await.unwrap();
    let b = store.metric_series(&leased.token.run_id, "b", &WHOLE).await.unwrap();
    assert_eq!((a.len(), a[0].mean), (1, Some(2.0)));
    assert_eq!((b.len(), b[0].mean, b[0].nonfinite.as_deref()), (1, None, Some("nan")));
}

pub async fn a_rewind_replaces_everything_beyond(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    let run = &leased.token.run_id;
    let batch: Vec<_> =
        (0..=10u64).map(|s| point(db, s, &[("a", s as f64), ("eval/accuracy", s as f64 / 10.0)])).collect();
    store.append_metrics(&leased.token, &batch).await.unwrap();
    store.append_metrics(&leased.token, &[point(db, 8, &[("late", 1.0)])]).await.unwrap();
    for step in [2, 4, 9] {
        store.append_samples(&leased.token, step, &[group(step)]).await.unwrap();
        let id = format!("ckpt_{step}");
        store.add_checkpoint(&leased.token, new_checkpoint(&id, step, Some(step as f64 / 10.0))).await.unwrap();
    }
    let seen = store.event_span().await.unwrap().last;
    let gone = store.rewind(&leased.token, Some(4)).await.unwrap();
    assert_eq!(gone.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["ckpt_9"]);
    let keys = store.metric_keys(run).await.unwrap();
    let expected =
        [key("a", 4, Some(4.0), Some(0.0), Some(4.0)), key("eval/accuracy", 4, Some(0.4), Some(0.0), Some(0.4))];
    assert_eq!(keys, expected);
    assert_eq!(store.metric_series(run, "a", &WHOLE).await.unwrap().len(), 5);
    assert_eq!(store.sample_steps(run).await.unwrap().iter().map(|s| s.step).collect::<Vec<_>>(), [2, 4]);
    let state = store.run(run).await.unwrap();
    assert_eq!((state.last_step, state.last_accuracy, state.best_accuracy), (Some(4), Some(0.4), Some(0.4)));
    assert_eq!(state.best_checkpoint.as_deref(), Some("ckpt_4"));
    assert_eq!(state.last_checkpoint.as_deref(), Some("ckpt_4"));
    let told = store.events_after(seen, &EventFilter::default(), 10).await.unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].kind.as_str(), &told[0].data["to_step"]), (kind::REWIND, &4.into()));
    assert!(store.rewind(&leased.token, Some(4)).await.unwrap().is_empty());
    assert_eq!(store.event_span().await.unwrap().last, told[0].seq, "nothing beyond: no event");
}

pub async fn a_rewind_to_the_beginning_clears_step_zero(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    let run = &leased.token.run_id;
    store.append_metrics(&leased.token, &[point(db, 0, &[("eval/accuracy", 0.4)])]).await.unwrap();
    store.append_samples(&leased.token, 0, &[group(1)]).await.unwrap();
    store.rewind(&leased.token, None).await.unwrap();
    assert!(store.metric_keys(run).await.unwrap().is_empty());
    assert!(store.sample_steps(run).await.unwrap().is_empty());
    let state = store.run(run).await.unwrap();
    assert_eq!((state.last_step, state.best_accuracy), (None, None));
    let last = all_events(store).await.pop().unwrap();
    assert_eq!((last.kind.as_str(), &last.data["to_step"]), (kind::REWIND, &serde_json::Value::Null));
}

pub async fn samples_are_listed_by_step(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    let run = &leased.token.run_id;
    store.append_samples(&leased.token, 8, &[group(1), group(2)]).await.unwrap();
    store.append_samples(&leased.token, 4, &[group(3)]).await.unwrap();
    let first = store.samples(run, None, &Page::first(2)).await.unwrap();
    assert_eq!(first.data.iter().map(|s| (s.step, s.group.row)).collect::<Vec<_>>(), [(4, 3), (8, 1)]);
    let rest = store.samples(run, None, &Page { limit: 2, after: first.next }).await.unwrap();
    assert_eq!(rest.data.iter().map(|s| s.group.clone()).collect::<Vec<_>>(), [group(2)]);
    assert!(!rest.has_more);
    assert_eq!(store.samples(run, Some(8), &Page::first(9)).await.unwrap().data.len(), 2);
    let steps = store.sample_steps(run).await.unwrap();
    assert_eq!(steps.iter().map(|s| (s.step, s.groups)).collect::<Vec<_>>(), [(4, 1), (8, 2)]);
}

pub async fn accuracy_reaches_the_run(db: &Db) {
    let store = &*db.store;
    let leased = claimed(store, "w").await;
    for (step, accuracy) in [(0, 0.4), (8, 0.7), (16, 0.6)] {
        db.clock.advance(Duration::from_secs(1));
        store.append_metrics(&leased.token, &[point(db, step, &[("eval/accuracy", accuracy)])]).await.unwrap();
    }
    let run = store.run(&leased.token.run_id).await.unwrap();
    assert_eq!((run.last_step, run.last_accuracy, run.best_accuracy), (Some(16), Some(0.6), Some(0.7)));
    assert!(run.updated_at > run.created_at);
}
