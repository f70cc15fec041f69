//! Every stored stage, at the tolerances of the reference's own noise study.

use candle_core::{D, DType, Device, Tensor};
use vgpo::model::input::positions;
use vgpo::model::logprob::{TokenTarget, Vocabulary, token_scores};
use vgpo::model::qwen_vl::rope::{text_rope, vision_rope};
use vgpo::model::qwen_vl::vision::{VisionStages, windows};
use vgpo::model::qwen_vl::{Config, QwenVl};
use vgpo::model::{Batch, Capture, Parameters, View, focus};

use super::{CASES, FAMILIES, Family, QWEN_VL, close, flat, hidden};

fn config(family: Family) -> Config {
    let path = family.fixture().join("checkpoint/config.json");
    let json = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    Config::parse(&path, &json, None).unwrap()
}

#[test]
fn flat_and_nested_configurations_mean_the_same() {
    for family in QWEN_VL {
        let path = family.fixture().join("config_transformers5.json");
        let json = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let nested = Config::parse(&path, &json, None).unwrap();
        assert_eq!(nested, config(family));
    }
}

#[test]
fn positions_match() {
    for family in FAMILIES {
        let model = family.detached();
        for name in CASES {
            let case = family.case(name);
            let (rows, next) = positions(&case.row, model.info()).unwrap();
            let want: Vec<Vec<i64>> = case.tensors["position_ids"].to_dtype(DType::I64).unwrap().to_vec2().unwrap();
            for (position, row) in rows.iter().enumerate() {
                for axis in 0..3 {
                    assert_eq!(i64::from(row[axis]), want[axis][position], "{name} position {position} axis {axis}");
                }
            }
            let delta: Vec<i64> = case.tensors["mrope_delta"].to_dtype(DType::I64).unwrap().to_vec1().unwrap();
            assert_eq!(i64::from(next), case.row.ids.len() as i64 + delta[0]);
        }
    }
}

#[test]
fn rotary_tables_match() {
    for family in QWEN_VL {
        let config = config(family);
        let model = family.detached();
        for name in CASES {
            let case = family.case(name);
            let batch = Batch::new(&[&case.row], model.info()).unwrap();
            // Both halves of a head turn by the same angles, so our tables hold one of them.
            let both = |half: &Tensor| flat(&Tensor::cat(&[half, half], D::Minus1).unwrap());
            let rope = text_rope(&config.text, &batch, &Device::Cpu).unwrap();
            let (cos, sin) = rope.tables();
            close(&format!("{name} text cos"), &both(cos), &case.vec("text.rope_cos"), 1e-5);
            close(&format!("{name} text sin"), &both(sin), &case.vec("text.rope_sin"), 1e-5);
            if case.tensors.contains_key("vision.rope_cos") {
                let grid = case.row.images[0].grid;
                let order: Vec<u32> = (0..grid.patches() as u32).collect();
                let rope = vision_rope(&config.vision, grid, &order, &Device::Cpu).unwrap();
                let (cos, sin) = rope.tables();
                close(&format!("{name} vision cos"), &both(cos), &case.vec("vision.rope_cos"), 1e-5);
                close(&format!("{name} vision sin"), &both(sin), &case.vec("vision.rope_sin"), 1e-5);
            }
        }
    }
}

#[test]
fn vision_stages_match() {
    for family in QWEN_VL {
        let config = config(family);
        let parameters = Parameters::read(&family.fixture().join("checkpoint"), &Device::Cpu, DType::F32).unwrap();
        let model = QwenVl::new(&config, 0, &parameters.view(View::Detached), &Device::Cpu).unwrap();
        for name in ["p1_single", "p2_large"] {
            let case = family.case(name);
            let image = &case.row.images[0];
            if let Some(window) = config.vision.window_size {
                let window = window / config.vision.merge_size / config.vision.patch_size;
                let found = windows(image.grid, config.vision.merge_size, window);
                let stored =
                    |key: &str| -> Vec<i64> { case.tensors[key].to_dtype(DType::I64).unwrap().to_vec1().unwrap() };
                assert_eq!(
                    found.index.iter().map(|i| i64::from(*i)).collect::<Vec<_>>(),
                    stored("vision.window_index")
                );
                let bounds: Vec<i64> = found.bounds.iter().map(|b| *b as i64).collect();
                assert_eq!(bounds, stored("vision.cu_window_seqlens"));
            }
            let mut stages = VisionStages::default();
            let out = model.vision().forward(image.grid, &[image.as_ref()], &mut stages).unwrap();
            close("patch_embed", &flat(&stages.patch_embed.unwrap()), &case.vec("vision.patch_embed"), 3e-4);
            for (i, block) in stages.blocks.iter().enumerate() {
                close(&format!("{name} block {i}"), &flat(block), &case.vec(&format!("vision.block{i}")), 3e-4);
            }
            if case.tensors.contains_key("vision.merger_raw") {
                close("merger_raw", &flat(&stages.merger_raw.unwrap()), &case.vec("vision.merger_raw"), 3e-4);
            }
            let width = config.text.hidden_size;
            let part = |i: usize| flat(&out.narrow(2, i * width, width).unwrap());
            close("output", &part(0), &case.vec("vision.output"), 3e-4);
            assert_eq!(out.dim(2).unwrap(), width * (1 + config.vision.deepstack.len()));
            for i in 0..config.vision.deepstack.len() {
                close(&format!("deepstack {i}"), &part(1 + i), &case.vec(&format!("vision.deepstack{i}")), 3e-4);
            }
        }
    }
}

#[test]
fn hidden_states_logits_logprobs_and_focus_match() {
    for family in FAMILIES {
        let model = family.detached();
        for name in family.case_names() {
            let case = family.case(name);
            let mut capture = Capture { layers: true, ..Capture::none() };
            let (batch, states) = hidden(model.as_ref(), &[&case.row], &mut capture);
            for (i, layer) in capture.layer_outputs.iter().enumerate() {
                if case.tensors.contains_key(&format!("text.layer{i}_out")) {
                    close(&format!("{name} layer {i}"), &flat(layer), &case.vec(&format!("text.layer{i}_out")), 3e-4);
                }
            }
            close(&format!("{name} last"), &flat(&states), &case.vec("last_hidden_state"), 3e-4);
            let flat_states = states.reshape((batch.seq_len, ())).unwrap();
            // Of a long case those of the response alone.
            let tail = if case.tensors.contains_key("logits") { 0 } else { case.prompt_len - 1 };
            let want = case.tensors.get("logits").or(case.tensors.get("logits_tail")).unwrap();
            let read = flat_states.narrow(0, tail, batch.seq_len - tail).unwrap();
            close(&format!("{name} logits"), &flat(&model.logits(&read).unwrap()), &flat(want), 5e-4);
            let targets: Vec<TokenTarget> = case
                .response()
                .iter()
                .enumerate()
                .map(|(t, id)| TokenTarget { slot: (case.prompt_len + t - 1) as u32, token: *id })
                .collect();
            let plain = Vocabulary::plain(1.0);
            let found = token_scores(model.as_ref(), &states, &targets, &plain, false).unwrap().logprobs;
            let single: Vec<f32> = found.iter().map(|v| *v as f32).collect();
            close(&format!("{name} logprobs"), &single, &case.vec("response_logprobs"), family.logprob_noise());
            let nll = -found.iter().sum::<f64>() / targets.len() as f64;
            assert!((nll - case.json["loss_mean_nll"].as_f64().unwrap()).abs() < f64::from(family.logprob_noise()));
            let image: Vec<u32> = batch.image_slots.clone();
            let reading: Vec<u32> = (case.prompt_len..case.row.ids.len()).map(|c| c as u32).collect();
            let similarity = focus::similarity(&states, &[focus::FocusRow { image, states: reading }]).unwrap();
            if case.tensors.contains_key("vgpo.rho") && name != "p4_text" && name != "p5_long" {
                let got: Vec<f32> = similarity[0].as_ref().unwrap().iter().map(|s| *s as f32).collect();
                close(&format!("{name} rho"), &got, &case.vec("vgpo.rho"), 1e-4);
            } else {
                assert!(similarity[0].is_none(), "a text-only prompt has no similarity");
            }
        }
    }
}

#[test]
fn attention_matches_and_capture_changes_nothing() {
    for family in FAMILIES {
        let model = family.detached();
        let case = family.case("p1_single");
        let (_, plain) = hidden(model.as_ref(), &[&case.row], &mut Capture::none());
        let layers = model.info().attention_layers.clone();
        let mut capture = Capture::attention(layers.clone(), 0);
        let (_, captured) = hidden(model.as_ref(), &[&case.row], &mut capture);
        assert_eq!(flat(&plain), flat(&captured), "asking for attention must not change a bit");
        assert_eq!(capture.attention.len(), layers.len());
        for (i, layer) in layers.iter().zip(&capture.attention) {
            close(&format!("attention {i}"), &flat(layer), &case.vec(&format!("attn.layer{i}")), 1e-4);
        }
    }
}

#[test]
fn greedy_tokens_match() {
    for family in FAMILIES {
        let model = family.detached();
        for name in family.case_names() {
            let case = family.case(name);
            let mut row = case.prompt();
            let want: Vec<u64> =
                case.json["greedy_ids"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect();
            for (step, want) in want.iter().enumerate() {
                let (batch, states) = hidden(model.as_ref(), &[&row], &mut Capture::none());
                let last = states.narrow(1, batch.seq_len - 1, 1).unwrap().reshape((1, ())).unwrap();
                let logits = flat(&model.logits(&last).unwrap());
                let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
                assert_eq!(best as u64, *want, "{name} step {step}");
                row.ids.push(best as u32);
            }
        }
    }
}
