//! The backward pass through one chunk: the product rule on the formulas of [`super`].

use super::super::product::{Matrix, product};
use super::super::simd;
use super::chunk::{Keys, Values, minus_lower, scale, scaled, state, times};
use super::forward::Chunk;
use super::layout::Layout;
use super::triangle;

/// Gradients of a chunk of one key head.
pub(super) struct Slopes {
    /// The first position and the number of tokens.
    pub(super) first: usize,
    pub(super) count: usize,
    /// Of raw queries and keys `[count, key_dim]`.
    pub(super) q: Vec<f32>,
    pub(super) k: Vec<f32>,
    /// Of values `[count, value heads of the key head, value_dim]`.
    pub(super) v: Vec<f32>,
    /// Of log decays and strengths `[value heads of the key head, count]`.
    pub(super) decay: Vec<f32>,
    pub(super) beta: Vec<f32>,
}

/// Gradients of `chunk` from those of all results `[positions, value_heads, value_dim]` and of the states after the chunk,
/// which become those of the states before it.
#[inline(always)]
pub(super) fn backward<const FMA: bool>(
    layout: &Layout<'_>,
    chunk: &Chunk,
    head: usize,
    results: &[f32],
    states: &mut [Vec<f32>],
) -> Slopes {
    let keys = &chunk.keys;
    let (count, dim, width) = (keys.count, layout.heads.value_dim, layout.heads.value_width());
    let repeats = layout.heads.repeats();
    let mut out = Slopes {
        first: keys.first,
        count,
        q: vec![0.0; keys.q.len()],
        k: vec![0.0; keys.k.len()],
        v: vec![0.0; count * repeats * dim],
        decay: Vec::with_capacity(repeats * count),
        beta: Vec::with_capacity(repeats * count),
    };
    for (member, values) in chunk.values.iter().enumerate() {
        let at = keys.first * width + (head * repeats + member) * dim;
        let above = Matrix::new(&results[at..], count, dim, width);
        let pass = Pass { keys, values, above, dim };
        let parts = pass.run::<FMA>(&mut out.q, &mut out.k, &mut states[member]);
        let places = out.v[member * dim..].chunks_mut(repeats * dim);
        places.zip(parts.v.chunks_exact(dim)).for_each(|(place, line)| place[..dim].copy_from_slice(line));
        out.decay.extend(parts.decay);
        out.beta.extend(parts.beta);
    }
    raw::<FMA>(&mut out.q, &keys.q, &keys.lengths[0], layout.heads.scale() as f32);
    raw::<FMA>(&mut out.k, &keys.k, &keys.lengths[1], 1.0);
    out
}

/// From the gradients of `x / |x| * scale` to those of `x`: what is along `x` itself is lost.
#[inline(always)]
fn raw<const FMA: bool>(slopes: &mut [f32], normalised: &[f32], lengths: &[f32], scale: f32) {
    let dim = normalised.len() / lengths.len();
    for ((slopes, x), inverse) in slopes.chunks_exact_mut(dim).zip(normalised.chunks_exact(dim)).zip(lengths) {
        let along = simd::dot::<FMA>(slopes, x) / scale;
        for (slope, x) in slopes.iter_mut().zip(x) {
            *slope = inverse * (*slope * scale - x * along);
        }
    }
}

/// One value head of a chunk.
struct Pass<'a> {
    keys: &'a Keys,
    values: &'a Values,
    /// Gradients `dO` of its results `[count, value_dim]`.
    above: Matrix<'a>,
    /// Width of a value.
    dim: usize,
}

/// Gradients of what belongs to a value head alone.
struct Parts {
    v: Vec<f32>,
    decay: Vec<f32>,
    beta: Vec<f32>,
}

/// Gradients of sums of log decays.
struct DecaySlopes {
    /// Of each `c_i`.
    from_start: Vec<f64>,
    /// Of each `c_n - c_i`.
    to_end: Vec<f64>,
    /// Of all `c_i - c_j`, summed over `j` and over `i`.
    rows: Vec<f64>,
    columns: Vec<f64>,
    /// Of `c_n`.
    total: f64,
}

impl Pass<'_> {
    /// Adds to the gradients of normalised queries and keys, and takes that of the state from the end to the start.
    #[inline(always)]
    fn run<const FMA: bool>(&self, to_q: &mut [f32], to_k: &mut [f32], to_state: &mut [f32]) -> Parts {
        let Self { keys, values, dim, .. } = *self;
        let (count, decays) = (keys.count, &values.decays);
        let corrections = Matrix::new(&values.corrections, count, dim, dim);
        let mut slopes = DecaySlopes::new(count);
        slopes.total = f64::from(simd::dot::<FMA>(&values.start, to_state) * decays.total);
        // S1 = e^(c_n) S0 + (e^(c_n - c) K)^T U, by U and K.
        let mut to_u = self.to_corrections(to_state);
        let written = self.by_keys(corrections, state(to_state, dim).t(), Some(&decays.to_end));
        add_along::<FMA>(to_k, &written, &keys.k, &mut slopes.to_end);
        // O = e^c Q S0 + A U with A = Q K^T * D.
        let weights = times(&keys.qk, &decays.between);
        product(&mut to_u, dim, true, Matrix::new(&weights, count, count, count).t(), self.above);
        let mut to_weights = vec![0.0; count * count];
        product(&mut to_weights, count, false, self.above, corrections.t());
        slopes.add(&to_weights, &weights, count);
        self.weights_to_keys(to_weights, to_q, to_k);
        let read = self.read();
        let start = state(&values.start, dim);
        let from_read = self.by_keys(Matrix::new(&read, count, dim, dim), start.t(), None);
        add_along::<FMA>(to_q, &from_read, &keys.q, &mut slopes.from_start);
        // (I + L) U = beta (V - e^c K S0).
        let minus = minus_lower(keys, decays, &values.beta);
        triangle::solve_transposed::<FMA>(&minus, count, &mut to_u, dim);
        let beta = self.lower_to_keys::<FMA>(&to_u, &minus, to_k, &mut slopes);
        let v = scaled(&to_u, &values.beta, dim);
        let mut erased = scaled(&v, &decays.from_start, dim);
        scale(&mut erased, -1.0);
        let erased = Matrix::new(&erased, count, dim, dim);
        let from_erased = self.by_keys(erased, start.t(), None);
        add_along::<FMA>(to_k, &from_erased, &keys.k, &mut slopes.from_start);
        scale(to_state, decays.total);
        product(to_state, dim, true, keys.queries().t(), Matrix::new(&read, count, dim, dim));
        product(to_state, dim, true, keys.keys().t(), erased);
        Parts { v, decay: slopes.of_logs(), beta }
    }

    /// `e^(c_n - c) K dS1`, the gradient of `U` from the state at the end.
    #[inline(always)]
    fn to_corrections(&self, to_state: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; self.keys.count * self.dim];
        product(&mut out, self.dim, false, self.keys.keys(), state(to_state, self.dim));
        for (line, factor) in out.chunks_exact_mut(self.dim).zip(&self.values.decays.to_end) {
            scale(line, *factor);
        }
        out
    }

    /// `a b [count, key_dim]`, its lines times `factors`.
    #[inline(always)]
    fn by_keys(&self, a: Matrix<'_>, b: Matrix<'_>, factors: Option<&[f32]>) -> Vec<f32> {
        let width = self.keys.k.len() / self.keys.count;
        let mut out = vec![0.0; self.keys.k.len()];
        product(&mut out, width, false, a, b);
        for (line, factor) in out.chunks_exact_mut(width).zip(factors.into_iter().flatten()) {
            scale(line, *factor);
        }
        out
    }

    /// `e^c dO`.
    #[inline(always)]
    fn read(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.keys.count * self.dim);
        for (token, factor) in self.values.decays.from_start.iter().enumerate() {
            out.extend(self.above.row(token).iter().map(|value| value * factor));
        }
        out
    }

    /// From the gradients of `A = Q K^T * D` to those of queries and keys.
    #[inline(always)]
    fn weights_to_keys(&self, mut to_weights: Vec<f32>, to_q: &mut [f32], to_k: &mut [f32]) {
        let (count, width) = (self.keys.count, self.keys.k.len() / self.keys.count);
        to_weights.iter_mut().zip(&self.values.decays.between).for_each(|(slope, between)| *slope *= between);
        let to_weights = Matrix::new(&to_weights, count, count, count);
        product(to_q, width, true, to_weights, self.keys.keys());
        product(to_k, width, true, to_weights.t(), self.keys.queries());
    }

    /// From `dR = (I + L)^-T dU` over `dL = -tril(dR U^T, -1)` to keys and decays, and the gradients of the strengths.
    #[inline(always)]
    fn lower_to_keys<const FMA: bool>(
        &self,
        to_targets: &[f32],
        minus: &[f32],
        to_k: &mut [f32],
        slopes: &mut DecaySlopes,
    ) -> Vec<f32> {
        let Self { keys, values, dim, .. } = *self;
        let (count, width) = (keys.count, keys.k.len() / keys.count);
        // -dL
        let mut to_minus = vec![0.0; count * count];
        let corrections = Matrix::new(&values.corrections, count, dim, dim);
        product(&mut to_minus, count, false, Matrix::new(to_targets, count, dim, dim), corrections.t());
        slopes.add(&to_minus, minus, count);
        let mut to_beta = Vec::with_capacity(count);
        let mut both = vec![0.0; count * count];
        for row in 0..count {
            let line = row * count..row * count + row;
            let (mut sum, beta) = (0.0, values.beta[row]);
            let factors = keys.kk[line.clone()].iter().zip(&values.decays.between[line.clone()]);
            for (column, (slope, (alike, between))) in to_minus[line].iter().zip(factors).enumerate() {
                let slope = -slope * between;
                sum += slope * alike;
                both[row * count + column] = slope * beta;
                both[column * count + row] = slope * beta;
            }
            let own = row * dim..(row + 1) * dim;
            to_beta.push(sum + simd::dot::<FMA>(&to_targets[own.clone()], &values.errors[own]));
        }
        product(to_k, width, true, Matrix::new(&both, count, count, count), keys.keys());
        to_beta
    }
}

/// Adds `part` to `target`, and to `slopes` the scalar product of each line with that of `x`.
#[inline(always)]
fn add_along<const FMA: bool>(target: &mut [f32], part: &[f32], x: &[f32], slopes: &mut [f64]) {
    let width = x.len() / slopes.len();
    let lines = target.chunks_exact_mut(width).zip(part.chunks_exact(width)).zip(x.chunks_exact(width));
    for (((target, part), x), slope) in lines.zip(slopes) {
        *slope += f64::from(simd::dot::<FMA>(part, x));
        target.iter_mut().zip(part).for_each(|(target, value)| *target += value);
    }
}

impl DecaySlopes {
    fn new(count: usize) -> Self {
        let zeros = || vec![0.0; count];
        Self { from_start: zeros(), to_end: zeros(), rows: zeros(), columns: zeros(), total: 0.0 }
    }

    /// Adds what a table gives whose values below the diagonal are proportional to `e^(c_i - c_j)`.
    #[inline(always)]
    fn add(&mut self, gradient: &[f32], table: &[f32], count: usize) {
        for row in 0..count {
            let line = row * count..row * count + row;
            for (column, (slope, value)) in gradient[line.clone()].iter().zip(&table[line]).enumerate() {
                let part = f64::from(slope * value);
                self.rows[row] += part;
                self.columns[column] += part;
            }
        }
    }

    /// The gradients of the log decays: `c_i` sums those up to `i`, `c_n - c_i` those after it, and `c_i - c_j` those after
    /// `j` up to `i`.
    fn of_logs(&self) -> Vec<f32> {
        let (mut across, mut before, mut after) = (0.0, 0.0, self.from_start.iter().sum::<f64>());
        let mut out = Vec::with_capacity(self.rows.len());
        for token in 0..self.rows.len() {
            out.push((self.total + after + before + across) as f32);
            after -= self.from_start[token];
            before += self.to_end[token];
            across += self.columns[token] - self.rows[token];
        }
        out
    }
}
