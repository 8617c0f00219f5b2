//! Matrix products in double precision, on views that may be transposed or be part of another matrix.

use nalgebra::{Dyn, MatrixView, MatrixViewMut};

/// Where a dimension is up to this, nalgebra doesn't pack matrices for a blocked product but adds up columns, and goes
/// (0.35) over the end of a column whose values don't lie side by side: our loop has those.
const NARROW: usize = 5;

/// A matrix inside a slice: element (i, j) is `values[i·row_stride + j·column_stride]`.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    values: &'a [f64],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a> View<'a> {
    /// All of a row-major matrix with rows of `columns` values.
    pub(super) fn new(values: &'a [f64], columns: usize) -> Self {
        Self { values, shape: [values.len() / columns.max(1), columns], strides: [columns, 1] }
    }

    /// Columns `first..first + columns` of `rows` rows, each `stride` values behind the one before.
    pub(super) fn part(values: &'a [f64], stride: usize, rows: usize, first: usize, columns: usize) -> Self {
        Self { values: &values[first..], shape: [rows, columns], strides: [stride, 1] }
    }

    /// Rows become columns.
    pub(super) fn transposed(self) -> Self {
        let Self { values, shape: [rows, columns], strides: [row_stride, column_stride] } = self;
        Self { values, shape: [columns, rows], strides: [column_stride, row_stride] }
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.strides[0] + column * self.strides[1]]
    }

    fn matrix(&self) -> MatrixView<'a, f64, Dyn, Dyn, Dyn, Dyn> {
        let ([rows, columns], [row_stride, column_stride]) = (self.shape, self.strides);
        let (rows, columns, row_stride, column_stride) = (Dyn(rows), Dyn(columns), Dyn(row_stride), Dyn(column_stride));
        MatrixView::from_slice_with_strides_generic(self.values, rows, columns, row_stride, column_stride)
    }
}

/// What becomes of what a product's place holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Onto {
    /// It is overwritten.
    Replace,
    /// The product is added.
    Add,
}

/// `scale · a·b` to `out`, row-major with `stride` values from row to row.
pub(super) fn multiply(scale: f64, a: View, b: View, out: &mut [f64], stride: usize, onto: Onto) {
    let ([rows, inner], columns) = (a.shape, b.shape[1]);
    if rows.min(columns).min(inner) > NARROW {
        let mut out: MatrixViewMut<f64, Dyn, Dyn, Dyn, Dyn> =
            MatrixViewMut::from_slice_with_strides_generic(out, Dyn(rows), Dyn(columns), Dyn(stride), Dyn(1));
        out.gemm(scale, &a.matrix(), &b.matrix(), if onto == Onto::Add { 1.0 } else { 0.0 });
        return;
    }
    for row in 0..rows {
        for column in 0..columns {
            let product: f64 = (0..inner).map(|k| a.at(row, k) * b.at(k, column)).sum();
            let place = &mut out[row * stride + column];
            *place = scale * product + if onto == Onto::Add { *place } else { 0.0 };
        }
    }
}

/// Rows x \[S × in\] times Wᵀ, W \[out × in\]: \[S × out\].
pub(super) fn project(x: &[f64], weight: &[f64], inputs: usize) -> Vec<f64> {
    let outputs = weight.len() / inputs;
    let mut out = vec![0.0; x.len() / inputs * outputs];
    multiply(1.0, View::new(x, inputs), View::new(weight, inputs).transposed(), &mut out, outputs, Onto::Replace);
    out
}

/// What [`project`] passes back: adds `dy·W` to `dx`, and gives `dyᵀ·x`, the gradient of W.
pub(super) fn project_back(dy: &[f64], x: &[f64], weight: &[f64], inputs: usize, dx: &mut [f64]) -> Vec<f64> {
    let outputs = weight.len() / inputs;
    let dy = View::new(dy, outputs);
    multiply(1.0, dy, View::new(weight, inputs), dx, inputs, Onto::Add);
    let mut gradient = vec![0.0; weight.len()];
    multiply(1.0, dy.transposed(), View::new(x, inputs), &mut gradient, inputs, Onto::Replace);
    gradient
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_hand_computed_matrices() {
        // [1 2 3; 4 5 6] · [1 0 2; 0 1 -1]ᵀ
        let (x, w) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, 2.0, 0.0, 1.0, -1.0]);
        assert_eq!(project(&x, &w, 3), [7.0, -1.0, 16.0, -1.0]);
        let mut dx = vec![1.0; 6];
        // dy = [1 0; 0 2]
        let gradient = project_back(&[1.0, 0.0, 0.0, 2.0], &x, &w, 3, &mut dx);
        assert_eq!(dx, [2.0, 1.0, 3.0, 1.0, 3.0, -1.0]);
        assert_eq!(gradient, [1.0, 2.0, 3.0, 8.0, 10.0, 12.0]);
    }

    #[test]
    fn products_of_parts_are_those_of_loops() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i * 7 % 31) - 15.0).collect();
        for [rows, columns, inner] in [[9, 7, 8], [5, 7, 8], [9, 1, 8], [6, 6, 6], [9, 7, 2], [1, 1, 1]] {
            // rows × inner from column 3 of rows of 20, times the transpose of columns × inner from column 11.
            let a = View::part(&values, 20, rows, 3, inner);
            let b = View::part(&values, 20, columns, 11, inner).transposed();
            for (onto, before) in [(Onto::Add, 0.5), (Onto::Replace, 0.0)] {
                let mut out = vec![0.5; rows * 10];
                multiply(2.0, a, b, &mut out, 10, onto);
                for i in 0..rows {
                    for j in 0..10 {
                        let product: f64 = (0..inner).map(|k| values[20 * i + 3 + k] * values[20 * j + 11 + k]).sum();
                        assert_eq!(out[10 * i + j], if j < columns { before + 2.0 * product } else { 0.5 });
                    }
                }
            }
        }
    }
}
