//! Which files and tensors of a folder count, which number formats can be read, and what is refused by its name: by
//! registration, training and serving alike.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use vgpo::model::generate::Generation;
use vgpo::model::{Capture, ModelFolder, View, describe};

use super::loading::{copy_checkpoint, error_of, tensors};
use super::{FAMILIES, QWEN2_5, QWEN3, close, flat, hidden};

/// A tensor as a file holds it.
type Raw = (Dtype, Vec<usize>, Vec<u8>);

fn raw(tensor: &Tensor) -> Raw {
    let bytes = flat(tensor).iter().flat_map(|value| value.to_le_bytes()).collect();
    (Dtype::F32, tensor.dims().to_vec(), bytes)
}

fn write(all: &BTreeMap<String, Raw>, path: &Path) {
    let views = all
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, path).unwrap();
}

fn raw_tensors(dir: &Path) -> BTreeMap<String, Raw> {
    tensors(dir).iter().map(|(name, tensor)| (name.clone(), raw(tensor))).collect()
}

fn change(dir: &Path, file: &str, edit: impl FnOnce(&mut Value)) {
    let path = dir.join(file);
    let mut json: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    edit(&mut json);
    std::fs::write(&path, json.to_string()).unwrap();
}

/// Refused with the same words by whoever only looks and by whoever loads.
fn refused(dir: &Path, words: &[&str]) {
    let (looked, loaded) = (describe(dir).unwrap_err().to_string(), error_of(dir));
    assert_eq!(looked, loaded);
    for word in words {
        assert!(loaded.contains(word), "`{word}` is not in: {loaded}");
    }
}

/// Bytes of E4M3, none of which is NaN.
fn fp8_bytes(count: usize, seed: usize) -> Vec<u8> {
    (0..count)
        .map(|i| ((i * 37 + seed * 11) % 251) as u8)
        .map(|byte| if byte & 0x7F == 0x7F { 0 } else { byte })
        .collect()
}

/// A folder with FP8 weights in its decoder's linear layers, and the plain values that they stand for.
fn fp8(
    dir: &Path,
    scale_name: &str,
    scale_shape: impl Fn(usize, usize) -> (Vec<usize>, [usize; 2]),
    scale_dtype: Dtype,
) -> HashMap<String, Vec<f32>> {
    let mut all = raw_tensors(dir);
    let mut want = HashMap::new();
    let names: Vec<String> = all
        .keys()
        .filter(|name| name.ends_with("_proj.weight") && name.starts_with("model.") && name.contains("layers."))
        .cloned()
        .collect();
    for (seed, name) in names.iter().enumerate() {
        let shape = all[name].1.clone();
        let bytes = fp8_bytes(shape[0] * shape[1], seed);
        let (grid, [down, across]) = scale_shape(shape[0], shape[1]);
        let count: usize = grid.iter().product();
        // Sixteenths are exact in every format.
        let scales: Vec<f32> = (0..count).map(|i| (1 + (i * 5 + seed) % 9) as f32 / 1024.0).collect();
        let values = Tensor::from_raw_buffer(&bytes, DType::F8E4M3, &shape, &Device::Cpu).unwrap();
        let values = flat(&values.to_dtype(DType::F32).unwrap());
        let a_row = shape[1].div_ceil(across);
        let scaled = values
            .iter()
            .enumerate()
            .map(|(at, value)| value * scales[at / shape[1] / down * a_row + at % shape[1] / across]);
        want.insert(name.clone(), scaled.collect());
        let scale_bytes = scales.iter().flat_map(|scale| match scale_dtype {
            Dtype::BF16 => half::bf16::from_f32(*scale).to_le_bytes().to_vec(),
            _ => scale.to_le_bytes().to_vec(),
        });
        all.insert(name.replace("weight", scale_name), (scale_dtype, grid, scale_bytes.collect()));
        all.insert(name.clone(), (Dtype::F8_E4M3, shape, bytes));
    }
    assert!(!names.is_empty());
    write(&all, &dir.join("model.safetensors"));
    want
}

#[test]
fn fp8_weights_with_scales_are_the_numbers_that_they_stand_for() {
    type Grid = fn(usize, usize) -> (Vec<usize>, [usize; 2]);
    let whole: Grid = |rows, columns| (vec![], [rows, columns]);
    let one: Grid = |rows, columns| (vec![1], [rows, columns]);
    let rows: Grid = |rows, columns| (vec![rows, 1], [1, columns]);
    let blocks: Grid = |rows, columns| (vec![rows.div_ceil(24), columns.div_ceil(40)], [24, 40]);
    let forms: [(&str, Grid, Dtype, Value); 5] = [
        ("weight_scale_inv", one, Dtype::F32, json!({"quant_method": "fp8", "fmt": "e4m3"})),
        ("weight_scale", whole, Dtype::F32, json!({"quant_method": "modelopt", "quant_algo": "FP8"})),
        ("weight_scale", rows, Dtype::BF16, json!({"quant_method": "compressed-tensors", "format": "float-quantized"})),
        ("weight_scale_inv", blocks, Dtype::BF16, json!({"quant_method": "fp8", "weight_block_size": [24, 40]})),
        ("weight_scale_inv", rows, Dtype::F32, Value::Null),
    ];
    for family in FAMILIES {
        for (name, grid, dtype, settings) in &forms {
            let dir = copy_checkpoint(family);
            let want = fp8(dir.path(), name, grid, *dtype);
            change(dir.path(), "config.json", |config| config["quantization_config"] = settings.clone());
            let info = describe(dir.path()).unwrap();
            assert!(info.notes.iter().any(|note| note.contains("FP8")), "{:?}", info.notes);
            let folder = ModelFolder::open(dir.path(), &Device::Cpu).unwrap();
            assert_eq!(info.parameters, folder.parameters().count(), "scales are not parameters");
            for (file_name, values) in &want {
                let name = super::Family::canonical(file_name);
                assert_eq!(&flat(&folder.parameters().vars()[&name]), values, "{name} by {settings}");
            }
            folder.parameters().save(dir.path(), u64::MAX).unwrap();
            let left = tensors(dir.path()).into_keys().find(|name| name.contains("scale"));
            assert_eq!(left, None, "scales are not written back");
        }
    }
}

#[test]
fn other_number_formats_are_refused_by_name() {
    let q = "model.layers.0.self_attn.q_proj";
    let side = |dir: &Path, name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    type Edit<'a> = Box<dyn Fn(&Path, &mut BTreeMap<String, Raw>) + 'a>;
    let set = |settings: Value| -> Edit<'_> {
        Box::new(move |dir, _| change(dir, "config.json", |config| config["quantization_config"] = settings.clone()))
    };
    let with = |name: String, dtype: Dtype, shape: Vec<usize>| -> Edit<'_> {
        Box::new(move |_, all| {
            let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            all.insert(name.clone(), (dtype, shape.clone(), vec![1; bytes]));
        })
    };
    let cases: Vec<(&[&str], Edit<'_>)> = vec![
        (&["quantization_config", "awq in 4 bits"], set(json!({"quant_method": "awq", "bits": 4}))),
        (&["bitsandbytes"], set(json!({"quant_method": "bitsandbytes", "load_in_8bit": true}))),
        (&["quanto in int8"], set(json!({"quant_method": "quanto", "weights": "int8"}))),
        (
            &["compressed-tensors (pack-quantized)"],
            set(json!({"quant_method": "compressed-tensors", "format": "pack-quantized"})),
        ),
        (&["e5m2"], set(json!({"quant_method": "fp8", "fmt": "e5m2"}))),
        (&["FP8", "none is"], set(json!({"quant_method": "fp8"}))),
        (
            &["unnamed method in 4"],
            Box::new(|dir, _| change(dir, "config.json", |config| config["quantization"] = json!({"bits": 4}))),
        ),
        (
            &["quantization_config", "awq"],
            Box::new(|dir, _| {
                change(dir, "config.json", |config| {
                    config["vision_config"]["quantization_config"] = json!({"quant_method": "awq"})
                });
            }),
        ),
        (&["quantize_config.json", "GPTQ"], Box::new(move |dir, _| side(dir, "quantize_config.json", "{\"bits\": 4}"))),
        (
            &["hf_quant_config.json", "NVFP4"],
            Box::new(move |dir, _| {
                side(dir, "hf_quant_config.json", "{\"quantization\": {\"quant_algo\": \"NVFP4\"}}");
            }),
        ),
        (&["adapter_config.json", "merge"], Box::new(move |dir, _| side(dir, "adapter_config.json", "{}"))),
        (&["q_proj.qweight", "GPTQ or AWQ"], with(format!("{q}.qweight"), Dtype::I32, vec![64, 8])),
        (&["q_proj.weight_packed", "compressed-tensors"], with(format!("{q}.weight_packed"), Dtype::I32, vec![64, 8])),
        (&["SCB", "bitsandbytes"], with(format!("{q}.SCB"), Dtype::F32, vec![64])),
        (
            &["quant_state", "bitsandbytes"],
            with(format!("{q}.weight.quant_state.bitsandbytes__nf4"), Dtype::U8, vec![9]),
        ),
        (&["q_proj.weight`", "number format U8"], with(format!("{q}.weight"), Dtype::U8, vec![64, 64])),
        (&["q_proj.weight`", "number format I8"], with(format!("{q}.weight"), Dtype::I8, vec![64, 64])),
        (&["model.norm.weight`", "number format I64"], with("model.norm.weight".to_owned(), Dtype::I64, vec![64])),
        (&["q_proj.weight`", "number format F8_E5M2"], with(format!("{q}.weight"), Dtype::F8_E5M2, vec![64, 64])),
        (&["F8_E4M3", "weight_scale_inv` is missing"], with(format!("{q}.weight"), Dtype::F8_E4M3, vec![64, 64])),
        (&["q_proj.weight`", "F32", "left over"], with(format!("{q}.weight_scale_inv"), Dtype::F32, vec![1])),
        (
            &["does not divide"],
            Box::new(|_, all| {
                all.insert(
                    "model.layers.0.self_attn.q_proj.weight".to_owned(),
                    (Dtype::F8_E4M3, vec![64, 64], vec![0; 4096]),
                );
                all.insert(
                    "model.layers.0.self_attn.q_proj.weight_scale".to_owned(),
                    (Dtype::F32, vec![3, 1], vec![0; 12]),
                );
            }),
        ),
    ];
    for (words, edit) in cases {
        let dir = copy_checkpoint(QWEN2_5);
        let mut all = raw_tensors(dir.path());
        edit(dir.path(), &mut all);
        write(&all, &dir.path().join("model.safetensors"));
        refused(dir.path(), words);
    }
}

fn index(dir: &Path, places: &[(&str, &str)]) {
    let map: serde_json::Map<String, Value> = places.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    std::fs::write(dir.join("model.safetensors.index.json"), json!({ "weight_map": map }).to_string()).unwrap();
}

#[test]
fn one_file_wins_over_an_index_and_shards_beside_it() {
    let dir = copy_checkpoint(QWEN2_5);
    let norm = "model.norm.weight";
    let want = flat(&tensors(dir.path())[norm]);
    index(dir.path(), &[(norm, "model-00001-of-00001.safetensors")]);
    let check = || {
        let folder = ModelFolder::open(dir.path(), &Device::Cpu).unwrap();
        assert_eq!(flat(&folder.parameters().vars()[norm]), want);
        let notes = describe(dir.path()).unwrap().notes;
        assert!(notes.iter().any(|note| note.contains("index.json")), "{notes:?}");
    };
    check();
    let old = BTreeMap::from([(norm.to_owned(), raw(&Tensor::zeros(64, DType::F32, &Device::Cpu).unwrap()))]);
    write(&old, &dir.path().join("model-00001-of-00001.safetensors"));
    check();
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    std::fs::remove_file(dir.path().join("model-00001-of-00001.safetensors")).unwrap();
    refused(dir.path(), &["index.json", "model-00001-of-00001.safetensors", "not there"]);
    std::fs::remove_file(dir.path().join("model.safetensors.index.json")).unwrap();
    std::fs::write(dir.path().join("pytorch_model.bin"), "x").unwrap();
    refused(dir.path(), &["neither model.safetensors", "pytorch_model.bin"]);
}

#[test]
fn a_tensor_that_is_there_twice_is_an_error() {
    let (norm, embedding) = ("model.norm.weight", "model.embed_tokens.weight");
    let split = |more: &[&str], places: &[(&str, &str)]| {
        let dir = copy_checkpoint(QWEN2_5);
        let (mut first, mut second) = (raw_tensors(dir.path()), BTreeMap::new());
        let mut map: BTreeMap<String, &str> = first.keys().map(|name| (name.clone(), "a.safetensors")).collect();
        second.insert(norm.to_owned(), first.remove(norm).unwrap());
        map.insert(norm.to_owned(), "b.safetensors");
        for name in more {
            second.insert((*name).to_owned(), first[*name].clone());
        }
        map.extend(places.iter().map(|(name, file)| ((*name).to_owned(), *file)));
        write(&first, &dir.path().join("a.safetensors"));
        write(&second, &dir.path().join("b.safetensors"));
        std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
        let places: Vec<(&str, &str)> = map.iter().map(|(name, file)| (name.as_str(), *file)).collect();
        index(dir.path(), &places);
        dir
    };
    describe(split(&[], &[]).path()).unwrap();
    refused(split(&[embedding], &[]).path(), &[embedding, "is in a.safetensors, but b.safetensors contains it too"]);
    refused(split(&[embedding], &[(embedding, "b.safetensors")]).path(), &[embedding, "is in b.safetensors"]);
    refused(split(&[], &[(norm, "a.safetensors")]).path(), &[norm, "is missing"]);
    for family in FAMILIES {
        let dir = copy_checkpoint(family);
        let mut all = raw_tensors(dir.path());
        let (old, new) = ("visual.patch_embed.proj.weight", "model.visual.patch_embed.proj.weight");
        let there = all.get(old).or(all.get(new)).unwrap().clone();
        all.insert(old.to_owned(), there.clone());
        all.insert(new.to_owned(), there);
        write(&all, &dir.path().join("model.safetensors"));
        refused(dir.path(), &["patch_embed.proj.weight", "also stored"]);
    }
}

/// A tied head that a file repeats stays equal to the embedding; one that differs is a contradiction.
#[test]
fn a_tied_head_follows_the_embedding() {
    let head = "lm_head.weight";
    for (family, embedding) in
        [(QWEN2_5, "model.embed_tokens.weight"), (QWEN3, "model.language_model.embed_tokens.weight")]
    {
        let dir = copy_checkpoint(family);
        change(dir.path(), "config.json", |config| {
            config["tie_word_embeddings"] = json!(true);
            if config.get("text_config").is_some() {
                config["text_config"]["tie_word_embeddings"] = json!(true);
            }
        });
        let mut all = raw_tensors(dir.path());
        all.insert(head.to_owned(), all[embedding].clone());
        write(&all, &dir.path().join("model.safetensors"));
        let folder = ModelFolder::open(dir.path(), &Device::Cpu).unwrap();
        assert!(!folder.parameters().vars().contains_key(head));
        let var = &folder.parameters().vars()["model.embed_tokens.weight"];
        var.set(&(var.as_tensor() * 2.0).unwrap()).unwrap();
        folder.parameters().save(dir.path(), u64::MAX).unwrap();
        let after = tensors(dir.path());
        assert_eq!(flat(&after[head]), flat(&after[embedding]), "the head is the trained embedding");
        let value = all.get_mut(head).unwrap();
        value.2[0] ^= 1;
        write(&all, &dir.path().join("model.safetensors"));
        let error = error_of(dir.path());
        assert!(error.contains(head) && error.contains("tie_word_embeddings"), "{error}");
        // Of two equal tensors some tools keep the one whose name comes first.
        let kept = all.remove(embedding).unwrap();
        write(&all, &dir.path().join("model.safetensors"));
        let folder = ModelFolder::open(dir.path(), &Device::Cpu).unwrap();
        assert_eq!(folder.parameters().vars()["model.embed_tokens.weight"].dims(), &kept.1);
        folder.parameters().save(dir.path(), u64::MAX).unwrap();
        assert!(tensors(dir.path()).contains_key(embedding));
    }
}

#[test]
fn tensors_that_the_model_does_not_read_are_told_and_not_written_back() {
    let dir = copy_checkpoint(QWEN2_5);
    let mut all = raw_tensors(dir.path());
    let before = all.len();
    all.insert("model.mtp.0.weight".to_owned(), (Dtype::F32, vec![2], vec![0; 8]));
    all.insert("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), (Dtype::F32, vec![2], vec![0; 8]));
    write(&all, &dir.path().join("model.safetensors"));
    let notes = describe(dir.path()).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("1 of") && note.contains("model.mtp.0.weight")), "{notes:?}");
    let folder = ModelFolder::open(dir.path(), &Device::Cpu).unwrap();
    folder.parameters().save(dir.path(), u64::MAX).unwrap();
    assert_eq!(tensors(dir.path()).len(), before);
    all.remove("model.norm.weight");
    write(&all, &dir.path().join("model.safetensors"));
    refused(dir.path(), &["model.norm.weight` is missing", "model.mtp.0.weight"]);
}

#[test]
fn what_cannot_be_loaded_is_not_described_either() {
    let head = |all: &mut BTreeMap<String, Raw>| drop(all.remove("lm_head.weight"));
    let shape = |all: &mut BTreeMap<String, Raw>| {
        all.insert("model.norm.weight".to_owned(), (Dtype::F32, vec![32], vec![0; 128]));
    };
    type Edit = fn(&mut BTreeMap<String, Raw>);
    let edits: [(Edit, &str); 2] = [(head, "lm_head.weight"), (shape, "has shape [32]")];
    for (edit, word) in edits {
        let dir = copy_checkpoint(QWEN2_5);
        let mut all = raw_tensors(dir.path());
        edit(&mut all);
        write(&all, &dir.path().join("model.safetensors"));
        refused(dir.path(), &[word]);
    }
    let dir = copy_checkpoint(QWEN2_5);
    let path = dir.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    refused(dir.path(), &["model.safetensors", "header asks for"]);
    std::fs::write(&path, "version https://git-lfs.github.com/spec/v1\n").unwrap();
    refused(dir.path(), &["Git LFS"]);
    let header =
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    let twice = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0, 0]].concat();
    std::fs::write(&path, twice).unwrap();
    refused(dir.path(), &["names the tensor `a` twice"]);
}

#[test]
fn numbers_that_are_none_are_an_error_with_a_name() {
    for (dtype, odd) in [(DType::F32, f32::NAN), (DType::BF16, f32::INFINITY), (DType::F16, f32::NAN)] {
        let dir = copy_checkpoint(QWEN2_5);
        let mut all: HashMap<String, Tensor> =
            tensors(dir.path()).into_iter().map(|(name, t)| (name, t.to_dtype(dtype).unwrap())).collect();
        let mut values = vec![1.0_f32; 64];
        values[3] = odd;
        let norm = Tensor::from_vec(values, 64, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        all.insert("model.norm.weight".to_owned(), norm);
        candle_core::safetensors::save(&all, dir.path().join("model.safetensors")).unwrap();
        let error = error_of(dir.path());
        assert!(error.contains("`model.norm.weight`") && error.contains("position 3"), "{error}");
    }
}

#[test]
fn logits_that_are_not_finite_are_an_error() {
    let dir = copy_checkpoint(QWEN2_5);
    let mut all = tensors(dir.path());
    let huge = Tensor::full(3e38_f32, 64, &Device::Cpu).unwrap();
    all.insert("model.norm.weight".to_owned(), huge);
    candle_core::safetensors::save(&all, dir.path().join("model.safetensors")).unwrap();
    let model = ModelFolder::open(dir.path(), &Device::Cpu).unwrap().model(View::Detached).unwrap();
    let case = QWEN2_5.case("p4_text");
    let (generation, _) = Generation::prefill(model.as_ref(), &[&case.row], 1, &mut Capture::none()).unwrap();
    let error = generation.logits().unwrap_err().to_string();
    assert!(error.contains("logits are not finite"), "{error}");
}

/// A folder that was read as it should be gives the stored numbers: the checks above change nothing.
#[test]
fn plain_folders_have_nothing_to_tell() {
    for family in FAMILIES {
        let dir = copy_checkpoint(family);
        assert_eq!(describe(dir.path()).unwrap().notes, Vec::<String>::new());
        let model = ModelFolder::open(dir.path(), &Device::Cpu).unwrap().model(View::Detached).unwrap();
        let case = family.case("p1_single");
        let (_, states) = hidden(model.as_ref(), &[&case.row], &mut Capture::none());
        close("states", &flat(&states), &case.vec("last_hidden_state"), 3e-4);
    }
}
