//! The delta rule composed of candle's operations, token by token and in chunks.

use candle_core::{D, DType, Device, Result, Tensor};

use super::waves::{Wave, Waves, with_zeros};
use super::{CHUNK, DeltaHeads, DeltaRule, Inputs, L2_EPS};

/// Heads of the segments of a wave: `batch` is segments * value heads.
struct Problem {
    /// `[batch, longest, key_dim]`, normalised; queries scaled.
    q: Tensor,
    k: Tensor,
    /// `[batch, longest, value_dim]`.
    v: Tensor,
    /// `[batch, longest]`.
    decay: Tensor,
    beta: Tensor,
}

/// Results `[batch, longest, value_dim]` and the state after them.
type Passed = (Tensor, Tensor);

pub(super) fn recurrent(inputs: &Inputs<'_>, keep_states: bool) -> Result<DeltaRule> {
    by_waves(inputs, keep_states, token_by_token)
}

/// In chunks; a single token has no use for them.
pub(super) fn chunked(inputs: &Inputs<'_>, keep_states: bool) -> Result<DeltaRule> {
    by_waves(inputs, keep_states, |problem, state| {
        if problem.q.dim(1)? == 1 { token_by_token(problem, state) } else { chunk_by_chunk(problem, state) }
    })
}

fn by_waves(
    inputs: &Inputs<'_>,
    keep_states: bool,
    pass: impl Fn(&Problem, Tensor) -> Result<Passed>,
) -> Result<DeltaRule> {
    let Inputs { qkv, decay, beta, initial, segments, heads } = *inputs;
    let DeltaHeads { value_heads, key_dim, value_dim, .. } = heads;
    let (rows, seq_len) = segments.shape();
    let flat = |x: &Tensor| with_zeros(&x.reshape((rows * seq_len, x.dim(D::Minus1)?))?);
    let (qkv, decay, beta) = (flat(qkv)?, flat(decay)?, flat(beta)?);
    let waves = Waves::new(segments, initial.map_or(Ok(0), |states| states.dim(0))?, qkv.device())?;
    // [1 + cached sequences + ended segments, value_heads, key_dim, value_dim]
    let mut table = Tensor::zeros((1, value_heads, key_dim, value_dim), qkv.dtype(), qkv.device())?;
    if let Some(initial) = initial {
        // [states, value_heads, key_dim, value_dim]
        table = Tensor::cat(&[&table, initial], 0)?;
    }
    let mut results = Vec::with_capacity(waves.all.len());
    for wave in &waves.all {
        let state = wave.starts(&table)?;
        let batch = (wave.count * value_heads, key_dim, value_dim);
        let problem = Problem::new(wave, &qkv, &decay, &beta, heads)?;
        let (out, state) = pass(&problem, state.reshape(batch)?)?;
        // [segments, longest, value_heads, value_dim]
        let out = out.reshape((wave.count, value_heads, wave.longest, value_dim))?.transpose(1, 2)?;
        results.push(out.reshape((wave.count * wave.longest, heads.value_width()))?);
        // [states, value_heads, key_dim, value_dim]
        table = Tensor::cat(&[&table, &state.reshape((wave.count, value_heads, key_dim, value_dim))?], 0)?;
    }
    // [rows, seq_len, value_heads, value_dim]
    let out = waves.scatter(&results)?.reshape((rows, seq_len, value_heads, value_dim))?;
    Ok(DeltaRule { out, states: if keep_states { Some(waves.ends(&table)?) } else { None } })
}

impl Problem {
    fn new(wave: &Wave, qkv: &Tensor, decay: &Tensor, beta: &Tensor, heads: DeltaHeads) -> Result<Self> {
        let DeltaHeads { key_heads, value_heads, key_dim, value_dim } = heads;
        let (count, longest, width) = (wave.count, wave.longest, heads.key_width());
        let qkv = wave.gather(qkv)?;
        // [segments, heads, longest, dim]
        let part = |start: usize, heads: usize, dim: usize| {
            qkv.narrow(2, start, heads * dim)?.reshape((count, longest, heads, dim))?.transpose(1, 2)
        };
        // Each key head serves adjacent value heads.
        let repeated = |x: &Tensor| {
            let shape = (count, key_heads, heads.repeats(), longest, key_dim);
            x.unsqueeze(2)?.broadcast_as(shape)?.reshape((count * value_heads, longest, key_dim))
        };
        // [batch, longest]
        let gate = |x: &Tensor| wave.gather(x)?.transpose(1, 2)?.reshape((count * value_heads, longest));
        Ok(Self {
            q: (repeated(&normalised(&part(0, key_heads, key_dim)?)?)? * heads.scale())?,
            k: repeated(&normalised(&part(width, key_heads, key_dim)?)?)?,
            v: part(2 * width, value_heads, value_dim)?.reshape((count * value_heads, longest, value_dim))?,
            decay: gate(decay)?,
            beta: gate(beta)?,
        })
    }
}

/// `x` divided by its length.
fn normalised(x: &Tensor) -> Result<Tensor> {
    x.broadcast_mul(&(x.sqr()?.sum_keepdim(D::Minus1)? + L2_EPS)?.sqrt()?.recip()?)
}

/// Token by token from `state: [batch, key_dim, value_dim]`.
fn token_by_token(problem: &Problem, mut state: Tensor) -> Result<Passed> {
    let mut results = Vec::new();
    for token in 0..problem.q.dim(1)? {
        // [batch, 1, key_dim or value_dim]
        let at = |x: &Tensor| x.narrow(1, token, 1)?.contiguous();
        let (q, k, v) = (at(&problem.q)?, at(&problem.k)?, at(&problem.v)?);
        // [batch, 1, 1]
        let gate = |x: &Tensor| x.narrow(1, token, 1)?.unsqueeze(2);
        let decayed = state.broadcast_mul(&gate(&problem.decay)?.exp()?)?;
        let correction = (v - k.matmul(&decayed)?)?.broadcast_mul(&gate(&problem.beta)?)?;
        state = (decayed + k.t()?.matmul(&correction)?)?;
        results.push(q.matmul(&state)?);
    }
    // [batch, longest, value_dim]
    let out = if results.is_empty() { problem.v.clone() } else { Tensor::cat(&results, 1)? };
    Ok((out, state))
}

/// Chunk by chunk from `state: [batch, key_dim, value_dim]`.
fn chunk_by_chunk(problem: &Problem, mut state: Tensor) -> Result<Passed> {
    let length = problem.q.dim(1)?;
    let mut results = Vec::new();
    for start in (0..length).step_by(CHUNK) {
        let count = CHUNK.min(length - start);
        let part = |x: &Tensor| x.narrow(1, start, count)?.contiguous();
        let chunk = Problem {
            q: part(&problem.q)?,
            k: part(&problem.k)?,
            v: part(&problem.v)?,
            decay: part(&problem.decay)?,
            beta: part(&problem.beta)?,
        };
        let (out, end) = one_chunk(&chunk, &state, count)?;
        results.push(out);
        state = end;
    }
    // [batch, longest, value_dim]
    let out = if results.is_empty() { problem.v.clone() } else { Tensor::cat(&results, 1)? };
    Ok((out, state))
}

/// One chunk of `count` tokens by the formulas of [`super`].
fn one_chunk(chunk: &Problem, state: &Tensor, count: usize) -> Result<Passed> {
    let Problem { q, k, v, decay, beta } = chunk;
    let device = q.device();
    let lower = table(count, device, |i, j| j <= i)?;
    // [batch, count], in f64
    let sums = decay.to_dtype(DType::F64)?.cumsum(1)?;
    let narrow = |x: Tensor| x.to_dtype(q.dtype());
    let differences = narrow(sums.unsqueeze(2)?.broadcast_sub(&sums.unsqueeze(1)?)?)?;
    // [batch, count, count]; what is above the diagonal is set to 0 before it is raised, and again afterwards
    let between = differences.broadcast_mul(&lower)?.exp()?.broadcast_mul(&lower)?;
    let last = sums.narrow(1, count - 1, 1)?;
    // [batch, count, 1]
    let from_start = narrow(sums.clone())?.exp()?.unsqueeze(2)?;
    let to_end = narrow(last.broadcast_sub(&sums)?)?.exp()?.unsqueeze(2)?;
    let beta = beta.unsqueeze(2)?;
    let transposed = k.t()?;
    let strictly = table(count, device, |i, j| j < i)?;
    let alike = k.matmul(&transposed)?.broadcast_mul(&beta)?.mul(&between)?.broadcast_mul(&strictly)?;
    // [batch, count, value_dim]
    let target = (v - k.matmul(state)?.broadcast_mul(&from_start)?)?.broadcast_mul(&beta)?;
    let corrections = unit_lower_inverse(&alike, count)?.matmul(&target)?;
    let within = (q.matmul(&transposed)? * &between)?.matmul(&corrections)?;
    let out = (q.matmul(state)?.broadcast_mul(&from_start)? + within)?;
    let kept = state.broadcast_mul(&narrow(last)?.exp()?.unsqueeze(2)?)?;
    let written = k.broadcast_mul(&to_end)?.t()?.matmul(&corrections)?;
    Ok((out, (kept + written)?))
}

/// `(I + lower)^-1` of `lower: [batch, count, count]`, strictly lower triangular.
///
/// By blocks of 1, 2, 4, ...: with `A` and `C` inverted blocks on the diagonal and `B` the block between them, the inverse
/// of the larger block has `-C B A` in its place. A product of powers of `lower` would need as few products, but cancels.
fn unit_lower_inverse(lower: &Tensor, count: usize) -> Result<Tensor> {
    let device = lower.device();
    // [count, count]
    let mut inverse = table(count, device, |i, j| i == j)?.broadcast_as(lower.shape())?.contiguous()?;
    let mut size = 1;
    while size < count {
        let joins = |i: usize, j: usize| i / size == j / size + 1 && (j / size).is_multiple_of(2);
        let block = lower.broadcast_mul(&table(count, device, joins)?)?;
        inverse = (&inverse - inverse.matmul(&block)?.matmul(&inverse)?)?;
        size *= 2;
    }
    Ok(inverse)
}

/// `[count, count]`: 1 where `holds(row, column)`, else 0.
fn table(count: usize, device: &Device, holds: impl Fn(usize, usize) -> bool) -> Result<Tensor> {
    let values: Vec<f32> = (0..count * count).map(|at| f32::from(holds(at / count, at % count))).collect();
    // [count, count]
    Tensor::from_vec(values, (count, count), device)
}
