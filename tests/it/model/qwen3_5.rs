//! What is special about Qwen3.5: the stages of its delta nets, states behind a prompt, groups that share one,
//! settings, files.

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use vgpo::model::generate::Generation;
use vgpo::model::lora::LoraConfig;
use vgpo::model::qwen_vl::rope::rotary_table;
use vgpo::model::qwen_vl::vision::VisionStages;
use vgpo::model::qwen3_5::config::LayerKind;
use vgpo::model::qwen3_5::{Config, Qwen35};
use vgpo::model::weight::Weight;
use vgpo::model::{Batch, Capture, ModelFolder, Parameters, Sequence, Tape, Tree, View, describe, linear_layers};

use super::loading::{copy_checkpoint, error_of, tensors};
use super::{Case, Family, QWEN3_5, close, composed_scores, flat, hidden, on_large_stack};

fn json_of(file: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(QWEN3_5.fixture().join(file)).unwrap()).unwrap()
}

fn parse(config: &Value) -> Result<Config, String> {
    let generation = json_of("checkpoint/generation_config.json");
    let path = std::path::Path::new("m/config.json");
    Config::parse(path, config, Some(&generation)).map_err(|error| error.to_string())
}

fn model() -> (Config, Qwen35) {
    let config = parse(&json_of("checkpoint/config.json")).unwrap();
    let parameters = Parameters::read(&QWEN3_5.fixture().join("checkpoint"), &Device::Cpu, DType::F32).unwrap();
    let model = Qwen35::new(&config, 0, &parameters.view(View::Detached), &Device::Cpu).unwrap();
    (config, model)
}

#[test]
fn the_published_and_the_newer_form_mean_the_same() {
    let (older, newer) =
        (parse(&json_of("checkpoint/config.json")).unwrap(), parse(&json_of("config_transformers5.json")).unwrap());
    assert_eq!(older, newer);
    assert_eq!(older.notes, Vec::<String>::new());
    assert_eq!(older.eos_token_ids, [523, 525]);
}

#[test]
fn rotary_tables_and_vision_stages_match() {
    use vgpo::model::VisionLanguageModel as _;
    let (config, model) = model();
    for name in QWEN3_5.case_names() {
        let case = QWEN3_5.case(name);
        let batch = Batch::new(&[&case.row], model.info()).unwrap();
        let rope = rotary_table(&config.text.rotary, &batch, &Device::Cpu).unwrap();
        let both = |half: &Tensor| flat(&Tensor::cat(&[half, half], 2).unwrap());
        let (cos, sin) = rope.tables();
        close(&format!("{name} cos"), &both(cos), &case.vec("text.rope_cos"), 1e-5);
        close(&format!("{name} sin"), &both(sin), &case.vec("text.rope_sin"), 1e-5);
    }
    for name in ["p1_single", "p2_large"] {
        let case = QWEN3_5.case(name);
        let image = &case.row.images[0];
        let mut stages = VisionStages::default();
        let out = model.vision().unwrap().forward(image.grid, &[image.as_ref()], &mut stages).unwrap();
        close("patch_embed", &flat(&stages.patch_embed.unwrap()), &case.vec("vision.patch_embed"), 3e-4);
        for (i, block) in stages.blocks.iter().enumerate() {
            close(&format!("{name} block {i}"), &flat(block), &case.vec(&format!("vision.block{i}")), 3e-4);
        }
        close("output", &flat(&out), &case.vec("vision.output"), 3e-4);
    }
}

#[test]
fn every_stage_of_a_delta_net_matches() {
    use vgpo::model::VisionLanguageModel as _;
    let (config, model) = model();
    let case = QWEN3_5.case("p1_single");
    let batch = Batch::new(&[&case.row], model.info()).unwrap();
    let features = model.features(&batch).unwrap();
    let embedding = &tensors(&QWEN3_5.fixture().join("checkpoint"))["model.language_model.embed_tokens.weight"];
    let x = vgpo::model::qwen_vl::text::embed(&Weight::Dense(embedding.clone()), &batch, features.as_ref()).unwrap();
    let stages = model.decoder().delta_stages(0, &x, &batch).unwrap().unwrap();
    for (name, found) in [
        ("qkv_conv", &stages.convolved),
        ("g", &stages.decay),
        ("beta", &stages.beta),
        ("core", &stages.read),
        ("normed", &stages.normed),
        ("out", &stages.out),
    ] {
        close(name, &flat(found), &case.vec(&format!("delta.layer0.{name}")), 3e-4);
    }
    let attends = config.text.layers_of(LayerKind::Full);
    assert_eq!(attends, [3, 7]);
    assert!(model.decoder().delta_stages(3, &x, &batch).unwrap().is_none());
}

/// Columns and state of each layer of a cache of one row, against the reference's.
fn compare_states(what: &str, generation: &Generation<'_>, case: &Case, key: &str) {
    let mut seen = 0;
    for layer in 0..8 {
        let Some(want) = case.tensors.get(&format!("{key}.layer{layer}.recurrent")) else { continue };
        let states = generation.cache().recurrent(layer).unwrap();
        close(&format!("{what} state {layer}"), &flat(&states[1]), &flat(want), 1e-4);
        // The reference keeps one column more, channels first.
        let want = case.tensors[&format!("{key}.layer{layer}.conv")].t().unwrap().narrow(0, 1, 3).unwrap();
        close(&format!("{what} columns {layer}"), &flat(&states[0]), &flat(&want.contiguous().unwrap()), 1e-4);
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn states_behind_the_prompt_and_behind_the_response_match() {
    let model = QWEN3_5.detached();
    for name in QWEN3_5.case_names() {
        let case = QWEN3_5.case(name);
        let prompt = case.prompt();
        let steps = case.response().len();
        let (mut generation, _) = Generation::prefill(model.as_ref(), &[&prompt], steps, &mut Capture::none()).unwrap();
        compare_states(name, &generation, &case, "state");
        if case.tensors.contains_key("state_end.layer0.recurrent") {
            for token in case.response() {
                generation.advance(&[*token], &mut Capture::none()).unwrap();
            }
            compare_states(&format!("{name} end"), &generation, &case, "state_end");
        }
    }
}

#[test]
fn a_prompt_in_parts_and_a_response_in_one_go_equal_one_pass() {
    let model = QWEN3_5.detached();
    for name in ["p1_single", "p5_long"] {
        let case = QWEN3_5.case(name);
        let batch = Batch::new(&[&case.row], model.info()).unwrap();
        let features = model.features(&batch).unwrap();
        let whole = case.vec("last_hidden_state");
        for cuts in [vec![1], vec![2, 1], vec![20, 7, 1, 1], vec![case.prompt_len]] {
            let mut cache = model.new_cache(1, batch.seq_len).unwrap();
            let (mut found, mut cuts) = (Vec::new(), cuts.into_iter());
            while cache.len() < batch.seq_len {
                let left = batch.seq_len - cache.len();
                let part = batch.part(cache.len()..cache.len() + cuts.next().unwrap_or(left).min(left));
                let features = features.as_ref().filter(|_| !part.image_slots.is_empty());
                let states = model.forward(&part, features, Some(&mut cache), &mut Capture::none()).unwrap();
                found.extend(flat(&states));
            }
            close(&format!("{name} in parts"), &found, &whole, 3e-4);
        }
    }
}

/// One prompt, three responses behind it: the loss and every gradient of three separate passes.
#[test]
fn a_group_that_shares_its_prompt_has_the_gradients_of_separate_passes() {
    on_large_stack(|| {
        let stored: Value = json_of("g1_group/case.json");
        let numbers =
            candle_core::safetensors::load(QWEN3_5.fixture().join("g1_group/tensors.safetensors"), &Device::Cpu)
                .unwrap();
        let case = QWEN3_5.case("p1_single");
        let responses: Vec<Vec<u32>> = serde_json::from_value(stored["response_ids"].clone()).unwrap();
        let weights: Vec<f64> = serde_json::from_value(stored["weights"].clone()).unwrap();
        let prompt = case.prompt();
        for on_tape in [false, true] {
            let folder = QWEN3_5.open();
            let model = folder.model(View::Tracked).unwrap();
            let refs: Vec<&[u32]> = responses.iter().map(Vec::as_slice).collect();
            let tree = Tree { prompt: &prompt.ids, images: &prompt.images, responses: &refs };
            let batch = Batch::packed(&[tree], model.info()).unwrap();
            let mut tape = if on_tape { Tape::recording() } else { Tape::off() };
            let states = model.forward_on(&batch, &mut tape).unwrap();
            let leaf = candle_core::Var::from_tensor(&states.detach()).unwrap();
            let read = if on_tape { leaf.as_tensor().clone() } else { states.clone() };
            let (mut at, mut loss) = (prompt.ids.len(), Tensor::zeros((), DType::F32, &Device::Cpu).unwrap());
            for (j, (response, weight)) in responses.iter().zip(&weights).enumerate() {
                let slot = |t: usize| if t == 0 { prompt.ids.len() - 1 } else { at + t - 1 };
                let targets: Vec<_> = response
                    .iter()
                    .enumerate()
                    .map(|(t, token)| vgpo::model::logprob::TokenTarget { slot: slot(t) as u32, token: *token })
                    .collect();
                let (logprobs, _) = composed_scores(model.as_ref(), &read, &targets, 1.0);
                close("logprobs", &flat(&logprobs), &flat(&numbers[&format!("response{j}.logprobs")]), 3e-4);
                loss = (loss - (logprobs.mean_all().unwrap() * *weight).unwrap()).unwrap();
                at += response.len();
            }
            let want = stored["loss"].as_f64().unwrap();
            assert!((f64::from(loss.to_scalar::<f32>().unwrap()) - want).abs() < 3e-4);
            let mut gradients = vgpo::train::optimizer::Gradients::default();
            let store = loss.backward().unwrap();
            gradients.collect(&store, folder.parameters()).unwrap();
            if on_tape {
                let slope = store.get(leaf.as_tensor()).unwrap().clone();
                tape.backward(&states, slope, |store| gradients.collect(store, folder.parameters())).unwrap();
            }
            let norm = stored["grad_norm_total"].as_f64().unwrap();
            assert!((gradients.norm().unwrap() / norm - 1.0).abs() < 1e-4, "tape {on_tape}");
            let slices = candle_core::safetensors::load(
                QWEN3_5.fixture().join("g1_group/grad_slices.safetensors"),
                &Device::Cpu,
            )
            .unwrap();
            assert!(slices.len() > 20);
            for (key, want) in slices {
                let parameter = key.split('|').next().unwrap();
                let (_, got) = super::training::slice(&gradients.tensors()[&Family::canonical(parameter)], &key);
                let want = flat(&want);
                let largest = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                close(&key, &got, &want, 1e-3 * largest.max(1e-6));
            }
        }
    });
}

#[test]
fn settings_are_honoured_or_refused_by_name() {
    let text = |name: &str, value: Value| {
        let mut config = json_of("checkpoint/config.json");
        config["text_config"][name] = value;
        parse(&config)
    };
    for (name, value) in [
        ("attn_output_gate", json!(false)),
        ("attention_bias", json!(true)),
        ("output_gate_type", json!("sigmoid")),
        ("hidden_act", json!("gelu")),
        ("layer_types", json!(["linear_attention"])),
        ("layer_types", json!(vec!["sliding_attention"; 8])),
        ("layer_types", json!(vec!["linear_attention"; 8])),
        ("linear_num_value_heads", json!(3)),
        ("linear_conv_kernel_dim", json!(1)),
        ("partial_rotary_factor", json!(0.5)),
        ("num_experts", json!(8)),
        ("moe_intermediate_size", json!(8)),
        ("attn_logit_softcapping", json!(50.0)),
    ] {
        let error = text(name, value).unwrap_err();
        assert!(error.contains(name) && error.contains("m/config.json"), "{name}: {error}");
    }
    // What transformers does not read, or reads as the same.
    for (name, value) in [
        ("partial_rotary_factor", json!(0.25)),
        ("mtp_num_hidden_layers", json!(3)),
        ("mlp_only_layers", json!([1])),
        ("full_attention_interval", json!(2)),
    ] {
        assert_eq!(text(name, value).unwrap().text, text("use_cache", json!(true)).unwrap().text, "{name}");
    }
    // Two full layers in a row; and without a list, at every interval.
    let mut kinds = vec!["linear_attention"; 8];
    (kinds[4], kinds[5]) = ("full_attention", "full_attention");
    assert_eq!(text("layer_types", json!(kinds)).unwrap().text.layers_of(LayerKind::Full), [4, 5]);
    assert_eq!(text("layer_types", Value::Null).unwrap().text.layers_of(LayerKind::Full), [3, 7]);
    // The switch of the whole model ties the head, not the decoder's.
    let mut config = json_of("checkpoint/config.json");
    config["tie_word_embeddings"] = json!(false);
    assert!(!parse(&config).unwrap().text.tied);
    config["vision_config"]["deepstack_visual_indexes"] = json!([1]);
    assert!(parse(&config).unwrap_err().contains("deepstack_visual_indexes"));
    config["vision_config"].as_object_mut().unwrap().remove("deepstack_visual_indexes");
    assert!(parse(&config).unwrap().vision.unwrap().tower.deepstack.is_empty());
    let without = Config::parse(std::path::Path::new("config.json"), &config, None).unwrap();
    assert!(without.notes[0].contains("generation_config.json is missing"), "{:?}", without.notes);
}

#[test]
fn other_architectures_and_layouts_are_refused_by_name() {
    let dir = copy_checkpoint(QWEN3_5);
    let mut config = json_of("checkpoint/config.json");
    config["model_type"] = json!("qwen3_5_moe");
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let error = error_of(dir.path());
    assert!(error.contains("qwen3_5_moe") && error.contains("mixture of experts"), "{error}");
    let dir = copy_checkpoint(QWEN3_5);
    let renamed: std::collections::HashMap<String, Tensor> = tensors(dir.path())
        .into_iter()
        .map(|(name, tensor)| (name.replace("model.language_model.", "language_model.model."), tensor))
        .collect();
    candle_core::safetensors::save(&renamed, dir.path().join("model.safetensors")).unwrap();
    let error = error_of(dir.path());
    assert!(error.contains("MLX"), "{error}");
}

/// Files in 16 bits: what has to stay wide does, and is written as it was read; the drafting heads are carried along.
#[test]
fn wide_weights_and_drafting_heads_keep_their_form() {
    let wide = |name: &str| [".A_log", ".dt_bias", ".linear_attn.norm.weight"].iter().any(|end| name.ends_with(end));
    for published in [true, false] {
        let dir = copy_checkpoint(QWEN3_5);
        let stored: std::collections::HashMap<String, Tensor> = tensors(dir.path())
            .into_iter()
            .map(|(name, tensor)| {
                let keep = published && (name.ends_with(".A_log") || name.ends_with(".linear_attn.norm.weight"));
                let dtype = if keep { DType::F32 } else { DType::BF16 };
                (name, tensor.to_dtype(dtype).unwrap())
            })
            .collect();
        candle_core::safetensors::save(&stored, dir.path().join("model.safetensors")).unwrap();
        let folder = ModelFolder::open_as(dir.path(), &Device::Cpu, DType::BF16).unwrap();
        assert_eq!(describe(dir.path()).unwrap().notes, Vec::<String>::new());
        assert_eq!(folder.parameters().number_format(), "bfloat16");
        for (name, var) in folder.parameters().vars() {
            let want = if wide(name) { DType::F32 } else { DType::BF16 };
            assert_eq!(var.dtype(), want, "{name}");
            assert!(!name.starts_with("mtp."));
        }
        // The folder may be gone by then.
        let to = tempfile::tempdir().unwrap();
        drop(dir);
        folder.parameters().save(to.path(), u64::MAX).unwrap();
        let written = tensors(to.path());
        assert_eq!(written.len(), stored.len());
        for (name, tensor) in &stored {
            assert_eq!(written[name].dtype(), tensor.dtype(), "{name}");
            assert_eq!(flat(&written[name]), flat(tensor), "{name}");
        }
        assert!(written.keys().filter(|name| name.starts_with("mtp.")).count() > 10);
    }
}

/// Without a head among the files the head is the embedding, whatever the switch says.
#[test]
fn a_missing_head_is_the_embedding() {
    let dir = copy_checkpoint(QWEN3_5);
    let mut config = json_of("checkpoint/config.json");
    config["tie_word_embeddings"] = json!(false);
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let case = QWEN3_5.case("p4_text");
    let logits = |dir: &std::path::Path| {
        let model = ModelFolder::open(dir, &Device::Cpu).unwrap().model(View::Detached).unwrap();
        let (_, states) = hidden(model.as_ref(), &[&case.row], &mut Capture::none());
        flat(&model.logits(&states.squeeze(0).unwrap()).unwrap())
    };
    close("tied", &logits(dir.path()), &case.vec("logits"), 5e-4);
    let mut all = tensors(dir.path());
    let head = (&all["model.language_model.embed_tokens.weight"] * 2.0).unwrap();
    all.insert("lm_head.weight".to_owned(), head);
    candle_core::safetensors::save(&all, dir.path().join("model.safetensors")).unwrap();
    let doubled: Vec<f32> = case.vec("logits").iter().map(|v| v * 2.0).collect();
    close("a head of its own", &logits(dir.path()), &doubled, 1e-3);
}

/// The decoder alone, as `qwen3_5_text` with a flat configuration.
#[test]
fn a_text_only_checkpoint_computes_the_same_and_refuses_images() {
    let dir = copy_checkpoint(QWEN3_5);
    let whole = json_of("checkpoint/config.json");
    let mut config = whole["text_config"].clone();
    config["architectures"] = json!(["Qwen3_5ForCausalLM"]);
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    std::fs::remove_file(dir.path().join("preprocessor_config.json")).unwrap();
    let renamed: std::collections::HashMap<String, Tensor> = tensors(dir.path())
        .into_iter()
        .filter(|(name, _)| !name.starts_with("model.visual."))
        .map(|(name, tensor)| (name.replace("model.language_model.", "model."), tensor))
        .collect();
    candle_core::safetensors::save(&renamed, dir.path().join("model.safetensors")).unwrap();
    let folder = ModelFolder::open(dir.path(), &Device::Cpu).unwrap();
    let model = folder.model(View::Detached).unwrap();
    assert_eq!(model.info().family, "qwen3_5_text");
    let case = QWEN3_5.case("p4_text");
    let (_, states) = hidden(model.as_ref(), &[&case.row], &mut Capture::none());
    close("states", &flat(&states), &case.vec("last_hidden_state"), 3e-4);
    let image = QWEN3_5.case("p1_single").row;
    let error = Batch::new(&[&image], model.info()).unwrap_err().to_string();
    assert!(error.contains("reads text alone"), "{error}");
    let processor = vgpo::prompt::Processor::from_dir(dir.path(), model.info()).unwrap();
    let error = processor.image_processor().unwrap_err().to_string();
    assert!(error.contains("reads text alone"), "{error}");
}

#[test]
fn every_projection_takes_an_adapter() {
    let dir = QWEN3_5.fixture().join("checkpoint");
    let layers = linear_layers(&dir).unwrap();
    for name in ["in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj"] {
        let found = layers.iter().filter(|layer| layer.name.ends_with(&format!("linear_attn.{name}"))).count();
        assert_eq!(found, 6, "{name}");
    }
    for name in ["q_proj", "k_proj", "v_proj", "o_proj"] {
        assert_eq!(layers.iter().filter(|layer| layer.name.ends_with(&format!("self_attn.{name}"))).count(), 2);
    }
    assert!(layers.iter().all(|layer| !layer.name.contains("conv1d") && !layer.name.starts_with("mtp.")));
    let mut folder = QWEN3_5.open();
    let config = LoraConfig { rank: 2, alpha: 4.0, targets: vec!["in_proj_a".to_owned()] };
    folder.add_adapters(&config, 1).unwrap();
    assert_eq!(folder.parameters().trained().len(), 12);
}

/// Rows join and leave between steps without a change to the others.
#[test]
fn rows_that_join_and_leave_change_nothing() {
    let model = QWEN3_5.detached();
    let (one, other) = (QWEN3_5.case("p1_single"), QWEN3_5.case("p5_long"));
    let start = |case: &Case| {
        let prompt: Sequence = case.prompt();
        Generation::prefill(model.as_ref(), &[&prompt], 2, &mut Capture::none()).unwrap().0
    };
    let mut alone = start(&one);
    for token in &one.response()[..5] {
        alone.advance(&[*token], &mut Capture::none()).unwrap();
    }
    let mut together = start(&one);
    together.advance(&one.response()[..1], &mut Capture::none()).unwrap();
    together.join(&[start(&other)], 4).unwrap();
    for step in 0..2 {
        together.advance(&[one.response()[1 + step], other.response()[step]], &mut Capture::none()).unwrap();
    }
    together.select_rows(&[0]).unwrap();
    together.trim().unwrap();
    for token in &one.response()[3..5] {
        together.advance(&[*token], &mut Capture::none()).unwrap();
    }
    close("states", &flat(together.states()), &flat(alone.states()), 2e-5);
}
