//! Folders that load, folders that must not, and the way back to disk.

use candle_core::{Device, Tensor};
use vgpo::model::{Batch, Capture, ModelFolder, Sequence, View};

use super::{FAMILIES, Family, QWEN2_5, QWEN3, QWEN3_5, close, flat, hidden};

pub(super) fn copy_checkpoint(family: Family) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(family.fixture().join("checkpoint")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    dir
}

pub(super) fn tensors(dir: &std::path::Path) -> std::collections::HashMap<String, Tensor> {
    candle_core::safetensors::load(dir.join("model.safetensors"), &Device::Cpu).unwrap()
}

pub(super) fn error_of(dir: &std::path::Path) -> String {
    match ModelFolder::open(dir, &Device::Cpu).and_then(|f| f.model(View::Detached)) {
        Ok(_) => panic!("the folder should not load"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_saved_checkpoint_reloads_bit_exactly_under_the_same_names() {
    for family in FAMILIES {
        reloads_bit_exactly(family);
    }
}

fn reloads_bit_exactly(family: Family) {
    let folder = family.open();
    let dir = copy_checkpoint(family);
    let before = tensors(dir.path());
    folder.parameters().save(dir.path(), u64::MAX).unwrap();
    let after = tensors(dir.path());
    assert_eq!(before.len(), after.len());
    for (name, tensor) in &before {
        assert_eq!(flat(tensor), flat(&after[name]), "{name}");
    }
    let first = std::fs::read(dir.path().join("model.safetensors")).unwrap();
    folder.parameters().save(dir.path(), u64::MAX).unwrap();
    assert_eq!(first, std::fs::read(dir.path().join("model.safetensors")).unwrap(), "equal values give equal bytes");
}

#[test]
fn newer_names_load_and_are_written_back() {
    for family in FAMILIES {
        newer_names_load(family);
    }
}

fn newer_names_load(family: Family) {
    let dir = copy_checkpoint(family);
    let text = std::fs::read_to_string(family.fixture().join("key_names.json")).unwrap();
    let names: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    let old = tensors(dir.path());
    // Tensors that transformers has no name for keep theirs.
    let newer = |name: &String| names[name]["name_in_transformers_5"].as_str().unwrap_or(name).to_owned();
    let renamed: std::collections::HashMap<String, Tensor> =
        old.iter().map(|(name, tensor)| (newer(name), tensor.clone())).collect();
    assert_eq!(
        family != QWEN3 && family != QWEN3_5,
        renamed.keys().any(|k| !old.contains_key(k)),
        "later families were published under the newer names"
    );
    candle_core::safetensors::save(&renamed, dir.path().join("model.safetensors")).unwrap();
    std::fs::copy(family.fixture().join("config_transformers5.json"), dir.path().join("config.json")).unwrap();
    let folder = ModelFolder::open(dir.path(), &Device::Cpu).unwrap();
    let model = folder.model(View::Detached).unwrap();
    let case = family.case("p1_single");
    let (_, states) = hidden(model.as_ref(), &[&case.row], &mut Capture::none());
    close("states", &flat(&states), &case.vec("last_hidden_state"), 3e-4);
    folder.parameters().save(dir.path(), u64::MAX).unwrap();
    let mut again: Vec<String> = tensors(dir.path()).into_keys().collect();
    let mut want: Vec<String> = renamed.into_keys().collect();
    again.sort();
    want.sort();
    assert_eq!(again, want);
}

#[test]
fn sharded_checkpoints_load() {
    let dir = copy_checkpoint(QWEN2_5);
    let all = tensors(dir.path());
    let mut map = serde_json::Map::new();
    for part in 0..2 {
        let file = format!("model-{part}.safetensors");
        let some: std::collections::HashMap<_, _> =
            all.iter().filter(|(k, _)| k.len() % 2 == part).map(|(k, t)| (k.clone(), t.clone())).collect();
        for key in some.keys() {
            map.insert(key.clone(), file.clone().into());
        }
        candle_core::safetensors::save(&some, dir.path().join(file)).unwrap();
    }
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    let index = serde_json::json!({ "weight_map": map });
    std::fs::write(dir.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    let folder = ModelFolder::open(dir.path(), &Device::Cpu).unwrap();
    assert_eq!(folder.parameters().vars().len(), all.len());
    folder.model(View::Detached).unwrap();
}

/// What transformers' own readers rely on: an index whose files hold exactly the tensors it says, within the limit.
#[test]
fn large_checkpoints_are_written_in_shards_and_read_back() {
    const LIMIT: u64 = 100_000;
    for family in FAMILIES {
        let (folder, dir) = (family.open(), copy_checkpoint(family));
        let all = tensors(dir.path());
        std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
        folder.parameters().save(dir.path(), LIMIT).unwrap();
        assert!(!dir.path().join("model.safetensors").exists());
        let index = std::fs::read_to_string(dir.path().join("model.safetensors.index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_str(&index).unwrap();
        let places = index["weight_map"].as_object().unwrap();
        assert_eq!(places.len(), all.len());
        assert_eq!(index["metadata"]["total_size"], all.values().map(|t| t.elem_count() * 4).sum::<usize>());
        let files: std::collections::BTreeSet<&str> = places.values().map(|file| file.as_str().unwrap()).collect();
        assert!(files.len() > 3, "{files:?}");
        for (at, file) in files.iter().enumerate() {
            assert_eq!(*file, format!("model-{:05}-of-{:05}.safetensors", at + 1, files.len()));
            let shard = candle_core::safetensors::load(dir.path().join(file), &Device::Cpu).unwrap();
            let bytes: usize = shard.values().map(|tensor| tensor.elem_count() * 4).sum();
            assert!(bytes as u64 <= LIMIT || shard.len() == 1, "{file} has {bytes} bytes");
            for (name, tensor) in &shard {
                assert_eq!(places[name], **file);
                assert_eq!(flat(tensor), flat(&all[name]), "{name}");
            }
        }
        let case = family.case("p1_single");
        let model = ModelFolder::open(dir.path(), &Device::Cpu).unwrap().model(View::Detached).unwrap();
        let (_, states) = hidden(model.as_ref(), &[&case.row], &mut Capture::none());
        close("states", &flat(&states), &case.vec("last_hidden_state"), 3e-4);
    }
}

/// Published checkpoints hold 16-bit floats: they load as the numbers that they are.
#[test]
fn half_precision_files_load() {
    for dtype in [candle_core::DType::BF16, candle_core::DType::F16] {
        for family in FAMILIES {
            let dir = copy_checkpoint(family);
            let halved: std::collections::HashMap<String, Tensor> =
                tensors(dir.path()).into_iter().map(|(name, t)| (name, t.to_dtype(dtype).unwrap())).collect();
            candle_core::safetensors::save(&halved, dir.path().join("model.safetensors")).unwrap();
            let folder = ModelFolder::open(dir.path(), &Device::Cpu).unwrap();
            for (name, file_tensor) in halved.iter().filter(|(name, _)| !name.starts_with("mtp.")) {
                let var = &folder.parameters().vars()[&Family::canonical(name)];
                assert_eq!(flat(var), flat(file_tensor), "{name} in {dtype:?}");
            }
            let (case, model) = (family.case("p1_single"), folder.model(View::Detached).unwrap());
            let (_, states) = hidden(model.as_ref(), &[&case.row], &mut Capture::none());
            // 8 bits of mantissa, through three or four layers.
            close("states", &flat(&states), &case.vec("last_hidden_state"), 0.25);
        }
    }
}

/// With `tie_word_embeddings` the head is the embedding, whether the file repeats it or not.
#[test]
fn tied_heads_use_the_embedding() {
    let case = QWEN2_5.case("p1_single");
    let logits = |dir: &std::path::Path| {
        let model = ModelFolder::open(dir, &Device::Cpu).unwrap().model(View::Detached).unwrap();
        let (_, states) = hidden(model.as_ref(), &[&case.row], &mut Capture::none());
        flat(&model.logits(&states.squeeze(0).unwrap()).unwrap())
    };
    let untied = copy_checkpoint(QWEN2_5);
    let mut all = tensors(untied.path());
    let embedding = all["model.embed_tokens.weight"].clone();
    let head = all.insert("lm_head.weight".to_owned(), embedding).unwrap();
    candle_core::safetensors::save(&all, untied.path().join("model.safetensors")).unwrap();
    let want = logits(untied.path());
    let tied = copy_checkpoint(QWEN2_5);
    let text = std::fs::read_to_string(tied.path().join("config.json")).unwrap();
    let text = text.replace("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    std::fs::write(tied.path().join("config.json"), text).unwrap();
    for with_head in [true, false] {
        if !with_head {
            all.remove("lm_head.weight");
        }
        candle_core::safetensors::save(&all, tied.path().join("model.safetensors")).unwrap();
        close("logits", &logits(tied.path()), &want, 1e-6);
    }
    // One that differs contradicts the configuration.
    all.insert("lm_head.weight".to_owned(), head);
    candle_core::safetensors::save(&all, tied.path().join("model.safetensors")).unwrap();
    let error = error_of(tied.path());
    assert!(error.contains("lm_head.weight") && error.contains("tie_word_embeddings"), "{error}");
}

#[test]
fn a_missing_tensor_is_named() {
    let dir = copy_checkpoint(QWEN2_5);
    let mut all = tensors(dir.path());
    all.remove("model.layers.1.mlp.up_proj.weight");
    candle_core::safetensors::save(&all, dir.path().join("model.safetensors")).unwrap();
    let error = error_of(dir.path());
    assert!(error.contains("`model.layers.1.mlp.up_proj.weight` is missing"), "{error}");
}

#[test]
fn a_wrong_shape_is_named_with_both_shapes() {
    let dir = copy_checkpoint(QWEN2_5);
    let mut all = tensors(dir.path());
    all.insert("model.norm.weight".into(), Tensor::zeros(32, candle_core::DType::F32, &Device::Cpu).unwrap());
    candle_core::safetensors::save(&all, dir.path().join("model.safetensors")).unwrap();
    let error = error_of(dir.path());
    assert!(error.contains("`model.norm.weight` has shape [32], but config.json asks for [64]"), "{error}");
}

#[test]
fn damaged_files_are_named() {
    let dir = copy_checkpoint(QWEN2_5);
    std::fs::write(dir.path().join("model.safetensors"), b"short").unwrap();
    assert!(error_of(dir.path()).contains("model.safetensors"));
    std::fs::write(dir.path().join("config.json"), b"{").unwrap();
    assert!(error_of(dir.path()).contains("is not valid JSON"));
    std::fs::write(dir.path().join("config.json"), br#"{"model_type": "llama"}"#).unwrap();
    let error = error_of(dir.path());
    assert!(error.contains("llama") && error.contains("qwen2_5_vl"), "{error}");
}

#[test]
fn inputs_that_do_not_fit_are_errors() {
    let family = QWEN2_5;
    let model = family.open().model(View::Detached).unwrap();
    let case = family.case("p1_single");
    let without = Sequence { ids: case.row.ids.clone(), images: Vec::new() };
    let twice = Sequence { ids: case.row.ids.clone(), images: [&case.row.images[..], &case.row.images[..]].concat() };
    let outside = Sequence { ids: vec![1, 100_000], images: Vec::new() };
    let video = Sequence { ids: vec![1, model.info().placeholders[1]], images: Vec::new() };
    let long = Sequence { ids: vec![1; model.info().max_positions + 1], images: Vec::new() };
    for (row, part) in [
        (&without, "image placeholder"),
        (&twice, "image placeholder"),
        (&outside, "outside the vocabulary"),
        (&video, "video input is not supported"),
        (&long, "context of 4096"),
        (&Sequence::default(), "at least one token"),
    ] {
        let error = Batch::new(&[row], model.info()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// New models, small and large ones alike, are written under the names of published checkpoints.
#[test]
fn new_models_have_the_names_of_published_files() {
    for family in FAMILIES {
        let published = family.fixture().join("checkpoint");
        let config = std::fs::read_to_string(published.join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        // Heads that draft tokens are not part of the model.
        let expected = tensors(&published);
        let mut expected: Vec<&String> = expected.keys().filter(|name| !name.starts_with("mtp.")).collect();
        expected.sort();
        for write in [vgpo::model::write_blank, vgpo::model::write_random] {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path(), &config, 3, u64::MAX).unwrap();
            let written = tensors(dir.path());
            let mut names: Vec<&String> = written.keys().collect();
            names.sort();
            assert_eq!(names, expected, "{family:?}");
        }
    }
}

/// A random model of real size is written in shards and 16 bits, the same for the same seed, and can be run.
#[test]
fn random_models_are_written_in_shards_and_16_bits() {
    for family in FAMILIES {
        let config = std::fs::read_to_string(family.fixture().join("checkpoint/config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [one, two] = dirs.each_ref().map(|dir| {
            vgpo::model::write_random(dir.path(), &config, 5, 100_000).unwrap();
            std::fs::read(first_shard(dir.path())).unwrap()
        });
        assert!(one == two, "the same seed gave other weights");
        let folder = ModelFolder::open(dirs[0].path(), &Device::Cpu).unwrap();
        let model = folder.model(View::Detached).unwrap();
        let case = family.case("p1_single");
        let (_, states) = hidden(model.as_ref(), &[&case.row], &mut Capture::none());
        assert!(flat(&states).iter().all(|value| value.is_finite()), "{family:?}");
        let wide = candle_core::safetensors::load(first_shard(dirs[0].path()), &Device::Cpu).unwrap();
        for (name, tensor) in wide {
            let kept = [".A_log", ".dt_bias", ".linear_attn.norm.weight"].iter().any(|end| name.ends_with(end));
            let expected = if kept { candle_core::DType::F32 } else { candle_core::DType::BF16 };
            assert_eq!(tensor.dtype(), expected, "{name}");
        }
    }
}

fn first_shard(dir: &std::path::Path) -> std::path::PathBuf {
    let mut shards: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    shards.retain(|path| path.extension().is_some_and(|end| end == "safetensors"));
    assert!(shards.len() > 2, "several shards: {shards:?}");
    shards.sort();
    shards.swap_remove(0)
}
