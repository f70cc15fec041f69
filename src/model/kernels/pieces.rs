//! Pieces of a product of few rows: some outputs of every row each, written where they belong by the thread that
//! computed them.

use super::lines::Lines;
use super::threads;

/// Some outputs of a product.
pub struct Piece<'a> {
    /// Their lines.
    pub lines: Lines<'a>,
    /// What is added to them.
    bias: Option<&'a [f32]>,
    /// Their places: a part of each row of the result.
    places: Vec<&'a mut [f32]>,
}

impl Piece<'_> {
    /// Writes adjacent outputs, from the piece's `at` on, of a row.
    #[inline(always)]
    pub fn set<const O: usize>(&mut self, row: usize, at: usize, values: [f32; O]) {
        let place = &mut self.places[row][at..at + O];
        match self.bias {
            Some(bias) => {
                let bias = &bias[at..at + O];
                place.iter_mut().zip(values).zip(bias).for_each(|((place, value), bias)| *place = value + bias);
            }
            None => place.copy_from_slice(&values),
        }
    }
}

/// A product with stored lines.
#[derive(Debug, Clone, Copy)]
pub struct Product<'a> {
    /// Rows of the result.
    pub rows: usize,
    /// Values of a line.
    pub inner: usize,
    /// `[out, inner]`.
    pub lines: Lines<'a>,
    /// `[out]`.
    pub bias: Option<&'a [f32]>,
}

impl Product<'_> {
    /// Number of outputs.
    pub fn out(self) -> usize {
        self.lines.len() / self.inner.max(1)
    }

    /// Values of the result, `[rows, out]`: `work` computes pieces of `size` outputs, shared among threads where this
    /// number of multiplications is worth it.
    pub fn in_pieces(self, size: usize, multiplications: usize, work: impl Fn(Piece<'_>) + Sync + Send) -> Vec<f32> {
        let out = self.out();
        let mut values = vec![0.0; self.rows * out];
        let outputs = |index: usize| index * size..((index + 1) * size).min(out);
        threads::each(columns(&mut values, out, size), multiplications, |index, places| {
            let outputs = outputs(index);
            work(Piece {
                lines: self.lines.cut(outputs.start * self.inner, outputs.end * self.inner),
                bias: self.bias.map(|bias| &bias[outputs]),
                places,
            });
        });
        values
    }
}

/// Pieces of `size` columns of `values [rows, width]`: a part of each row.
pub fn columns(values: &mut [f32], width: usize, size: usize) -> Vec<Vec<&mut [f32]>> {
    let rows = values.len() / width.max(1);
    let mut pieces: Vec<Vec<&mut [f32]>> = (0..width.div_ceil(size)).map(|_| Vec::with_capacity(rows)).collect();
    for row in values.chunks_exact_mut(width.max(1)) {
        pieces.iter_mut().zip(row.chunks_mut(size)).for_each(|(piece, part)| piece.push(part));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_writes_its_outputs_of_every_row() {
        let lines: Vec<f32> = (0..10).map(|value| value as f32).collect();
        let bias = [0.5; 5];
        let product = Product { rows: 2, inner: 2, lines: Lines::F32(&lines), bias: Some(&bias) };
        for multiplications in [0, usize::MAX] {
            let values = product.in_pieces(2, multiplications, |mut piece| {
                let Lines::F32(own) = piece.lines else { return };
                for row in 0..2 {
                    for (at, line) in own.chunks_exact(2).enumerate() {
                        piece.set(row, at, [line[0] + 100.0 * row as f32]);
                    }
                }
            });
            assert_eq!(values, [0.5, 2.5, 4.5, 6.5, 8.5, 100.5, 102.5, 104.5, 106.5, 108.5]);
        }
    }
}
