//! Rows of a weight as they are stored: numbers of 32 or 16 bits, or blocks of small integers with a scale each.
//! Kernels widen them where they compute, a tile at a time: what is read from memory is what is stored.

use pulp::{Arch, Simd, WithSimd};

use super::simd;

/// Values of a block of integers.
pub const BLOCK: usize = 32;
/// Values in the same four bits of a block.
pub const HALF: usize = BLOCK / 2;
/// Bytes of a block: its scale in 16 bits, and its integers in 8 or 4.
pub const Q8_BYTES: usize = 2 + BLOCK;
/// See [`Q8_BYTES`].
pub const Q4_BYTES: usize = 2 + BLOCK / 2;

/// Stored rows, one after the other. Bytes are little-endian, and need no alignment.
#[derive(Debug, Clone, Copy)]
pub enum Lines<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// The upper halves of 32-bit floats.
    Bf16(&'a [[u8; 2]]),
    /// Half-precision floats; all finite.
    F16(&'a [[u8; 2]]),
    /// Blocks of 8-bit integers.
    Q8(&'a [[u8; Q8_BYTES]]),
    /// Blocks of 4-bit integers: the first half of the values in the lower four bits, the other half in the upper.
    Q4(&'a [[u8; Q4_BYTES]]),
}

impl Lines<'_> {
    /// Number of values.
    pub fn len(self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) | Self::F16(values) => values.len(),
            Self::Q8(blocks) => blocks.len() * BLOCK,
            Self::Q4(blocks) => blocks.len() * BLOCK,
        }
    }

    /// Values `from..to`: whole blocks.
    #[must_use]
    pub fn cut(self, from: usize, to: usize) -> Self {
        match self {
            Self::F32(values) => Self::F32(&values[from..to]),
            Self::Bf16(values) => Self::Bf16(&values[from..to]),
            Self::F16(values) => Self::F16(&values[from..to]),
            Self::Q8(blocks) => Self::Q8(&blocks[from / BLOCK..to / BLOCK]),
            Self::Q4(blocks) => Self::Q4(&blocks[from / BLOCK..to / BLOCK]),
        }
    }

    /// Asks for the values `from..to` as far as there are any.
    #[inline(always)]
    pub fn prefetch(self, from: usize, to: usize) {
        fn part<T>(values: &[T], from: usize, to: usize) {
            simd::prefetch(&values[from.min(values.len())..to.min(values.len())]);
        }
        match self {
            Self::F32(values) => part(values, from, to),
            Self::Bf16(values) | Self::F16(values) => part(values, from, to),
            Self::Q8(blocks) => part(blocks, from / BLOCK, to / BLOCK),
            Self::Q4(blocks) => part(blocks, from / BLOCK, to / BLOCK),
        }
    }

    /// Widens the values from `from` on into `to`: whole blocks. One function for each instruction set: it is not
    /// copied to where it is used.
    #[inline(always)]
    pub fn widen_on<S: Simd>(self, simd: S, from: usize, to: &mut [f32]) {
        simd.vectorize(Widen { lines: self, from, to });
    }

    /// Hands `take` the values of `count` blocks from the value `from` on, widened in registers, with their number.
    #[inline(always)]
    pub fn in_blocks(self, from: usize, count: usize, mut take: impl FnMut(usize, [f32; BLOCK])) {
        match self {
            Self::F32(values) => {
                let (blocks, _) = values[from..from + count * BLOCK].as_chunks();
                for (at, block) in blocks.iter().enumerate() {
                    take(at, *block);
                }
            }
            Self::Bf16(values) => {
                let (blocks, _) = values[from..from + count * BLOCK].as_chunks::<BLOCK>();
                for (at, block) in blocks.iter().enumerate() {
                    take(at, each(|i| upper_half(block[i])));
                }
            }
            Self::F16(values) => {
                let (blocks, _) = values[from..from + count * BLOCK].as_chunks::<BLOCK>();
                for (at, block) in blocks.iter().enumerate() {
                    take(at, each(|i| half_precision(u16::from_le_bytes(block[i]))));
                }
            }
            Self::Q8(blocks) => {
                for (at, [low, high, integers @ ..]) in blocks[from / BLOCK..][..count].iter().enumerate() {
                    take(at, of_eight_bits(integers, half_precision(u16::from_le_bytes([*low, *high]))));
                }
            }
            Self::Q4(blocks) => {
                for (at, [low, high, integers @ ..]) in blocks[from / BLOCK..][..count].iter().enumerate() {
                    take(at, of_four_bits(integers, half_precision(u16::from_le_bytes([*low, *high]))));
                }
            }
        }
    }

    /// The integers of a block, and their scale; none where values are stored one by one.
    #[inline(always)]
    pub fn block(self, at: usize) -> Option<([f32; BLOCK], f32)> {
        match self {
            Self::F32(_) | Self::Bf16(_) | Self::F16(_) => None,
            Self::Q8(blocks) => {
                let [low, high, integers @ ..] = &blocks[at];
                Some((of_eight_bits(integers, 1.0), half_precision(u16::from_le_bytes([*low, *high]))))
            }
            Self::Q4(blocks) => {
                let [low, high, integers @ ..] = &blocks[at];
                Some((of_four_bits(integers, 1.0), half_precision(u16::from_le_bytes([*low, *high]))))
            }
        }
    }

    /// Widens the values from `from` on into `to`; integers are whole blocks.
    #[inline(always)]
    pub fn widen(self, from: usize, to: &mut [f32]) {
        match self {
            Self::F32(values) => to.copy_from_slice(&values[from..from + to.len()]),
            Self::Bf16(values) => {
                let values = &values[from..from + to.len()];
                for (to, value) in to.iter_mut().zip(values) {
                    *to = upper_half(*value);
                }
            }
            Self::F16(values) => {
                let values = &values[from..from + to.len()];
                for (to, value) in to.iter_mut().zip(values) {
                    *to = half_precision(u16::from_le_bytes(*value));
                }
            }
            Self::Q8(blocks) => each_block(
                blocks,
                from,
                to,
                #[inline(always)]
                |bytes, scale, to| *to = of_eight_bits(bytes, scale),
            ),
            Self::Q4(blocks) => each_block(
                blocks,
                from,
                to,
                #[inline(always)]
                |bytes, scale, to| *to = of_four_bits(bytes, scale),
            ),
        }
    }
}

/// The values of a block's integers.
#[inline(always)]
fn of_eight_bits(bytes: &[u8; BLOCK], scale: f32) -> [f32; BLOCK] {
    each(|i| f32::from(bytes[i].cast_signed()) * scale)
}

/// The same of integers of 4 bits.
#[inline(always)]
fn of_four_bits(bytes: &[u8; HALF], scale: f32) -> [f32; BLOCK] {
    // Copied, so that nothing that is written can change it.
    let bytes = *bytes;
    let mut values = [0.0; BLOCK];
    for i in 0..HALF {
        values[i] = f32::from((bytes[i] & 0xF).cast_signed() - 8) * scale;
        values[HALF + i] = f32::from((bytes[i] >> 4).cast_signed() - 8) * scale;
    }
    values
}

/// Calls `widen` with the integers, the scale and the values of every block. Scales of several blocks are widened at
/// once.
#[inline(always)]
fn each_block<const BYTES: usize, const INTEGERS: usize>(
    blocks: &[[u8; BYTES]],
    from: usize,
    to: &mut [f32],
    widen: impl Fn(&[u8; INTEGERS], f32, &mut [f32; BLOCK]),
) {
    const AT_ONCE: usize = 8;
    let (to, _) = to.as_chunks_mut::<BLOCK>();
    let blocks = &blocks[from / BLOCK..][..to.len()];
    for (blocks, to) in blocks.chunks(AT_ONCE).zip(to.chunks_mut(AT_ONCE)) {
        let mut halves = [0_u16; AT_ONCE];
        for (half, block) in halves.iter_mut().zip(blocks) {
            *half = u16::from_le_bytes([block[0], block[1]]);
        }
        let mut scales = [0.0; AT_ONCE];
        for i in 0..AT_ONCE {
            scales[i] = half_precision(halves[i]);
        }
        for ((block, to), scale) in blocks.iter().zip(to).zip(&scales) {
            let Some(integers) = block.last_chunk() else { continue };
            one_by_one();
            widen(integers, *scale, to);
        }
    }
}

/// Keeps a loop over blocks from being vectorised across blocks, whose bytes would have to be gathered one at a time:
/// the values of one block fill vectors.
#[inline(always)]
fn one_by_one() {
    std::hint::black_box(());
}

/// The values of a block, one by one.
#[inline(always)]
pub fn each<T: Copy + Default>(value: impl Fn(usize) -> T) -> [T; BLOCK] {
    let mut values = [T::default(); BLOCK];
    for (at, to) in values.iter_mut().enumerate() {
        *to = value(at);
    }
    values
}

/// The 32-bit float with this upper half, and 0 in the lower one.
#[inline(always)]
fn upper_half(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// The value of a half-precision float that is finite, without branches.
#[inline(always)]
fn half_precision(bits: u16) -> f32 {
    /// What 2^-14 is as a 32-bit float, and the difference of the exponents' biases.
    const SMALLEST_NORMAL: u32 = 113 << 23;
    const BIAS: u32 = 112 << 23;
    let (sign, size) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7FFF) << 13);
    let normal = f32::from_bits(size + BIAS);
    let small = f32::from_bits(size + SMALLEST_NORMAL) - f32::from_bits(SMALLEST_NORMAL);
    let value = if size < 1 << 23 { small } else { normal };
    f32::from_bits(value.to_bits() | sign)
}

/// [`Lines::widen_on`] with the best instructions of this machine.
pub fn widen(lines: Lines<'_>, from: usize, to: &mut [f32]) {
    Arch::new().dispatch(Widen { lines, from, to });
}

struct Widen<'a, 'b> {
    lines: Lines<'a>,
    from: usize,
    to: &'b mut [f32],
}

impl WithSimd for Widen<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.lines.widen(self.from, self.to);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};

    use super::super::pack::{pack_q4, pack_q8};
    use super::*;

    fn widened(lines: Lines<'_>) -> Vec<f32> {
        let mut values = vec![f32::NAN; lines.len()];
        widen(lines, 0, &mut values);
        // Block by block they are the same, from any block on.
        let blocks = values.len() / BLOCK;
        for first in [0, blocks / 2] {
            let mut seen = 0;
            lines.in_blocks(first * BLOCK, blocks - first, |at, block| {
                let want = &values[(first + at) * BLOCK..][..BLOCK];
                assert_eq!(block.map(f32::to_bits), *want.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
                seen += 1;
            });
            assert_eq!(seen, blocks - first);
        }
        values
    }

    #[test]
    fn every_number_of_16_bits_is_widened_exactly() {
        let all: Vec<[u8; 2]> = (0..=u16::MAX).map(u16::to_le_bytes).collect();
        let numbers = all.iter().zip(widened(Lines::F16(&all)).into_iter().zip(widened(Lines::Bf16(&all))));
        for (bytes, (narrow, brain)) in numbers {
            let want = half::f16::from_le_bytes(*bytes);
            if want.is_finite() {
                assert_eq!(narrow.to_bits(), want.to_f32().to_bits(), "{bytes:?}");
            }
            assert_eq!(brain.to_bits(), u32::from(u16::from_le_bytes(*bytes)) << 16);
        }
    }

    #[test]
    fn blocks_are_those_of_ggml() {
        let values: Vec<f32> = (0..320).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0) * (1.0 + i as f32)).collect();
        let values = [values, vec![0.0; BLOCK]].concat();
        let tensor = Tensor::from_slice(&values, (11, BLOCK), &Device::Cpu).unwrap();
        let theirs = |format| {
            let packed = QTensor::quantize(&tensor, format).unwrap();
            packed.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let mut blocks = vec![[0; Q8_BYTES]; 11];
        pack_q8(&values, &mut blocks);
        assert_eq!(widened(Lines::Q8(&blocks)), theirs(GgmlDType::Q8_0));
        assert_eq!(widened(Lines::Q8(&blocks).cut(64, 160)), theirs(GgmlDType::Q8_0)[64..160]);
        let mut blocks = vec![[0; Q4_BYTES]; 11];
        pack_q4(&values, &mut blocks);
        assert_eq!(widened(Lines::Q4(&blocks)), theirs(GgmlDType::Q4_0));
        let mut part = vec![0.0; BLOCK];
        widen(Lines::Q4(&blocks), 96, &mut part);
        assert_eq!(part, theirs(GgmlDType::Q4_0)[96..128]);
    }
}
