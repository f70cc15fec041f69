//! Vector arithmetic on the CPU: one portable source, compiled twice.
//!
//! Bodies are plain loops that the compiler turns into vector instructions. On x86-64 they are compiled once for the
//! baseline and once for AVX2 with FMA; [`run`] chooses at run time. On other architectures the baseline has vectors
//! and a fused multiply-add of its own (aarch64) or do without. Reductions add in a fixed order of [`WIDTH`] partial
//! sums, so results depend on the machine's instruction set, but never on threads or chance.

/// Partial sums of a reduction.
pub const WIDTH: usize = 16;
/// Adding 1.5 * 2^23 rounds to the nearest integer, which is then in the low bits.
pub const INTEGER: f32 = 12_582_912.0;

/// Work on vectors. `FMA`: is a fused multiply-add one instruction here?
pub trait Kernel {
    /// The result.
    type Output;

    /// Does the work. Mark implementations, and everything they call, `#[inline(always)]`: only then are they compiled
    /// for the instruction set at hand.
    fn run<const FMA: bool>(self) -> Self::Output;
}

/// Runs `kernel` with the best instructions of this machine.
pub fn run<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor was just seen to have both features.
        #[allow(unsafe_code)]
        return unsafe { run_avx2(kernel) };
    }
    kernel.run::<{ cfg!(target_arch = "aarch64") }>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<true>()
}

/// Asks for values that will be read soon, so that they come while something else is computed.
#[inline(always)]
pub fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = (64 / size_of::<T>()).max(1);
        for value in values.iter().step_by(line) {
            // SAFETY: a hint; it reads nothing, and the place is that of a value.
            #[allow(unsafe_code)]
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// `a * b + c`, fused where that is one instruction.
#[inline(always)]
pub fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` to 2 units in the last place, without branches. Below -87 the result is that of -87 (about 1e-38), above 88 that
/// of 88; NaN stays NaN.
#[inline(always)]
pub fn exp<const FMA: bool>(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = mul_add::<FMA>(x, std::f32::consts::LOG2_E, INTEGER);
    let whole = shifted - INTEGER;
    let rest = mul_add::<FMA>(whole, -LN2_HIGH, x);
    let rest = mul_add::<FMA>(whole, -LN2_LOW, rest);
    // Cephes' minimax polynomial of (e^r - 1 - r) / r^2 on [-ln 2 / 2, ln 2 / 2].
    let mut p = 1.987_569_2e-4;
    p = mul_add::<FMA>(p, rest, 1.398_2e-3);
    p = mul_add::<FMA>(p, rest, 8.333_452e-3);
    p = mul_add::<FMA>(p, rest, 4.166_579_6e-2);
    p = mul_add::<FMA>(p, rest, 1.666_666_6e-1);
    p = mul_add::<FMA>(p, rest, 0.5);
    let value = mul_add::<FMA>(p * rest, rest, rest) + 1.0;
    let power = (shifted.to_bits() << 23).wrapping_add(127 << 23);
    value * f32::from_bits(power)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// Joins the upper half with the lower one until one value is left.
#[inline(always)]
fn halved(mut values: [f32; WIDTH], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = WIDTH / 2;
    while width > 0 {
        for i in 0..width {
            values[i] = join(values[i], values[i + width]);
        }
        width /= 2;
    }
    values[0]
}

#[inline(always)]
fn total(sums: [f32; WIDTH]) -> f32 {
    halved(sums, |a, b| a + b)
}

/// Scalar product of two slices of one length.
#[inline(always)]
pub fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; WIDTH];
    let (a, a_rest) = a.as_chunks::<WIDTH>();
    let (b, b_rest) = b.as_chunks::<WIDTH>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..WIDTH {
            sums[i] = mul_add::<FMA>(a[i], b[i], sums[i]);
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *sum = mul_add::<FMA>(*a, *b, *sum);
    }
    total(sums)
}

/// Sum of the values.
#[inline(always)]
pub fn sum(values: &[f32]) -> f32 {
    sum_of(values, |value| value)
}

/// Sum of what becomes of the values.
#[inline(always)]
pub fn sum_of(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0_f32; WIDTH];
    let (chunks, rest) = values.as_chunks::<WIDTH>();
    for chunk in chunks {
        for i in 0..WIDTH {
            sums[i] += of(chunk[i]);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += of(*value);
    }
    total(sums)
}

/// Sum of squared distances to `centre`.
#[inline(always)]
pub fn squares_around<const FMA: bool>(values: &[f32], centre: f32) -> f32 {
    let mut sums = [0.0_f32; WIDTH];
    let (chunks, rest) = values.as_chunks::<WIDTH>();
    for chunk in chunks {
        for i in 0..WIDTH {
            let distance = chunk[i] - centre;
            sums[i] = mul_add::<FMA>(distance, distance, sums[i]);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        let distance = value - centre;
        *sum = mul_add::<FMA>(distance, distance, *sum);
    }
    total(sums)
}

/// Largest value; negative infinity for none.
#[inline(always)]
pub fn max(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut best = [f32::NEG_INFINITY; WIDTH];
    let (chunks, rest) = values.as_chunks::<WIDTH>();
    for chunk in chunks {
        for i in 0..WIDTH {
            best[i] = larger(best[i], chunk[i]);
        }
    }
    for (best, value) in best.iter_mut().zip(rest) {
        *best = larger(*best, *value);
    }
    halved(best, larger)
}

/// Adds `scale * x` to `y`.
#[inline(always)]
pub fn add_scaled<const FMA: bool>(y: &mut [f32], scale: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = mul_add::<FMA>(scale, *x, *y);
    }
}

/// Replaces values by `e^(value - shift)` and returns their sum.
#[inline(always)]
pub fn exp_shifted<const FMA: bool>(values: &mut [f32], shift: f32) -> f32 {
    let mut sums = [0.0_f32; WIDTH];
    let (chunks, rest) = values.as_chunks_mut::<WIDTH>();
    for chunk in chunks {
        for i in 0..WIDTH {
            chunk[i] = exp::<FMA>(chunk[i] - shift);
            sums[i] += chunk[i];
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *value = exp::<FMA>(*value - shift);
        *sum += *value;
    }
    total(sums)
}

/// Replaces values by their softmax.
#[inline(always)]
pub fn softmax<const FMA: bool>(values: &mut [f32]) {
    let sum = exp_shifted::<FMA>(values, max(values));
    let share = 1.0 / sum;
    for value in values {
        *value *= share;
    }
}

/// Values of a tile that [`build`] hands out: it stays in the nearest cache.
const TILE: usize = 512;

/// A vector of `count` values, built tile by tile: `fill` gets the index of its first value and the tile. The memory of
/// the result is written once, without being cleared first.
#[inline(always)]
pub fn build(count: usize, mut fill: impl FnMut(usize, &mut [f32])) -> Vec<f32> {
    let mut out = Vec::with_capacity(count);
    let mut tile = [0.0_f32; TILE];
    while out.len() < count {
        let tile = &mut tile[..TILE.min(count - out.len())];
        fill(out.len(), tile);
        out.extend_from_slice(tile);
    }
    out
}

/// [`build`] for two results at once.
#[inline(always)]
pub fn build_two(count: usize, mut fill: impl FnMut(usize, &mut [f32], &mut [f32])) -> (Vec<f32>, Vec<f32>) {
    let mut second = Vec::with_capacity(count);
    let mut other = [0.0_f32; TILE];
    let first = build(count, |at, tile| {
        let other = &mut other[..tile.len()];
        fill(at, tile, other);
        second.extend_from_slice(other);
    });
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Exp<'a>(&'a [f32]);

    impl Kernel for Exp<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<const FMA: bool>(self) -> Vec<f32> {
            self.0.iter().map(|x| exp::<FMA>(*x)).collect()
        }
    }

    #[test]
    fn exp_is_exact_to_a_few_units_with_and_without_fma() {
        let points: Vec<f32> = (-8600..=8700).map(|i| i as f32 * 0.01 + 0.003).collect();
        for found in [run(Exp(&points)), Exp(&points).run::<false>()] {
            for (x, found) in points.iter().zip(found) {
                let want = f64::from(*x).exp();
                let error = (f64::from(found) - want).abs() / want;
                assert!(error < 3.0 * f64::from(f32::EPSILON), "exp({x}) = {found}, off by {error}");
            }
        }
        assert!(exp::<false>(f32::NAN).is_nan());
        assert!(exp::<false>(-1e30) < 2e-38);
    }

    #[test]
    fn reductions_cover_every_length() {
        for length in 0..70 {
            let a: Vec<f32> = (0..length).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
            let b: Vec<f32> = (0..length).map(|i| (i * 5 % 13) as f32 - 6.0).collect();
            let want: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert_eq!(dot::<false>(&a, &b), want);
            assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
