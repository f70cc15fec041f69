//! Sampling: draws belong to the row, not to the batch.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use vgpo::model::sampler::stream;
use vgpo::model::{ModelInfo, Sequence, View, VisionLanguageModel};
use vgpo::train::error::TrainError;
use vgpo::train::parallel::Pool;
use vgpo::train::reporter::Reporter;
use vgpo::train::rollout::{Rollout, RolloutSettings, rollout};
use vgpo::train::sink::{Control, ControlSignal};

use super::scene::Scene;
use super::{open_starter, prompts, spec};
use crate::serving::{Watch, watch, watch_as};

const SETTINGS: RolloutSettings = RolloutSettings {
    group_size: 3,
    rows: 256,
    temperature: 1.0,
    top_p: 1.0,
    max_new_tokens: 40,
    attention: true,
    similarity: true,
};

fn sample(rows: std::ops::Range<u64>, settings: &RolloutSettings) -> Vec<Vec<Rollout>> {
    let folder = open_starter();
    let model = folder.model(View::Detached).unwrap();
    sample_from(model.as_ref(), rows, settings)
}

fn sample_from(
    model: &dyn VisionLanguageModel,
    rows: std::ops::Range<u64>,
    settings: &RolloutSettings,
) -> Vec<Vec<Rollout>> {
    let first = rows.start;
    let (prompts, _) = prompts(model.info(), &spec(&serde_json::json!({})), rows);
    let sequences: Vec<&Sequence> = prompts.iter().map(|p| &p.sequence).collect();
    rollout(&Pool::new(0).unwrap(), model, &sequences, settings, |prompt, i| {
        stream(&[9, first + prompt as u64, i as u64])
    })
    .unwrap()
}

/// The same tokens, and what was seen of them up to rounding.
fn assert_alike(a: &Rollout, b: &Rollout) {
    assert_eq!((&a.tokens, a.cut_off), (&b.tokens, b.cut_off));
    let close = |x: f64, y: f64| assert!((x - y).abs() < 1e-4, "{x} {y}");
    assert_eq!((a.similarity.len(), a.attention.len()), (b.similarity.len(), b.attention.len()));
    a.logprobs.iter().zip(&b.logprobs).for_each(|(x, y)| close(*x, *y));
    a.similarity.iter().zip(&b.similarity).for_each(|(x, y)| close(*x, *y));
    for (x, y) in a.attention.iter().zip(&b.attention) {
        close(x.image, y.image);
        close(x.query, y.query);
        close(x.generated, y.generated);
    }
}

#[test]
fn a_row_draws_the_same_alone_and_in_a_batch() {
    let together = sample(0..8, &SETTINGS);
    for (row, group) in together.iter().enumerate() {
        let alone = sample(row as u64..row as u64 + 1, &SETTINGS);
        alone[0].iter().zip(group).for_each(|(a, b)| assert_alike(a, b));
    }
    let texts: std::collections::HashSet<&[u32]> = together.iter().flatten().map(|r| r.tokens.as_slice()).collect();
    assert!(texts.len() > 8, "responses at temperature 1 must differ");
}

#[test]
fn rows_of_the_next_prompts_join_as_rows_finish() {
    // More samples than one batch of any thread holds.
    let prompts = 12 * std::thread::available_parallelism().unwrap().get() as u64;
    let told = Arc::new(Watch::default());
    let model = watch(&open_starter().model(View::Detached).unwrap(), &told);
    let few = sample_from(model.as_ref(), 0..prompts, &RolloutSettings { rows: 12, ..SETTINGS });
    let whole = sample(0..prompts, &SETTINGS);
    assert_eq!(few.len(), whole.len());
    for (a, b) in few.iter().flatten().zip(whole.iter().flatten()) {
        assert_alike(a, b);
    }

    let passes = told.passes();
    let widest = passes.iter().map(|(rows, columns)| if *columns == 1 { *rows } else { 0 }).max().unwrap();
    assert!(widest <= 12, "{widest} rows at a time");
    // Four prompts at a time, until the last of their samples is done, would take this many passes.
    let waves = few.chunks(4).len();
    let readings = passes.iter().filter(|(_, columns)| *columns > 1).count();
    assert!(readings > waves, "{passes:?}");
}

/// The starter with more parameters on its label.
fn large(told: &Arc<Watch>) -> Arc<dyn VisionLanguageModel> {
    let model = open_starter().model(View::Detached).unwrap();
    watch_as(ModelInfo { parameters: 1 << 40, ..model.info().clone() }, &model, told)
}

#[test]
fn a_large_model_prefills_its_prompts_one_by_one() {
    let told = Arc::new(Watch::default());
    let found = sample_from(large(&told).as_ref(), 0..8, &SETTINGS);
    for (a, b) in found.iter().flatten().zip(sample(0..8, &SETTINGS).iter().flatten()) {
        assert_alike(a, b);
    }
    let read: Vec<usize> = told.passes().iter().filter(|(_, columns)| *columns > 1).map(|(rows, _)| *rows).collect();
    assert_eq!(read, [1; 8]);
}

#[test]
fn a_run_stops_between_the_prompts_of_a_large_model() {
    let told = Arc::new(Watch::default());
    let model = large(&told);
    let (seen, prompts) = (Arc::clone(&told), prompts(model.info(), &spec(&json!({})), 0..200).0);
    let sequences: Vec<&Sequence> = prompts.iter().map(|p| &p.sequence).collect();
    let signal = ControlSignal::new(move || if seen.passes().len() < 3 { Control::Continue } else { Control::Cancel });
    let pool = Pool::new(0).unwrap().watching(signal);
    let ended =
        rollout(&pool, model.as_ref(), &sequences, &SETTINGS, |prompt, i| stream(&[9, prompt as u64, i as u64]));
    assert!(matches!(ended, Err(TrainError::Stopped(Control::Cancel))), "{:?}", ended.map(|_| ()));
    let passes = told.passes();
    // A pass may have begun on every thread when the third was seen.
    assert!(passes.len() <= 3 + pool.threads(), "{passes:?}");
}

#[test]
fn a_long_rollout_says_how_far_it_is() {
    let model = open_starter().model(View::Detached).unwrap();
    let prompts = prompts(model.info(), &spec(&json!({})), 0..4).0;
    let sequences: Vec<&Sequence> = prompts.iter().map(|p| &p.sequence).collect();
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&told);
    let reporter = Reporter::new(move |message| kept.lock().unwrap().push(message)).every(Duration::ZERO);
    let pool = Pool::of(1, 1).unwrap().reporting(reporter);
    let stream = |prompt: usize, i: usize| stream(&[9, prompt as u64, i as u64]);
    let groups = rollout(&pool, model.as_ref(), &sequences, &SETTINGS, stream).unwrap();
    let told = told.lock().unwrap();
    let responses: Vec<&Rollout> = groups.iter().flatten().collect();
    let (count, tokens) = (responses.len(), responses.iter().map(|response| response.tokens.len()).sum::<usize>());
    assert!(told[0].ends_with(&format!("0 of {count} responses finished, 0 tokens")), "{}", told[0]);
    let last = format!("sampling: 4 of 4 prompts read, {count} of {count} responses finished, {tokens} tokens");
    assert_eq!(told.last(), Some(&last));
}

#[test]
fn every_token_has_its_numbers_and_shares_sum_to_one() {
    for response in sample(0..4, &SETTINGS).iter().flatten() {
        assert_eq!(response.attention.len(), response.tokens.len());
        assert_eq!(response.similarity.len(), response.tokens.len());
        for (t, shares) in response.attention.iter().enumerate() {
            let sum = shares.image + shares.query + shares.generated;
            assert!((sum - 1.0).abs() < 1e-4, "{sum}");
            assert!(shares.image > 0.0 && shares.query > 0.0);
            assert_eq!(shares.generated > 0.0, t > 0, "the first token has no response before it");
        }
    }
}

#[test]
fn the_length_limit_cuts_and_says_so() {
    let short = sample(0..4, &RolloutSettings { max_new_tokens: 3, ..SETTINGS });
    let long = sample(0..4, &SETTINGS);
    for (a, b) in short.iter().flatten().zip(long.iter().flatten()) {
        assert_eq!(a.tokens[..], b.tokens[..3]);
        assert!(a.cut_off);
    }
    assert!(long.iter().flatten().any(|r| !r.cut_off), "the starter ends its answers");
}

#[test]
fn greedy_rows_ignore_their_stream() {
    let greedy = RolloutSettings { temperature: 0.0, ..SETTINGS };
    for group in sample(0..3, &greedy) {
        assert!(group.iter().all(|r| r.tokens == group[0].tokens));
    }
}

/// Draws, shares and similarity on the device, shared prompts in blocks: the same tokens, and the same numbers up to
/// rounding.
#[test]
fn a_gpu_samples_the_same_responses() {
    for settings in [SETTINGS, RolloutSettings { top_p: 0.9, temperature: 0.8, rows: 6, ..SETTINGS }] {
        let (prompts, _) = prompts(open_starter().model(View::Detached).unwrap().info(), &spec(&json!({})), 0..5);
        let work = |scene: &Scene| {
            let learner = scene.learner(512);
            let sequences: Vec<&Sequence> = prompts.iter().map(|p| &p.sequence).collect();
            let rng = |prompt: usize, i: usize| stream(&[9, prompt as u64, i as u64]);
            rollout(learner.pool, learner.detached, &sequences, &settings, rng).unwrap()
        };
        let found = Scene::starter().on_gpu(work).0;
        for (a, b) in found.iter().flatten().zip(sample(0..5, &settings).iter().flatten()) {
            assert_alike(a, b);
        }
    }
}
