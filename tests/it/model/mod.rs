//! The model against Hugging Face transformers' numbers, and against itself.

mod batching;
mod bf16;
mod checkpointing;
mod footprint;
mod frozen;
mod golden;
pub mod kernels;
mod loading;
mod lora;
mod quantized;
mod qwen3_5;
mod settings;
mod training;
mod weight_files;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use serde_json::Value;
use vgpo::model::logprob::TokenTarget;
use vgpo::model::{Batch, Capture, Grid, ImagePatches, ModelFolder, Sequence, View, VisionLanguageModel};

pub const CASES: [&str; 4] = ["p1_single", "p2_large", "p3_two_images", "p4_text"];

/// A family's folder of stored numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family(&'static str);

pub const QWEN2: Family = Family("qwen2_vl_tiny");
pub const QWEN2_5: Family = Family("qwen2_5_vl_tiny");
pub const QWEN3: Family = Family("qwen3_vl_tiny");
pub const QWEN3_5: Family = Family("qwen3_5_tiny");
/// The families that share one configuration.
pub const QWEN_VL: [Family; 3] = [QWEN2, QWEN2_5, QWEN3];
pub const FAMILIES: [Family; 4] = [QWEN2, QWEN2_5, QWEN3, QWEN3_5];

impl Family {
    pub fn fixture(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(self.0)
    }

    /// How far rounding may move log-probs and the loss: a gated norm magnifies it.
    pub fn logprob_noise(self) -> f32 {
        if self == QWEN3_5 { 3e-4 } else { 1e-4 }
    }

    /// How far rounding may move an entry of a gradient, as a share of the largest.
    pub fn gradient_noise(self) -> f32 {
        if self == QWEN3_5 { 1e-3 } else { 3e-4 }
    }

    /// The stored cases: with those that every family has, any of its own.
    pub fn case_names(self) -> Vec<&'static str> {
        let own = if self == QWEN3_5 { &["p5_long"][..] } else { &[] };
        [&CASES[..], own].concat()
    }

    pub fn open(self) -> ModelFolder {
        ModelFolder::open(&self.fixture().join("checkpoint"), &Device::Cpu).unwrap()
    }

    pub fn detached(self) -> Arc<dyn VisionLanguageModel> {
        self.open().model(View::Detached).unwrap()
    }

    pub fn case(self, name: &str) -> Case {
        Case::load(&self.fixture().join(name))
    }

    pub fn cases(self) -> Vec<Case> {
        CASES.iter().map(|name| self.case(name)).collect()
    }

    /// The name inside the program of a tensor that the stored numbers name as the file does.
    pub fn canonical(name: &str) -> String {
        name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")
    }
}

/// A stored prompt with its response and every number that belongs to it.
pub struct Case {
    pub json: Value,
    pub tensors: HashMap<String, Tensor>,
    pub row: Sequence,
    pub prompt_len: usize,
}

impl Case {
    fn load(dir: &Path) -> Self {
        let json: Value = serde_json::from_str(&std::fs::read_to_string(dir.join("case.json")).unwrap()).unwrap();
        let tensors = candle_core::safetensors::load(dir.join("tensors.safetensors"), &Device::Cpu).unwrap();
        let ids = json["input_ids"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect();
        let images = images(&tensors);
        let prompt_len = json["prompt_len"].as_u64().unwrap() as usize;
        Self { row: Sequence { ids, images }, prompt_len, json, tensors }
    }

    pub fn vec(&self, key: &str) -> Vec<f32> {
        flat(&self.tensors[key])
    }

    pub fn response(&self) -> &[u32] {
        &self.row.ids[self.prompt_len..]
    }

    pub fn prompt(&self) -> Sequence {
        Sequence { ids: self.row.ids[..self.prompt_len].to_vec(), images: self.row.images.clone() }
    }
}

fn images(tensors: &HashMap<String, Tensor>) -> Vec<Arc<ImagePatches>> {
    let Some(pixels) = tensors.get("pixel_values") else { return Vec::new() };
    let grids: Vec<Vec<i32>> = tensors["image_grid_thw"].to_vec2().unwrap();
    let mut start = 0;
    let mut out = Vec::new();
    for g in grids {
        let grid = Grid { time: g[0] as usize, height: g[1] as usize, width: g[2] as usize };
        let values = flat(&pixels.narrow(0, start, grid.patches()).unwrap());
        start += grid.patches();
        out.push(Arc::new(ImagePatches { values, grid }));
    }
    out
}

pub fn flat(t: &Tensor) -> Vec<f32> {
    t.to_dtype(candle_core::DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub fn close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}: sizes differ");
    assert!(!want.is_empty(), "{what}: nothing to compare");
    let worst =
        got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, |a: f32, b| if b > a || b.is_nan() { b } else { a });
    assert!(worst <= tolerance, "{what}: differs by {worst}, allowed {tolerance}");
}

/// Log-probs and entropies `[targets]` with their graph, composed of candle's own operations: the oracle of the program's
/// chunked form, over the whole vocabulary.
pub fn composed_scores(
    model: &dyn VisionLanguageModel,
    hidden: &Tensor,
    targets: &[TokenTarget],
    temperature: f64,
) -> (Tensor, Tensor) {
    let (rows, seq_len, width) = hidden.dims3().unwrap();
    let slots = Tensor::from_iter(targets.iter().map(|t| t.slot), &Device::Cpu).unwrap();
    let tokens = Tensor::from_iter(targets.iter().map(|t| t.token), &Device::Cpu).unwrap();
    let states = hidden.reshape((rows * seq_len, width)).unwrap().index_select(&slots, 0).unwrap();
    let logits = (model.logits(&states).unwrap() / temperature).unwrap();
    let logs = candle_nn::ops::log_softmax(&logits, 1).unwrap();
    let entropy = (logs.exp().unwrap() * &logs).unwrap().sum(1).unwrap().neg().unwrap();
    (logs.gather(&tokens.unsqueeze(1).unwrap(), 1).unwrap().squeeze(1).unwrap(), entropy)
}

/// The worst difference of two tensors as a share of the first one's largest entry.
pub fn relative(a: &Tensor, b: &Tensor) -> f32 {
    let (a, b) = (flat(a), flat(b));
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let worst = a.iter().zip(&b).fold(0.0_f32, |m, (x, y)| m.max((x - y).abs()));
    if worst == 0.0 { 0.0 } else { worst / largest }
}

/// Where the response tokens of a batch of cases are predicted.
pub fn targets(cases: &[&Case], batch: &Batch) -> Vec<TokenTarget> {
    let mut out = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let start = i * batch.seq_len + batch.padding[i] + case.prompt_len;
        let tokens = case.response().iter().enumerate();
        out.extend(tokens.map(|(t, id)| TokenTarget { slot: (start + t - 1) as u32, token: *id }));
    }
    out
}

pub fn on_large_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(256 << 20).spawn(work).unwrap().join().unwrap()
}

/// Final hidden states of unpadded or padded rows.
pub fn hidden(model: &dyn VisionLanguageModel, rows: &[&Sequence], capture: &mut Capture) -> (Batch, Tensor) {
    let batch = Batch::new(rows, model.info()).unwrap();
    let features = model.features(&batch).unwrap();
    let hidden = model.forward(&batch, features.as_ref(), None, capture).unwrap();
    (batch, hidden)
}
