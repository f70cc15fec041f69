//! Gradients and updates against the reference, and finite differences.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use vgpo::domain::spec::{LearningRateSchedule, OptimizerSpec};
use vgpo::model::{Batch, Capture, ModelFolder, Sequence, View, VisionLanguageModel};
use vgpo::train::optimizer::{AdamW, DecayScope, Gradients};

use super::{
    CASES, Case, FAMILIES, Family, QWEN2_5, QWEN3, QWEN3_5, close, composed_scores, flat, on_large_stack, targets,
};

/// Mean negative log-likelihood of each row's response, summed over rows.
pub fn loss(model: &dyn VisionLanguageModel, cases: &[&Case]) -> Tensor {
    let rows: Vec<&Sequence> = cases.iter().map(|c| &c.row).collect();
    let batch = Batch::new(&rows, model.info()).unwrap();
    let features = model.features(&batch).unwrap();
    let hidden = model.forward(&batch, features.as_ref(), None, &mut Capture::none()).unwrap();
    let mut total = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu).unwrap();
    let targets = targets(cases, &batch);
    let (logprobs, _) = composed_scores(model, &hidden, &targets, 1.0);
    let mut at = 0;
    for case in cases {
        let len = case.response().len();
        total = (total - logprobs.narrow(0, at, len).unwrap().mean_all().unwrap()).unwrap();
        at += len;
    }
    total
}

pub fn value(t: &Tensor) -> f64 {
    f64::from(t.to_scalar::<f32>().unwrap())
}

pub fn gradients(folder: &ModelFolder, cases: &[&Case]) -> (f64, Gradients) {
    let model = folder.model(View::Tracked).unwrap();
    let loss = loss(model.as_ref(), cases);
    (value(&loss), Gradients::of(&loss, folder.parameters()).unwrap())
}

/// `name|rows=..|cols=..` of a stored slice, applied to one of our gradients flattened to [rows, rest].
pub fn slice(gradient: &Tensor, key: &str) -> (String, Vec<f32>) {
    let parts: Vec<&str> = key.split('|').collect();
    let list = |text: &str| -> Vec<usize> {
        match text.split_once(':') {
            Some((a, b)) => (a.parse().unwrap()..b.parse().unwrap()).collect(),
            None => text.split(',').map(|v| v.parse().unwrap()).collect(),
        }
    };
    let rows = list(parts[1].strip_prefix("rows=").unwrap());
    let cols = list(parts[2].strip_prefix("cols=").unwrap());
    let first = if gradient.rank() == 1 { 1 } else { gradient.dim(0).unwrap() };
    let matrix: Vec<Vec<f32>> = gradient.reshape((first, ())).unwrap().to_vec2().unwrap();
    (parts[0].to_owned(), rows.iter().flat_map(|r| cols.iter().map(|c| matrix[*r][*c]).collect::<Vec<_>>()).collect())
}

#[test]
fn gradients_match_the_reference() {
    on_large_stack(|| {
        for family in FAMILIES {
            for name in family.case_names() {
                let case = family.case(name);
                let (found, gradients) = gradients(&family.open(), &[&case]);
                assert!(
                    (found - case.json["loss_mean_nll"].as_f64().unwrap()).abs() < f64::from(family.logprob_noise())
                );
                let want = case.json["grad_norm_total"].as_f64().unwrap();
                assert!((gradients.norm().unwrap() / want - 1.0).abs() < 1e-4, "{name}: total norm");
                let noise = f64::from(family.gradient_noise());
                for (key, norm) in case.json["grad_norms"].as_object().unwrap() {
                    let Some(norm) = norm.as_f64() else { continue };
                    let own = flat(&gradients.tensors()[&Family::canonical(key)])
                        .iter()
                        .map(|v| f64::from(*v).powi(2))
                        .sum::<f64>()
                        .sqrt();
                    assert!((own - norm).abs() <= noise * norm.max(1e-3), "{name} {key}: {own} and {norm}");
                }
                let slices = candle_core::safetensors::load(
                    family.fixture().join(name).join("grad_slices.safetensors"),
                    &Device::Cpu,
                )
                .unwrap();
                assert!(slices.len() > 5);
                for (key, want) in slices {
                    let parameter = key.split('|').next().unwrap();
                    let (_, got) = slice(&gradients.tensors()[&Family::canonical(parameter)], &key);
                    let want = flat(&want);
                    let largest = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                    close(&format!("{name} {key}"), &got, &want, family.gradient_noise() * largest.max(1e-6));
                }
            }
        }
    });
}

#[test]
fn every_parameter_gets_a_gradient_and_text_only_rows_leave_the_vision_tower_alone() {
    on_large_stack(|| {
        for family in FAMILIES {
            let folder = family.open();
            let (_, with_image) = gradients(&folder, &[&family.case("p1_single"), &family.case("p4_text")]);
            for name in folder.parameters().vars().keys() {
                let gradient = with_image.tensors().get(name).unwrap_or_else(|| panic!("{name} has no gradient"));
                assert!(flat(gradient).iter().any(|v| *v != 0.0), "{name} has a zero gradient");
            }
            let case = family.case("p4_text");
            let (_, text) = gradients(&folder, &[&case]);
            for name in case.json["params_without_grad"].as_array().unwrap() {
                assert!(!text.tensors().contains_key(&Family::canonical(name.as_str().unwrap())));
            }
        }
    });
}

#[test]
fn finite_differences_agree() {
    on_large_stack(|| {
        for family in FAMILIES {
            let folder = family.open();
            let case = family.case("p1_single");
            let (_, gradients) = gradients(&folder, &[&case]);
            let model = folder.model(View::Detached).unwrap();
            let own: &[&str] = match family {
                QWEN2_5 => &["lm_head.weight", "visual.merger.mlp.2.weight"],
                QWEN3 => &[
                    "visual.pos_embed.weight",
                    "visual.deepstack_merger_list.1.norm.bias",
                    "model.layers.1.self_attn.q_norm.weight",
                ],
                QWEN3_5 => &[
                    "model.layers.0.linear_attn.conv1d.weight",
                    "model.layers.1.linear_attn.A_log",
                    "model.layers.2.linear_attn.in_proj_qkv.weight",
                    "model.layers.3.self_attn.q_proj.weight",
                ],
                _ => &["visual.blocks.1.norm2.bias", "visual.blocks.1.mlp.fc1.weight"],
            };
            let attends = model.info().attention_layers[usize::from(family != QWEN3_5)];
            let key = format!("model.layers.{attends}.self_attn.k_proj.weight");
            let shared = [
                "visual.patch_embed.proj.weight",
                "visual.blocks.2.attn.qkv.bias",
                key.as_str(),
                "model.embed_tokens.weight",
            ];
            for &name in own.iter().chain(&shared) {
                let var = &folder.parameters().vars()[name];
                let gradient = &gradients.tensors()[name];
                let before = var.as_detached_tensor().copy().unwrap();
                // Along the gradient itself the derivative is its norm, the largest there is: least noise in f32.
                let norm = f64::from(gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()).sqrt();
                let h = 2e-3;
                let mut sides = Vec::new();
                for sign in [1.0, -1.0] {
                    var.set(&(&before + (gradient * (sign * h / norm)).unwrap()).unwrap()).unwrap();
                    sides.push(value(&loss(model.as_ref(), &[&case])));
                }
                var.set(&before).unwrap();
                let slope = (sides[0] - sides[1]) / (2.0 * h);
                assert!((slope / norm - 1.0).abs() < 2e-2, "{name}: {slope} and {norm}");
            }
        }
    });
}

#[test]
fn adamw_steps_match_torch() {
    on_large_stack(|| {
        for family in FAMILIES {
            for name in CASES {
                let case = family.case(name);
                let settings = &case.json["adamw"];
                let spec = OptimizerSpec {
                    learning_rate: settings["lr"].as_f64().unwrap(),
                    betas: [0.9, 0.999],
                    weight_decay: settings["weight_decay"].as_f64().unwrap(),
                    warmup_steps: 0,
                    schedule: LearningRateSchedule::Constant,
                    schedule_floor: 0.0,
                    max_grad_norm: settings["max_grad_norm"].as_f64().unwrap(),
                    offload: false,
                    shard: false,
                };
                let folder = family.open();
                let mut optimizer = AdamW::new(&spec, DecayScope::All);
                for (i, step) in settings["steps"].as_array().unwrap().iter().enumerate() {
                    let (loss, gradients) = gradients(&folder, &[&case]);
                    let want = step["loss"].as_f64().unwrap();
                    assert!((loss / want - 1.0).abs() < 2e-3, "{name} step {i}: loss {loss}, torch {want}");
                    let norm = optimizer.step(folder.parameters(), &gradients, spec.learning_rate).unwrap();
                    let want = step["grad_norm_before_clip"].as_f64().unwrap();
                    // Adam divides by tiny moments; a gated norm magnifies what that makes of rounding.
                    let near = if family == QWEN3_5 { 1e-2 } else { 5e-3 };
                    assert!((norm / want - 1.0).abs() < near, "{name} step {i}: norm {norm}, torch {want}");
                }
            }
        }
    });
}

#[test]
fn an_optimizer_goes_on_exactly_where_it_was_saved() {
    on_large_stack(|| {
        for family in FAMILIES {
            let case = family.case("p4_text");
            let spec = OptimizerSpec {
                learning_rate: 1e-3,
                betas: [0.9, 0.95],
                weight_decay: 0.01,
                warmup_steps: 0,
                schedule: LearningRateSchedule::Constant,
                schedule_floor: 0.0,
                max_grad_norm: 1.0,
                offload: false,
                shard: false,
            };
            let run = |save_after: Option<usize>| -> BTreeMap<String, Vec<f32>> {
                let folder = family.open();
                let mut optimizer = AdamW::new(&spec, DecayScope::Matrices);
                let dir = tempfile::tempdir().unwrap();
                for step in 0..4 {
                    let (_, gradients) = gradients(&folder, &[&case]);
                    optimizer.step(folder.parameters(), &gradients, 1e-3).unwrap();
                    if save_after == Some(step) {
                        let path = dir.path().join("optimizer.safetensors");
                        optimizer.write(&path).unwrap();
                        optimizer = AdamW::new(&spec, DecayScope::Matrices);
                        optimizer.read(&path, &Device::Cpu).unwrap();
                    }
                }
                folder.parameters().vars().iter().map(|(k, v)| (k.clone(), flat(v.as_tensor()))).collect()
            };
            assert!(run(None) == run(Some(1)), "the weights must be equal bit for bit");
        }
    });
}

#[test]
fn both_views_see_an_update() {
    for family in FAMILIES {
        let folder = family.open();
        let (tracked, detached) = (folder.model(View::Tracked).unwrap(), folder.model(View::Detached).unwrap());
        let case = family.case("p4_text");
        let states = |model: &Arc<dyn VisionLanguageModel>| {
            flat(&super::hidden(model.as_ref(), &[&case.row], &mut Capture::none()).1)
        };
        assert_eq!(states(&tracked), states(&detached));
        let before = states(&detached);
        let var = &folder.parameters().vars()["model.norm.weight"];
        var.set(&(var.as_detached_tensor() * 2.0).unwrap()).unwrap();
        assert_ne!(states(&detached), before);
        assert_eq!(states(&tracked), states(&detached));
    }
}
