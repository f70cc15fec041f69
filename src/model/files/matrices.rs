//! Matrices that are not trained, from a file to the form in which the CPU reads them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};

use super::decode;
use super::format::Encoding;
use super::header::Stored;
use super::mapped::Mapped;
use crate::domain::weights::WeightFormat;
use crate::model::ModelError;
use crate::model::kernels::{Memory, Number, StoredMatrix};

/// The files of a folder that are mapped.
#[derive(Default)]
pub struct Maps(BTreeMap<Arc<Path>, Arc<Mapped>>);

impl Maps {
    /// Maps what can be mapped of the files of these tensors.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn of<'a>(tensors: impl Iterator<Item = &'a Stored>) -> Result<Self, ModelError> {
        let mut maps = BTreeMap::new();
        let mut seen: Vec<&Path> = Vec::new();
        for tensor in tensors {
            if seen.contains(&&*tensor.file) {
                continue;
            }
            seen.push(&tensor.file);
            if let Some(mapped) = Mapped::open(&tensor.file)? {
                maps.insert(Arc::clone(&tensor.file), Arc::new(mapped));
            }
        }
        Ok(Self(maps))
    }

    /// A tensor in its file's own number format: mapped if its file is, and read otherwise.
    fn plain(&self, stored: &Stored, number: Number, shape: (usize, usize)) -> Result<StoredMatrix, ModelError> {
        if let Some(mapped) = self.0.get(&stored.file) {
            let (start, end) = (stored.start as usize, (stored.start + stored.bytes) as usize);
            if let Some(bytes) = mapped.bytes().get(start..end) {
                decode::check_finite(stored, bytes)?;
                let memory: Arc<dyn Memory> = Arc::<Mapped>::clone(mapped);
                // 32-bit floats may not be aligned in their file.
                if let Ok(matrix) = StoredMatrix::new(memory, start, number, shape) {
                    return Ok(matrix);
                }
            }
        }
        let bytes = decode::bytes(stored)?;
        decode::check_finite(stored, &bytes)?;
        let memory: Arc<dyn Memory> = match number {
            Number::F32 => Arc::new(decode::numbers(&stored.dtype, &bytes)),
            _ => Arc::new(bytes),
        };
        Ok(StoredMatrix::new(memory, 0, number, shape)?)
    }

    /// The matrix of a weight, never wider than `dtype`.
    ///
    /// # Errors
    /// A file that cannot be read; values that are not finite.
    pub fn matrix(&self, stored: &Stored, encoding: &Encoding, dtype: DType) -> Result<StoredMatrix, ModelError> {
        let shape = (stored.shape.first().copied().unwrap_or(1), stored.shape.get(1).copied().unwrap_or(1));
        let own = match stored.dtype.as_str() {
            _ if *encoding != Encoding::Plain => None,
            "BF16" => Some(Number::Bf16),
            "F16" if dtype != DType::BF16 => Some(Number::F16),
            "F32" if dtype == DType::F32 => Some(Number::F32),
            _ => None,
        };
        match own {
            Some(number) => self.plain(stored, number, shape),
            None => of_tensor(&decode::read(stored, encoding, &Device::Cpu, dtype)?),
        }
    }
}

/// A tensor's values in memory of their own, in its number format.
///
/// # Errors
/// A tensor that is not a matrix of floats.
pub fn of_tensor(tensor: &Tensor) -> Result<StoredMatrix, ModelError> {
    let (shape, flat) = (tensor.dims2()?, tensor.flatten_all()?);
    let (number, memory): (_, Arc<dyn Memory>) = match tensor.dtype() {
        DType::BF16 => {
            let values = flat.to_vec1::<bf16>()?;
            (Number::Bf16, Arc::new(values.into_iter().flat_map(bf16::to_le_bytes).collect::<Vec<u8>>()))
        }
        DType::F16 => {
            let values = flat.to_vec1::<f16>()?;
            (Number::F16, Arc::new(values.into_iter().flat_map(f16::to_le_bytes).collect::<Vec<u8>>()))
        }
        _ => (Number::F32, Arc::new(flat.to_dtype(DType::F32)?.to_vec1::<f32>()?)),
    };
    Ok(StoredMatrix::new(memory, 0, number, shape)?)
}

/// The blocks of a format; none for the native one.
pub fn blocks_of(format: WeightFormat) -> Option<Number> {
    match format {
        WeightFormat::Native => None,
        WeightFormat::Q8 => Some(Number::Q8),
        WeightFormat::Q4 => Some(Number::Q4),
    }
}
