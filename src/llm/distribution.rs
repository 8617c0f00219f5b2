//! What a row of logits says about itself: the sums that probabilities, margins and entropies are made of.
//!
//! As in perplexity single-precision logits and double-precision sums, and the same bits on every machine.

use pulp::{Arch, Simd, WithSimd};

use super::exponential::{exp_f32, exp_f64};

/// Partial sums of a reduction, in fixed assignment.
const LANES: usize = 8;
/// The same in single precision.
const NARROW_LANES: usize = 16;

/// The sums of a softmax `p_k = e^(z_k - m) / Σ e^(z - m)`. All logits are taken to be finite; a sum over others is no
/// number or infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoftmaxSums {
    /// m, the largest logit.
    pub max: f64,
    /// The largest logit of the others; minus infinity if there is one only, and m if two are largest.
    pub second: f64,
    /// Σ e^(z - m), at least 1.
    pub total: f64,
    /// Σ (z - m)·e^(z - m), at most 0.
    pub weighted: f64,
}

impl SoftmaxSums {
    /// The sums over `logits` \[V\], in one pass for the two largest and one for the exponentials.
    pub fn of(logits: &[f32]) -> Self {
        Arch::new().dispatch(Sums { logits })
    }
}

/// `Σ e^((z - max)/T)` over `logits`, given 1/T: what the softmax at temperature T divides by. In single precision, to six
/// digits: for draws, of which there are many to a token.
pub fn tempered_total(logits: &[f32], max: f32, inverse_temperature: f32) -> f32 {
    Arch::new().dispatch(Tempered { logits, max, inverse_temperature })
}

struct Sums<'a> {
    logits: &'a [f32],
}

impl WithSimd for Sums<'_> {
    type Output = SoftmaxSums;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> SoftmaxSums {
        let (max, second) = two_largest(self.logits);
        let (max, second) = (f64::from(max), f64::from(second));
        let (chunks, rest) = self.logits.as_chunks::<LANES>();
        let (mut total, mut weighted) = ([0.0; LANES], [0.0; LANES]);
        for chunk in chunks {
            for i in 0..LANES {
                let below = f64::from(chunk[i]) - max;
                let weight = exp_f64(below);
                total[i] += weight;
                weighted[i] += below * weight;
            }
        }
        // Sums of their own: lanes that are chosen by a variable would pass through memory.
        let (mut rest_total, mut rest_weighted) = (0.0, 0.0);
        for &z in rest {
            let below = f64::from(z) - max;
            let weight = exp_f64(below);
            rest_total += weight;
            rest_weighted += below * weight;
        }
        let (total, weighted) = (total.iter().sum::<f64>() + rest_total, weighted.iter().sum::<f64>() + rest_weighted);
        SoftmaxSums { max, second, total, weighted }
    }
}

struct Tempered<'a> {
    logits: &'a [f32],
    max: f32,
    inverse_temperature: f32,
}

impl WithSimd for Tempered<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        let Self { logits, max, inverse_temperature } = self;
        let (chunks, rest) = logits.as_chunks::<NARROW_LANES>();
        let mut total = [0.0; NARROW_LANES];
        for chunk in chunks {
            for i in 0..NARROW_LANES {
                total[i] += exp_f32((chunk[i] - max) * inverse_temperature);
            }
        }
        let rest: f32 = rest.iter().map(|&z| exp_f32((z - max) * inverse_temperature)).sum();
        total.iter().sum::<f32>() + rest
    }
}

/// The largest and the second largest number; comparisons are false for what is none.
#[inline(always)]
fn two_largest(x: &[f32]) -> (f32, f32) {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let (mut first, mut second) = ([f32::NEG_INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    for chunk in chunks {
        for i in 0..LANES {
            let smaller = if chunk[i] > first[i] { first[i] } else { chunk[i] };
            first[i] = if chunk[i] > first[i] { chunk[i] } else { first[i] };
            second[i] = if smaller > second[i] { smaller } else { second[i] };
        }
    }
    let join = |(first, second): (f32, f32), x: f32| {
        if x > first { (x, first) } else { (first, if x > second { x } else { second }) }
    };
    let lanes = first.into_iter().chain(second).chain(rest.iter().copied());
    lanes.fold((f32::NEG_INFINITY, f32::NEG_INFINITY), join)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ln 8, ln 4, ln 2, 0 and thirteen times ln (1/13): weights 8, 4, 2, 1 and 1 in all; of 16.
    #[test]
    fn sums_of_powers_of_two() {
        let mut logits: Vec<f32> = [8.0_f32, 4.0, 2.0, 1.0].map(f32::ln).to_vec();
        logits.extend([(1.0_f32 / 13.0).ln(); 13]);
        logits.reverse();
        let sums = SoftmaxSums::of(&logits);
        assert!((sums.max - 8_f64.ln()).abs() < 1e-6 && (sums.second - 4_f64.ln()).abs() < 1e-6, "{sums:?}");
        assert!((sums.total - 2.0).abs() < 1e-6);
        let by_hand = -(0.5 * 2_f64.ln() + 0.25 * 4_f64.ln() + 0.125 * 8_f64.ln() + 0.125 * 104_f64.ln());
        assert!((sums.weighted - by_hand).abs() < 1e-6, "{} for {by_hand}", sums.weighted);
        // At T = 1/2 weights are squared.
        let squared = (64.0 + 16.0 + 4.0 + 1.0 + 1.0 / 13.0) / 64.0;
        let tempered = |inverse: f32| f64::from(tempered_total(&logits, sums.max as f32, inverse));
        assert!((tempered(2.0) - squared).abs() < 1e-6);
        assert!((tempered(1.0) - sums.total).abs() < 1e-6);
        assert_eq!(tempered(1e12), 1.0);
    }

    #[test]
    fn the_two_largest_stand_anywhere() {
        for (first, second) in [(0, 1), (8, 0), (16, 8), (17, 16), (3, 17), (17, 3)] {
            let mut x: Vec<f32> = (0..18).map(|i| -(i as f32)).collect();
            (x[first], x[second]) = (7.0, 6.0);
            assert_eq!(two_largest(&x), (7.0, 6.0), "{first} {second}");
            x[second] = 7.0;
            assert_eq!(two_largest(&x), (7.0, 7.0));
        }
        assert_eq!(two_largest(&[2.0]), (2.0, f32::NEG_INFINITY));
    }
}
