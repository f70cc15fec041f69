//! Weights that are not trained, as their files have them: a model on them is the model on the widened ones.

use std::path::{Path, PathBuf};

use candle_core::safetensors::{load, save};
use candle_core::{DType, Device, Tensor};
use vgpo::domain::weights::WeightFormat;
use vgpo::model::kernels::Number;
use vgpo::model::lora::LoraConfig;
use vgpo::model::{Capture, Frozen, Holding, ModelFolder, View};

use super::training::gradients;
use super::{Case, FAMILIES, Family, QWEN2_5, QWEN3_5, close, flat, hidden, on_large_stack, relative};

const FILE: &str = "model.safetensors";

/// A copy of a family's checkpoint with its weights in another number format.
fn copy(family: Family, dtype: DType) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(family.fixture().join("checkpoint")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let tensors = load(dir.path().join(FILE), &Device::Cpu).unwrap();
    let tensors = tensors.into_iter().map(|(name, tensor)| (name, tensor.to_dtype(dtype).unwrap())).collect();
    save(&tensors, dir.path().join(FILE)).unwrap();
    dir
}

fn open(dir: &Path, holding: Holding) -> ModelFolder {
    ModelFolder::open_with(dir, &Device::Cpu, holding).unwrap()
}

fn frozen(dtype: DType) -> Holding {
    Holding { dtype, frozen: Frozen::Everything, format: WeightFormat::Native }
}

fn write_protect(path: &Path) {
    let mut permissions = std::fs::metadata(path).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(path, permissions).unwrap();
}

fn is_mapped(path: &Path) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.contains(&*path.to_string_lossy())
}

/// Hidden states and logits of a prompt with an image.
fn passes(folder: &ModelFolder, family: Family) -> (Tensor, Tensor) {
    let model = folder.model(View::Detached).unwrap();
    let (_, states) = hidden(model.as_ref(), &[&family.case("p1_single").row], &mut Capture::none());
    let width = states.dims().last().copied().unwrap();
    let logits = model.logits(&states.reshape(((), width)).unwrap()).unwrap();
    (states, logits)
}

#[test]
fn a_model_on_stored_weights_is_the_model_on_widened_ones() {
    on_large_stack(|| {
        for family in FAMILIES {
            for dtype in [DType::F32, DType::BF16, DType::F16] {
                let dir = copy(family, dtype);
                let wide = passes(&ModelFolder::open(dir.path(), &Device::Cpu).unwrap(), family);
                for protected in [false, true] {
                    if protected {
                        write_protect(&dir.path().join(FILE));
                    }
                    let folder = open(dir.path(), frozen(DType::F32));
                    let number = match dtype {
                        DType::BF16 => Number::Bf16,
                        DType::F16 => Number::F16,
                        _ => Number::F32,
                    };
                    let matrices = folder.parameters().matrices();
                    assert!(matrices.len() > 10 && matrices.values().all(|matrix| matrix.number() == number));
                    assert_eq!(folder.parameters().count(), family.open().parameters().count());
                    let (states, logits) = passes(&folder, family);
                    let noise = if family == QWEN3_5 { 1e-4 } else { 1e-5 };
                    for (what, own, wide) in [("states", &states, &wide.0), ("logits", &logits, &wide.1)] {
                        let found = relative(wide, own);
                        assert!(found < noise, "{family:?} {dtype:?} {what}: {found}");
                    }
                }
            }
        }
    });
}

/// A write-protected file: its pages are used where they are, also after another file took its place.
#[cfg(target_os = "linux")]
#[test]
fn only_write_protected_files_are_mapped() {
    let dir = copy(QWEN2_5, DType::BF16);
    let path: PathBuf = dir.path().canonicalize().unwrap().join(FILE);
    let read = open(&path.with_file_name(""), frozen(DType::F32));
    assert!(!is_mapped(&path));
    write_protect(&path);
    let mapped = open(&path.with_file_name(""), frozen(DType::F32));
    assert!(is_mapped(&path));
    let other = path.with_file_name("other");
    std::fs::write(&other, b"something else").unwrap();
    std::fs::rename(&other, &path).unwrap();
    for (name, matrix) in mapped.parameters().matrices() {
        let own = read.parameters().matrices()[name].widened().unwrap();
        assert_eq!(flat(&matrix.widened().unwrap()), flat(&own), "{name}");
    }
}

#[test]
fn values_that_are_not_finite_are_refused_in_matrices_too() {
    for (protected, dtype) in [(false, DType::BF16), (true, DType::BF16), (true, DType::F32)] {
        let dir = copy(QWEN2_5, dtype);
        let path = dir.path().join(FILE);
        let mut tensors = load(&path, &Device::Cpu).unwrap();
        let name = tensors.keys().find(|name| name.ends_with("mlp.up_proj.weight")).unwrap().clone();
        let weight = tensors[&name].to_dtype(DType::F32).unwrap();
        let mut values = flat(&weight);
        values[5] = f32::NAN;
        tensors.insert(
            name.clone(),
            Tensor::from_vec(values, weight.shape(), &Device::Cpu).unwrap().to_dtype(dtype).unwrap(),
        );
        save(&tensors, &path).unwrap();
        if protected {
            write_protect(&path);
        }
        let error = ModelFolder::open_with(dir.path(), &Device::Cpu, frozen(DType::F32)).err().unwrap().to_string();
        assert!(
            error.contains(&name) && error.contains("not a finite number") && error.contains("position 5"),
            "{error}"
        );
    }
}

fn adapted(mut folder: ModelFolder) -> ModelFolder {
    let config = LoraConfig { rank: 4, alpha: 6.0, targets: vec!["all-linear".to_owned()] };
    folder.add_adapters(&config, 5).unwrap();
    for (name, var) in folder.parameters().trained() {
        if name.ends_with("lora_B.weight") {
            let values = super::kernels::values(var.elem_count() as u64, var.dims());
            var.set(&(values * 0.05).unwrap()).unwrap();
        }
    }
    folder
}

/// Gradients of every adapter on `one` and on `other`, to 1e-5 of the largest.
fn same_gradients(one: &ModelFolder, other: &ModelFolder, family: Family) {
    let case: Case = family.case("p1_single");
    let ((loss, of_one), (other_loss, of_other)) = (gradients(one, &[&case]), gradients(other, &[&case]));
    assert!((loss - other_loss).abs() < 1e-5, "{family:?}: {loss} and {other_loss}");
    assert!(!of_one.tensors().is_empty() && of_one.tensors().len() == of_other.tensors().len());
    let noise = if family == QWEN3_5 { 3e-4 } else { 1e-5 };
    let largest = of_other.tensors().values().flat_map(flat).fold(0.0_f32, |m, v| m.max(v.abs()));
    for (name, gradient) in of_one.tensors() {
        close(name, &flat(gradient), &flat(&of_other.tensors()[name]), noise * largest);
    }
}

#[test]
fn adapters_train_on_stored_weights_as_on_widened_ones() {
    on_large_stack(|| {
        for family in FAMILIES {
            let dir = copy(family, DType::BF16);
            let narrow = adapted(open(dir.path(), frozen(DType::F32)));
            let wide = adapted(ModelFolder::open(dir.path(), &Device::Cpu).unwrap());
            same_gradients(&narrow, &wide, family);
            // What a checkpoint holds is the same, too.
            let [one, other] = [&narrow, &wide].map(|folder| {
                let path = dir.path().join("written");
                folder.parameters().write(&path).unwrap();
                std::fs::read(&path).unwrap()
            });
            assert!(one == other, "{family:?}: the merged weights differ");
        }
    });
}

#[test]
fn a_frozen_tower_stays_as_it_is_while_the_decoder_is_trained() {
    on_large_stack(|| {
        let dir = copy(QWEN2_5, DType::BF16);
        let holding = Holding { frozen: Frozen::Vision, ..frozen(DType::F32) };
        let [narrow, wide] = [holding, Holding::variables(DType::F32)].map(|holding| {
            let mut folder = open(dir.path(), holding);
            folder.freeze_vision();
            folder
        });
        assert!(narrow.parameters().matrices().keys().all(|name| name.starts_with("visual.")));
        assert!(!narrow.parameters().matrices().is_empty());
        same_gradients(&narrow, &wide, QWEN2_5);
    });
}

#[test]
fn what_is_written_has_the_number_format_that_was_asked_for() {
    let dir = copy(QWEN3_5, DType::BF16);
    let written = dir.path().join("written");
    for dtype in [DType::F32, DType::BF16] {
        open(dir.path(), frozen(dtype)).parameters().write(&written).unwrap();
        let (own, file) = (load(&written, &Device::Cpu).unwrap(), load(dir.path().join(FILE), &Device::Cpu).unwrap());
        let wide = [".A_log", ".dt_bias", ".linear_attn.norm.weight"];
        for (name, tensor) in &own {
            assert_eq!(flat(tensor), flat(&file[name]), "{name}");
            let kept = name.starts_with("mtp.") || wide.iter().any(|end| name.ends_with(end));
            assert!(kept || tensor.dtype() == dtype, "{name} {:?}", tensor.dtype());
        }
        assert_eq!(own.len(), file.len());
    }
    // A file of 32 bits is rounded to 16 if that is asked for.
    let dir = copy(QWEN2_5, DType::F32);
    let folder = open(dir.path(), frozen(DType::BF16));
    assert!(folder.parameters().matrices().values().all(|matrix| matrix.number() == Number::Bf16));
}

#[test]
fn blocks_are_packed_while_a_folder_is_read() {
    on_large_stack(|| {
        for format in [WeightFormat::Q8, WeightFormat::Q4] {
            let dir = copy(QWEN2_5, DType::BF16);
            let packed = open(dir.path(), Holding { format, ..frozen(DType::F32) });
            let kinds: Vec<Number> = packed.parameters().matrices().values().map(|matrix| matrix.number()).collect();
            let blocks = if format == WeightFormat::Q8 { Number::Q8 } else { Number::Q4 };
            assert!(kinds.contains(&blocks) && kinds.contains(&Number::Bf16), "{kinds:?}");
            assert!(kinds.iter().all(|kind| [blocks, Number::Bf16].contains(kind)));
            // The adapters of both see the same base: one in blocks, and one of what they stand for.
            packed.parameters().write(&dir.path().join(FILE)).unwrap();
            let wide = ModelFolder::open(dir.path(), &Device::Cpu).unwrap();
            let (states, logits) = passes(&packed, QWEN2_5);
            let (wide_states, wide_logits) = passes(&wide, QWEN2_5);
            assert!(relative(&wide_states, &states) < 1e-5 && relative(&wide_logits, &logits) < 1e-5);
            same_gradients(&adapted(packed), &adapted(wide), QWEN2_5);
        }
    });
}
