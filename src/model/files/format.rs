//! Number formats of weights: which are supported, and errors that name the others.
//!
//! A quantised checkpoint is recognised by a setting in `config.json`, by a file next to it, or by its tensors alone.
//! One form is supported: FP8 (E4M3) weights with a scale per tensor, row or block, which become plain numbers when
//! they are loaded.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::header::Stored;
use super::json::read_json;
use crate::model::ModelError;

/// Plain numbers.
const PLAIN: [&str; 4] = ["F32", "BF16", "F16", "F64"];
/// The one packed format that is read.
const FP8: &str = "F8_E4M3";
/// Formats of scales.
const SCALES: [&str; 4] = ["F32", "BF16", "F16", "F8_E8M0"];
/// What the names of a weight's scale end in, instead of `weight`.
const SCALE_ENDS: [&str; 2] = ["weight_scale_inv", "weight_scale"];
/// Default side of a block, as in the checkpoints of `DeepSeek` and Qwen.
const USUAL_BLOCK: usize = 128;
/// Keys of `config.json` under which tools write how they quantised a model.
pub(super) const CONFIG_KEYS: [&str; 3] = ["quantization_config", "compression_config", "quantization"];
/// Parts of `config.json` in which the keys may be.
pub(super) const SECTIONS: [&str; 3] = ["", "/text_config", "/vision_config"];
/// Where `ModelOpt` writes its settings.
const MODEL_OPT: &str = "hf_quant_config.json";
/// Files where other tools write theirs.
const SIDE_FILES: [&str; 5] = [
    "quantize_config.json",
    "quant_config.json",
    "quantization_config.json",
    "quanto_qmap.json",
    "quant_model_description.json",
];
/// Name endings of tensors that only quantised checkpoints have, and the tool or method that writes them.
const PACKED: [(&str, &str); 21] = [
    (".qweight", "GPTQ or AWQ"),
    (".qzeros", "GPTQ or AWQ"),
    (".g_idx", "GPTQ"),
    (".scales", "GPTQ, AWQ or MLX"),
    (".weight_packed", "compressed-tensors"),
    (".weight_shape", "compressed-tensors"),
    (".weight_zero_point", "compressed-tensors"),
    (".weight_scale_2", "NVFP4"),
    (".weight_global_scale", "NVFP4"),
    (".absmax", "bitsandbytes"),
    (".quant_map", "bitsandbytes"),
    (".SCB", "bitsandbytes"),
    (".weight_format", "bitsandbytes"),
    (".codebooks", "AQLM"),
    (".codes", "AQLM"),
    (".W_q", "HQQ"),
    ("._data", "quanto"),
    ("._scale", "quanto"),
    (".weight_quantizer._amax", "ModelOpt"),
    (".weight_offset", "MindIE"),
    (".quant_bias", "MindIE"),
];

/// Names of files that say how a model was quantised.
pub(super) fn is_side_file(name: &str) -> bool {
    name == MODEL_OPT || SIDE_FILES.contains(&name)
}

/// How the values of a weight are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Plain,
    /// Each times the scale of its block; `block` holds the rows and columns of one.
    Scaled { scale: Box<Stored>, block: [usize; 2] },
}

/// What settings say about a folder's number format: nothing, or FP8.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Where FP8 is declared.
    place: Option<String>,
    /// Rows and columns of a block, where they are given.
    block: Option<[usize; 2]>,
}

/// What `config.json` and the files next to it declare.
///
/// # Errors
/// Any quantisation but FP8, by its name.
pub fn declared(dir: &Path, config_path: &Path, config: &Value) -> Result<Declared, ModelError> {
    let mut declared = Declared::default();
    for section in SECTIONS {
        for key in CONFIG_KEYS {
            let Some(settings) = config.pointer(&format!("{section}/{key}")).filter(|value| !value.is_null()) else {
                continue;
            };
            let block = fp8_block(settings).map_err(|method| unsupported(config_path, key, &method))?;
            declared.place.get_or_insert_with(|| format!("`{key}`"));
            declared.block = declared.block.or(block);
        }
    }
    let path = dir.join(MODEL_OPT);
    if path.exists() {
        let settings = read_json(&path)?;
        let algorithm = settings.pointer("/quantization/quant_algo").filter(|value| !value.is_null());
        match algorithm.map(|value| (value, value.as_str())) {
            None => {}
            Some((_, Some("FP8"))) => declared.place = Some(MODEL_OPT.to_owned()),
            Some((other, _)) => return Err(unsupported(&path, "quant_algo", &shown(other))),
        }
    }
    match SIDE_FILES.iter().map(|name| dir.join(name)).find(|path| path.exists()) {
        None => Ok(declared),
        Some(path) => Err(ModelError::Config {
            path: path.display().to_string(),
            problem: format!("says that the weights are quantised (GPTQ, AWQ or similar), {NOT_READ}"),
        }),
    }
}

const NOT_READ: &str = "which cannot be read here: use the unquantised checkpoint (or one in FP8), or remove what is left of a \
                        quantisation that was undone";

fn unsupported(path: &Path, key: &str, method: &str) -> ModelError {
    ModelError::Config {
        path: path.display().to_string(),
        problem: format!("`{key}` says that the weights are quantised with {method}, {NOT_READ}"),
    }
}

/// A value as an error shows it.
fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// The block size of FP8 settings, where they give one.
///
/// # Errors
/// The name of any other method.
fn fp8_block(settings: &Value) -> Result<Option<[usize; 2]>, String> {
    let method = settings.get("quant_method").or(settings.get("quant_algo"));
    let name = method.map(shown).unwrap_or_default();
    let bits = |value: Option<&Value>| value.map(|bits| format!(" in {} bits", shown(bits))).unwrap_or_default();
    match name.as_str() {
        "fp8" | "fbgemm_fp8" => match settings.get("fmt").and_then(Value::as_str) {
            None | Some("e4m3") => block(settings.get("weight_block_size")),
            Some(other) => Err(format!("{name} ({})", shown(&Value::from(other)))),
        },
        "compressed-tensors" => compressed_block(settings),
        "modelopt" | "FP8" if settings.get("quant_algo").and_then(Value::as_str) == Some("FP8") => Ok(None),
        "" => Err(format!("an unnamed method{}", bits(settings.get("bits").or(settings.get("w_bit"))))),
        _ => Err(format!("{name}{}", bits(settings.get("bits").or(settings.get("weights"))))),
    }
}

/// The same for compressed-tensors, whose one method holds many formats.
fn compressed_block(settings: &Value) -> Result<Option<[usize; 2]>, String> {
    let form = settings.get("format").map_or_else(|| "float-quantized".to_owned(), shown);
    if form != "float-quantized" {
        return Err(format!("compressed-tensors ({form})"));
    }
    if let Some(sparse) = settings.pointer("/sparsity_config/format").filter(|format| *format != "dense") {
        return Err(format!("compressed-tensors (sparse: {})", shown(sparse)));
    }
    let groups = settings.get("config_groups").and_then(Value::as_object);
    let mut found = None;
    for weights in groups.into_iter().flatten().filter_map(|(_, group)| group.get("weights")) {
        let is_fp8 = weights.get("num_bits").is_none_or(|bits| bits == 8)
            && weights.get("type").is_none_or(|kind| kind == "float");
        if !is_fp8 {
            return Err(format!(
                "compressed-tensors ({} bits)",
                weights.get("num_bits").map(shown).unwrap_or_default()
            ));
        }
        found = found.or(block(weights.get("block_structure"))?);
    }
    Ok(found)
}

fn block(value: Option<&Value>) -> Result<Option<[usize; 2]>, String> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let sides = value.as_array().map(|sides| sides.iter().filter_map(Value::as_u64).collect::<Vec<_>>());
    match sides.as_deref() {
        Some([rows, columns]) if *rows > 0 && *columns > 0 => Ok(Some([*rows as usize, *columns as usize])),
        _ => Err(format!("fp8 in blocks of {}", shown(value))),
    }
}

/// Refuses tensors that only an unsupported quantisation leaves.
///
/// # Errors
/// Names the first one and the method.
pub fn refuse_packed(tensors: &BTreeMap<String, Stored>) -> Result<(), ModelError> {
    for (name, stored) in tensors {
        let method = PACKED.iter().find(|(end, _)| name.ends_with(end)).map(|(_, method)| *method);
        let method = method.or_else(|| name.contains(".quant_state.").then_some("bitsandbytes"));
        if let Some(method) = method {
            let problem = format!("is part of a quantised checkpoint ({method}), {NOT_READ}");
            return Err(ModelError::Weight { name: stored.name.clone(), problem });
        }
    }
    Ok(())
}

/// Is this a format of plain numbers?
pub fn is_plain(dtype: &str) -> bool {
    PLAIN.contains(&dtype)
}

/// Is this the scale of quantised weights, activations or cached keys and values, which plain weights do not need?
pub fn is_scale(name: &str) -> bool {
    name.ends_with("_scale") || name.ends_with("_scale_inv") || name.ends_with("_scale_ub")
}

/// How the weight `name` is held.
///
/// # Errors
/// A number format that cannot be read, by its name; a scale that is missing, does not fit, or is left over.
pub fn encoding(
    name: &str,
    stored: &Stored,
    tensors: &BTreeMap<String, Stored>,
    declared: &Declared,
) -> Result<Encoding, ModelError> {
    let fault = |problem: String| ModelError::Weight { name: stored.name.clone(), problem };
    let stem = name.strip_suffix("weight");
    let mut scales = SCALE_ENDS.iter().filter_map(|end| tensors.get(&format!("{}{end}", stem?)));
    let (scale, second) = (scales.next(), scales.next());
    if let (Some(one), Some(two)) = (scale, second) {
        return Err(fault(format!("has two scales, `{}` and `{}`: keep the right one", one.name, two.name)));
    }
    let dtype = stored.dtype.as_str();
    match scale {
        None if PLAIN.contains(&dtype) => Ok(Encoding::Plain),
        None if dtype == FP8 => Err(fault(format!(
            "holds {FP8} numbers, but its scale `{}{}` is missing: copy all files of the checkpoint",
            stored.name.strip_suffix("weight").unwrap_or(&stored.name),
            SCALE_ENDS[0]
        ))),
        None => Err(fault(format!(
            "holds numbers in the number format {dtype}, which is not supported; {} are, and {FP8} with scales: use the \
             unquantised checkpoint",
            PLAIN.join(", ")
        ))),
        Some(scale) if dtype == FP8 => {
            let block = scale_block(stored, scale, declared).map_err(fault)?;
            Ok(Encoding::Scaled { scale: Box::new(scale.clone()), block })
        }
        Some(scale) if PLAIN.contains(&dtype) => Err(fault(format!(
            "holds {dtype} numbers, but `{}` is a scale of a quantisation: one of the two is left over from another save",
            scale.name
        ))),
        Some(_) => Err(fault(format!(
            "is quantised: {dtype} numbers with a scale, {NOT_READ}; of such number formats only {FP8} is supported"
        ))),
    }
}

/// Rows and columns that share a scale.
fn scale_block(weight: &Stored, scale: &Stored, declared: &Declared) -> Result<[usize; 2], String> {
    if !SCALES.contains(&scale.dtype.as_str()) {
        return Err(format!("has the scale `{}` in the number format {}", scale.name, scale.dtype));
    }
    let [rows, columns] = weight.shape[..] else {
        return Err(format!("has {} dimensions; only matrices can be quantised", weight.shape.len()));
    };
    let grid = match scale.shape[..] {
        [] | [1] | [1, 1] => return Ok([rows.max(1), columns.max(1)]),
        [each] => [each, 1],
        [down, across] => [down, across],
        _ => return Err(format!("has a scale `{}` of shape {:?}", scale.name, scale.shape)),
    };
    let fits = |[down, across]: [usize; 2]| rows.div_ceil(down) == grid[0] && columns.div_ceil(across) == grid[1];
    let shared = |side: usize, parts: usize| (parts > 0 && side.is_multiple_of(parts)).then(|| side / parts);
    let even = shared(rows, grid[0]).zip(shared(columns, grid[1])).map(|(down, across)| [down, across]);
    let usual = [USUAL_BLOCK; 2];
    let block = declared.block.filter(|block| fits(*block)).or(Some(usual).filter(|block| fits(*block))).or(even);
    block.ok_or_else(|| {
        format!(
            "has shape {:?}, which its scale `{}` of shape {:?} does not divide",
            weight.shape, scale.name, scale.shape
        )
    })
}

impl Declared {
    /// Checks a declaration against the weights.
    ///
    /// # Errors
    /// FP8 is declared, but no weight is stored as FP8.
    pub fn check(&self, dir: &Path, any_scaled: bool) -> Result<(), ModelError> {
        match &self.place {
            Some(place) if !any_scaled => Err(ModelError::Config {
                path: dir.display().to_string(),
                problem: format!(
                    "{place} says that the weights are quantised in FP8, but none is: remove it if they are plain numbers"
                ),
            }),
            _ => Ok(()),
        }
    }
}
