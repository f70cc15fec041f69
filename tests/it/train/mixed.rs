//! Rows without, with one and with several images in one step: the same as each on its own. And whole steps of a model
//! that was not made for the task.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use vgpo::algorithm;
use vgpo::config::job;
use vgpo::domain::spec::JobSpec;
use vgpo::train::train_sequence::TrainSequence;
use vgpo::train::{RunEnd, TrainRequest};

use super::scene::Scene;
use super::{Recorder, spec};
use crate::model::{Family, QWEN2, QWEN2_5, QWEN3, QWEN3_5};

fn row(family: Family, case: &str) -> TrainSequence {
    let case = family.case(case);
    TrainSequence {
        prompt_len: case.prompt_len,
        old_logprobs: Vec::new(),
        correction: None,
        reference_logprobs: None,
        masked_images: None,
        advantages: Vec::new(),
        ignored: false,
        input: case.row,
    }
}

/// Loss and gradients of one supervised mini-batch.
fn learn(scene: &Scene, rows: &[&TrainSequence], microbatch_tokens: u64) -> (f64, BTreeMap<String, Vec<f32>>) {
    let learner = scene.learner(microbatch_tokens);
    let method = spec(&json!({"method": {"type": "sft"}})).method;
    let output = learner.gradients(rows, algorithm::build(&method).unwrap().as_ref()).unwrap();
    let tensors = output.gradients.tensors().iter();
    (output.loss, tensors.map(|(k, t)| (k.clone(), t.flatten_all().unwrap().to_vec1().unwrap())).collect())
}

/// A run of a family's tiny model on a built-in data set: its folder, what it recorded, and how it ended.
fn trained(family: Family, dataset: &str, spec: JobSpec) -> (tempfile::TempDir, Recorder, RunEnd) {
    let (dir, mut recorder) = (tempfile::tempdir().unwrap(), Recorder::default());
    let data = vgpo::data::open(dataset).unwrap();
    let request = TrainRequest {
        room: None,
        run: "run_test".to_owned(),
        base: None,
        engines: vgpo::train::engine::ForeignEngines::default(),
        rewards: vgpo::reward::Backends::default(),
        spec,
        model_dir: family.fixture().join("checkpoint"),
        eval_dataset: Arc::clone(&data),
        dataset: data,
        work_dir: dir.path().to_owned(),
        resume: None,
        device: vgpo::domain::device::DeviceName::CPU,
        rows: Vec::new(),
    };
    let end = std::thread::scope(|scope| {
        let work = || vgpo::train::run(request, &mut recorder);
        std::thread::Builder::new().stack_size(256 << 20).spawn_scoped(scope, work).unwrap().join().unwrap()
    });
    (dir, recorder, end.unwrap())
}

/// The loss is the mean over all tokens, so a mixed batch weighs its rows by their numbers of tokens.
#[test]
fn a_mixed_batch_learns_what_its_rows_teach() {
    for family in [QWEN2, QWEN2_5, QWEN3, QWEN3_5] {
        let scene = Scene::of(family.open());
        let rows = ["p4_text", "p1_single", "p3_two_images"].map(|case| row(family, case));
        assert_eq!(rows.each_ref().map(|row| row.input.images.len()), [0, 1, 2]);
        let all: f64 = rows.iter().map(|row| row.response_len() as f64).sum();
        let mut want = (0.0, BTreeMap::<String, Vec<f32>>::new());
        for row in &rows {
            let (loss, gradients) = learn(&scene, &[row], 1 << 20);
            let share = row.response_len() as f64 / all;
            want.0 += share * loss;
            for (name, values) in gradients {
                let sum = want.1.entry(name).or_insert_with(|| vec![0.0; values.len()]);
                sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += share as f32 * value);
            }
        }
        for tokens in [1 << 20, 1] {
            let (loss, gradients) = learn(&scene, &rows.iter().collect::<Vec<_>>(), tokens);
            assert!((loss - want.0).abs() < 1e-5, "{family:?}: {loss} {}", want.0);
            assert_eq!(gradients.len(), want.1.len());
            for (name, got) in &gradients {
                let largest = got.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                let worst = got.iter().zip(&want.1[name]).fold(0.0_f32, |m, (x, y)| m.max((x - y).abs()));
                let near = if family == QWEN3_5 { 1e-3 } else { 1e-4 };
                assert!(worst <= near * largest.max(1e-4), "{family:?} {name}: {worst} of {largest}");
            }
        }
    }
}

/// A model with recurrent layers, with adapters and gradient checkpointing: a group shares its prompt, and the
/// checkpoint loads, adapters merged.
#[test]
fn a_recurrent_model_trains_with_adapters_and_its_checkpoint_loads() {
    let request = json!({
        "model": "tiny", "dataset": "objects", "method": {"type": "vgpo"}, "steps": 2, "eval_before": false,
        "eval_every": 0, "data": {"max_prompt_tokens": 4000, "enable_thinking": false},
        "reward": {"type": "regex", "pattern": "[aeousrl]"},
        "batch": {"prompts_per_step": 1, "minibatch_prompts": 1}, "checkpoint_every": 0,
        "train": {"parameters": "lora", "lora": {"targets": ["all-linear"], "rank": 2}, "gradient_checkpointing": true},
        "rollout": {"group_size": 8, "max_new_tokens": 4, "temperature": 4.0, "filter": null},
    });
    let spec = job::resolve(&request, &[]).unwrap().spec;
    let (dir, recorder, end) = trained(QWEN3_5, "objects", spec);
    assert!(matches!(end, RunEnd::Finished { .. }));
    let norm = |step: &vgpo::domain::metric::StepMetrics| step.values.get("optimizer/grad_norm").copied();
    let rewards = recorder.last("reward/mean");
    assert!(recorder.metrics.iter().filter_map(norm).any(|norm| norm > 0.0), "every step: equal rewards ({rewards})");
    let written = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let written = written.into_iter().find(|path| path.join("config.json").exists()).unwrap();
    let folder = vgpo::model::ModelFolder::open(&written, &candle_core::Device::Cpu).unwrap();
    folder.model(vgpo::model::View::Detached).unwrap();
    let names = candle_core::safetensors::load(written.join("model.safetensors"), &candle_core::Device::Cpu).unwrap();
    assert!(names.keys().any(|name| name.starts_with("mtp.")), "what the model does not use is kept");
    let card: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(written.join("vgpo.json")).unwrap()).unwrap();
    assert_eq!(card["prompt"]["enable_thinking"], false);
}

/// Adapters on a base of 8 bits: the run ends, and its checkpoint holds what the blocks stand for, adapters merged.
#[test]
fn adapters_train_on_packed_weights() {
    for base in ["q8_0", "q4_0"] {
        let request = json!({
            "model": "tiny", "dataset": "objects", "method": {"type": "sft"}, "steps": 2, "eval_before": false,
            "eval_every": 0, "data": {"max_prompt_tokens": 4000}, "checkpoint_every": 0,
            "batch": {"prompts_per_step": 1, "minibatch_prompts": 1},
            "train": {"parameters": "lora", "lora": {"targets": ["all-linear"], "rank": 2}, "base": base},
        });
        let spec = job::resolve(&request, &[]).unwrap().spec;
        let (dir, recorder, end) = trained(QWEN2_5, "objects", spec);
        assert!(matches!(end, RunEnd::Finished { .. }));
        assert!(recorder.last("optimizer/grad_norm") > 0.0);
        let written = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let written = written.into_iter().find(|path| path.join("config.json").exists()).unwrap();
        let open = |dir: &std::path::Path| vgpo::model::ModelFolder::open(dir, &candle_core::Device::Cpu).unwrap();
        let (after, before) = (open(&written), open(&QWEN2_5.fixture().join("checkpoint")));
        let values = |folder: &vgpo::model::ModelFolder, name: &str| {
            folder.parameters().vars()[name].flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let change = |name: &str| {
            let (after, before) = (values(&after, name), values(&before, name));
            after.iter().zip(&before).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()))
        };
        assert!(change("model.layers.0.mlp.up_proj.weight") > 1e-5, "{base}: blocks are rounded");
        assert_eq!(change("model.embed_tokens.weight"), 0.0);
    }
}

/// The tiny Qwen2.5-VL knows nothing; its tokenizer writes any text. One step on every drawn task.
#[test]
fn drawn_tasks_train_a_general_model() {
    for (dataset, method) in [("objects", "sft"), ("chart", "sft"), ("geometry", "vgpo")] {
        let request = json!({
            "model": "tiny", "dataset": dataset, "method": {"type": method}, "steps": 1, "eval_before": false,
            "eval_every": 0,
            "data": {"max_prompt_tokens": 4000}, "reward": {"type": "regex", "pattern": "[A-Za-z]"},
            "batch": {"prompts_per_step": 1, "minibatch_prompts": 1},
            "rollout": {"group_size": 8, "max_new_tokens": 2, "filter": null},
        });
        let spec = job::resolve(&request, &[]).unwrap().spec;
        let (_dir, recorder, end) = trained(QWEN2_5, dataset, spec);
        assert!(matches!(end, RunEnd::Finished { .. }), "{dataset} {method}");
        assert!(recorder.last("optimizer/grad_norm") > 0.0, "{dataset} {method}");
    }
}
