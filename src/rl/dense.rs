//! One dense layer, `y = W x + b`, of many samples: W is outputs × inputs, column-major,
//! and samples lie one after the other, so that they are the columns of a matrix.
//!
//! Where every dimension is more than [`NARROW`], the products are nalgebra's; else they are
//! loops along the longer side of W, in vectors of the widest kind that the machine has.

use nalgebra::{DMatrixView, DMatrixViewMut, Dyn, MatrixView};
use pulp::{Arch, Simd, WithSimd};

use super::real::Real;

/// Up to this length a side of a matrix isn't worth packing for a blocked product (it is also where
/// nalgebra stops to do so).
const NARROW: usize = 5;
/// Partial sums of a dot product: a multiple of every vector width, so that results don't depend on it.
const LANES: usize = 16;
/// Columns that are added at once, so that a sum is loaded and stored less often.
const COLUMNS: usize = 4;

/// W and b of one layer.
#[derive(Clone, Copy)]
pub(super) struct Dense<'a, R> {
    /// Outputs × inputs, column-major.
    pub weights: &'a [R],
    /// One for each output.
    pub bias: &'a [R],
}

/// What a layer's gradients are added to.
pub(super) struct DenseGradient<'a, R> {
    /// Like [`Dense::weights`].
    pub weights: &'a mut [R],
    /// Like [`Dense::bias`].
    pub bias: &'a mut [R],
}

impl<R: Real> Dense<'_, R> {
    fn shape(&self) -> (usize, usize) {
        let outputs = self.bias.len();
        (outputs, self.weights.len() / outputs)
    }

    /// W x + b of each sample of `x` into `y`; `scratch` holds what is needed on the way.
    pub(super) fn forward(self, arch: Arch, x: &[R], y: &mut Vec<R>, scratch: &mut Vec<R>) {
        let (outputs, inputs) = self.shape();
        let samples = x.len() / inputs;
        y.clear();
        for _ in 0..samples {
            y.extend_from_slice(self.bias);
        }
        if outputs.min(inputs).min(samples) > NARROW {
            let w = DMatrixView::from_slice(self.weights, outputs, inputs);
            let x = DMatrixView::from_slice(x, inputs, samples);
            DMatrixViewMut::from_slice(y, outputs, samples).gemm(R::one(), &w, &x, R::one());
        } else if outputs > NARROW || outputs >= inputs {
            arch.dispatch(AddColumns { w: self.weights, x, y, length: outputs });
        } else {
            arch.dispatch(AddDots { w: transposed(self.weights, outputs, scratch), x, y, length: inputs });
        }
    }

    /// Adds to `gradient` what `dy`, the gradient of the loss with respect to the outputs, says about
    /// W and b, and leaves the gradient with respect to `x` in `dx`, if that is wanted.
    pub(super) fn backward(
        self,
        arch: Arch,
        x: &[R],
        dy: &[R],
        gradient: &mut DenseGradient<R>,
        dx: Option<&mut Vec<R>>,
        scratch: &mut Vec<R>,
    ) {
        let (outputs, inputs) = self.shape();
        let samples = x.len() / inputs;
        arch.dispatch(AddSamples { samples: dy, sum: gradient.bias });
        if outputs.min(inputs).min(samples) > NARROW {
            let transposed_x: MatrixView<R, Dyn, Dyn, Dyn, Dyn> =
                MatrixView::from_slice_with_strides_generic(x, Dyn(samples), Dyn(inputs), Dyn(inputs), Dyn(1));
            let dy = DMatrixView::from_slice(dy, outputs, samples);
            let one = R::one();
            DMatrixViewMut::from_slice(gradient.weights, outputs, inputs).gemm(one, &dy, &transposed_x, one);
            if let Some(dx) = dx {
                dx.clear();
                dx.resize(inputs * samples, R::zero());
                let transposed_w: MatrixView<R, Dyn, Dyn, Dyn, Dyn> = MatrixView::from_slice_with_strides_generic(
                    self.weights,
                    Dyn(inputs),
                    Dyn(outputs),
                    Dyn(outputs),
                    Dyn(1),
                );
                DMatrixViewMut::from_slice(dx, inputs, samples).gemm(one, &transposed_w, &dy, R::zero());
            }
            return;
        }
        let dx = dx.map(|dx| {
            dx.clear();
            dx.resize(inputs * samples, R::zero());
            &mut dx[..]
        });
        if outputs > NARROW || outputs >= inputs {
            arch.dispatch(AddOuter { long: dy, short: x, sum: gradient.weights, length: outputs });
            if let Some(dx) = dx {
                arch.dispatch(AddDots { w: self.weights, x: dy, y: dx, length: outputs });
            }
        } else {
            if let Some(dx) = dx {
                arch.dispatch(AddColumns {
                    w: transposed(self.weights, outputs, scratch),
                    x: dy,
                    y: dx,
                    length: inputs,
                });
            }
            // Along the inputs too: the sum is transposed, then back.
            if outputs == 1 {
                arch.dispatch(AddOuter { long: x, short: dy, sum: gradient.weights, length: inputs });
            } else {
                scratch.clear();
                scratch.resize(self.weights.len(), R::zero());
                arch.dispatch(AddOuter { long: x, short: dy, sum: scratch, length: inputs });
                for (i, sum) in gradient.weights.iter_mut().enumerate() {
                    *sum += scratch[i % outputs * inputs + i / outputs];
                }
            }
        }
    }
}

/// The matrix with its sides exchanged: `rows` of it become columns.
fn transposed<'a, R: Real>(matrix: &'a [R], rows: usize, scratch: &'a mut Vec<R>) -> &'a [R] {
    if rows == 1 {
        return matrix;
    }
    scratch.clear();
    for row in 0..rows {
        scratch.extend(matrix[row..].iter().step_by(rows));
    }
    scratch
}

/// Adds to each sample of `y` the columns of `w`, of this length, each times the sample's element of `x`.
struct AddColumns<'a, R> {
    w: &'a [R],
    x: &'a [R],
    y: &'a mut [R],
    length: usize,
}

impl<R: Real> WithSimd for AddColumns<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { w, x, y, length } = self;
        let columns = w.len() / length;
        let fours = columns / COLUMNS * COLUMNS;
        for sample in 0..y.len() / length {
            let x = &x[sample * columns..][..columns];
            let y = &mut y[sample * length..][..length];
            let mut column = 0;
            while column < fours {
                let w = &w[column * length..][..COLUMNS * length];
                let (w0, w) = w.split_at(length);
                let (w1, w) = w.split_at(length);
                let (w2, w3) = w.split_at(length);
                let (w0, w1, w2, w3) = (&w0[..length], &w1[..length], &w2[..length], &w3[..length]);
                let (x0, x1, x2, x3) = (x[column], x[column + 1], x[column + 2], x[column + 3]);
                for i in 0..length {
                    y[i] += (w0[i] * x0 + w1[i] * x1) + (w2[i] * x2 + w3[i] * x3);
                }
                column += COLUMNS;
            }
            while column < columns {
                let (w, x) = (&w[column * length..][..length], x[column]);
                for i in 0..length {
                    y[i] += w[i] * x;
                }
                column += 1;
            }
        }
    }
}

/// Adds to each element of each sample of `y` the dot product of a column of `w`, of this length, and the sample
/// of `x`.
struct AddDots<'a, R> {
    w: &'a [R],
    x: &'a [R],
    y: &'a mut [R],
    length: usize,
}

impl<R: Real> WithSimd for AddDots<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { w, x, y, length } = self;
        let columns = w.len() / length;
        for i in 0..y.len() {
            y[i] += dot(&w[i % columns * length..][..length], &x[i / columns * length..][..length]);
        }
    }
}

/// Adds the outer product `long ⊗ short` of each sample, a matrix whose columns have `length`.
struct AddOuter<'a, R> {
    long: &'a [R],
    short: &'a [R],
    sum: &'a mut [R],
    length: usize,
}

impl<R: Real> WithSimd for AddOuter<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { long, short, sum, length } = self;
        let columns = sum.len() / length;
        for column in 0..columns {
            let sum = &mut sum[column * length..][..length];
            for sample in 0..long.len() / length {
                let long = &long[sample * length..][..length];
                let scale = short[sample * columns + column];
                for i in 0..length {
                    sum[i] += long[i] * scale;
                }
            }
        }
    }
}

/// Adds samples to one.
struct AddSamples<'a, R> {
    samples: &'a [R],
    sum: &'a mut [R],
}

impl<R: Real> WithSimd for AddSamples<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { samples, sum } = self;
        let length = sum.len();
        for sample in 0..samples.len() / length {
            let sample = &samples[sample * length..][..length];
            for i in 0..length {
                sum[i] += sample[i];
            }
        }
    }
}

/// Σ a·b.
#[inline(always)]
fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [R::zero(); LANES];
    for chunk in 0..a.len().min(b.len()) {
        let (a, b) = (&a[chunk], &b[chunk]);
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    let mut sum = R::zero();
    for i in 0..a_rest.len().min(b_rest.len()) {
        sum += a_rest[i] * b_rest[i];
    }
    for lane in lanes {
        sum += lane;
    }
    sum
}
