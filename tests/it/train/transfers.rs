//! What crosses between device and main memory, counted on the CPU as a GPU would do the work: per decoded token and
//! row a few numbers, whatever the vocabulary, the layers and the length.

use std::path::Path;

use serde_json::{Value, json};
use vgpo::algorithm;
use vgpo::model::generate::Generation;
use vgpo::model::sampler::{Sampler, stream};
use vgpo::model::transfers::{Direction, Transfers, as_on_gpu};
use vgpo::model::{Capture, ModelFolder, Sequence, View, write_blank};
use vgpo::train::learner::Learner;
use vgpo::train::optimizer::{AdamW, DecayScope};
use vgpo::train::train_sequence::TrainSequence;

use super::scene::Scene;
use super::spec;

const ROWS: usize = 32;
/// Most bytes that may come back for a decoded token of a row.
const LIMIT: usize = 64;

/// A random model with the width of a head of Qwen2.5-VL-3B, and small in everything else.
#[derive(Clone, Copy)]
struct Shape {
    vocabulary: usize,
    layers: usize,
}

const SMALL: Shape = Shape { vocabulary: 600, layers: 2 };

fn folder(shape: Shape) -> (tempfile::TempDir, ModelFolder) {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/qwen2_5_vl_tiny/checkpoint");
    let text = std::fs::read_to_string(fixture.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    for (name, value) in [
        ("hidden_size", json!(256)),
        ("num_attention_heads", json!(2)),
        ("num_key_value_heads", json!(1)),
        ("intermediate_size", json!(96)),
        ("num_hidden_layers", json!(shape.layers)),
        ("vocab_size", json!(shape.vocabulary)),
        ("rope_scaling", json!({"type": "mrope", "mrope_section": [16, 24, 24]})),
    ] {
        config[name] = value;
    }
    config["vision_config"]["out_hidden_size"] = json!(256);
    write_blank(dir.path(), &config, 1, 1 << 30).unwrap();
    let folder = ModelFolder::open(dir.path(), &candle_core::Device::Cpu).unwrap();
    (dir, folder)
}

fn text(length: usize) -> Sequence {
    Sequence { ids: (0..length).map(|i| 10 + (i % 90) as u32).collect(), images: Vec::new() }
}

/// Crossings of `steps` decode steps after prompts of about `length` tokens, of different lengths.
fn decoding(shape: Shape, length: usize, steps: usize) -> Transfers {
    let (_dir, folder) = folder(shape);
    let model = folder.model(View::Detached).unwrap();
    let prompts: Vec<Sequence> = (0..ROWS).map(|row| text(length - row % 3)).collect();
    let mut capture = Capture::shares_of(model.info().attention_layers.clone());
    let prompts: Vec<&Sequence> = prompts.iter().collect();
    let work = || {
        let begun = Generation::prefill(model.as_ref(), &prompts, steps + 1, &mut capture).unwrap();
        let (mut generation, prefill) = begun;
        generation.keep_prototypes(&prefill).unwrap();
        generation.observe(&mut capture).unwrap();
        let mut samplers: Vec<Sampler> =
            (0..ROWS).map(|row| Sampler::new(model.info(), 0.9, 0.95, stream(&[row as u64]))).collect();
        for _ in 0..steps {
            let mut rows: Vec<Option<&mut Sampler>> = samplers.iter_mut().map(Some).collect();
            let tokens: Vec<u32> = generation.draw(&mut rows).unwrap().iter().map(|drawn| drawn.unwrap().0).collect();
            let mut capture = Capture::shares_of(model.info().attention_layers.clone());
            generation.advance(&tokens, &mut capture).unwrap();
            let observed = generation.observe(&mut capture).unwrap();
            assert_eq!((observed.shares.len(), observed.similarity.len()), (ROWS, ROWS));
        }
    };
    as_on_gpu(work).1
}

/// Crossings of one decode step: count and bytes by direction and name.
fn of_one_step(shape: Shape, length: usize) -> Vec<(Direction, &'static str, usize, usize)> {
    let (few, many) = (decoding(shape, length, 2), decoding(shape, length, 6));
    let step = |((direction, what), all): (&(Direction, &'static str), &vgpo::model::transfers::Crossings)| {
        let before = few[&(*direction, *what)];
        let (count, bytes) = (all.count - before.count, all.bytes - before.bytes);
        assert_eq!((count % 4, bytes % 4), (0, 0), "{what}");
        (*direction, *what, count / 4, bytes / 4)
    };
    many.iter().map(step).filter(|(_, _, count, _)| *count > 0).collect()
}

#[test]
fn a_decode_step_moves_a_few_numbers_a_row_whatever_the_model() {
    let wanted = of_one_step(SMALL, 12);
    let down: usize = wanted.iter().filter(|line| line.0 == Direction::Down).map(|line| line.3).sum();
    assert!(down > 0 && down <= LIMIT * ROWS, "{down} bytes for {ROWS} rows: {wanted:#?}");
    for (shape, length) in [(Shape { vocabulary: 5000, ..SMALL }, 12), (Shape { layers: 5, ..SMALL }, 12), (SMALL, 90)]
    {
        assert_eq!(of_one_step(shape, length), wanted, "{} {} {length}", shape.vocabulary, shape.layers);
    }
    // The list of docs/hardware.md.
    let told = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/hardware.md")).unwrap();
    for (direction, what, count, bytes) in wanted {
        let arrow = if direction == Direction::Down { "to main memory" } else { "to the device" };
        let line = format!("| {what} | {arrow} | {count} | {bytes} |");
        assert!(told.contains(&line), "docs/hardware.md lacks `{line}`");
    }
}

/// Crossings of one step of a server: every row's next token, and some of the likeliest for the first row.
fn serving(vocabulary: usize, likeliest: usize) -> Transfers {
    let (_dir, folder) = folder(Shape { vocabulary, ..SMALL });
    let model = folder.model(View::Detached).unwrap();
    let prompts: Vec<Sequence> = (0..ROWS).map(|row| text(12 + row % 3)).collect();
    let prompts: Vec<&Sequence> = prompts.iter().collect();
    let sampler = |row: usize| Sampler::new(model.info(), [0.0, 0.9][row % 2], 0.95, stream(&[row as u64]));
    let (generation, _) = Generation::prefill(model.as_ref(), &prompts, 2, &mut Capture::none()).unwrap();
    let choose = || {
        let mut samplers: Vec<Sampler> = (0..ROWS).map(sampler).collect();
        let counts = (0..ROWS).map(|row| if row == 0 { likeliest } else { 0 });
        let mut rows: Vec<(&mut Sampler, usize)> = samplers.iter_mut().zip(counts).collect();
        generation.choose(&mut rows).unwrap()
    };
    let (chosen, moved) = as_on_gpu(choose);
    for (row, (there, here)) in chosen.iter().zip(choose()).enumerate() {
        assert_eq!(there.token, here.token, "row {row}");
        assert!((there.logprob - here.logprob).abs() < 1e-4, "row {row}: {there:?} {here:?}");
        assert_eq!(there.likeliest.len(), if row == 0 { likeliest } else { 0 });
        assert!(there.likeliest.iter().zip(&here.likeliest).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-4));
    }
    moved
}

#[test]
fn a_server_reads_the_logits_only_of_rows_that_ask_for_other_tokens() {
    let down = |all: &Transfers| -> usize {
        all.iter().filter(|((direction, _), _)| *direction == Direction::Down).map(|(_, moved)| moved.bytes).sum()
    };
    let few = down(&serving(600, 0));
    assert!(few > 0 && few <= LIMIT * ROWS, "{few}");
    assert_eq!(down(&serving(5000, 0)), few, "whatever the vocabulary");
    assert_eq!(down(&serving(5000, 3)), few + 5000 * 4, "one row asks");
}

/// Crossings of an update over `count` responses of this length to one prompt, scores before it included.
fn updating(shape: Shape, count: usize, length: usize) -> Transfers {
    let (_dir, folder) = folder(shape);
    let work = |scene: &Scene| {
        let learner = Learner { checkpointing: true, ..scene.learner(100_000) };
        let sequence = |row: usize| TrainSequence {
            input: text(20 + length - row % 2),
            prompt_len: 20,
            advantages: vec![1.0 - row as f64; length - row % 2],
            ..TrainSequence::default()
        };
        let mut rows: Vec<TrainSequence> = (0..count).map(sequence).collect();
        let scored = learner.score(&rows.iter().collect::<Vec<_>>()).unwrap();
        for (row, score) in rows.iter_mut().zip(scored) {
            row.old_logprobs = score.logprobs;
        }
        let spec = spec(&json!({}));
        let objective = algorithm::build(&spec.method).unwrap();
        let output = learner.gradients(&rows.iter().collect::<Vec<_>>(), objective.as_ref()).unwrap();
        let mut optimizer = AdamW::new(&spec.optimizer, DecayScope::Matrices);
        optimizer.step(scene.folder.parameters(), &output.gradients, 1e-6).unwrap();
    };
    Scene::of(folder).on_gpu(work).1
}

#[test]
fn an_update_brings_back_its_scores_and_one_norm() {
    let (count, length) = (4, 30);
    let tokens = 4 * 30 - 2;
    let small = updating(SMALL, count, length);
    let down = |all: &Transfers| -> Vec<(&'static str, usize, usize)> {
        let back = all.iter().filter(|((direction, _), _)| *direction == Direction::Down);
        back.map(|((_, what), crossings)| (*what, crossings.count, crossings.bytes)).collect()
    };
    // Log-probs and entropy under the old policy, log-probs in the update; no focus without images.
    let wanted = [("focus", 1, 4 * tokens), ("gradient norm", 1, 4), ("log-probs", 2, 4 * tokens * 3)];
    assert_eq!(down(&small), wanted);
    for shape in [Shape { vocabulary: 5000, ..SMALL }, Shape { layers: 5, ..SMALL }] {
        assert_eq!(updating(shape, count, length), small, "{} {}", shape.vocabulary, shape.layers);
    }
    // What goes up is a fixed number of bytes a token.
    let bytes = |all: &Transfers| all.values().map(|crossings| crossings.bytes).sum::<usize>();
    let longer = updating(SMALL, count, 4 * length);
    assert!(bytes(&longer) < 5 * bytes(&small), "{} {}", bytes(&small), bytes(&longer));
}

/// Everything that crosses goes through the one module that counts.
#[test]
fn no_file_on_the_way_of_a_token_moves_values_by_itself() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = [
        "model/generate.rs",
        "model/cache/mod.rs",
        "model/cache/rows.rs",
        "model/capture.rs",
        "model/focus.rs",
        "model/logprob.rs",
        "model/sampler.rs",
        "model/seed.rs",
        "model/tape.rs",
        "model/qwen_vl/mod.rs",
        "model/qwen_vl/text.rs",
        "model/qwen_vl/rope.rs",
        "model/qwen_vl/vision/mod.rs",
        "model/qwen_vl/vision/block.rs",
        "model/qwen_vl/vision/merger.rs",
        "model/qwen3_5/mod.rs",
        "model/qwen3_5/text.rs",
        "model/qwen3_5/attention.rs",
        "model/kernels/draw.rs",
        "model/kernels/own_backward.rs",
        "model/kernels/softmax.rs",
        "model/kernels/attention/blockwise.rs",
        "model/kernels/attention/composed.rs",
        "model/kernels/attention/mask.rs",
        "model/kernels/attention/plan.rs",
        "train/rollout.rs",
        "train/learner.rs",
    ];
    let moves =
        ["to_vec0", "to_vec1", "to_vec2", "to_vec3", "to_scalar", "Tensor::new(", "Tensor::from_", "Tensor::arange"];
    let mut faults = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            let comment = line.trim_start().starts_with("//");
            if !comment && moves.iter().any(|call| line.contains(call)) {
                faults.push(format!("{file}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "use `transfers::up` and `transfers::down`:\n{}", faults.join("\n"));
}
