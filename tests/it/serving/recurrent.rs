//! A model whose state cannot be taken back (Qwen3.5): prompts in parts, remembered prefixes, company in a batch, and
//! attention that only some layers have.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vgpo::config::serving::EngineLimits;
use vgpo::serving::answer::GenerateAnswer;
use vgpo::serving::{Engine, LocalEngine, ModelRef, ServingError, parse};

use super::spy::watched;
use super::{data_url, ids, near};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/qwen3_5_tiny")
}

fn model() -> ModelRef {
    ModelRef { id: "recurrent".to_owned(), dir: fixture().join("checkpoint"), adapter: None }
}

fn engine() -> LocalEngine {
    LocalEngine::new(EngineLimits::default())
}

fn case(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixture().join(name).join("case.json")).unwrap()).unwrap()
}

/// A question about a picture of the fixtures.
fn asking(text: &str, more: Value) -> Value {
    let picture = data_url(&std::fs::read(fixture().join("images/b_98x140.png")).unwrap());
    let content = json!([{"type": "image", "image": picture}, {"type": "text", "text": text}]);
    let mut request = json!({"model": "recurrent", "messages": [{"role": "user", "content": content}]});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

async fn generate(engine: &dyn Engine, request: &Value) -> Result<GenerateAnswer, ServingError> {
    engine.generate(&model(), parse(request)?).await?.answer().await
}

fn same(left: &GenerateAnswer, right: &GenerateAnswer) {
    for (l, r) in left.choices.iter().zip(&right.choices) {
        assert_eq!(ids(left, l.index), ids(right, r.index));
        for (l, r) in l.tokens.iter().zip(&r.tokens) {
            near("log-prob", l.logprob, r.logprob, 3e-4);
            near("image share", l.attention.image, r.attention.image, 1e-4);
        }
    }
}

/// Text alone, so that no resized picture moves the numbers: the reference's own greedy tokens.
#[tokio::test]
async fn greedy_answers_are_those_of_the_reference_at_once_and_in_parts() {
    for chunk in [4096, 7, 1] {
        let engine = LocalEngine::new(EngineLimits { prefill_chunk_tokens: chunk, ..EngineLimits::default() });
        for name in ["p4_text", "p5_long"] {
            if chunk == 1 && name == "p5_long" {
                continue;
            }
            let case = case(name);
            let want: Vec<u32> = serde_json::from_value(case["greedy_ids"].clone()).unwrap();
            let body = json!({"model": "recurrent", "messages": case["messages"], "max_new_tokens": want.len()});
            let answer = generate(&engine, &body).await.unwrap();
            assert_eq!(ids(&answer, 0), want, "{name} in parts of {chunk}");
        }
    }
}

#[tokio::test]
async fn a_prefix_is_continued_from_where_its_states_were_copied() {
    let (remembering, watch) = watched(EngineLimits::default());
    let ask = |text: &str| asking(text, json!({"max_new_tokens": 4, "attention": {"maps": "tokens"}}));
    let read = |before: usize| -> usize {
        let passes = watch.passes().split_off(before);
        passes.iter().filter(|(_, columns)| *columns > 1).map(|(rows, columns)| rows * columns).sum()
    };
    // The second question about a picture shows where the two prompts part; the third continues there.
    for (text, known) in [("How many dots?", false), ("Which way is it?", false), ("Is the answer 7?", true)] {
        let before = watch.passes().len();
        let answer = generate(remembering.as_ref(), &ask(text)).await.unwrap();
        let (read, whole) = (read(before), answer.usage.prompt_tokens);
        assert_eq!(read < whole / 2, known, "{text}: {read} of {whole} positions were read");
        same(&answer, &generate(&engine(), &ask(text)).await.unwrap());
    }
    // The same question again needs no pass over the prompt at all.
    let before = watch.passes().len();
    let answer = generate(remembering.as_ref(), &ask("Is the answer 7?")).await.unwrap();
    assert_eq!(read(before), 0);
    same(&answer, &generate(&engine(), &ask("Is the answer 7?")).await.unwrap());
}

/// What a row says does not depend on those that join and leave its batch.
#[tokio::test]
async fn seeds_do_not_depend_on_company() {
    let body = |seed: u64, tokens: usize| {
        asking("What is this?", json!({"max_new_tokens": tokens, "temperature": 1.0, "seed": seed, "n": 2}))
    };
    let engine = std::sync::Arc::new(engine());
    let mut together = Vec::new();
    for seed in 0..4 {
        let (engine, body) = (std::sync::Arc::clone(&engine), body(seed, 3 + 5 * seed as usize));
        together.push(tokio::spawn(async move { generate(engine.as_ref(), &body).await.unwrap() }));
    }
    for (seed, answer) in together.into_iter().enumerate() {
        let body = body(seed as u64, 3 + 5 * seed);
        same(&answer.await.unwrap(), &generate(&self::engine(), &body).await.unwrap());
    }
}

#[tokio::test]
async fn attention_says_which_layers_it_comes_from() {
    let engine = engine();
    let ask = |layers: Value| {
        asking("What is this?", json!({"max_new_tokens": 2, "attention": {"maps": "summary", "layers": layers}}))
    };
    for (layers, want) in [(json!("mean"), vec![3, 7]), (json!("last"), vec![7]), (json!([3]), vec![3])] {
        let answer = generate(&engine, &ask(layers)).await.unwrap();
        assert_eq!(answer.choices[0].attention.layers, want);
        let image: f64 = answer.choices[0].tokens.iter().map(|token| token.attention.image).sum();
        let map = answer.choices[0].attention.summary[0].values.clone().unwrap().concat();
        let shown: f64 = map.iter().map(|value| f64::from(*value)).sum();
        near("the map sums to the share", shown, image / answer.choices[0].tokens.len() as f64, 1e-4);
    }
    let error = generate(&engine, &ask(json!([0]))).await.unwrap_err().to_string();
    assert!(error.contains("only these layers have attention: 3, 7"), "{error}");
    let loaded = &engine.loaded().await[0];
    assert_eq!((loaded.layers, loaded.attention_layers.as_slice()), (8, &[3, 7][..]));
}

/// With thinking switched off the prompt holds a closed block, in a request and by the model's own settings.
#[tokio::test]
async fn arguments_of_the_template_reach_the_prompt() {
    let engine = engine();
    let tokens = async |more: Value| {
        let mut body = json!({"max_new_tokens": 1});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Ok::<usize, ServingError>(generate(&engine, &asking("hi", body)).await?.usage.prompt_tokens)
    };
    let usual = tokens(json!({})).await.unwrap();
    assert_eq!(tokens(json!({"chat_template_kwargs": {"enable_thinking": true}})).await.unwrap(), usual);
    assert!(tokens(json!({"chat_template_kwargs": {"enable_thinking": false}})).await.unwrap() > usual);
    let error = tokens(json!({"chat_template_kwargs": {"effort": "high"}})).await.unwrap_err().to_string();
    assert!(error.contains("`effort`"), "{error}");
}
