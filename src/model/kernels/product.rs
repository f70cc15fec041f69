//! Matrix products of strided slices: the library that candle uses, called with checked lengths.

use gemm::Parallelism;

use super::threads;

/// A matrix in a slice.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` x `columns`, rows `row_stride` apart, columns adjacent.
    pub fn new(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// The same values with rows and columns exchanged.
    pub fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Rows `start..end`.
    pub fn rows(self, start: usize, end: usize) -> Self {
        Self { data: &self.data[start * self.row_stride..], rows: end - start, ..self }
    }

    /// Row `index` of a matrix whose columns are adjacent.
    pub fn row(&self, index: usize) -> &'a [f32] {
        &self.data[index * self.row_stride..][..self.columns]
    }
}

fn reaches(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row_stride + (columns - 1) * column_stride + 1 }
}

/// `target = a b`, or `target += a b` where `add`; `target` is row-major, rows `stride` apart. Runs on this thread.
///
/// # Panics
/// If a matrix does not fit its slice or the shapes do not match: an error of the caller, never of its input.
pub fn product(target: &mut [f32], stride: usize, add: bool, a: Matrix<'_>, b: Matrix<'_>) {
    product_on(target, stride, add, a, b, Parallelism::None);
}

/// [`product`] on the threads that are available: each value is computed by one of them, so bits do not depend on their
/// number.
pub fn shared_product(target: &mut [f32], stride: usize, add: bool, a: Matrix<'_>, b: Matrix<'_>) {
    let threads = match threads::available() {
        0 | 1 => Parallelism::None,
        more => Parallelism::Rayon(more),
    };
    product_on(target, stride, add, a, b, threads);
}

fn product_on(target: &mut [f32], stride: usize, add: bool, a: Matrix<'_>, b: Matrix<'_>, threads: Parallelism) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(b.rows == k, "inner sizes {k} and {} differ", b.rows);
    assert!(stride >= n && reaches(m, n, stride, 1) <= target.len(), "the target is too small for {m} x {n}");
    assert!(reaches(m, k, a.row_stride, a.column_stride) <= a.data.len(), "the left matrix exceeds its slice");
    assert!(reaches(k, n, b.row_stride, b.column_stride) <= b.data.len(), "the right matrix exceeds its slice");
    if m == 0 || n == 0 {
        return;
    }
    let signed = |stride: usize| stride as isize;
    // SAFETY: every element that the strides reach is inside its slice (checked above), and `target` is borrowed mutably,
    // so it overlaps neither operand; its rows do not overlap each other, because `stride >= n`.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            target.as_mut_ptr(),
            1,
            signed(stride),
            add,
            a.data.as_ptr(),
            signed(a.column_stride),
            signed(a.row_stride),
            b.data.as_ptr(),
            signed(b.column_stride),
            signed(b.row_stride),
            1.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_follow_strides_and_add() {
        // Two rows of three values, four apart.
        let a = [1.0, 2.0, 3.0, 9.0, 4.0, 5.0, 6.0];
        let a = Matrix::new(&a, 2, 3, 4);
        let mut out = [1.0; 5];
        product(&mut out, 3, true, a, a.t());
        assert_eq!(out, [15.0, 33.0, 1.0, 33.0, 78.0]);
        product(&mut out, 3, false, a.rows(1, 2), a.t());
        assert_eq!(out, [32.0, 77.0, 1.0, 33.0, 78.0]);
        assert_eq!(a.row(1), [4.0, 5.0, 6.0]);
    }

    #[test]
    #[should_panic(expected = "exceeds its slice")]
    fn a_matrix_beyond_its_slice_is_refused() {
        product(&mut [0.0; 4], 2, false, Matrix::new(&[0.0; 3], 2, 2, 2), Matrix::new(&[0.0; 4], 2, 2, 2));
    }
}
