//! One chunk of tokens of one key head, by the formulas of [`super`].
//!
//! What the value heads of a key head share is computed once: normalised queries and keys and their products.

use super::super::product::{Matrix, product};
use super::super::simd::{self, mul_add};
use super::layout::Layout;
use super::triangle;

/// Queries and keys of a chunk.
pub(super) struct Keys {
    /// The first position, `row * seq_len + position`.
    pub(super) first: usize,
    /// Tokens.
    pub(super) count: usize,
    /// Normalised and scaled queries `[count, key_dim]`.
    pub(super) q: Vec<f32>,
    /// Normalised keys `[count, key_dim]`.
    pub(super) k: Vec<f32>,
    /// Inverse lengths of queries and of keys `[count]`.
    pub(super) lengths: [Vec<f32>; 2],
    /// `Q K^T` and `K K^T`, `[count, count]`.
    pub(super) qk: Vec<f32>,
    pub(super) kk: Vec<f32>,
}

/// A value head in a chunk.
pub(super) struct Values {
    /// The state before the chunk, `[key_dim, value_dim]`.
    pub(super) start: Vec<f32>,
    pub(super) decays: Decays,
    /// Strengths of the corrections `[count]`.
    pub(super) beta: Vec<f32>,
    /// `V - e^c K S0`, `[count, value_dim]`.
    pub(super) errors: Vec<f32>,
    /// `U`, `[count, value_dim]`.
    pub(super) corrections: Vec<f32>,
}

/// Decays within a chunk of n tokens.
pub(super) struct Decays {
    /// `e^(c_i)`.
    pub(super) from_start: Vec<f32>,
    /// `e^(c_n - c_i)`.
    pub(super) to_end: Vec<f32>,
    /// `e^(c_n)`.
    pub(super) total: f32,
    /// `D [n, n]`: `e^(c_i - c_j)` for `j <= i`, else 0.
    pub(super) between: Vec<f32>,
}

impl Keys {
    #[inline(always)]
    pub(super) fn new<const FMA: bool>(problem: &Layout<'_>, head: usize, first: usize, count: usize) -> Self {
        let dim = problem.heads.key_dim;
        let scale = problem.heads.scale() as f32;
        let (mut q, mut k) = (Vec::with_capacity(count * dim), Vec::with_capacity(count * dim));
        let mut lengths = [Vec::with_capacity(count), Vec::with_capacity(count)];
        for position in first..first + count {
            lengths[0].push(normalise::<FMA>(problem.query(position, head), scale, &mut q));
            lengths[1].push(normalise::<FMA>(problem.key(position, head), 1.0, &mut k));
        }
        let (mut qk, mut kk) = (vec![0.0; count * count], vec![0.0; count * count]);
        let keys = Matrix::new(&k, count, dim, dim);
        product(&mut qk, count, false, Matrix::new(&q, count, dim, dim), keys.t());
        product(&mut kk, count, false, keys, keys.t());
        Self { first, count, q, k, lengths, qk, kk }
    }

    pub(super) fn queries(&self) -> Matrix<'_> {
        let dim = self.q.len() / self.count;
        Matrix::new(&self.q, self.count, dim, dim)
    }

    pub(super) fn keys(&self) -> Matrix<'_> {
        let dim = self.k.len() / self.count;
        Matrix::new(&self.k, self.count, dim, dim)
    }
}

/// Appends `x / |x| * scale` and returns `1 / |x|`.
#[inline(always)]
pub(super) fn normalise<const FMA: bool>(x: &[f32], scale: f32, out: &mut Vec<f32>) -> f32 {
    let inverse = 1.0 / (simd::dot::<FMA>(x, x) + super::L2_EPS as f32).sqrt();
    out.extend(x.iter().map(|x| x * inverse * scale));
    inverse
}

impl Decays {
    /// Sums are kept in f64, so that differences of large ones are exact.
    #[inline(always)]
    fn new<const FMA: bool>(logs: impl Iterator<Item = f32>) -> Self {
        let sums: Vec<f64> = logs
            .scan(0.0, |sum, log| {
                *sum += f64::from(log);
                Some(*sum)
            })
            .collect();
        let (count, last) = (sums.len(), sums.last().copied().unwrap_or(0.0));
        let mut out = Self {
            from_start: vec![0.0; count],
            to_end: vec![0.0; count],
            total: raise::<FMA>(last as f32),
            between: vec![0.0; count * count],
        };
        for (row, sum) in sums.iter().enumerate() {
            out.from_start[row] = raise::<FMA>(*sum as f32);
            out.to_end[row] = raise::<FMA>((last - sum) as f32);
            let line = &mut out.between[row * count..=row * count + row];
            for (value, earlier) in line.iter_mut().zip(&sums) {
                *value = (sum - earlier) as f32;
            }
            for value in line {
                *value = raise::<FMA>(*value);
            }
        }
        out
    }
}

/// `e^x` of `x <= 0`, 0 where [`simd::exp`] would stop at its smallest result.
#[inline(always)]
pub(super) fn raise<const FMA: bool>(x: f32) -> f32 {
    let value = simd::exp::<FMA>(x);
    if x < -87.0 { 0.0 } else { value }
}

impl Values {
    /// Works out the corrections of a chunk that starts from `start`.
    #[inline(always)]
    pub(super) fn new<const FMA: bool>(problem: &Layout<'_>, keys: &Keys, head: usize, start: Vec<f32>) -> Self {
        let (count, dim) = (keys.count, problem.heads.value_dim);
        let positions = keys.first..keys.first + count;
        let decays = Decays::new::<FMA>(positions.clone().map(|position| problem.decay(position, head)));
        let beta: Vec<f32> = positions.map(|position| problem.beta(position, head)).collect();
        let mut errors = vec![0.0; count * dim];
        product(&mut errors, dim, false, keys.keys(), state(&start, dim));
        let mut corrections = vec![0.0; count * dim];
        for (token, line) in errors.chunks_exact_mut(dim).enumerate() {
            let values = problem.value(keys.first + token, head);
            let decay = -decays.from_start[token];
            let target = &mut corrections[token * dim..(token + 1) * dim];
            for ((error, value), target) in line.iter_mut().zip(values).zip(target) {
                *error = mul_add::<FMA>(decay, *error, *value);
                *target = beta[token] * *error;
            }
        }
        let minus = minus_lower(keys, &decays, &beta);
        triangle::solve::<FMA>(&minus, count, &mut corrections, dim);
        Self { start, decays, beta, errors, corrections }
    }

    /// Results `[count, value_dim]` of the chunk.
    #[inline(always)]
    pub(super) fn results(&self, keys: &Keys, dim: usize) -> Vec<f32> {
        let count = keys.count;
        let mut out = vec![0.0; count * dim];
        product(&mut out, dim, false, keys.queries(), state(&self.start, dim));
        for (line, decay) in out.chunks_exact_mut(dim).zip(&self.decays.from_start) {
            scale(line, *decay);
        }
        let weights = times(&keys.qk, &self.decays.between);
        let (weights, corrections) = (Matrix::new(&weights, count, count, count), &self.corrections);
        product(&mut out, dim, true, weights, Matrix::new(corrections, count, dim, dim));
        out
    }

    /// The state after the chunk.
    #[inline(always)]
    pub(super) fn end(&self, keys: &Keys, dim: usize) -> Vec<f32> {
        let mut end: Vec<f32> = self.start.iter().map(|value| value * self.decays.total).collect();
        let written = scaled(&self.corrections, &self.decays.to_end, dim);
        product(&mut end, dim, true, keys.keys().t(), Matrix::new(&written, keys.count, dim, dim));
        end
    }
}

/// `-L` of the chunk; the diagonal and what is above it are 0.
#[inline(always)]
pub(super) fn minus_lower(keys: &Keys, decays: &Decays, beta: &[f32]) -> Vec<f32> {
    let count = keys.count;
    let mut minus = vec![0.0; count * count];
    for (row, line) in minus.chunks_exact_mut(count).enumerate() {
        let factors = keys.kk[row * count..].iter().zip(&decays.between[row * count..]);
        for (value, (alike, between)) in line[..row].iter_mut().zip(factors) {
            *value = -beta[row] * alike * between;
        }
    }
    minus
}

/// A state as a matrix.
pub(super) fn state(values: &[f32], dim: usize) -> Matrix<'_> {
    Matrix::new(values, values.len() / dim, dim, dim)
}

/// The product of two tables, value by value.
#[inline(always)]
pub(super) fn times(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}

/// Multiplies all values by a factor.
#[inline(always)]
pub(super) fn scale(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

/// Lines of `dim` values, each times a factor of its own.
#[inline(always)]
pub(super) fn scaled(values: &[f32], factors: &[f32], dim: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for (line, factor) in values.chunks_exact(dim).zip(factors) {
        out.extend(line.iter().map(|value| value * factor));
    }
    out
}
