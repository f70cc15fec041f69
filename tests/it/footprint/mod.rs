//! The memory of jobs at real size, from configurations alone: what fits into which device, and the advice where a job
//! does not.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use parking_lot::Mutex;
use serde_json::{Value, json};
use vgpo::domain::spec::JobSpec;
use vgpo::footprint::advice::advice;
use vgpo::footprint::{Estimate, RowShape, Site, estimate, sampling_room};
use vgpo::model::footprint::{Arithmetic, ModelSize, ParameterCounts, PassShape, SamplingShape};
use vgpo::model::linear::LinearShape;
use vgpo::model::lora::Adapter;
use vgpo::model::qwen_vl::{Config, QwenVl};
use vgpo::model::weights::WeightSource;
use vgpo::model::{Grid, ModelError};

use crate::train::spec;

const GIB: u64 = 1 << 30;

/// Counts what a constructor asks for.
#[derive(Default)]
struct Counts(Mutex<(ParameterCounts, Vec<LinearShape>)>);

impl WeightSource for Counts {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let (counts, count) = (&mut self.0.lock().0, shape.iter().product());
        counts.all += count;
        counts.largest = counts.largest.max(count);
        if name.starts_with("visual.") {
            counts.vision += count;
        }
        Ok(Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as(shape)?)
    }

    fn adapter(&self, layer: &LinearShape) -> Option<Adapter> {
        self.0.lock().1.push(layer.clone());
        None
    }
}

/// Qwen2.5-VL of a published size: decoder width, layers, heads, key heads, width of the MLP, tied head.
fn model(hidden: usize, layers: usize, heads: usize, kv_heads: usize, inner: usize, tied: bool) -> ModelSize {
    let config = json!({
        "model_type": "qwen2_5_vl", "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "intermediate_size": inner, "vocab_size": 151_936, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 128_000, "rope_theta": 1e6, "tie_word_embeddings": tied, "hidden_act": "silu",
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}, "image_token_id": 151_655,
        "video_token_id": 151_656, "vision_start_token_id": 151_652, "vision_end_token_id": 151_653,
        "eos_token_id": 151_645, "pad_token_id": 151_643, "bos_token_id": 151_643,
        "vision_config": {
            "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "in_channels": 3,
            "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
            "out_hidden_size": hidden, "fullatt_block_indexes": [7, 15, 23, 31], "hidden_act": "silu",
        },
    });
    let config = Config::parse(Path::new("config.json"), &config, None).unwrap();
    let counts = Counts::default();
    QwenVl::new(&config, 0, &counts, &Device::Cpu).unwrap();
    let (parameters, linears) = counts.0.into_inner();
    let info = config.info(parameters.all);
    ModelSize { passes: Box::new(config), parameters, linears, info }
}

fn half_billion() -> ModelSize {
    // Heads of 64 would need other rotary sections; the width of all heads is what counts.
    model(1024, 24, 8, 2, 4864, true)
}

fn three_billion() -> ModelSize {
    model(2048, 36, 16, 2, 11_008, true)
}

fn seven_billion() -> ModelSize {
    model(3584, 28, 28, 4, 18_944, false)
}

/// An image of 0.4 million pixels and a question.
fn row(response_tokens: usize) -> RowShape {
    let grid = Grid { time: 1, height: 46, width: 46 };
    RowShape { prompt_tokens: 600, image_tokens: grid.merged(2), response_tokens, images: vec![grid] }
}

fn job(change: Value, response_tokens: usize) -> JobSpec {
    let mut request = json!({"rollout": {"max_new_tokens": response_tokens, "group_size": 8},
                             "batch": {"prompts_per_step": 32, "minibatch_prompts": 32, "microbatch_tokens": 4096},
                             "train": {"gradient_checkpointing": true, "freeze_vision": true}});
    for (part, settings) in change.as_object().unwrap() {
        if !request[part].is_object() {
            request[part] = json!({});
        }
        request[part].as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    }
    spec(&request)
}

fn on_gpu(model: &ModelSize, change: Value, response_tokens: usize, memory: u64) -> Estimate {
    estimate(model, &job(change, response_tokens), &row(response_tokens), Site::new(false, Some(memory)))
}

/// What others train on these cards.
#[test]
fn usual_jobs_fit_usual_cards() {
    let lora = json!({"train": {"parameters": "lora"}});
    for (name, model, change, memory) in [
        ("3B, adapters", three_billion(), lora.clone(), 24 * GIB),
        ("7B, adapters", seven_billion(), lora, 48 * GIB),
        ("3B, all parameters", three_billion(), json!({}), 80 * GIB),
    ] {
        let found = on_gpu(&model, change, 2048, memory);
        assert!(found.peak <= memory, "{name}: {:.1} GiB, {found:?}", found.peak as f64 / GIB as f64);
        assert!(found.peak > memory / 3, "{name}: {found:?}");
    }
}

/// Of the 8.9 GB that a worker held while it trained adapters on 3B, 7.5 were the bytes of its file: what the
/// allocator keeps for later is a share of the rest.
#[test]
fn frozen_weights_are_counted_as_they_are_stored() {
    let change = json!({"train": {"parameters": "lora"}, "rollout": {"group_size": 4},
                        "batch": {"prompts_per_step": 1, "minibatch_prompts": 1, "microbatch_tokens": 1024}});
    let job = JobSpec { eval_rows: 4, ..job(change, 32) };
    let found = estimate(&three_billion(), &job, &row(32), Site::new(true, Some(64 * GIB)));
    let others: u64 = found.parts().iter().map(|(_, bytes)| bytes).sum::<u64>() - found.base - found.weights;
    assert!(others < found.weights / 5, "{found:?}");
    assert!(found.peak < found.base + found.weights + others * 6 / 5, "{found:?}");
    assert!(found.peak > found.base + found.weights, "{found:?}");
}

/// 8 rows of 2,500 tokens in one micro-batch: dense attention took 892 GiB, with checkpointing 58.
#[test]
fn activations_grow_with_the_length_and_not_with_its_square() {
    let model = three_billion();
    let activations = |tokens: usize, checkpointing: bool| {
        let change = json!({"train": {"parameters": "lora", "gradient_checkpointing": checkpointing},
                            "batch": {"microbatch_tokens": 8 * (600 + tokens)}});
        on_gpu(&model, change, tokens, 80 * GIB).activations
    };
    assert!(activations(1900, true) < 40 * GIB, "{}", activations(1900, true));
    assert!(activations(1900, false) < 450 * GIB, "{}", activations(1900, false));
    for checkpointing in [false, true] {
        let (short, long) = (activations(1900, checkpointing), activations(7600, checkpointing));
        assert!(long < 5 * short, "{short} {long}");
    }
}

/// The cache of all rows never decides: fewer rows are sampled at a time where memory is small.
#[test]
fn as_many_rows_are_sampled_as_fit() {
    let model = three_billion();
    let lora = json!({"train": {"parameters": "lora"}});
    let caches = [12, 24, 80].map(|gib| on_gpu(&model, lora.clone(), 2048, gib * GIB).kv_cache);
    assert!(caches[0] < caches[1] && caches[1] < caches[2], "{caches:?}");
    let job = job(lora, 2048);
    let by = Arithmetic { cpu: false, weight_bytes: 2 };
    let shape = SamplingShape {
        prompt: PassShape { rows: 1, seq_len: 600, images: row(1).images, image_slots: 529 },
        group: 8,
        response: 2048,
        prompts: 32,
    };
    let room = sampling_room(three_billion(), &job, Site::new(false, Some(24 * GIB))).unwrap();
    let prompts = room.size.prompts_within(by, 32, &shape, room.bytes);
    assert!((1..32).contains(&prompts), "{prompts}");
    assert!(room.size.sampling(by, prompts, &shape).bytes() <= room.bytes);
    assert!(room.size.sampling(by, prompts + 1, &shape).bytes() > room.bytes);
    assert!(sampling_room(three_billion(), &job, Site::new(false, None)).is_none());
}

/// Advice ends with settings that fit, or none of them do: shown by following it.
#[test]
fn advice_fits_or_says_that_none_does() {
    let (mut fitting, mut hopeless) = (0, 0);
    for model in [half_billion(), three_billion(), seven_billion()] {
        for (gib, length) in [8, 24, 48, 80].into_iter().flat_map(|gib| [256, 2048, 16_384].map(|n| (gib, n))) {
            for cpu in [false, true] {
                let (limit, site) = (gib * GIB, Site::new(cpu, Some(gib * GIB)));
                let change =
                    json!({"train": {"gradient_checkpointing": false}, "batch": {"microbatch_tokens": 65_536}});
                let job = job(change, length);
                if estimate(&model, &job, &row(length), site).peak <= limit {
                    continue;
                }
                let found = advice(&model, &job, &row(length), site, limit);
                let last = found.last().map(|last| last.together);
                let weights = model.parameters.all as u64 * 2;
                if last.is_some_and(|peak| peak <= limit) {
                    fitting += 1;
                } else {
                    hopeless += 1;
                    assert!(weights * 2 > limit, "{gib} GiB, {length} tokens: {found:?}");
                }
            }
        }
    }
    assert!(fitting > 30 && hopeless < 20, "{fitting} {hopeless}");
}

/// Masked copies of the pictures, and two passes at a time over them.
#[test]
fn a_view_without_the_image_is_counted() {
    let (model, memory) = (three_billion(), 80 * GIB);
    let of = |method: Value| on_gpu(&model, json!({ "method": method, "rollout": { "filter": null } }), 256, memory);
    let plain = of(json!({ "type": "vgpo" }));
    for method in [json!({ "type": "vgpo", "control": "oracle" }), json!({ "type": "pgpo" })] {
        let found = of(method);
        assert_eq!(found.images, 2 * plain.images, "{found:?}");
        assert!(found.peak > plain.peak);
    }
    assert_eq!(of(json!({ "type": "vgpo", "control": "shuffled" })), plain);
    let eval = |audit: bool| of(json!({ "type": "eval", "audit": audit }));
    assert_eq!(eval(true).images, 2 * eval(false).images);
    assert!(eval(true).peak > eval(false).peak);
}
