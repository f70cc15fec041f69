//! Weights of 16 bits: close to 32 bits, half the memory, and an optimizer whose masters lose nothing.

use candle_core::{DType, Device};
use vgpo::domain::spec::{LearningRateSchedule, OptimizerSpec};
use vgpo::model::{Capture, ModelFolder, View};
use vgpo::train::optimizer::{AdamW, DecayScope, Gradients};

use super::on_large_stack;
use super::training::gradients;
use super::{FAMILIES, Family, QWEN2_5, close, flat, hidden};

fn open(family: Family) -> ModelFolder {
    ModelFolder::open_as(&family.fixture().join("checkpoint"), &Device::Cpu, DType::BF16).unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn states_and_gradients_are_close_to_those_of_32_bits() {
    on_large_stack(|| {
        for family in FAMILIES {
            let (narrow, wide) = (open(family), family.open());
            let case = family.case("p1_single");
            let states = |folder: &ModelFolder| {
                let model = folder.model(View::Detached).unwrap();
                let (_, states) = hidden(model.as_ref(), &[&case.row], &mut Capture::none());
                assert_eq!(states.dtype(), DType::F32);
                flat(&states)
            };
            let want = states(&wide);
            let largest = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            close("states", &states(&narrow), &want, 0.05 * largest);
            assert!(cosine(&states(&narrow), &want) > 0.999);
            let ((loss, got), (want_loss, want)) = (gradients(&narrow, &[&case]), gradients(&wide, &[&case]));
            assert!((loss / want_loss - 1.0).abs() < 0.01, "{loss} and {want_loss}");
            let all = |gradients: &Gradients| gradients.tensors().values().flat_map(flat).collect::<Vec<_>>();
            assert_eq!(got.tensors().len(), want.tensors().len());
            assert!(got.tensors().values().all(|g| g.dtype() == DType::F32), "sums over micro-batches are in 32 bits");
            let alike = cosine(&all(&got), &all(&want));
            assert!(alike > 0.99, "{alike}");
        }
    });
}

#[test]
fn weights_take_half_the_memory_and_are_written_as_they_are() {
    let folder = open(QWEN2_5);
    assert!(folder.parameters().vars().values().all(|var| var.dtype() == DType::BF16));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    folder.parameters().write(&path).unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len() as usize;
    let header = 20_000;
    assert!((2 * folder.parameters().count()..2 * folder.parameters().count() + header).contains(&bytes), "{bytes}");
    let tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    for (name, var) in folder.parameters().vars() {
        assert_eq!(tensors[name].dtype(), DType::BF16);
        assert_eq!(flat(&tensors[name]), flat(var.as_tensor()), "{name}");
    }
}

fn adamw(learning_rate: f64) -> OptimizerSpec {
    OptimizerSpec {
        learning_rate,
        betas: [0.9, 0.95],
        weight_decay: 0.0,
        warmup_steps: 0,
        schedule: LearningRateSchedule::Constant,
        schedule_floor: 0.05,
        max_grad_norm: 1.0,
        offload: false,
        shard: false,
    }
}

#[test]
fn updates_below_the_precision_of_16_bits_add_up() {
    on_large_stack(|| {
        let (narrow, wide) = (open(QWEN2_5), QWEN2_5.open());
        let case = QWEN2_5.case("p4_text");
        for (name, var) in wide.parameters().vars() {
            // Both begin with the same numbers.
            let start = narrow.parameters().vars()[name].as_detached_tensor();
            var.set(&start.to_dtype(DType::F32).unwrap()).unwrap();
        }
        let (_, gradient) = gradients(&wide, &[&case]);
        // Norms are 1: the next 16-bit numbers are 2^-8 below and 2^-7 above, far more than one update.
        let name = "model.norm.weight";
        let start = flat(narrow.parameters().vars()[name].as_tensor());
        let rate = 2e-4;
        let (mut a, mut b) = (AdamW::new(&adamw(rate), DecayScope::All), AdamW::new(&adamw(rate), DecayScope::All));
        for step in 1..=60 {
            a.step(narrow.parameters(), &gradient, rate).unwrap();
            b.step(wide.parameters(), &gradient, rate).unwrap();
            if step == 1 {
                assert_eq!(flat(narrow.parameters().vars()[name].as_tensor()), start, "one update is lost in rounding");
            }
        }
        let (narrow, wide) = (&narrow.parameters().vars()[name], &wide.parameters().vars()[name]);
        assert_ne!(flat(narrow.as_tensor()), start);
        close("rounded masters", &flat(narrow.as_tensor()), &flat(wide.as_tensor()), 4.1e-3);
    });
}

#[test]
fn masters_are_saved_with_the_moments() {
    on_large_stack(|| {
        let case = QWEN2_5.case("p4_text");
        let run = |save_after: Option<usize>| -> Vec<Vec<f32>> {
            let folder = open(QWEN2_5);
            let mut optimizer = AdamW::new(&adamw(1e-3), DecayScope::Matrices);
            let dir = tempfile::tempdir().unwrap();
            for step in 0..4 {
                let (_, gradients) = gradients(&folder, &[&case]);
                optimizer.step(folder.parameters(), &gradients, 1e-3).unwrap();
                if save_after == Some(step) {
                    // 12 bytes a value: two moments and a master.
                    let values: usize = gradients.tensors().values().map(candle_core::Tensor::elem_count).sum();
                    assert_eq!(optimizer.bytes(), 12 * values);
                    let path = dir.path().join("optimizer.safetensors");
                    optimizer.write(&path).unwrap();
                    optimizer = AdamW::new(&adamw(1e-3), DecayScope::Matrices);
                    optimizer.read(&path, &Device::Cpu).unwrap();
                }
            }
            folder.parameters().vars().values().map(|var| flat(var.as_tensor())).collect()
        };
        assert!(run(None) == run(Some(1)), "the weights must be equal bit for bit");
    });
}
