//! First parameters of a network.

use super::real::Real;
use crate::kernel::Stream;

/// How the parameters of a network begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Weights are gain × a random matrix whose shorter side is orthonormal (Saxe, McClelland &
    /// Ganguli, ICLR 2014), biases are 0: what PPO and A2C begin with.
    Orthogonal {
        /// Gain of the hidden layers; √2 by custom.
        hidden_gain: f64,
        /// Gain of the last layer; 0.01 for an actor (all actions nearly alike), 1 for a critic.
        output_gain: f64,
    },
    /// Weights and biases uniform on ±1/√(inputs of the layer): the default of PyTorch's `Linear`.
    FanIn,
}

impl Init {
    /// Parameters of a layer, weights (outputs × inputs, column-major) before biases. The stream's
    /// blocks from 0 up to (outputs + 1) × inputs are used.
    pub(super) fn layer<R: Real>(self, outputs: usize, inputs: usize, is_last: bool, stream: &Stream) -> Vec<R> {
        match self {
            Self::Orthogonal { hidden_gain, output_gain } => {
                let gain = if is_last { output_gain } else { hidden_gain };
                let mut parameters: Vec<R> =
                    orthogonal(outputs, inputs, stream).into_iter().map(|w| R::of(gain * w)).collect();
                parameters.resize((inputs + 1) * outputs, R::zero());
                parameters
            }
            Self::FanIn => {
                let bound = 1.0 / (inputs as f64).sqrt();
                let draw = |k| R::of(bound * (2.0 * stream.uniform(k) - 1.0));
                (0..((inputs + 1) * outputs) as u64).map(draw).collect()
            }
        }
    }
}

/// A random matrix (column-major) with orthonormal columns, or rows if these are shorter than the columns:
/// standard normals, orthonormalised one after the other by Gram and Schmidt. Its distribution is
/// unchanged by rotations, since each vector keeps its own direction (no sign is chosen by the method).
fn orthogonal(rows: usize, columns: usize, stream: &Stream) -> Vec<f64> {
    let (length, count) = (rows.max(columns), rows.min(columns));
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(count);
    let pairs = length.div_ceil(2) as u64;
    for v in 0..count as u64 {
        let mut vector: Vec<f64> = (0..pairs).flat_map(|pair| stream.normal_pair(v * pairs + pair)).collect();
        vector.truncate(length);
        // Twice: what rounding leaves of the others the first time is gone after the second.
        for _ in 0..2 {
            for other in &vectors {
                let along: f64 = other.iter().zip(&vector).map(|(a, b)| a * b).sum();
                for (x, y) in vector.iter_mut().zip(other) {
                    *x -= along * y;
                }
            }
        }
        let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        for x in &mut vector {
            *x /= norm;
        }
        vectors.push(vector);
    }
    let at = |row: usize, column: usize| if rows >= columns { vectors[column][row] } else { vectors[row][column] };
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| (row, column)))
        .map(|(row, column)| at(row, column))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Purpose, Streams};

    fn stream() -> Stream {
        Streams::new(4, 0).stream(2, Purpose::Test)
    }

    #[test]
    fn the_shorter_side_is_orthonormal_times_the_gain() {
        for (rows, columns) in [(64, 2), (64, 64), (3, 64), (1, 64), (7, 5), (1, 1)] {
            let init = Init::Orthogonal { hidden_gain: 2.0_f64.sqrt(), output_gain: 0.01 };
            for (is_last, gain) in [(false, 2.0_f64.sqrt()), (true, 0.01)] {
                let parameters: Vec<f64> = init.layer(rows, columns, is_last, &stream());
                let (w, bias) = parameters.split_at(rows * columns);
                assert_eq!(bias, vec![0.0; rows]);
                let short = rows.min(columns);
                for a in 0..short {
                    for b in 0..short {
                        let product: f64 = if rows >= columns {
                            (0..rows).map(|i| w[i + a * rows] * w[i + b * rows]).sum()
                        } else {
                            (0..columns).map(|j| w[a + j * rows] * w[b + j * rows]).sum()
                        };
                        let expected = if a == b { gain * gain } else { 0.0 };
                        assert!((product - expected).abs() < 1e-14, "{rows}×{columns}: {a}·{b} = {product}");
                    }
                }
            }
        }
    }

    /// An entry of a random rotation of 64 dimensions has mean 0 and variance 1/64; no sign is preferred.
    #[test]
    fn no_direction_is_preferred() {
        let (mut sum, mut square) = (0.0, 0.0);
        let n = 400;
        for entity in 0..n {
            let stream = Streams::new(4, 0).stream(entity, Purpose::Test);
            let first = orthogonal(8, 8, &stream)[0];
            sum += first;
            square += first * first;
        }
        let n = f64::from(n);
        assert!((sum / n).abs() < 4.0 / (8.0 * n).sqrt());
        // Var(x²) = 2·7/(8²·10) for a coordinate of a point on the sphere in 8 dimensions.
        assert!((square / n - 0.125).abs() < 4.0 * (14.0 / 640.0 / n).sqrt());
    }

    #[test]
    fn fan_in_is_uniform_on_its_bound() {
        let parameters: Vec<f64> = Init::FanIn.layer(200, 100, false, &stream());
        assert_eq!(parameters.len(), 200 * 101);
        let (least, most) = parameters.iter().fold((0.0_f64, 0.0_f64), |(a, b), &x| (a.min(x), b.max(x)));
        assert!((-0.1..-0.0999).contains(&least) && (0.0999..0.1).contains(&most));
        let variance = parameters.iter().map(|x| x * x).sum::<f64>() / parameters.len() as f64;
        // 0.01/3, four standard errors: Var(x²) = 4/45 · 10⁻⁴.
        assert!((variance - 0.01 / 3.0).abs() < 4.0 * (4.0 / 45.0 * 1e-4 / parameters.len() as f64).sqrt());
    }
}
