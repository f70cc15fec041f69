//! Requests that join a batch under way, prompts that are read in parts or known from before.

use std::sync::Arc;

use serde_json::{Value, json};
use vgpo::config::serving::EngineLimits;
use vgpo::serving::answer::GenerateAnswer;
use vgpo::serving::{Engine, parse};

use super::spy::watched;
use super::{engine, generate, ids, near, request, tiny};

fn same(left: &GenerateAnswer, right: &GenerateAnswer) {
    assert_eq!(left.usage, right.usage);
    for (l, r) in left.choices.iter().zip(&right.choices) {
        assert_eq!((ids(left, l.index), &l.text), (ids(right, r.index), &r.text));
        for (l, r) in l.tokens.iter().zip(&r.tokens) {
            near("log-prob", l.logprob, r.logprob, 1e-4);
            near("image share", l.attention.image, r.attention.image, 1e-4);
            near("query share", l.attention.query, r.attention.query, 1e-4);
            near("focus", l.focus.unwrap_or(9.0), r.focus.unwrap_or(9.0), 1e-4);
        }
        for (l, r) in l.attention.tokens.iter().zip(&r.attention.tokens) {
            for (l, r) in l.maps.iter().zip(&r.maps) {
                let values = |map: &vgpo::serving::answer::AttentionMap| map.values.clone().unwrap().concat();
                values(l).iter().zip(values(r)).for_each(|(l, r)| near("map", f64::from(*l), f64::from(r), 1e-4));
            }
        }
    }
}

/// A prompt of the tiny model's cases with other text behind the image.
fn asking(case: &str, text: &str, more: Value) -> Value {
    let mut body = request(case, more);
    let messages = body["messages"].as_array_mut().unwrap();
    let parts = messages.last_mut().unwrap()["content"].as_array_mut().unwrap();
    let last = parts.iter_mut().rev().find(|part| part["type"] == "text").unwrap();
    last["text"] = json!(text);
    body
}

#[tokio::test]
async fn a_request_joins_a_batch_under_way_and_both_answer_as_if_alone() {
    let (shared, watch) = watched(EngineLimits::default());
    let long = request("p4_text", json!({"max_new_tokens": 400, "temperature": 1.0, "seed": 3, "stream": true}));
    let late = request(
        "p2_large",
        json!({"max_new_tokens": 6, "temperature": 1.0, "seed": 4, "n": 2,
        "attention": {"maps": "tokens"}}),
    );
    let mut under_way = shared.generate(&tiny(), parse(&long).unwrap()).await.unwrap();
    under_way.next_event().await.unwrap();
    let answer = generate(shared.as_ref(), &late).await.unwrap();
    assert!(watch.rows().contains(&3), "the late request must decode together with the long one: {:?}", watch.rows());
    drop(under_way);
    same(&answer, &generate(&engine(), &late).await.unwrap());

    // The long answer, too, is what it would have been: joining moves its columns, leaving gives them back.
    let silent = request("p4_text", json!({"max_new_tokens": 120, "temperature": 1.0, "seed": 3}));
    let together = {
        let (shared, silent) = (Arc::clone(&shared), silent.clone());
        tokio::spawn(async move { generate(shared.as_ref(), &silent).await.unwrap() })
    };
    for seed in 0..3 {
        generate(shared.as_ref(), &request("p2_large", json!({"max_new_tokens": 3, "seed": seed}))).await.unwrap();
    }
    same(&together.await.unwrap(), &generate(&engine(), &silent).await.unwrap());
}

#[tokio::test]
async fn a_prompt_read_in_parts_answers_like_one_read_at_once() {
    let (parts, watch) = watched(EngineLimits { prefill_chunk_tokens: 7, ..EngineLimits::default() });
    for case in ["p1_single", "p3_two_images", "p4_text"] {
        let body = request(case, json!({"max_new_tokens": 4, "attention": {"maps": "tokens"}}));
        let before = watch.passes().len();
        let answer = generate(parts.as_ref(), &body).await.unwrap();
        let columns: Vec<usize> = watch.passes()[before..].iter().map(|(_, columns)| *columns).collect();
        assert!(columns.len() > 5 && columns.iter().all(|c| *c <= 7), "{columns:?}");
        same(&answer, &generate(&engine(), &body).await.unwrap());
    }
}

/// Tokens of the answer under way.
const ANSWER: usize = 1000;

#[tokio::test]
async fn a_long_prompt_does_not_hold_up_answers_under_way() {
    let (shared, watch) = watched(EngineLimits { prefill_chunk_tokens: 8, ..EngineLimits::default() });
    let under_way =
        request("p4_text", json!({"max_new_tokens": ANSWER, "temperature": 1.0, "seed": 1, "stream": true}));
    let mut stream = shared.generate(&tiny(), parse(&under_way).unwrap()).await.unwrap();
    stream.next_event().await.unwrap();
    let before = watch.passes().len();
    generate(shared.as_ref(), &request("p2_large", json!({"max_new_tokens": 1}))).await.unwrap();
    let mut passes = watch.passes();
    // Tokens are decoded during a part too, so the answer may end before the prompt is read: parts until then count.
    let answered = passes.iter().enumerate().filter(|(_, pass)| **pass == (1, 1)).nth(ANSWER - 2);
    passes.truncate(answered.map_or(passes.len(), |(at, _)| at + 1));
    let passes = passes.split_off(before);
    let parts: Vec<usize> = passes.iter().enumerate().filter(|(_, (_, c))| *c > 1).map(|(i, _)| i).collect();
    assert!(parts.len() > 3, "{passes:?}");
    // Each part has a token of its step, which may begin before or after it: a middle one's is between the others.
    let between = parts.windows(3).all(|three| passes[three[0] + 1..three[2]].contains(&(1, 1)));
    assert!(between, "a token comes with every part: {passes:?}");
}

#[tokio::test]
async fn a_prompt_that_was_read_before_is_not_read_again() {
    let (remembering, watch) = watched(EngineLimits::default());
    let body = |seed: u64| {
        request(
            "p2_large",
            json!({"max_new_tokens": 3, "temperature": 1.0, "seed": seed, "attention": {"maps": "tokens"}}),
        )
    };
    generate(remembering.as_ref(), &body(1)).await.unwrap();
    let before = watch.passes().len();
    let answer = generate(remembering.as_ref(), &body(2)).await.unwrap();
    assert!(watch.passes()[before..].iter().all(|(_, columns)| *columns == 1), "{:?}", watch.passes());
    same(&answer, &generate(&engine(), &body(2)).await.unwrap());

    // Another question about the same picture: only what differs is read.
    let other = asking("p2_large", "something else entirely", json!({"max_new_tokens": 3}));
    let before = watch.passes().len();
    let answer = generate(remembering.as_ref(), &other).await.unwrap();
    let read = watch.passes()[before].1;
    assert!(read < answer.usage.prompt_tokens / 2, "{read} of {} columns were read", answer.usage.prompt_tokens);
    same(&answer, &generate(&engine(), &other).await.unwrap());
}

#[tokio::test]
async fn another_picture_under_the_same_words_is_read() {
    let (remembering, _) = watched(EngineLimits::default());
    let mut swapped = request("p3_two_images", json!({"max_new_tokens": 5}));
    generate(remembering.as_ref(), &swapped).await.unwrap();
    let parts = swapped["messages"][0]["content"].as_array_mut().unwrap();
    let images: Vec<usize> =
        parts.iter().enumerate().filter(|(_, part)| part["type"] == "image").map(|(index, _)| index).collect();
    parts.swap(images[0], images[1]);
    let answer = generate(remembering.as_ref(), &swapped).await.unwrap();
    same(&answer, &generate(&engine(), &swapped).await.unwrap());
}

#[tokio::test]
async fn without_room_for_prompts_every_prompt_is_read() {
    let (forgetful, watch) = watched(EngineLimits { prompt_memory_bytes: 0, ..EngineLimits::default() });
    let body = request("p4_text", json!({"max_new_tokens": 1}));
    for _ in 0..2 {
        let before = watch.passes().len();
        generate(forgetful.as_ref(), &body).await.unwrap();
        assert!(watch.passes()[before].1 > 1);
    }
}
