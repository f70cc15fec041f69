//! Loading, unloading, full queues, cancellation, panics.

use std::sync::Arc;

use serde_json::json;
use vgpo::config::serving::EngineLimits;
use vgpo::serving::{Engine, LocalEngine, ModelRef, ServingError, parse};

use super::spy::watched;
use super::{engine, generate, request, score, tiny};

#[tokio::test]
async fn dropping_a_stream_ends_its_generation() {
    let (engine, watch) = watched(EngineLimits::default());
    let long = request("p4_text", json!({"max_new_tokens": 3000, "stream": true, "temperature": 1.0, "seed": 1}));
    let mut stream = engine.generate(&tiny(), parse(&long).unwrap()).await.unwrap();
    for _ in 0..3 {
        stream.next_event().await.unwrap();
    }
    drop(stream);
    let answer = generate(engine.as_ref(), &request("p1_single", json!({"max_new_tokens": 2}))).await.unwrap();
    assert_eq!(answer.choices[0].tokens.len(), 2);
    assert!(watch.rows().len() < 1000, "{} passes", watch.rows().len());
}

#[tokio::test]
async fn a_request_that_left_the_queue_unheard_is_not_computed() {
    let (engine, watch) = watched(EngineLimits::default());
    watch.close();
    let first =
        engine.generate(&tiny(), parse(&request("p4_text", json!({"max_new_tokens": 1}))).unwrap()).await.unwrap();
    watch.pass(1).await;
    let second = request("p1_single", json!({"max_new_tokens": 50, "n": 3}));
    drop(engine.generate(&tiny(), parse(&second).unwrap()).await.unwrap());
    watch.open();
    first.answer().await.unwrap();
    generate(engine.as_ref(), &request("p4_text", json!({"max_new_tokens": 1}))).await.unwrap();
    assert!(watch.rows().iter().all(|rows| *rows == 1), "{:?}", watch.rows());
}

#[tokio::test]
async fn a_full_queue_turns_requests_away() {
    let (engine, watch) = watched(EngineLimits { queued_requests: 2, ..EngineLimits::default() });
    watch.close();
    let short = || parse(&request("p4_text", json!({"max_new_tokens": 1}))).unwrap();
    let mut accepted = vec![engine.generate(&tiny(), short()).await.unwrap()];
    watch.pass(1).await;
    accepted.push(engine.generate(&tiny(), short()).await.unwrap());
    accepted.push(engine.generate(&tiny(), short()).await.unwrap());
    let refused = engine.generate(&tiny(), short()).await.err();
    let told = refused.as_ref().map(ToString::to_string).unwrap_or_default();
    assert!(matches!(refused, Some(ServingError::Overloaded { waiting: 2, retry_after: 1..=60, .. })), "{told}");
    assert!(told.starts_with("2 requests are already waiting for model `tiny`"), "{told}");
    let full = request("p4_text", json!({"responses": ["x"]}));
    assert!(matches!(score(engine.as_ref(), &full).await, Err(ServingError::Overloaded { .. })));
    watch.open();
    for stream in accepted {
        stream.answer().await.unwrap();
    }
    generate(engine.as_ref(), &request("p4_text", json!({"max_new_tokens": 1}))).await.unwrap();
}

#[tokio::test]
async fn a_panic_is_an_error_of_its_request_only() {
    let (engine, watch) = watched(EngineLimits::default());
    let fine = request("p4_text", json!({"max_new_tokens": 2}));
    generate(engine.as_ref(), &fine).await.unwrap();
    watch.panic_once();
    let error = generate(engine.as_ref(), &fine).await.unwrap_err();
    assert!(matches!(&error, ServingError::Engine(problem) if problem.contains("told to panic")), "{error}");
    generate(engine.as_ref(), &fine).await.unwrap();
    watch.panic_once();
    let scored = request("p4_text", json!({"responses": ["x"]}));
    assert!(matches!(score(engine.as_ref(), &scored).await, Err(ServingError::Engine(_))));
    score(engine.as_ref(), &scored).await.unwrap();
}

#[tokio::test]
async fn the_model_unused_for_longest_makes_room() {
    let engine = LocalEngine::new(EngineLimits { loaded_models: 2, ..EngineLimits::default() });
    let named = |id: &str| ModelRef { id: id.to_owned(), ..tiny() };
    let loaded = async || engine.loaded().await.into_iter().map(|m| m.id).collect::<Vec<_>>();
    for id in ["a", "b", "a", "c"] {
        assert_eq!(engine.load(&named(id)).await.unwrap().family, "qwen2_5_vl");
    }
    assert_eq!(loaded().await, ["c", "a"]);
    assert!(engine.unload("c").await);
    assert!(!engine.unload("c").await);
    assert_eq!(loaded().await, ["a"]);
}

#[tokio::test]
async fn unloading_lets_accepted_requests_finish() {
    let (engine, watch) = watched(EngineLimits::default());
    watch.close();
    let stream =
        engine.generate(&tiny(), parse(&request("p4_text", json!({"max_new_tokens": 3}))).unwrap()).await.unwrap();
    watch.pass(1).await;
    assert!(engine.unload("tiny").await);
    watch.open();
    assert_eq!(stream.answer().await.unwrap().choices[0].tokens.len(), 3);
    assert!(engine.loaded().await.is_empty());
}

#[tokio::test]
async fn many_clients_at_once_load_a_model_once() {
    let loads = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&loads);
    let engine = Arc::new(LocalEngine::with_loader(
        EngineLimits::default(),
        Arc::new(move |model| {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            vgpo::serving::ServedModel::open(
                model,
                vgpo::domain::device::DeviceName::CPU,
                vgpo::domain::weights::WeightFormat::Native,
            )
        }),
    ));
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move {
                generate(engine.as_ref(), &request("p4_text", json!({"max_new_tokens": 2}))).await.unwrap()
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(loads.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_folder_that_cannot_be_served_is_not_kept() {
    let engine = engine();
    let nowhere = ModelRef { id: "gone".to_owned(), dir: "/nowhere/at/all".into(), adapter: None };
    let error = engine.load(&nowhere).await.unwrap_err().to_string();
    assert!(error.contains("`gone`") && error.contains("/nowhere/at/all"), "{error}");
    assert!(engine.loaded().await.is_empty());
}
