//! Frozen weights and low-rank adapters: gradients against the composed form, merged weights against adapters, PEFT's layout.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use vgpo::model::lora::{LoraConfig, peft};
use vgpo::model::sampler::{stream, uniform};
use vgpo::model::{Capture, ModelFolder, View, VisionLanguageModel, constant, kernels, linear_layers};

use super::on_large_stack;
use super::training::{gradients, loss, value};
use super::{Case, FAMILIES, Family, QWEN2_5, QWEN3, close, flat, hidden};

fn random(seed: u64, shape: &[usize]) -> Tensor {
    let mut rng = stream(&[seed]);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| uniform(&mut rng) as f32 - 0.5).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn config(targets: &[&str]) -> LoraConfig {
    LoraConfig { rank: 4, alpha: 6.0, targets: targets.iter().map(|t| (*t).to_owned()).collect() }
}

/// A family's model with adapters whose second factors are no longer zero.
fn adapted(family: Family, targets: &[&str]) -> ModelFolder {
    let mut folder = family.open();
    folder.add_adapters(&config(targets), 5).unwrap();
    for (index, (name, var)) in folder.parameters().trained().iter().enumerate() {
        if name.ends_with("lora_B.weight") {
            var.set(&(random(index as u64, var.dims()) * 0.2).unwrap()).unwrap();
        }
    }
    folder
}

#[test]
fn a_constant_operand_changes_no_value_and_no_gradient_but_gets_none() {
    type Composed = fn(&Tensor, &Tensor) -> candle_core::Result<Tensor>;
    let cases: [(&str, Composed, Composed, &[usize]); 4] = [
        ("project", constant::project, |x, w| x.matmul(&w.t()?), &[5, 7]),
        ("times", constant::times, Tensor::broadcast_mul, &[7]),
        ("times a column", constant::times, Tensor::broadcast_mul, &[6, 1]),
        ("plus", constant::plus, Tensor::broadcast_add, &[7]),
    ];
    for (name, ours, composed, shape) in cases {
        let x = Var::from_tensor(&random(1, &[6, 7])).unwrap();
        let c = random(2, shape);
        // Something before and behind it, so that the gradient passes through; x is used twice.
        let run = |op: Composed| {
            let y = op(&(x.as_tensor() * 1.5).unwrap(), &c).unwrap();
            let weights = random(3, y.dims());
            let loss = ((y.sqr().unwrap() * weights).unwrap().sum_all().unwrap() + x.sum_all().unwrap()).unwrap();
            let store = loss.backward().unwrap();
            (flat(&y), flat(store.get(x.as_tensor()).unwrap()), store.get_ids().count())
        };
        let (y, gradient, stored) = run(composed);
        let (own_y, own_gradient, own_stored) = run(ours);
        assert_eq!(y, own_y, "{name}");
        assert_eq!(gradient, own_gradient, "{name}");
        // Candle's own form keeps a gradient for the constant until the end, though nobody asked for it.
        assert_eq!(own_stored + 1, stored, "{name}");
    }
}

#[test]
fn a_frozen_linear_layer_takes_rows_of_any_shape() {
    let x = Var::from_tensor(&random(1, &[2, 3, 7])).unwrap();
    let (weight, bias) = (random(2, &[5, 7]), random(3, &[5]));
    let frozen = kernels::linear(x.as_tensor(), &weight, Some(&bias)).unwrap();
    let trained = {
        let (weight, bias) = (Var::from_tensor(&weight).unwrap(), Var::from_tensor(&bias).unwrap());
        let y = kernels::linear(x.as_tensor(), weight.as_tensor(), Some(bias.as_tensor())).unwrap();
        let store = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        assert!(store.get(weight.as_tensor()).is_some());
        (flat(&y), flat(store.get(x.as_tensor()).unwrap()))
    };
    let store = frozen.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!((flat(&frozen), flat(store.get(x.as_tensor()).unwrap())), trained);
    assert_eq!(frozen.dims(), [2, 3, 5]);
}

/// `W + alpha / rank * B A` for every layer, as a folder of its own.
fn merged(family: Family, folder: &ModelFolder) -> (tempfile::TempDir, ModelFolder) {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(family.fixture().join("checkpoint")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    folder.parameters().write(&dir.path().join("model.safetensors")).unwrap();
    let opened = ModelFolder::open(dir.path(), &Device::Cpu).unwrap();
    (dir, opened)
}

#[test]
fn adapter_gradients_follow_from_the_gradient_of_the_merged_weight() {
    on_large_stack(|| {
        for family in FAMILIES {
            let folder = adapted(family, &["all-linear"]);
            let cases = [family.case("p1_single"), family.case("p4_text")];
            let cases: Vec<&Case> = cases.iter().collect();
            let (value, of_adapters) = gradients(&folder, &cases);
            let (_dir, whole) = merged(family, &folder);
            let (whole_value, of_weights) = gradients(&whole, &cases);
            assert!((value - whole_value).abs() < 1e-5, "{value} and {whole_value}");
            // Nothing but adapters has a gradient, and every adapter has one.
            let names = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>();
            assert_eq!(
                names(of_adapters.tensors().keys().collect()),
                names(folder.parameters().trained().keys().collect())
            );
            let scale = folder.parameters().adapters().unwrap().config().scale();
            for layer in folder.parameters().adapters().unwrap().layers() {
                let var = |factor: &str| folder.parameters().trained()[&format!("{layer}.{factor}.weight")].clone();
                let of_weight = &of_weights.tensors()[&format!("{layer}.weight")];
                // y = x (W + s B A)^T: dL/dB = s dL/dW A^T, dL/dA = s B^T dL/dW.
                let want_b = (of_weight.matmul(&var("lora_A").t().unwrap()).unwrap() * scale).unwrap();
                let want_a = (var("lora_B").t().unwrap().matmul(of_weight).unwrap() * scale).unwrap();
                for (factor, want) in [("lora_A", want_a), ("lora_B", want_b)] {
                    let name = format!("{layer}.{factor}.weight");
                    let want = flat(&want);
                    let largest = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                    assert!(largest > 0.0, "{name}");
                    close(&name, &flat(&of_adapters.tensors()[&name]), &want, 1e-3 * largest);
                }
            }
        }
    });
}

#[test]
fn finite_differences_agree_for_adapters() {
    on_large_stack(|| {
        let folder = adapted(QWEN2_5, &["self_attn.q_proj", "visual.merger.mlp.2", "attn.qkv"]);
        let case = QWEN2_5.case("p1_single");
        let (_, gradients) = gradients(&folder, &[&case]);
        let model = folder.model(View::Detached).unwrap();
        for name in [
            "model.layers.1.self_attn.q_proj.lora_A.weight",
            "visual.merger.mlp.2.lora_B.weight",
            "visual.blocks.0.attn.qkv.lora_B.weight",
        ] {
            let var = &folder.parameters().trained()[name];
            let gradient = &gradients.tensors()[name];
            let before = var.as_detached_tensor().copy().unwrap();
            let norm = f64::from(gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()).sqrt();
            let side = |size: f64| {
                var.set(&(&before + (gradient * (size / norm)).unwrap()).unwrap()).unwrap();
                value(&loss(model.as_ref(), &[&case]))
            };
            let slope = (side(4e-3) - side(-4e-3)) / 8e-3;
            var.set(&before).unwrap();
            assert!((slope / norm - 1.0).abs() < 3e-2, "{name}: {slope} and {norm}");
        }
    });
}

fn states(model: &Arc<dyn VisionLanguageModel>, case: &Case) -> Vec<f32> {
    let (_, states) = hidden(model.as_ref(), &[&case.row], &mut Capture::none());
    flat(&model.logits(&states.squeeze(0).unwrap()).unwrap())
}

#[test]
fn a_new_adapter_changes_nothing_and_a_trained_one_equals_its_merged_weights() {
    on_large_stack(|| {
        for family in FAMILIES {
            let case = family.case("p1_single");
            let plain = states(&family.detached(), &case);
            let mut fresh = family.open();
            fresh.add_adapters(&config(&["all-linear"]), 5).unwrap();
            assert_eq!(states(&fresh.model(View::Detached).unwrap(), &case), plain);
            let folder = adapted(family, &["all-linear"]);
            let with_adapters = states(&folder.model(View::Detached).unwrap(), &case);
            assert!(with_adapters.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 1e-2), "the adapters must matter");
            assert_eq!(states(&folder.model(View::Tracked).unwrap(), &case), with_adapters);
            assert_eq!(states(&folder.model(View::Base).unwrap(), &case), plain, "the base has no adapters");
            let (_dir, whole) = merged(family, &folder);
            let largest = with_adapters.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            close("merged", &states(&whole.model(View::Detached).unwrap(), &case), &with_adapters, 2e-5 * largest);
        }
    });
}

#[test]
fn adapters_begin_as_in_peft_and_depend_on_the_seed_alone() {
    let begin = |seed: u64| -> BTreeMap<String, Vec<f32>> {
        let mut folder = QWEN2_5.open();
        folder.add_adapters(&config(&["down_proj"]), seed).unwrap();
        folder.parameters().trained().iter().map(|(name, var)| (name.clone(), flat(var.as_tensor()))).collect()
    };
    let first = begin(1);
    assert_eq!(first, begin(1));
    assert_ne!(first, begin(2));
    // Text and vision layers of that name, two factors each.
    assert_eq!(first.len(), 2 * (3 + 4));
    let a = &first["model.layers.0.mlp.down_proj.lora_A.weight"];
    let bound = 1.0 / 160_f32.sqrt();
    assert!(a.iter().all(|v| v.abs() <= bound) && a.iter().any(|v| v.abs() > 0.98 * bound));
    // Variance of U(-b, b) is b^2 / 3.
    let variance = a.iter().map(|v| v * v).sum::<f32>() / a.len() as f32;
    assert!((variance / (bound * bound / 3.0) - 1.0).abs() < 0.2, "{variance}");
    assert_ne!(a, &first["model.layers.1.mlp.down_proj.lora_A.weight"], "each layer has a stream of its own");
    assert!(first.iter().filter(|(name, _)| name.contains("lora_B")).all(|(_, b)| b.iter().all(|v| *v == 0.0)));
}

#[test]
fn every_linear_layer_can_be_named_and_nothing_else() {
    for family in FAMILIES {
        let layers = linear_layers(&family.fixture().join("checkpoint")).unwrap();
        let vars = family.open();
        for layer in &layers {
            assert_eq!(vars.parameters().vars()[&format!("{}.weight", layer.name)].dims(), [layer.out, layer.inner]);
        }
        let matrices = vars.parameters().vars().iter().filter(|(name, var)| {
            let table = name.contains("embed") || name.contains("lm_head");
            var.rank() == 2 && !table
        });
        assert_eq!(layers.len(), matrices.count(), "all matrices but embeddings and the head");
    }
    let mut folder = QWEN3.open();
    folder.freeze_vision();
    let error = folder.add_adapters(&config(&["qkv"]), 0).unwrap_err().to_string();
    assert!(error.contains("`qkv`") && error.contains("q_proj") && !error.contains("linear_fc1"), "{error}");
    folder.add_adapters(&config(&["all-linear"]), 0).unwrap();
    assert!(folder.parameters().vision_is_frozen());
}

#[test]
fn a_tower_that_does_not_change_sees_each_image_once() {
    for family in FAMILIES {
        let case = family.case("p3_two_images");
        let encode = |folder: &ModelFolder, view| folder.model(view).unwrap().encode_images(&case.row.images).unwrap();
        let open = family.open();
        let want = encode(&open, View::Detached);
        assert!(open.parameters().features().is_empty(), "a tower that is trained keeps nothing");
        let mut frozen = family.open();
        frozen.add_adapters(&config(&["q_proj"]), 1).unwrap();
        let first = encode(&frozen, View::Tracked);
        for (again, first) in encode(&frozen, View::Base).iter().zip(&first) {
            assert_eq!(again.id(), first.id(), "all views share what is known");
        }
        for (got, want) in first.iter().zip(&want) {
            assert!(!got.track_op());
            close("features", &flat(got), &flat(want), 1e-5);
        }
        assert_eq!(frozen.parameters().features().len(), case.row.images.len());
        // An image of the same values is another image; those that nobody holds are forgotten with the next one.
        drop(case);
        let other = family.case("p1_single");
        frozen.model(View::Detached).unwrap().encode_images(&other.row.images).unwrap();
        assert_eq!(frozen.parameters().features().len(), 1);
    }
}

#[test]
fn adapters_are_written_as_peft_reads_them_and_come_back_bit_for_bit() {
    for (family, layer, key) in [
        (QWEN2_5, "self_attn.q_proj", "base_model.model.model.language_model.layers.2.self_attn.q_proj"),
        (
            QWEN3,
            "deepstack_merger_list.1.linear_fc2",
            "base_model.model.model.visual.deepstack_merger_list.1.linear_fc2",
        ),
    ] {
        let folder = adapted(family, &[layer]);
        let dir = tempfile::tempdir().unwrap();
        let base = peft::BaseModel { name: "org/name".to_owned(), revision: Some("c0ffee".to_owned()) };
        peft::write(dir.path(), folder.parameters().adapters().unwrap(), &base).unwrap();
        let text = std::fs::read_to_string(dir.path().join("adapter_config.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((json["peft_type"].as_str(), json["r"].as_u64()), (Some("LORA"), Some(4)));
        assert_eq!((json["lora_alpha"].as_f64(), json["bias"].as_str()), (Some(6.0), Some("none")));
        assert_eq!((&json["base_model_name_or_path"], &json["revision"]), (&"org/name".into(), &"c0ffee".into()));
        let path = dir.path().join("adapter_model.safetensors");
        let tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        let modules = json["target_modules"].as_array().unwrap();
        assert_eq!(tensors.len(), 2 * modules.len());
        for module in modules {
            let module = module.as_str().unwrap();
            let factor = |name: &str| &tensors[&format!("base_model.model.{module}.{name}.weight")];
            assert_eq!((factor("lora_A").dims()[0], factor("lora_B").dims()[1]), (4, 4));
        }
        assert!(tensors.contains_key(&format!("{key}.lora_A.weight")), "{:?}", tensors.keys());
        let mut again = family.open();
        again.add_adapters(&config(&[layer]), 9).unwrap();
        peft::read(dir.path(), again.parameters().adapters().unwrap()).unwrap();
        for (name, var) in folder.parameters().trained() {
            assert_eq!(flat(var.as_tensor()), flat(again.parameters().trained()[name].as_tensor()), "{name}");
        }
        // Another rank, fewer and more layers are refused.
        let refused = |config: LoraConfig| {
            let mut other = family.open();
            other.add_adapters(&config, 9).unwrap();
            peft::read(dir.path(), other.parameters().adapters().unwrap()).unwrap_err().to_string()
        };
        assert!(refused(LoraConfig { rank: 8, ..config(&[layer]) }).contains("rank 8"));
        assert!(refused(config(&["all-linear"])).contains("has no `base_model.model."));
        assert!(refused(config(&["v_proj"])).contains("adapter_model.safetensors"));
    }
}
