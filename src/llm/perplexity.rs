//! Perplexity, eq. (6) of Chen et al. (arXiv 2406.02616):
//! `PPL = exp(-1/N Σ ln P(w_k | w_<k))`.
//!
//! Logits are single precision; everything after them is double: at a vocabulary
//! of 10⁵ a single-precision sum of exponentials loses two digits.

use std::ops::{Add, AddAssign};

use pulp::{Arch, Simd, WithSimd};

use super::elementwise::maximum;
use super::exponential::exp_f64;

/// Partial sums of a reduction, in fixed assignment.
const LANES: usize = 8;

/// The summed negative log-likelihood of scored tokens \[nat\], and their number.
/// Sums over windows give the corpus perplexity `exp(ΣNLL / ΣN)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Nll {
    /// Σ -ln P(w_k | w_<k) \[nat\].
    pub sum: f64,
    /// Number of scored tokens N.
    pub tokens: u64,
}

impl Nll {
    /// What a receiver of nothing scores: N·ln V, so that PPL = V.
    pub fn chance(vocab: usize, tokens: u64) -> Self {
        Self { sum: tokens as f64 * (vocab as f64).ln(), tokens }
    }

    /// `exp(sum / tokens)`, eq. (6); not a number when nothing was scored.
    pub fn perplexity(&self) -> f64 {
        (self.sum / self.tokens as f64).exp()
    }
}

impl Add for Nll {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { sum: self.sum + other.sum, tokens: self.tokens + other.tokens }
    }
}

impl AddAssign for Nll {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Nll {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), Add::add)
    }
}

/// What goes into the decoder for a window, and what each row must predict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeacherForced {
    /// Input tokens, S of them: as many rows as the window has tokens.
    pub inputs: Vec<u32>,
    /// Row k predicts `targets[k]`; N of them. Rows beyond N predict what lies
    /// outside the window and are not scored.
    pub targets: Vec<u32>,
}

impl TeacherForced {
    /// Splits a window of S tokens into inputs and targets.
    ///
    /// With a start-of-document token the inputs are that and the first S - 1
    /// tokens, and every token is a target: N = S. Without one the first token is
    /// given and N = S - 1. Either way the decoder sees S rows, so the tensor at
    /// the split is S × d.
    pub fn new(window: &[u32], bos_token: Option<u32>) -> Self {
        match (bos_token, window) {
            (Some(bos), [given @ .., _]) => {
                let inputs = std::iter::once(bos).chain(given.iter().copied()).collect();
                Self { inputs, targets: window.to_vec() }
            }
            _ => Self { inputs: window.to_vec(), targets: window.get(1..).unwrap_or_default().to_vec() },
        }
    }
}

/// `-ln softmax(logits)[target]` \[nat\], by log-sum-exp: `m + ln Σ e^(z-m) - z_target`.
///
/// `None` if `target` is outside or a logit is infinite or not a number, for then
/// there is no distribution.
pub fn negative_log_likelihood(logits: &[f32], target: u32) -> Option<f64> {
    let scored = f64::from(*logits.get(target as usize)?);
    let (max, total) = Arch::new().dispatch(ShiftedExponentials { logits });
    let nll = max + total.ln() - scored;
    nll.is_finite().then_some(nll)
}

/// (m, Σ e^(z-m)) with m the largest z.
struct ShiftedExponentials<'a> {
    logits: &'a [f32],
}

impl WithSimd for ShiftedExponentials<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> (f64, f64) {
        let max = f64::from(maximum(self.logits));
        let (chunks, rest) = self.logits.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for chunk in chunks {
            for i in 0..LANES {
                lanes[i] += exp_f64(f64::from(chunk[i]) - max);
            }
        }
        (max, lanes.iter().sum::<f64>() + rest.iter().map(|z| exp_f64(f64::from(*z) - max)).sum::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_sum_exp_agrees_with_a_naive_softmax() {
        for vocab in [1, 2, 7, 8, 9, 2048] {
            let logits: Vec<f32> = (0..vocab).map(|i| ((i * 7919) % 1000) as f32 / 50.0 - 12.0).collect();
            let total: f64 = logits.iter().map(|&z| f64::from(z).exp()).sum();
            for target in [0, vocab / 2, vocab - 1] {
                let naive = -(f64::from(logits[target]).exp() / total).ln();
                let nll = negative_log_likelihood(&logits, target as u32).unwrap();
                assert!((nll - naive).abs() < 1e-12 * naive.max(1.0), "V = {vocab}: {nll} against {naive}");
            }
        }
    }

    #[test]
    fn uniform_logits_score_ln_v() {
        for level in [-1e30_f32, -3.0, 0.0, 80.0] {
            let nll = negative_log_likelihood(&vec![level; 2048], 17).unwrap();
            // At -1e30 the level itself swallows ln V; from there on only finiteness is defined.
            assert!(level < -1e20 || (nll - 2048.0_f64.ln()).abs() < 1e-12, "{level}: {nll}");
        }
        let chance = Nll::chance(2048, 64);
        assert!((chance.perplexity() - 2048.0).abs() < 1e-9);
    }

    #[test]
    fn logits_far_apart_do_not_overflow() {
        assert_eq!(negative_log_likelihood(&[0.0, 2000.0], 1), Some(0.0));
        assert_eq!(negative_log_likelihood(&[0.0, 2000.0], 0), Some(2000.0));
    }

    #[test]
    fn what_is_no_distribution_has_no_likelihood() {
        for bad in [f32::NAN, f32::INFINITY] {
            assert_eq!(negative_log_likelihood(&[0.0, bad, 1.0], 0), None);
        }
        assert_eq!(negative_log_likelihood(&[0.0, 1.0], 2), None);
    }

    #[test]
    fn targets_are_the_window_shifted_by_one() {
        let with = TeacherForced::new(&[5, 6, 7], Some(0));
        assert_eq!((with.inputs, with.targets), (vec![0, 5, 6], vec![5, 6, 7]));
        let without = TeacherForced::new(&[5, 6, 7], None);
        assert_eq!((without.inputs, without.targets), (vec![5, 6, 7], vec![6, 7]));
    }

    #[test]
    fn windows_add_up_to_the_corpus() {
        let total: Nll = [Nll { sum: 3.0, tokens: 1 }, Nll { sum: 5.0, tokens: 3 }].into_iter().sum();
        assert_eq!(total, Nll { sum: 8.0, tokens: 4 });
        assert!((total.perplexity() - 2.0_f64.exp()).abs() < 1e-12);
    }
}
