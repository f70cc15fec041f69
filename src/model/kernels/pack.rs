//! Values as blocks of small integers with a scale each: the opposite of widening.

use std::cmp::Ordering;

use super::lines::{BLOCK, HALF, Q4_BYTES, Q8_BYTES, each};
use super::simd::{self, Kernel};

/// Writes values as blocks of 8-bit integers: a block's largest is 127 times its scale.
pub fn pack_q8(values: &[f32], blocks: &mut [[u8; Q8_BYTES]]) {
    simd::run(PackQ8 { values, blocks });
}

struct PackQ8<'a> {
    values: &'a [f32],
    blocks: &'a mut [[u8; Q8_BYTES]],
}

impl Kernel for PackQ8<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (values, block) in self.values.as_chunks::<BLOCK>().0.iter().zip(self.blocks) {
            let (scale, inverse) = scales(simd::max(&values.map(f32::abs)) / 127.0);
            block[..2].copy_from_slice(&scale);
            for (byte, value) in block[2..].iter_mut().zip(values) {
                *byte = nearest(value * inverse);
            }
        }
    }
}

/// The low byte of the nearest integer, halves away from zero, of a number of at most 127.
#[inline(always)]
fn nearest(value: f32) -> u8 {
    // The largest number below a half: a half itself would round the number before it up.
    const BELOW_HALF: f32 = 0.499_999_97;
    ((value + BELOW_HALF.copysign(value)).trunc() + simd::INTEGER).to_bits() as u8
}

/// Writes values as blocks of 4-bit integers: a block's largest, of whatever sign, is -8 times its scale.
pub fn pack_q4(values: &[f32], blocks: &mut [[u8; Q4_BYTES]]) {
    simd::run(PackQ4 { values, blocks });
}

struct PackQ4<'a> {
    values: &'a [f32],
    blocks: &'a mut [[u8; Q4_BYTES]],
}

impl Kernel for PackQ4<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (values, block) in self.values.as_chunks::<BLOCK>().0.iter().zip(self.blocks) {
            let (scale, inverse) = scales(largest(values) / -8.0);
            block[..2].copy_from_slice(&scale);
            let integers: [u8; BLOCK] = each(|i| of_sixteen(values[i] * inverse));
            for i in 0..HALF {
                block[2 + i] = integers[i] | (integers[HALF + i] << 4);
            }
        }
    }
}

/// The value of the largest size, with its sign; of two such, the first.
#[inline(always)]
fn largest(values: &[f32; BLOCK]) -> f32 {
    let (up, down) = (simd::max(values), simd::max(&values.map(|value| -value)));
    match up.partial_cmp(&down) {
        Some(Ordering::Greater) => up,
        Some(Ordering::Less) => -down,
        Some(Ordering::Equal) | None => values.iter().copied().find(|value| value.abs() == up).unwrap_or(0.0),
    }
}

/// The nearest integer, of a number from -8 on, as one of 0 to 15.
#[inline(always)]
fn of_sixteen(value: f32) -> u8 {
    let above = value + 8.5;
    let above = if above > 15.0 { 15.0 } else { above };
    (above.trunc() + simd::INTEGER).to_bits() as u8
}

#[inline(always)]
fn scales(scale: f32) -> ([u8; 2], f32) {
    (half::f16::from_f32(scale).to_le_bytes(), if scale == 0.0 { 0.0 } else { 1.0 / scale })
}

#[cfg(test)]
mod tests {
    use super::super::lines::{Lines, widen};
    use super::*;

    fn widened(lines: Lines<'_>) -> [f32; BLOCK] {
        let mut values = [f32::NAN; BLOCK];
        widen(lines, 0, &mut values);
        values
    }

    #[test]
    fn integers_of_8_bits_are_the_nearest_ones() {
        let near = [0.5, -0.5, 0.499_999_97, -0.499_999_97, 1.5, 2.5, -2.5, 126.5, -126.499_99, 0.0, -127.0, 127.0];
        let mut values = [0.25; BLOCK];
        values[..near.len()].copy_from_slice(&near);
        let mut blocks = [[0; Q8_BYTES]];
        pack_q8(&values, &mut blocks);
        assert_eq!(widened(Lines::Q8(&blocks)), values.map(f32::round));
    }

    #[test]
    fn of_two_largest_values_the_first_has_the_integer_that_is_exact() {
        for sign in [1.0, -1.0] {
            let mut values = [0.125; BLOCK];
            (values[5], values[20]) = (8.0 * sign, -8.0 * sign);
            let mut blocks = [[0; Q4_BYTES]];
            pack_q4(&values, &mut blocks);
            let found = widened(Lines::Q4(&blocks));
            // Integers reach from -8 to 7: one of the two loses a step.
            assert_eq!((found[5], found[20], found[0]), (8.0 * sign, -7.0 * sign, 0.0));
        }
    }
}
