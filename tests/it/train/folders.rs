//! Training from folders that other tools wrote: templates that begin the response, and weights in FP8.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use super::{Recorder, run_on, spec, starter, weights};

/// The starter's folder, changed.
fn folder(change: impl FnOnce(&Path)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(starter()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    change(dir.path());
    dir
}

fn change(dir: &Path, file: &str, edit: impl FnOnce(&mut Value)) {
    let path = dir.join(file);
    let mut json: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    edit(&mut json);
    std::fs::write(&path, json.to_string()).unwrap();
}

/// A starter whose template begins the response with `begun`.
fn beginning_with(begun: &str) -> tempfile::TempDir {
    folder(|dir| {
        change(dir, "chat_template.json", |json| {
            let template = json["chat_template"].as_str().unwrap();
            let head = template.rfind("assistant").unwrap() + "assistant\\n".len();
            assert!(template[..head].ends_with("\\n"), "{template}");
            json["chat_template"] = json!(format!("{}{begun}{}", &template[..head], &template[head..]));
        });
    })
}

#[test]
fn a_response_is_judged_with_what_the_prompt_began() {
    let job = json!({ "method": { "type": "eval" }, "eval_rows": 12, "reward": { "type": "format" } });
    for begun in ["", "<think>", "<think>\\n\\n</think>\\n\\n"] {
        let (model, dir) = (beginning_with(begun), tempfile::tempdir().unwrap());
        let mut recorder = Recorder::default();
        run_on(model.path(), &spec(&job), dir.path(), None, &mut recorder).unwrap();
        assert!(recorder.last("eval/format") > 0.7, "{begun:?}: {}", recorder.last("eval/format"));
    }
}

#[test]
fn a_demonstration_does_not_repeat_what_the_prompt_began() {
    let job = json!({ "method": { "type": "sft" }, "steps": 1, "checkpoint_every": 0 });
    let tokens = |begun: &str| {
        let (model, dir) = (beginning_with(begun), tempfile::tempdir().unwrap());
        let mut recorder = Recorder::default();
        run_on(model.path(), &spec(&job), dir.path(), None, &mut recorder).unwrap();
        recorder.metrics.last().unwrap().tokens
    };
    let whole = tokens("");
    assert_eq!(whole, tokens("<think>") + 4, "one token less in each of four demonstrations");
    assert_eq!(whole, tokens("<think>\\n\\n</think>\\n\\n"), "a thought of their own stays");
}

#[test]
fn training_from_fp8_writes_plain_numbers_that_say_so() {
    let model = folder(|dir| {
        let file = dir.join("model.safetensors");
        let mut all = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
        let names: Vec<String> = all.keys().filter(|name| name.ends_with("mlp.up_proj.weight")).cloned().collect();
        for name in names {
            let packed = all[&name].to_dtype(DType::F8E4M3).unwrap();
            all.insert(name.replace("weight", "weight_scale_inv"), Tensor::ones(1, DType::F32, &Device::Cpu).unwrap());
            all.insert(name, packed);
        }
        candle_core::safetensors::save(&all, &file).unwrap();
        change(dir, "config.json", |config| config["quantization_config"] = json!({ "quant_method": "fp8" }));
        std::fs::write(dir.join("hf_quant_config.json"), r#"{"quantization": {"quant_algo": "FP8"}}"#).unwrap();
        std::fs::write(dir.join("pytorch_model.bin"), "old weights").unwrap();
    });
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::default();
    let job = json!({ "method": { "type": "sft" }, "steps": 1 });
    run_on(model.path(), &spec(&job), dir.path(), None, &mut recorder).unwrap();
    let checkpoint = &recorder.checkpoints.last().unwrap().1;
    let config: Value =
        serde_json::from_str(&std::fs::read_to_string(checkpoint.join("config.json")).unwrap()).unwrap();
    assert!(config.get("quantization_config").is_none() && config["torch_dtype"] == "float32", "{config}");
    assert!(!checkpoint.join("hf_quant_config.json").exists() && !checkpoint.join("pytorch_model.bin").exists());
    assert!(!weights(checkpoint).keys().any(|name| name.contains("scale")));
    vgpo::model::describe(checkpoint).unwrap();
}
