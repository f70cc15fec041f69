//! Rows of several requests in one batch.

use std::sync::Arc;

use serde_json::{Value, json};
use vgpo::config::serving::EngineLimits;
use vgpo::serving::answer::GenerateAnswer;

use super::spy::{Watch, watched};
use super::{engine, generate, ids, near, queued, request};

/// Sends all requests while the engine is busy with another, so that they wait together.
async fn together(requests: &[Value]) -> (Vec<GenerateAnswer>, Vec<usize>) {
    let (engine, watch) = watched(EngineLimits::default());
    watch.close();
    let busy = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { generate(engine.as_ref(), &request("p4_text", json!({"max_new_tokens": 1}))).await }
    });
    watch.pass(1).await;
    let mut waiting = Vec::new();
    for request in requests {
        let (engine, request) = (Arc::clone(&engine), request.clone());
        let expected = waiting.len() + 1;
        waiting.push(tokio::spawn({
            let engine = Arc::clone(&engine);
            async move { generate(engine.as_ref(), &request).await.unwrap() }
        }));
        queued(engine.as_ref(), expected).await;
    }
    let before = watch.rows().len();
    watch.open();
    busy.await.unwrap().unwrap();
    let mut answers = Vec::new();
    for task in waiting {
        answers.push(task.await.unwrap());
    }
    (answers, rows_after(&watch, before))
}

fn rows_after(watch: &Watch, before: usize) -> Vec<usize> {
    watch.rows().split_off(before)
}

fn mixed() -> Vec<Value> {
    vec![
        request("p1_single", json!({"max_new_tokens": 200, "temperature": 1.0, "seed": 1, "n": 2})),
        request("p2_large", json!({"max_new_tokens": 150, "temperature": 0.0, "attention": {"maps": "tokens"}})),
        request(
            "p3_two_images",
            json!({"max_new_tokens": 180, "temperature": 0.8, "top_p": 0.9, "seed": 2,
            "attention": {"maps": "summary", "layers": "last"}}),
        ),
        request("p4_text", json!({"max_new_tokens": 170, "temperature": 1.2, "seed": 3})),
    ]
}

#[tokio::test]
async fn a_batch_answers_as_each_request_alone() {
    let requests = mixed();
    let (answers, rows) = together(&requests).await;
    // The first request has two rows.
    assert_eq!(rows.iter().max(), Some(&5), "the requests share a batch: {rows:?}");
    assert!(rows.contains(&4) && rows.last() < Some(&5), "done rows leave the batch: {rows:?}");
    let alone = engine();
    for (request, batched) in requests.iter().zip(&answers) {
        let single = generate(&alone, request).await.unwrap();
        assert_eq!(batched.choices.len(), single.choices.len());
        for (b, s) in batched.choices.iter().zip(&single.choices) {
            assert_eq!(ids(batched, b.index), ids(&single, s.index));
            assert_eq!(b.text, s.text);
            for (b, s) in b.tokens.iter().zip(&s.tokens) {
                near("log-prob", b.logprob, s.logprob, 1e-4);
                near("image share", b.attention.image, s.attention.image, 1e-4);
                near("focus", b.focus.unwrap_or(9.0), s.focus.unwrap_or(9.0), 1e-4);
            }
            assert_eq!(b.attention.tokens.len(), s.attention.tokens.len());
            for (b, s) in b.attention.summary.iter().zip(&s.attention.summary) {
                let values = |m: &vgpo::serving::answer::AttentionMap| m.values.clone().unwrap().concat();
                values(b).iter().zip(values(s)).for_each(|(b, s)| near("map", f64::from(*b), f64::from(s), 1e-4));
            }
        }
        assert_eq!(batched.usage, single.usage);
    }
}

#[tokio::test]
async fn a_batch_holds_no_more_rows_than_allowed() {
    let wide =
        |seed: u64| request("p1_single", json!({"max_new_tokens": 2, "temperature": 1.0, "seed": seed, "n": 14}));
    let (answers, rows) = together(&[wide(1), wide(2), wide(3)]).await;
    // Two requests fit, whose rows are spread over batches of eight or more, one per core; the rows of the one that
    // begins may be a batch for a token or two.
    let threads = rayon::current_num_threads();
    let (least, most) = (28_usize.div_ceil(threads.min(28 / 8)), 28_usize.div_ceil(threads.min(2)));
    assert!(rows.iter().max().is_some_and(|rows| (least..=most).contains(rows)), "{rows:?}");
    assert!(answers.iter().all(|a| a.choices.len() == 14));
}

#[tokio::test]
async fn deterministic_rows_run_alone_and_repeat_bit_for_bit() {
    let exact = request(
        "p3_two_images",
        json!({"max_new_tokens": 8, "temperature": 1.0, "seed": 5, "n": 2, "deterministic": true}),
    );
    let others = mixed();
    let (answers, _) = together(&[others[0].clone(), exact.clone(), others[2].clone()]).await;
    let alone = generate(&engine(), &exact).await.unwrap();
    for choice in 0..2 {
        assert_eq!(answers[1].choices[choice], alone.choices[choice]);
    }
    let (_, rows) = together(&[exact.clone(), exact]).await;
    assert!(rows.iter().all(|r| *r == 1), "{rows:?}");
}
