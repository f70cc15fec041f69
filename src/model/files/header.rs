//! The header of a safetensors file: names, number formats, shapes and places of its tensors.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::model::ModelError;
use crate::model::weights::file_error;

/// Longest header that a safetensors file may have.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Bytes that tell the header's length.
const LENGTH_BYTES: u64 = 8;
/// Beginning of a Git LFS pointer file, which stands in for content that was not downloaded.
const LFS_POINTER: &[u8] = b"version ";

/// A tensor as a file holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name in the file.
    pub name: String,
    /// The file.
    pub file: Arc<Path>,
    /// Its number format as safetensors names it, e.g. `BF16`.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Where its bytes begin in the file.
    pub start: u64,
    /// How many there are.
    pub bytes: u64,
}

impl Stored {
    /// Number of values.
    pub fn values(&self) -> usize {
        self.shape.iter().product()
    }

    /// The name of its file without the folder.
    pub fn file_name(&self) -> String {
        self.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

#[derive(Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// Every entry in order, so that duplicate names are detected.
struct RawHeader(Vec<(String, RawTensor)>);

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<serde::de::IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(RawHeader(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Bits of one value, where the format is a known one.
fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => 8,
        "I16" | "U16" | "F16" | "BF16" => 16,
        "I32" | "U32" | "F32" => 32,
        "I64" | "U64" | "F64" | "C64" => 64,
        _ => return None,
    })
}

/// Every tensor of a file, in the order of the header.
///
/// # Errors
/// A file that is not there, is cut short, or whose header contradicts itself.
pub fn read(path: &Path) -> Result<Vec<Stored>, ModelError> {
    let damaged = |problem: &str| ModelError::Config { path: path.display().to_string(), problem: problem.to_owned() };
    let mut file = File::open(path).map_err(|e| file_error(path, e))?;
    let whole = file.metadata().map_err(|e| file_error(path, e))?.len();
    let mut length = [0; LENGTH_BYTES as usize];
    file.read_exact(&mut length).map_err(|e| file_error(path, e))?;
    if length == LFS_POINTER {
        return Err(damaged(
            "is a pointer of Git LFS instead of the weights: run `git lfs pull`, or download the file",
        ));
    }
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return Err(damaged("is not a safetensors file: its header is too long; copy it again"));
    }
    let mut text = Vec::new();
    file.take(length).read_to_end(&mut text).map_err(|e| file_error(path, e))?;
    let RawHeader(entries) = serde_json::from_slice(&text).map_err(|e| {
        damaged(&format!("is not a readable safetensors file ({e}); it may be cut short: copy it again"))
    })?;
    let first = LENGTH_BYTES + length;
    let file: Arc<Path> = Arc::from(path);
    let stored = entries.into_iter().map(|(name, raw)| located(name, &raw, &file, first));
    let stored = stored.collect::<Result<Vec<_>, String>>().map_err(|problem| damaged(&problem))?;
    check_places(&stored, first, whole).map_err(|problem| damaged(&problem))?;
    Ok(stored)
}

fn located(name: String, raw: &RawTensor, file: &Arc<Path>, first: u64) -> Result<Stored, String> {
    let RawTensor { dtype, shape, data_offsets: (begin, end) } = raw;
    let faulty = || format!("holds a header that contradicts itself at tensor `{name}`: copy it again");
    let bytes = end.checked_sub(*begin).ok_or_else(faulty)?;
    let values = shape.iter().try_fold(1_u64, |product, side| product.checked_mul(*side)).ok_or_else(faulty)?;
    if let Some(bits) = bits(dtype)
        && values.checked_mul(bits).is_none_or(|all| all.div_ceil(8) != bytes)
    {
        return Err(faulty());
    }
    let shape = shape.iter().map(|side| *side as usize).collect();
    let start = first.checked_add(*begin).ok_or_else(faulty)?;
    Ok(Stored { file: Arc::clone(file), dtype: dtype.clone(), shape, start, bytes, name })
}

/// Do the tensors fill the file, one after the other, and is every name there once?
fn check_places(stored: &[Stored], first: u64, whole: u64) -> Result<(), String> {
    let mut by_place: Vec<&Stored> = stored.iter().collect();
    by_place.sort_by_key(|tensor| (tensor.start, tensor.bytes));
    let mut end = first;
    for tensor in by_place {
        if tensor.start != end {
            return Err(format!("holds a header that contradicts itself at tensor `{}`: copy it again", tensor.name));
        }
        end = tensor.start.saturating_add(tensor.bytes);
    }
    if end != whole {
        return Err(format!("has {whole} bytes instead of the {end} that its header asks for; copy it again"));
    }
    let mut names: Vec<&str> = stored.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("names the tensor `{}` twice", pair[0])),
        None => Ok(()),
    }
}
