//! What is trained and in which format: adapters, a frozen vision tower, 16-bit weights, the device.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use vgpo::domain::device::DeviceName;
use vgpo::domain::spec::JobSpec;
use vgpo::model::{Capture, ModelFolder, Sequence, View, VisionLanguageModel};
use vgpo::train::policy::Policy;
use vgpo::train::sink::{Control, ResumePoint};
use vgpo::train::{RunEnd, TrainRequest};

use super::{Recorder, open_starter, prompts, run, spec, starter};

fn lora(targets: &[&str]) -> Value {
    json!({ "parameters": "lora", "lora": { "rank": 4, "alpha": 8, "targets": targets } })
}

/// A short job that trains with these settings.
fn job(train: Value, more: Value) -> JobSpec {
    let mut changes = json!({ "method": { "type": "grpo" }, "optimizer": { "learning_rate": 1e-3 }, "train": train });
    changes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec(&changes)
}

fn tensors(file: &Path) -> BTreeMap<String, Tensor> {
    candle_core::safetensors::load(file, &Device::Cpu).unwrap().into_iter().collect()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Names of the weights that a run changed, and of those that it left alone.
fn changed(after: &Path) -> (Vec<String>, Vec<String>) {
    let (before, after) = (tensors(&starter().join("model.safetensors")), tensors(after));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    before.keys().cloned().partition(|name| values(&before[name]) != values(&after[name]))
}

/// Names that the optimizer of a checkpoint has state for.
fn optimized(checkpoint: &Path) -> Vec<String> {
    let names = tensors(&checkpoint.join("trainer/optimizer.safetensors")).into_keys();
    names.filter_map(|name| name.strip_prefix("first.").map(str::to_owned)).collect()
}

fn logits(model: &dyn VisionLanguageModel, row: &Sequence) -> Vec<f32> {
    let batch = vgpo::model::Batch::new(&[row], model.info()).unwrap();
    let features = model.features(&batch).unwrap();
    let states = model.forward(&batch, features.as_ref(), None, &mut Capture::none()).unwrap();
    values(&model.logits(&states.squeeze(0).unwrap()).unwrap())
}

fn a_prompt() -> Sequence {
    let model = open_starter().model(View::Detached).unwrap();
    prompts(model.info(), &spec(&json!({})), 0..1).0.remove(0).sequence
}

#[test]
fn adapters_alone_are_trained_and_a_checkpoint_has_them_alone_and_merged() {
    let dir = tempfile::tempdir().unwrap();
    let spec = job(lora(&["q_proj", "v_proj", "qkv"]), json!({}));
    let mut recorder = Recorder::default();
    run(&spec, dir.path(), None, &mut recorder).unwrap();
    let checkpoint = &recorder.checkpoints.last().unwrap().1;
    let (moved, kept) = changed(&checkpoint.join("model.safetensors"));
    assert!(!moved.is_empty() && !kept.is_empty());
    for name in &moved {
        assert!(["q_proj.weight", "v_proj.weight", "qkv.weight"].iter().any(|end| name.ends_with(end)), "{name}");
    }
    let state = optimized(checkpoint);
    assert_eq!(state.len(), 2 * moved.len());
    assert!(state.iter().all(|name| name.ends_with(".lora_A.weight") || name.ends_with(".lora_B.weight")), "{state:?}");
    let adapter = tensors(&checkpoint.join("adapter/adapter_model.safetensors"));
    assert_eq!(adapter.len(), state.len());
    let config = std::fs::read_to_string(checkpoint.join("adapter/adapter_config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["r"], 4);
    assert_eq!(config["base_model_name_or_path"], json!(starter()), "a folder, not a name of this program");

    // The merged folder answers as the base model with the adapter does.
    let point = ResumePoint { step: 2, dir: checkpoint.clone() };
    let with_adapter = Policy::open(&spec, &starter(), Some(&point.dir), &Device::Cpu, false).unwrap();
    let merged = ModelFolder::open(checkpoint, &Device::Cpu).unwrap().model(View::Detached).unwrap();
    let row = a_prompt();
    let (a, b) = (logits(with_adapter.detached.as_ref(), &row), logits(merged.as_ref(), &row));
    let largest = a.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let worst = a.iter().zip(&b).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst <= 2e-5 * largest, "{worst} of {largest}");
}

#[test]
fn every_way_of_training_resumes_with_the_same_bits() {
    let ways = [
        ("lora", lora(&["all-linear"])),
        ("bf16", json!({ "dtype": "bf16" })),
        ("bf16 lora", json!({ "parameters": "lora", "lora": { "rank": 2 }, "dtype": "bf16" })),
    ];
    for (name, train) in ways {
        let spec = job(train, json!({ "steps": 2, "optimizer": { "learning_rate": 1e-3, "offload": true } }));
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut undisturbed = Recorder::default();
        run(&spec, whole.path(), None, &mut undisturbed).unwrap();
        let controls = std::iter::repeat_n(Control::Continue, 4).chain([Control::Yield]).collect();
        let mut first = Recorder { controls, ..Recorder::default() };
        assert_eq!(run(&spec, parts.path(), None, &mut first).unwrap(), RunEnd::Yielded, "{name}");
        let (step, dir) = first.checkpoints.last().unwrap().clone();
        assert_eq!(step, 1, "{name}");
        let mut second = Recorder::default();
        run(&spec, parts.path(), Some(ResumePoint { step, dir }), &mut second).unwrap();
        let last = |recorder: &Recorder| recorder.checkpoints.last().unwrap().1.clone();
        let (a, b) = (last(&undisturbed), last(&second));
        for file in ["model.safetensors", "trainer/optimizer.safetensors", "adapter/adapter_model.safetensors"] {
            let read = |dir: &Path| std::fs::read(dir.join(file)).ok();
            assert_eq!(read(&a).is_some(), file != "adapter/adapter_model.safetensors" || name.ends_with("lora"));
            assert!(read(&a) == read(&b), "{name}: {file} must be equal bit for bit");
        }
        assert!(!changed(&b.join("model.safetensors")).0.is_empty(), "{name}: something was learnt");
    }
}

#[test]
fn sixteen_bit_weights_stay_so_in_checkpoints_and_the_configuration_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::default();
    run(&job(json!({ "dtype": "bf16" }), json!({ "steps": 1 })), dir.path(), None, &mut recorder).unwrap();
    let checkpoint = &recorder.checkpoints.last().unwrap().1;
    assert!(tensors(&checkpoint.join("model.safetensors")).values().all(|t| t.dtype() == DType::BF16));
    let config = std::fs::read_to_string(checkpoint.join("config.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&config).unwrap()["torch_dtype"], "bfloat16");
    let state = tensors(&checkpoint.join("trainer/optimizer.safetensors"));
    assert!(state.iter().all(|(name, t)| name == "updates" || t.dtype() == DType::F32), "the optimizer is in 32 bits");
    assert!(state.keys().any(|name| name.starts_with("master.")));
    assert!(recorder.last("optimizer/grad_norm") > 0.0);
}

#[test]
fn a_frozen_vision_tower_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::default();
    run(&job(json!({ "freeze_vision": true }), json!({ "steps": 1 })), dir.path(), None, &mut recorder).unwrap();
    let checkpoint = &recorder.checkpoints.last().unwrap().1;
    let (moved, kept) = changed(&checkpoint.join("model.safetensors"));
    assert!(kept.iter().all(|name| name.starts_with("visual.")), "{kept:?}");
    assert!(moved.iter().all(|name| !name.starts_with("visual.")), "{moved:?}");
    assert!(kept.iter().any(|name| name.starts_with("visual.merger.")), "the merger belongs to it");
    let mut state = optimized(checkpoint);
    state.sort();
    assert_eq!(state, moved, "the optimizer keeps nothing for it");
    // Nothing is recorded in it: features come without a graph.
    let mut folder = open_starter();
    let row = a_prompt();
    let recorded = |folder: &ModelFolder| {
        let model = folder.model(View::Tracked).unwrap();
        model.encode_images(&row.images).unwrap().iter().any(Tensor::track_op)
    };
    assert!(recorded(&folder));
    folder.freeze_vision();
    assert!(!recorded(&folder));
}

#[test]
fn the_reference_is_the_base_without_adapters_or_a_frozen_copy() {
    let row = a_prompt();
    let base = logits(open_starter().model(View::Detached).unwrap().as_ref(), &row);
    for train in [lora(&["q_proj"]), json!({})] {
        let policy = Policy::open(&job(train.clone(), json!({})), &starter(), None, &Device::Cpu, true).unwrap();
        let reference = policy.reference.unwrap();
        for (name, var) in policy.folder.parameters().trained() {
            if name.ends_with("lora_B.weight") || name.ends_with("q_proj.weight") {
                var.set(&(var.ones_like().unwrap() * 0.05).unwrap()).unwrap();
            }
        }
        assert_ne!(logits(policy.detached.as_ref(), &row), base, "{train}: the policy has moved");
        assert_eq!(logits(reference.as_ref(), &row), base, "{train}: the reference has not");
    }
    let none = Policy::open(&job(json!({}), json!({})), &starter(), None, &Device::Cpu, false).unwrap();
    assert!(none.reference.is_none());
}

#[test]
fn the_distance_to_the_reference_is_zero_first_and_grows_under_adapters() {
    let dir = tempfile::tempdir().unwrap();
    let method = json!({ "type": "grpo", "kl_coef": 0.05 });
    let changes = json!({ "method": method, "steps": 3, "optimizer": { "learning_rate": 5e-3, "warmup_steps": 0 } });
    let mut recorder = Recorder::default();
    run(&job(lora(&["all-linear"]), changes), dir.path(), None, &mut recorder).unwrap();
    let distance: Vec<f64> =
        recorder.metrics.iter().filter_map(|m| m.values.get("policy/reference_kl")).copied().collect();
    assert_eq!(distance[0], 0.0);
    assert!(distance[2] > 0.0, "{distance:?}");
}

#[test]
fn targets_that_name_nothing_and_devices_that_are_not_there_end_the_run_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let error = run(&job(lora(&["w_pack"]), json!({})), dir.path(), None, &mut Recorder::default()).unwrap_err();
    assert!(error.is_permanent());
    for part in ["`train.lora.targets`", "`w_pack`", "q_proj", "qkv"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    if cfg!(any(feature = "cuda", feature = "metal")) {
        return;
    }
    let dataset = vgpo::data::open("digits").unwrap();
    for name in ["cuda:1", "metal"] {
        let request = TrainRequest {
            room: None,
            run: "run_test".to_owned(),
            base: None,
            engines: vgpo::train::engine::ForeignEngines::default(),
            rewards: vgpo::reward::Backends::default(),
            spec: spec(&json!({})),
            model_dir: starter(),
            device: name.parse::<DeviceName>().unwrap(),
            eval_dataset: std::sync::Arc::clone(&dataset),
            dataset: std::sync::Arc::clone(&dataset),
            work_dir: dir.path().to_owned(),
            resume: None,
            rows: Vec::new(),
        };
        let error = vgpo::train::run(request, &mut Recorder::default()).unwrap_err();
        assert!(!error.is_permanent(), "another worker may have the device");
        assert!(error.to_string().contains("built without support"), "{error}");
    }
}
