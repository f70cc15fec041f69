//! The innermost loop of products of few rows: a tile of outputs times one or two vectors of rows.

use pulp::Simd;

/// Outputs whose sums fit into 16 registers for two vectors of rows.
const PART: usize = 4;
/// Registers that hold the sums of a whole tile for two vectors of rows.
const MANY_REGISTERS: usize = 32;
/// Inputs whose place is checked at once: checks in the innermost loop cost as much as its products.
const RUN: usize = 64;

/// Adds a depth's products of the rows in `columns [depth][rows]` with each of `O` outputs to `sums [O][rows]`, which
/// begin with the `first` depth. The rows are one vector or two.
#[inline(always)]
pub fn add<S: Simd, const O: usize>(simd: S, columns: &[f32], weight: [&[f32]; O], sums: &mut [f32], first: bool) {
    if sums.len() == O * S::F32_LANES {
        add_vectors::<S, 1, O>(simd, columns, weight, sums, first);
    } else if S::REGISTER_COUNT >= MANY_REGISTERS {
        add_vectors::<S, 2, O>(simd, columns, weight, sums, first);
    } else {
        add_parts(simd, columns, &weight, sums, first);
    }
}

/// [`add_vectors`] for two vectors of rows where registers hold the sums of [`PART`] outputs at a time.
#[inline(always)]
fn add_parts<S: Simd>(simd: S, columns: &[f32], weight: &[&[f32]], sums: &mut [f32], first: bool) {
    let (parts, rest) = weight.as_chunks::<PART>();
    let (own, others) = sums.split_at_mut(parts.len() * PART * 2 * S::F32_LANES);
    for (lines, sums) in parts.iter().zip(own.chunks_exact_mut(PART * 2 * S::F32_LANES)) {
        add_vectors::<S, 2, PART>(simd, columns, *lines, sums, first);
    }
    for (line, sums) in rest.iter().zip(others.chunks_exact_mut(2 * S::F32_LANES)) {
        add_vectors::<S, 2, 1>(simd, columns, [*line], sums, first);
    }
}

/// Adds a depth's products of `V` vectors of rows with each of `O` outputs to `sums [O][V * lanes]`, which begin with
/// the `first` depth.
#[inline(always)]
fn add_vectors<S: Simd, const V: usize, const O: usize>(
    simd: S,
    columns: &[f32],
    weight: [&[f32]; O],
    sums: &mut [f32],
    first: bool,
) {
    let (vectors, _) = S::as_mut_simd_f32s(sums);
    let (all, _) = vectors.as_chunks_mut::<V>();
    let mut sums = [[simd.splat_f32s(0.0); V]; O];
    if !first {
        sums.copy_from_slice(&all[..O]);
    }
    let (vectors, _) = S::as_simd_f32s(columns);
    let (columns, _) = vectors.as_chunks::<V>();
    let (runs, rest) = columns.as_chunks::<RUN>();
    for (at, run) in runs.iter().enumerate() {
        let mut lines = [&[0.0; RUN]; O];
        for (to, line) in lines.iter_mut().zip(&weight) {
            let Some(values) = line[at * RUN..].first_chunk() else { continue };
            *to = values;
        }
        for k in 0..RUN {
            for o in 0..O {
                let factor = simd.splat_f32s(lines[o][k]);
                for v in 0..V {
                    sums[o][v] = simd.mul_add_e_f32s(factor, run[k][v], sums[o][v]);
                }
            }
        }
    }
    for (k, x) in rest.iter().enumerate() {
        for (sums, line) in sums.iter_mut().zip(&weight) {
            let factor = simd.splat_f32s(line[runs.len() * RUN + k]);
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = simd.mul_add_e_f32s(factor, *x, *sum);
            }
        }
    }
    all[..O].copy_from_slice(&sums);
}
