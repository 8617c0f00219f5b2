//! The first guess of an exit's map: ridge regression of what the layers after it add, in closed form.

use nalgebra::{Cholesky, DMatrix, DVector};

use crate::llm::Hidden;

/// A map `x ↦ A x + b`: A \[d × d\] row after row, then b \[d\]. What an exit's parameters are while it is fitted.
pub type Affine = Vec<f32>;

/// Sums over rows, of which the regression is a function: rows may come in any portions, and are kept nowhere.
///
/// With x = h_e and y = h_L - h_e, both centred, it is `R = argmin Σ |y - R x|²/n + λ' |R|²` (Hoerl & Kennard, Technometrics
/// 12(1), 1970), so `R (X + λ' I) = Y` with `X = Σ x xᵀ/n`, `Y = Σ y xᵀ/n`; A = I + R, and b follows from the means. The
/// penalty pulls A towards I, the logit lens. `λ' = λ · tr X/d`: λ has no unit.
#[derive(Clone, Debug)]
pub struct ExitRidge {
    rows: u64,
    sum_x: DVector<f64>,
    sum_y: DVector<f64>,
    xx: DMatrix<f64>,
    yx: DMatrix<f64>,
}

impl ExitRidge {
    /// Of no rows yet, d wide.
    pub fn new(width: usize) -> Self {
        let square = || DMatrix::zeros(width, width);
        Self { rows: 0, sum_x: DVector::zeros(width), sum_y: DVector::zeros(width), xx: square(), yx: square() }
    }

    /// Adds the rows of a window: `early` behind layer e, `last` behind the last layer. Sums depend on the order of
    /// windows in their last bits.
    pub fn add(&mut self, early: &Hidden, last: &Hidden) {
        let width = self.sum_x.len();
        let rows = early.rows().min(last.rows());
        // A row of states is a column here.
        let of = |hidden: &Hidden| {
            DMatrix::from_iterator(width, rows, hidden.values().iter().take(rows * width).map(|&x| f64::from(x)))
        };
        let x = of(early);
        let y = of(last) - &x;
        let transposed = x.transpose();
        self.rows += rows as u64;
        self.sum_x += x.column_sum();
        self.sum_y += y.column_sum();
        self.xx.gemm(1.0, &x, &transposed, 1.0);
        self.yx.gemm(1.0, &y, &transposed, 1.0);
    }

    /// Number of rows n.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// A and b for a λ above 0; `None` of no rows, or of rows that are not finite.
    pub fn solve(&self, lambda: f64) -> Option<Affine> {
        let (n, width) = (self.rows as f64, self.sum_x.len());
        let (mean_x, mean_y) = (&self.sum_x / n, &self.sum_y / n);
        let mut x = &self.xx / n - &mean_x * mean_x.transpose();
        let y = &self.yx / n - &mean_y * mean_x.transpose();
        let trace = x.trace();
        if !trace.is_finite() {
            return None;
        }
        // Rows that are all the same say nothing: any λ' leaves R at 0.
        let penalty = if trace > 0.0 { lambda * trace / width as f64 } else { 1.0 };
        for k in 0..width {
            x[(k, k)] += penalty;
        }
        // X is symmetric: Xᵀ Rᵀ = Yᵀ is what Cholesky's factors solve.
        let r = Cholesky::new(x)?.solve(&y.transpose()).transpose();
        let b = mean_y - &r * mean_x;
        let mut affine = Affine::with_capacity(width * (width + 1));
        for i in 0..width {
            affine.extend((0..width).map(|j| (r[(i, j)] + f64::from(u8::from(i == j))) as f32));
        }
        affine.extend(b.iter().map(|&b| b as f32));
        affine.iter().all(|value| value.is_finite()).then_some(affine)
    }
}

/// The map that changes nothing, d wide: the logit lens.
pub fn identity(width: usize) -> Affine {
    let element = |index: usize| f32::from(u8::from(index < width * width && index / width == index % width));
    (0..width * (width + 1)).map(element).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Purpose, Streams};

    fn hidden(values: Vec<f32>, width: usize) -> Hidden {
        Hidden::from_vec(values, width).unwrap()
    }

    fn assert_near(found: &[f32], expected: &[f64], within: f64) {
        assert_eq!(found.len(), expected.len());
        for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((f64::from(*found) - expected).abs() < within, "{index}: {found}, not {expected}");
        }
    }

    #[test]
    fn one_dimension_is_as_by_hand() {
        // x = 1, 2, 3 and h_L = 3, 4, 8: y = h_L - x = 2, 2, 5. Means 2 and 3; X = 2/3, Y = (1 + 0 + 2)/3 = 1. With λ = 1/2
        // the penalty is half of X/1 = 1/3: R = 1/(2/3 + 1/3) = 1, A = 2, b = 3 - 1·2 = 1.
        let mut ridge = ExitRidge::new(1);
        ridge.add(&hidden(vec![1.0, 2.0], 1), &hidden(vec![3.0, 4.0], 1));
        ridge.add(&hidden(vec![3.0], 1), &hidden(vec![8.0], 1));
        assert_eq!(ridge.rows(), 3);
        assert_near(&ridge.solve(0.5).unwrap(), &[2.0, 1.0], 1e-6);
        // Without a penalty that counts, least squares: R = 3/2, b = 3 - 3 = 0.
        assert_near(&ridge.solve(1e-9).unwrap(), &[2.5, 0.0], 1e-6);
        // With nothing but the penalty, the mean of what is added.
        assert_near(&ridge.solve(1e9).unwrap(), &[1.0, 3.0], 1e-6);
    }

    #[test]
    fn a_linear_case_is_recovered() {
        let (width, rows) = (5, 40);
        let stream = Streams::new(3, 0).stream(0, Purpose::Test);
        let draw = |index: usize| stream.normal_pair(index as u64)[0] as f32;
        let a: Vec<f32> = (0..width * width).map(|index| draw(1000 + index)).collect();
        let b: Vec<f32> = (0..width).map(|index| draw(2000 + index)).collect();
        let mut ridge = ExitRidge::new(width);
        for window in 0..3 {
            let x: Vec<f32> = (0..rows * width).map(|index| draw(10_000 * (window + 1) + index) + 1.0).collect();
            let rows_of = x.chunks_exact(width);
            let y = rows_of.flat_map(|x| {
                (0..width).map(|i| b[i] + (0..width).map(|j| a[i * width + j] * x[j]).sum::<f32>()).collect::<Vec<_>>()
            });
            ridge.add(&hidden(x.clone(), width), &hidden(y.collect(), width));
        }
        let expected: Vec<f64> = a.iter().chain(&b).map(|&value| f64::from(value)).collect();
        assert_near(&ridge.solve(1e-9).unwrap(), &expected, 1e-4);
    }

    #[test]
    fn the_last_layers_map_is_the_identity() {
        let stream = Streams::new(4, 0).stream(0, Purpose::Test);
        let states = hidden((0..60).map(|index| stream.normal_pair(index)[0] as f32).collect(), 6);
        let mut ridge = ExitRidge::new(6);
        ridge.add(&states, &states);
        assert_eq!(ridge.solve(1e-3).unwrap(), identity(6));
        assert_eq!(identity(2), [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn what_has_no_answer_has_none() {
        assert_eq!(ExitRidge::new(2).solve(1.0), None, "no rows");
        let mut ridge = ExitRidge::new(2);
        ridge.add(&hidden(vec![1.0, f32::NAN], 2), &hidden(vec![1.0, 2.0], 2));
        assert_eq!(ridge.solve(1.0), None);
        let mut constant = ExitRidge::new(1);
        constant.add(&hidden(vec![2.0; 3], 1), &hidden(vec![5.0; 3], 1));
        assert_eq!(constant.solve(1e-3).unwrap(), [1.0, 3.0]);
    }
}
