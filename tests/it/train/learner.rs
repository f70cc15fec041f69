//! Gradients do not depend on how a batch is cut; several updates a step exercise the clip; the policy climbs.

use candle_core::Tensor;
use serde_json::{Value, json};
use vgpo::algorithm;
use vgpo::model::Sequence;
use vgpo::model::sampler::stream;
use vgpo::train::RunEnd;
use vgpo::train::learner::Learner;
use vgpo::train::micro_batch::{Packing, micro_batches, shared_micro_batches};
use vgpo::train::optimizer::Gradients;
use vgpo::train::parallel::Pool;
use vgpo::train::rollout::{RolloutSettings, rollout};
use vgpo::train::train_sequence::TrainSequence;

use super::scene::Scene;
use super::{Recorder, prompts, run, spec};
use crate::model::kernels::difference;

/// Responses with made-up advantages; `old_logprobs` are moved so that some ratios are clipped.
fn rows(learner: &Learner<'_>) -> Vec<TrainSequence> {
    let (prompts, _) = prompts(learner.tracked.info(), &spec(&json!({})), 0..5);
    let settings = RolloutSettings {
        group_size: 3,
        rows: 256,
        temperature: 1.0,
        top_p: 1.0,
        max_new_tokens: 40,
        attention: false,
        similarity: false,
    };
    let sequences: Vec<&Sequence> = prompts.iter().map(|p| &p.sequence).collect();
    let groups =
        rollout(learner.pool, learner.detached, &sequences, &settings, |p, i| stream(&[3, p as u64, i as u64]))
            .unwrap();
    let mut rows = Vec::new();
    for (prompt, group) in prompts.iter().zip(groups) {
        for (i, response) in group.into_iter().enumerate() {
            let sign = if i % 2 == 0 { 1.0 } else { -0.7 };
            rows.push(TrainSequence {
                input: Sequence {
                    ids: [&prompt.sequence.ids[..], &response.tokens[..]].concat(),
                    images: prompt.sequence.images.clone(),
                },
                prompt_len: prompt.sequence.ids.len(),
                advantages: (0..response.tokens.len()).map(|t| sign * (1.0 + t as f64 / 50.0)).collect(),
                ..TrainSequence::default()
            });
        }
    }
    let scored = learner.score(&rows.iter().collect::<Vec<_>>()).unwrap();
    for (row, score) in rows.iter_mut().zip(scored) {
        row.old_logprobs = score.logprobs.iter().enumerate().map(|(t, l)| l + 0.4 * ((t % 3) as f64 - 1.0)).collect();
    }
    rows
}

fn gradients(packing: Packing, microbatch_tokens: u64, checkpointing: bool) -> (f64, Gradients) {
    gradients_in(&Scene::starter(), packing, microbatch_tokens, checkpointing)
}

fn gradients_in(scene: &Scene, packing: Packing, microbatch_tokens: u64, checkpointing: bool) -> (f64, Gradients) {
    let learner = Learner { packing, checkpointing, ..scene.learner(microbatch_tokens) };
    let rows = rows(&learner);
    let rows: Vec<&TrainSequence> = rows.iter().collect();
    let parts = match packing {
        Packing::Padded => micro_batches(&rows, microbatch_tokens),
        Packing::Shared | Packing::ByGroup => shared_micro_batches(&rows, microbatch_tokens, 1),
    };
    assert!(parts.len() > 2 || microbatch_tokens == 1 << 20, "{microbatch_tokens} tokens must cut the batch");
    let algorithm = algorithm::build(&spec(&json!({})).method).unwrap();
    let output = learner.gradients(&rows, algorithm.as_ref()).unwrap();
    assert!(output.stats.clipped_low + output.stats.clipped_high > 0, "the case must exercise the clip");
    (output.loss, output.gradients)
}

/// Prompt and image of a group once, or once per row; whole or in parts; graphs kept or run again: all the same.
#[test]
fn gradients_are_equal_for_any_micro_batching_with_and_without_checkpointing() {
    let (loss, whole) = gradients(Packing::Padded, 1 << 20, false);
    let padded = [(1, false), (150, false), (400, false), (1 << 20, true), (233, true)];
    let shared = [(1, false), (150, false), (233, true), (1 << 20, false), (1 << 20, true)];
    let cases =
        padded.map(|case| (Packing::Padded, case)).into_iter().chain(shared.map(|case| (Packing::Shared, case)));
    for (packing, (tokens, checkpointing)) in cases {
        let (other_loss, cut) = gradients(packing, tokens, checkpointing);
        assert!((loss - other_loss).abs() < 1e-6);
        assert_eq!(whole.tensors().len(), cut.tensors().len());
        for (name, gradient) in whole.tensors() {
            let a: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
            let b: Vec<f32> = cut.tensors()[name].flatten_all().unwrap().to_vec1().unwrap();
            let largest = a.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            let worst = a.iter().zip(&b).fold(0.0_f32, |m, (x, y)| m.max((x - y).abs()));
            assert!(worst <= 1e-5 * largest, "{name}: {worst} of {largest}, {packing:?} at {tokens} tokens");
        }
    }
}

/// How many graphs a processor runs at a time, and how many threads share their operations, changes no bit.
#[test]
fn one_graph_over_all_cores_gives_the_same_bits() {
    let of = |graphs| {
        let scene = Scene::starter().with_pool(Pool::of(graphs, 3).unwrap());
        gradients_in(&scene, Packing::Padded, 400, false)
    };
    let ((loss, wanted), (other_loss, found)) = (of(3), of(1));
    assert_eq!(loss.to_bits(), other_loss.to_bits());
    for (name, gradient) in wanted.tensors() {
        let bits = |tensor: &Tensor| -> Vec<u32> {
            let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
            values.into_iter().map(f32::to_bits).collect()
        };
        assert!(bits(gradient) == bits(&found.tensors()[name]), "{name}");
    }
}

/// Attention in blocks, shared prompts and the other operations as a GPU computes them.
#[test]
fn a_gpu_gives_the_same_gradients() {
    let (loss, wanted) = gradients(Packing::Shared, 233, false);
    for checkpointing in [false, true] {
        let work = |scene: &Scene| gradients_in(scene, Packing::Shared, 233, checkpointing);
        let ((other_loss, found), _) = Scene::starter().on_gpu(work);
        assert!((loss - other_loss).abs() < 1e-6);
        for (name, gradient) in wanted.tensors() {
            let off = (gradient - &found.tensors()[name]).unwrap().abs().unwrap().flatten_all().unwrap();
            let largest = gradient.abs().unwrap().flatten_all().unwrap();
            let [off, largest] = [off, largest].map(|x| x.max(0).unwrap().to_scalar::<f32>().unwrap());
            assert!(off <= 2e-5 * largest, "{name}: {off} of {largest}");
        }
    }
}

/// The old policy's scores come back in the order of the rows, whatever stood together.
#[test]
fn scores_are_equal_for_any_micro_batching() {
    let scene = Scene::starter();
    let mut learner = scene.learner(1 << 20);
    let rows = rows(&learner);
    let rows: Vec<&TrainSequence> = rows.iter().collect();
    let whole = learner.score(&rows).unwrap();
    for (packing, tokens) in [1, 150, 233, 400].into_iter().flat_map(|n| [(Packing::Padded, n), (Packing::Shared, n)]) {
        (learner.packing, learner.microbatch_tokens) = (packing, tokens);
        for (a, b) in whole.iter().zip(learner.score(&rows).unwrap()) {
            assert_eq!(a.logprobs.len(), b.logprobs.len());
            let pairs = a.logprobs.iter().zip(&b.logprobs).chain(a.similarity.iter().zip(&b.similarity));
            let pairs = pairs.chain(a.entropy.iter().zip(&b.entropy));
            assert!(pairs.into_iter().all(|(x, y)| (x - y).abs() < 2e-5), "at {tokens} tokens");
        }
    }
}

/// Without log-probs of an earlier pass, those of the pass itself replace them: the same loss and gradient, and the
/// scores that a pass of its own would have given.
#[test]
fn one_pass_gives_what_two_give() {
    let scene = Scene::starter();
    let learner = scene.learner(300);
    let mut rows = rows(&learner);
    let algorithm = algorithm::build(&spec(&json!({})).method).unwrap();
    let scored = learner.score(&rows.iter().collect::<Vec<_>>()).unwrap();
    for (row, score) in rows.iter_mut().zip(&scored) {
        row.old_logprobs.clone_from(&score.logprobs);
    }
    let two = learner.gradients(&rows.iter().collect::<Vec<_>>(), algorithm.as_ref()).unwrap();
    assert!(two.scored.iter().all(|score| score.entropy.is_empty()), "the entropy is not measured again");
    rows.iter_mut().for_each(|row| row.old_logprobs.clear());
    let one = learner.gradients(&rows.iter().collect::<Vec<_>>(), algorithm.as_ref()).unwrap();
    assert!((one.loss - two.loss).abs() < 1e-9, "{} and {}", one.loss, two.loss);
    for (name, gradient) in two.gradients.tensors() {
        assert!(difference(&one.gradients.tensors()[name], gradient) < 1e-7, "{name}");
    }
    for (found, wanted) in one.scored.iter().zip(&scored) {
        let pairs = found.logprobs.iter().zip(&wanted.logprobs).chain(found.entropy.iter().zip(&wanted.entropy));
        assert_eq!((found.logprobs.len(), found.entropy.len()), (wanted.logprobs.len(), wanted.logprobs.len()));
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-6));
    }
}

/// A step of one update sees while it samples how visual every token is; a step that must read the responses again sees
/// the same.
#[test]
fn focus_is_the_same_while_sampling_and_in_a_pass_of_its_own() {
    let metrics = |changes: Value| {
        let dir = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::default();
        run(&spec(&changes), dir.path(), None, &mut recorder).unwrap();
        recorder
    };
    let sampled = metrics(json!({ "steps": 1 }));
    // A cap that nothing reaches, but that needs the trainer's log-probs before the loss.
    let read =
        metrics(json!({ "steps": 1, "rollout": { "group_size": 4, "max_new_tokens": 40, "correction_cap": 50.0 } }));
    for key in [
        "visual/focus_mean",
        "visual/focus_late",
        "visual/token_weight_std",
        "visual/trajectory_weight_max",
        "policy/entropy",
        "rollout/ratio_max",
        "loss/policy",
        "optimizer/grad_norm",
        "reward/mean",
    ] {
        let (a, b) = (sampled.last(key), read.last(key));
        assert!((a - b).abs() < 1e-4 * b.abs().max(0.1), "{key}: {a} while sampling, {b} in a pass of its own");
    }
}

#[test]
fn two_mini_batches_a_step_exercise_the_clip() {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::default();
    let spec = spec(&json!({
        "batch": { "prompts_per_step": 8, "minibatch_prompts": 2, "epochs_per_batch": 2 },
        "method": { "type": "vgpo", "clip_low": 0.01, "clip_high": 0.01 },
        "optimizer": { "learning_rate": 1e-3, "warmup_steps": 0 }, "steps": 1,
    }));
    assert!(matches!(run(&spec, dir.path(), None, &mut recorder).unwrap(), RunEnd::Finished { .. }));
    let clipped = recorder.last("policy/clip_fraction_low") + recorder.last("policy/clip_fraction_high");
    assert!(clipped > 0.0 && clipped < 1.0, "{clipped}");
    assert!(recorder.last("policy/kl").abs() > 0.0);
}

/// With one update a step the old and the new policy are the same: ratio 1, nothing clipped.
#[test]
fn one_update_a_step_starts_from_ratio_one() {
    for method in ["vgpo", "papo", "vppo"] {
        let dir = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::default();
        run(&spec(&json!({ "steps": 1, "method": { "type": method } })), dir.path(), None, &mut recorder).unwrap();
        assert_eq!(recorder.last("policy/kl"), 0.0, "{method}");
        assert_eq!(recorder.last("policy/clip_fraction_low"), 0.0, "{method}");
        assert_eq!(recorder.last("policy/clip_fraction_high"), 0.0, "{method}");
    }
}

/// A short run at a high rate already climbs well above the starter; the whole climb takes minutes and is measured
/// apart.
#[test]
fn the_policy_climbs() {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::default();
    let spec = spec(&json!({
        "batch": { "prompts_per_step": 16, "minibatch_prompts": 16, "microbatch_tokens": 2048 },
        "rollout": { "group_size": 8 },
        "optimizer": { "learning_rate": 2e-4, "warmup_steps": 0 },
        "steps": 12, "eval_before": true, "eval_rows": 256, "checkpoint_every": 0, "log_samples_every": 0,
    }));
    run(&spec, dir.path(), None, &mut recorder).unwrap();
    let before = recorder.metrics[0].values["eval/accuracy"];
    let after = recorder.last("eval/accuracy");
    assert!(after > before + 0.05, "held-out accuracy {before} before, {after} after");
}

#[test]
fn every_promised_metric_is_there_and_known_to_the_catalogue() {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::default();
    let spec = spec(&json!({ "steps": 1, "eval_every": 1,
        "reward": { "type": "weighted", "parts": [
            { "weight": 0.9, "reward": { "type": "math" } }, { "weight": 0.1, "reward": { "type": "format" } }] } }));
    run(&spec, dir.path(), None, &mut recorder).unwrap();
    for key in [
        "reward/mean",
        "reward/std",
        "reward/math/mean",
        "reward/format/mean",
        "accuracy",
        "response_length/mean",
        "response_length/min",
        "response_length/max",
        "response_length/cut_off",
        "groups/kept",
        "groups/dropped",
        "advantage/mean",
        "advantage/std",
        "loss/policy",
        "policy/kl",
        "policy/clip_fraction_low",
        "policy/clip_fraction_high",
        "policy/entropy",
        "optimizer/grad_norm",
        "optimizer/learning_rate",
        "throughput/tokens_per_second",
        "time/rollout",
        "time/reward",
        "time/logprob",
        "time/update",
        "time/checkpoint",
        "time/evaluation",
        "time/step",
        "visual/focus_mean",
        "visual/focus_early",
        "visual/focus_late",
        "visual/late_early_ratio",
        "visual/gate_rate",
        "visual/compensation_mean",
        "visual/token_weight_std",
        "visual/token_weight_min",
        "visual/token_weight_max",
        "visual/trajectory_weight_min",
        "visual/trajectory_weight_max",
        "attention/image",
        "attention/query",
        "attention/generated",
        "attention/image_early",
        "attention/image_late",
        "eval/accuracy",
        "eval/late_early_ratio",
        "eval/format",
    ] {
        assert!(recorder.last(key).is_finite(), "{key}");
    }
    for key in recorder.metrics.iter().flat_map(|m| m.values.keys()) {
        assert!(vgpo::domain::metric::describe(key).is_some(), "{key} is not in the catalogue");
    }
    let trained = recorder.samples.iter().find(|(_, g)| !g.eval).expect("a training sample");
    for response in &trained.1.responses {
        let tokens = response.tokens.len();
        assert_eq!(response.focus.as_ref().unwrap().len(), tokens);
        assert_eq!(
            (response.psi.len(), response.shaped_advantage.len(), response.logprobs.len()),
            (tokens, tokens, tokens)
        );
    }
    assert!(recorder.samples.iter().any(|(_, g)| g.eval && g.responses.len() == 1));
}
