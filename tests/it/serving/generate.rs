//! One request: tokens, text, seeds, stop strings, streams.

use serde_json::{Value, json};
use vgpo::config::serving::EngineLimits;
use vgpo::serving::LocalEngine;
use vgpo::serving::answer::FinishReason;

use super::{case, engine, generate, ids, near, request, score, stream};

#[tokio::test]
async fn greedy_tokens_are_the_references() {
    let engine = engine();
    for name in ["p1_single", "p2_large", "p3_two_images", "p4_text"] {
        let answer = generate(&engine, &request(name, json!({"max_new_tokens": 16}))).await.unwrap();
        let (case, _) = case(name);
        let want: Vec<u32> = serde_json::from_value(case["greedy_ids"].clone()).unwrap();
        assert_eq!(ids(&answer, 0), want, "{name}");
        assert_eq!(answer.choices[0].finish_reason, FinishReason::Length);
        assert_eq!(answer.model, "tiny");
        assert_eq!(answer.usage.prompt_tokens as u64, case["prompt_len"].as_u64().unwrap());
        assert_eq!((answer.usage.completion_tokens, answer.choices[0].tokens.len()), (16, 16));
        let plain = answer.choices[0].tokens.iter().filter(|t| !t.text.starts_with("<|"));
        let bytes: Vec<u8> = plain.flat_map(|t| t.bytes.clone()).collect();
        assert_eq!(String::from_utf8_lossy(&bytes), answer.choices[0].text, "{name}");
    }
}

#[tokio::test]
async fn generating_and_scoring_agree() {
    let engine = engine();
    // A drawn response that its own text gives back token by token.
    let mut checked = 0;
    for seed in 0..60 {
        let drawn = request("p3_two_images", json!({"max_new_tokens": 3, "temperature": 0.7, "seed": seed}));
        let answer = generate(&engine, &drawn).await.unwrap();
        let text: Vec<u8> = answer.choices[0].tokens.iter().flat_map(|t| t.bytes.clone()).collect();
        let Ok(text) = String::from_utf8(text) else { continue };
        let scored = score(&engine, &request("p3_two_images", json!({"responses": [text]}))).await.unwrap();
        let (ours, theirs) = (&answer.choices[0].tokens, &scored.responses[0].tokens);
        if ours.iter().map(|t| t.id).ne(theirs.iter().map(|t| t.id)) {
            continue;
        }
        for (g, s) in ours.iter().zip(theirs) {
            near("logprob", g.logprob, s.logprob, 1e-4);
            near("focus", g.focus.unwrap(), s.focus.unwrap(), 1e-5);
            near("image share", g.attention.image, s.attention.image, 1e-5);
            near("query share", g.attention.query, s.attention.query, 1e-5);
            near("generated share", g.attention.generated, s.attention.generated, 1e-5);
        }
        let (g, s) = (answer.choices[0].visual.unwrap(), scored.responses[0].visual.unwrap());
        near("focus mean", g.focus_mean, s.focus_mean, 1e-5);
        checked += 1;
    }
    assert!(checked >= 3, "only {checked} responses could be compared");
}

#[tokio::test]
async fn a_seed_repeats_and_choices_differ() {
    let engine = engine();
    let sampled = |more: Value| {
        let mut fields = json!({"max_new_tokens": 12, "temperature": 1.0, "n": 3});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request("p1_single", fields)
    };
    let first = generate(&engine, &sampled(json!({"seed": 7}))).await.unwrap();
    let again = generate(&engine, &sampled(json!({"seed": 7}))).await.unwrap();
    let other = generate(&engine, &sampled(json!({"seed": 8}))).await.unwrap();
    assert_eq!(first.seed, 7);
    for choice in 0..3 {
        assert_eq!(ids(&first, choice), ids(&again, choice));
        assert_ne!(ids(&first, choice), ids(&other, choice));
        assert_eq!(first.choices[choice].index, choice);
    }
    assert_ne!(ids(&first, 0), ids(&first, 1));
    assert_ne!(ids(&first, 1), ids(&first, 2));
    // A choice's draws do not depend on how many choices there are.
    let single = generate(&engine, &sampled(json!({"seed": 7, "n": 1}))).await.unwrap();
    assert_eq!(ids(&single, 0), ids(&first, 0));
    // A seed that was chosen for us is told, and repeats.
    let chosen = generate(&engine, &sampled(json!({}))).await.unwrap();
    let repeated = generate(&engine, &sampled(json!({"seed": chosen.seed}))).await.unwrap();
    assert_eq!(ids(&chosen, 2), ids(&repeated, 2));
    assert_ne!(generate(&engine, &sampled(json!({}))).await.unwrap().seed, chosen.seed);
}

#[tokio::test]
async fn a_stop_string_ends_the_text_across_token_borders() {
    let engine = engine();
    let free = generate(&engine, &request("p4_text", json!({"max_new_tokens": 24}))).await.unwrap();
    let tokens = &free.choices[0].tokens;
    // A stop string from the last byte of one token into the next, both plain text.
    let plain = |i: usize| tokens[i].text.is_ascii() && tokens[i].text.len() >= 2;
    let at = (1..tokens.len() - 1).find(|i| plain(*i) && plain(i + 1)).expect("two plain tokens side by side");
    let stop = format!("{}{}", &tokens[at].text[tokens[at].text.len() - 1..], &tokens[at + 1].text[..1]);
    let want = free.choices[0].text.split(&stop).next().unwrap().to_owned();
    let fields = json!({"max_new_tokens": 24, "stop": ["no such text", stop]});
    let stopped = generate(&engine, &request("p4_text", fields.clone())).await.unwrap();
    assert_eq!(stopped.choices[0].text, want);
    assert_eq!(stopped.choices[0].finish_reason, FinishReason::Stop);
    assert!(stopped.choices[0].tokens.len() < tokens.len());
    assert!(stopped.usage.completion_tokens > stopped.choices[0].tokens.len() - 1);
    let mut streaming = request("p4_text", fields);
    streaming["stream"] = json!(true);
    let (events, answer) = stream(&engine, &streaming).await;
    let joined: String = events.iter().map(|e| e.text.as_str()).collect();
    assert_eq!(joined, want);
    assert_eq!(answer.choices[0].text, want);
    let streamed: Vec<u32> = events.iter().map(|e| e.token.id).collect();
    assert_eq!(streamed, ids(&stopped, 0));
}

#[tokio::test]
async fn a_whole_token_as_stop_string_leaves_no_trace() {
    let engine = engine();
    let free = generate(&engine, &request("p1_single", json!({"max_new_tokens": 8}))).await.unwrap();
    let stop = free.choices[0].tokens[0].text.clone();
    let stopped = generate(&engine, &request("p1_single", json!({"max_new_tokens": 8, "stop": [stop]}))).await.unwrap();
    assert_eq!((stopped.choices[0].text.as_str(), stopped.choices[0].tokens.len()), ("", 0));
    assert_eq!((stopped.choices[0].visual, stopped.usage.completion_tokens), (None, 1));
}

#[tokio::test]
async fn a_stream_never_splits_a_character_and_joins_to_the_text() {
    let engine = engine();
    let mut split_tokens = 0;
    for seed in 0..12 {
        let fields = json!({"max_new_tokens": 40, "temperature": 1.5, "seed": seed, "n": 2, "logprobs": 2});
        let whole = generate(&engine, &request("p1_single", fields.clone())).await.unwrap();
        let mut streaming = request("p1_single", fields);
        streaming["stream"] = json!(true);
        let (events, answer) = stream(&engine, &streaming).await;
        for choice in &whole.choices {
            let mine: Vec<_> = events.iter().filter(|e| e.choice == choice.index).collect();
            let joined: String = mine.iter().map(|e| e.text.as_str()).collect();
            assert_eq!(joined, choice.text);
            assert_eq!(mine.iter().map(|e| e.token.clone()).collect::<Vec<_>>(), choice.tokens);
            assert!(mine.iter().enumerate().all(|(i, e)| e.index == i));
            split_tokens += mine.iter().filter(|e| std::str::from_utf8(&e.token.bytes).is_err()).count();
        }
        for (last, whole) in answer.choices.iter().zip(&whole.choices) {
            assert_eq!((&last.text, last.visual, last.finish_reason), (&whole.text, whole.visual, whole.finish_reason));
            assert!(last.tokens.is_empty());
        }
        assert_eq!(answer.usage, whole.usage);
    }
    assert!(split_tokens > 10, "the draws hold no split characters");
}

#[tokio::test]
async fn alternatives_are_ranked_and_hold_the_greedy_token() {
    let answer = generate(&engine(), &request("p1_single", json!({"max_new_tokens": 5, "logprobs": 4}))).await.unwrap();
    for token in &answer.choices[0].tokens {
        let top = token.top_logprobs.as_ref().unwrap();
        assert_eq!((top.len(), top[0].id), (4, token.id));
        near("top log-prob", top[0].logprob, token.logprob, 1e-9);
        assert!(top.windows(2).all(|pair| pair[0].logprob >= pair[1].logprob));
    }
    let plain = generate(&engine(), &request("p1_single", json!({"max_new_tokens": 5}))).await.unwrap();
    assert!(plain.choices[0].tokens.iter().all(|t| t.top_logprobs.is_none()));
}

#[tokio::test]
async fn every_form_of_prompt_is_the_same_prompt() {
    let engine = engine();
    let (_, messages) = case("p1_single");
    let url = messages[0]["content"][0]["image"].clone();
    let text = messages[0]["content"][1]["text"].clone();
    let forms = [
        json!({"messages": messages}),
        json!({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": url, "detail": "high"}}, {"type": "text", "text": text}]}]}),
        json!({"prompt": text, "images": [url]}),
        json!({"prompt": format!("<image>{}", text.as_str().unwrap()), "images": [url]}),
    ];
    let mut seen = Vec::new();
    for form in forms {
        let mut form = form;
        form["model"] = json!("tiny");
        form["max_new_tokens"] = json!(6);
        let answer = generate(&engine, &form).await.unwrap();
        seen.push((ids(&answer, 0), answer.usage));
    }
    assert!(seen.iter().all(|s| *s == seen[0]), "{seen:?}");
    let plain =
        json!({"model": "tiny", "max_new_tokens": 4, "messages": [{"role": "user", "content": "What is 1 + 1?"}]});
    let parts = json!({"model": "tiny", "max_new_tokens": 4, "prompt": "What is 1 + 1?"});
    assert_eq!(ids(&generate(&engine, &plain).await.unwrap(), 0), ids(&generate(&engine, &parts).await.unwrap(), 0));
}

#[tokio::test]
async fn without_a_limit_an_answer_goes_to_its_end_or_as_far_as_is_accepted() {
    let limited = |queued_tokens| LocalEngine::new(EngineLimits { queued_tokens, ..EngineLimits::default() });
    let ask = |more: Value| request("p4_text", more);
    let prompt = generate(&engine(), &ask(json!({"max_new_tokens": 1}))).await.unwrap().usage.prompt_tokens;
    for (queued, more, room) in [
        (prompt + 90, json!({}), 90),
        (prompt + 90, json!({"max_new_tokens": null}), 90),
        (prompt + 90, json!({"n": 2}), 45),
        (prompt, json!({}), 1),
    ] {
        let answer = generate(&limited(queued), &ask(more)).await.unwrap();
        for choice in &answer.choices {
            let ended = choice.finish_reason != FinishReason::Length;
            assert!(
                choice.tokens.len() == room || (ended && choice.tokens.len() < room),
                "{} of {room}",
                choice.tokens.len()
            );
        }
    }
    // A map for every token is bounded by the values of all maps.
    let maps = json!({"attention": {"maps": "tokens"}});
    let engine = LocalEngine::new(EngineLimits { map_values: 6 * 40, ..EngineLimits::default() });
    let answer = generate(&engine, &request("p1_single", maps)).await.unwrap();
    assert!(answer.choices[0].tokens.len() < 40);
}
