//! From bytes of a file to the values of a weight.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};

use super::format::Encoding;
use super::header::Stored;
use crate::model::ModelError;
use crate::model::weights::file_error;

/// Values that are compared at a time.
const COMPARED: usize = 1 << 20;

/// The values of a weight on `device`, in the number format `dtype`.
///
/// # Errors
/// A file that cannot be read; values that are not finite.
pub fn read(stored: &Stored, encoding: &Encoding, device: &Device, dtype: DType) -> Result<Tensor, ModelError> {
    let bytes = bytes(stored)?;
    let shape = stored.shape.as_slice();
    let tensor = match encoding {
        Encoding::Plain => {
            check_finite(stored, &bytes)?;
            // [shape that the file names]
            Tensor::from_raw_buffer(&bytes, candle_dtype(&stored.dtype), shape, device)?
        }
        Encoding::Scaled { scale, block } => {
            let scales = numbers(&scale.dtype, &self::bytes(scale)?);
            let columns = shape.last().copied().unwrap_or(1);
            let values = scaled(&bytes, &scales, columns, *block);
            refuse_odd(stored, values.iter().position(|value| !value.is_finite()))?;
            // [shape that the file names]
            Tensor::from_vec(values, shape, device)?
        }
    };
    Ok(tensor.to_dtype(dtype)?)
}

/// Do two tensors hold the same values?
///
/// # Errors
/// A file that cannot be read.
pub fn are_equal(one: &Stored, other: &Stored) -> Result<bool, ModelError> {
    if one.shape != other.shape {
        return Ok(false);
    }
    let open = |stored: &Stored| File::open(&stored.file).map_err(|e| file_error(&stored.file, e));
    let (mut left, mut right) = (open(one)?, open(other)?);
    // A part at a time: a head may take gigabytes.
    for first in (0..one.values() as u64).step_by(COMPARED) {
        let part = |stored: &Stored, file: &mut File| -> Result<Vec<f32>, ModelError> {
            let width = stored.bytes / (stored.values() as u64).max(1);
            let count = (stored.values() as u64 - first).min(COMPARED as u64);
            let part = Stored { start: stored.start + first * width, bytes: count * width, ..stored.clone() };
            Ok(numbers(&part.dtype, &bytes_of(&part, file)?))
        };
        if part(one, &mut left)? != part(other, &mut right)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The bytes of a tensor in its file.
///
/// # Errors
/// A file that cannot be read.
pub fn bytes(stored: &Stored) -> Result<Vec<u8>, ModelError> {
    bytes_of(stored, &mut File::open(&stored.file).map_err(|e| file_error(&stored.file, e))?)
}

/// The bytes of a weight in its file, which is open.
///
/// # Errors
/// A file that cannot be read.
pub fn bytes_of(stored: &Stored, file: &mut File) -> Result<Vec<u8>, ModelError> {
    let mut read = || {
        file.seek(SeekFrom::Start(stored.start))?;
        let mut bytes = vec![0; stored.bytes as usize];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|e: std::io::Error| file_error(&stored.file, e))
}

/// The number format of plain numbers.
pub fn candle_dtype(dtype: &str) -> DType {
    match dtype {
        "BF16" => DType::BF16,
        "F16" => DType::F16,
        "F64" => DType::F64,
        _ => DType::F32,
    }
}

/// Refuses plain numbers that are not finite.
///
/// # Errors
/// Names the first one.
pub fn check_finite(stored: &Stored, bytes: &[u8]) -> Result<(), ModelError> {
    refuse_odd(stored, first_odd(&stored.dtype, bytes))
}

fn refuse_odd(stored: &Stored, odd: Option<usize>) -> Result<(), ModelError> {
    let Some(at) = odd else { return Ok(()) };
    Err(ModelError::Weight {
        name: stored.name.clone(),
        problem: format!(
            "holds a value that is not a finite number (NaN or infinite) at position {at}: the checkpoint is broken; take an \
             earlier one"
        ),
    })
}

/// The first value that is not finite: all bits of its exponent are set.
fn first_odd(dtype: &str, bytes: &[u8]) -> Option<usize> {
    /// Blocks are looked at without a branch for each value.
    const BLOCK: usize = 4096;
    fn find<const N: usize>(bytes: &[u8], odd: impl Fn([u8; N]) -> bool) -> Option<usize> {
        let values = bytes.as_chunks::<N>().0;
        let any = |block: &[[u8; N]]| block.iter().fold(false, |any, value| any | odd(*value));
        let first = values.chunks(BLOCK).position(any)? * BLOCK;
        values[first..].iter().position(|value| odd(*value)).map(|at| first + at)
    }
    match dtype {
        "BF16" => find(bytes, |value| u16::from_le_bytes(value) & 0x7F80 == 0x7F80),
        "F16" => find(bytes, |value| u16::from_le_bytes(value) & 0x7C00 == 0x7C00),
        "F64" => find(bytes, |value| !f64::from_le_bytes(value).is_finite()),
        _ => find(bytes, |value| u32::from_le_bytes(value) & 0x7F80_0000 == 0x7F80_0000),
    }
}

/// Values as 32-bit floats.
pub fn numbers(dtype: &str, bytes: &[u8]) -> Vec<f32> {
    fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|value| number(*value)).collect()
    }
    match dtype {
        "BF16" => each(bytes, |value| bf16::from_le_bytes(value).to_f32()),
        "F16" => each(bytes, |value| f16::from_le_bytes(value).to_f32()),
        "F64" => each(bytes, |value| f64::from_le_bytes(value) as f32),
        "F8_E8M0" => bytes.iter().map(|byte| power_of_two(*byte)).collect(),
        _ => each(bytes, f32::from_le_bytes),
    }
}

/// E8M0: an exponent alone; 255 is not a number.
fn power_of_two(byte: u8) -> f32 {
    match byte {
        0 => f32::from_bits(1 << 22),
        255 => f32::NAN,
        exponent => f32::from_bits(u32::from(exponent) << 23),
    }
}

/// The value of each byte in E4M3: 4 bits of exponent (bias 7), 3 of mantissa, no infinity, one NaN a sign.
fn e4m3_table() -> [f32; 256] {
    std::array::from_fn(|byte| {
        let (exponent, mantissa) = ((byte >> 3) & 0xF, byte & 0x7);
        let size = match (exponent, mantissa) {
            (0xF, 0x7) => f32::NAN,
            (0, _) => mantissa as f32 / 512.0,
            _ => (1.0 + mantissa as f32 / 8.0) * ((exponent as f32) - 7.0).exp2(),
        };
        if byte >= 0x80 { -size } else { size }
    })
}

/// E4M3 bytes times the scales of their blocks, in 32-bit floats; the last block of a row or column may be cut.
fn scaled(bytes: &[u8], scales: &[f32], columns: usize, [down, across]: [usize; 2]) -> Vec<f32> {
    let table = e4m3_table();
    let scales_a_row = columns.div_ceil(across).max(1);
    let mut values = Vec::with_capacity(bytes.len());
    for (row, line) in bytes.chunks(columns.max(1)).enumerate() {
        let scales = &scales[row / down * scales_a_row..];
        for (part, scale) in line.chunks(across).zip(scales) {
            values.extend(part.iter().map(|byte| table[usize::from(*byte)] * scale));
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4m3_covers_its_range() {
        let table = e4m3_table();
        assert_eq!([table[0x00], table[0x01], table[0x08]], [0.0, 0.001_953_125, 0.015_625]);
        assert_eq!([table[0x38], table[0x7E], table[0xFE], table[0xB9]], [1.0, 448.0, -448.0, -1.125]);
        assert!(table[0x7F].is_nan() && table[0xFF].is_nan());
        assert_eq!(table.iter().filter(|value| value.is_finite()).count(), 254);
    }

    #[test]
    fn a_cut_block_takes_its_own_scale() {
        // One is 0x38: three rows of five columns in blocks of two by three.
        let values = scaled(&[0x38; 15], &[1.0, 2.0, 3.0, 4.0], 5, [2, 3]);
        let rows: Vec<&[f32]> = values.chunks(5).collect();
        assert_eq!(rows[1], [1.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(rows[2], [3.0, 3.0, 3.0, 4.0, 4.0]);
    }

    #[test]
    fn values_that_are_not_finite_are_found_in_every_format() {
        for (dtype, fine, odd) in [
            ("F32", f32::MAX.to_le_bytes().to_vec(), f32::NEG_INFINITY.to_le_bytes().to_vec()),
            ("BF16", bf16::MAX.to_le_bytes().to_vec(), bf16::NAN.to_le_bytes().to_vec()),
            ("F16", f16::MAX.to_le_bytes().to_vec(), f16::INFINITY.to_le_bytes().to_vec()),
            ("F64", f64::MAX.to_le_bytes().to_vec(), f64::NAN.to_le_bytes().to_vec()),
        ] {
            assert_eq!(first_odd(dtype, &[fine.clone(), fine.clone()].concat()), None, "{dtype}");
            assert_eq!(first_odd(dtype, &[fine, odd].concat()), Some(1), "{dtype}");
        }
        assert_eq!([power_of_two(127), power_of_two(126), power_of_two(0)], [1.0, 0.5, (-127.0_f32).exp2()]);
    }
}
