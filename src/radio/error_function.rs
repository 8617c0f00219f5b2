//! The tail of the normal law in additions, multiplications and divisions alone:
//! the same bits on every machine, whatever its mathematics library.

use std::f64::consts::{LN_2, LOG2_E, PI, SQRT_2};

/// `Q(x) = P(N > x) = erfc(x/√2)/2`, the tail of the standard normal law.
pub(super) fn normal_tail(x: f64) -> f64 {
    0.5 * complementary_error_function(x / SQRT_2)
}

/// `erfc(x) = 2/√π ∫ₓ^∞ e^{-t²} dt`, absolute error below 1e-14 and, for x > 0, relative error
/// below 1e-12 (up to x = 26, where it ends in denormal numbers and then 0). NaN stays NaN.
///
/// Near 0 the series `erf(x) = 2/√π e^{-x²} Σ 2ⁿ x²ⁿ⁺¹/(1·3···(2n+1))`, all of whose
/// terms are positive; beyond, Laplace's continued fraction
/// `√π e^{x²} erfc(x) = 1/(x + ½/(x + 1/(x + 3/2/(x + …))))`
/// (Abramowitz and Stegun, 7.1.6 and 7.1.14).
pub(super) fn complementary_error_function(x: f64) -> f64 {
    /// Below, the series needs at most 40 terms and cancels no more than two digits.
    const SERIES_BELOW: f64 = 1.75;
    /// Levels of the continued fraction that give 1e-15 at [`SERIES_BELOW`].
    const LEVELS: u32 = 64;
    if x < 0.0 {
        return 2.0 - complementary_error_function(-x);
    }
    let squared = x * x;
    if x < SERIES_BELOW {
        let (mut term, mut sum, mut odd) = (x, x, 1.0);
        while term > sum * 1e-17 {
            odd += 2.0;
            term *= 2.0 * squared / odd;
            sum += term;
        }
        return 1.0 - 2.0 / PI.sqrt() * exponential(-squared) * sum;
    }
    let fraction = (1..=LEVELS).rev().fold(x, |below, level| x + 0.5 * f64::from(level) / below);
    exponential(-squared) / (PI.sqrt() * fraction)
}

/// `e^x` for x ≤ 0, relative error below 1e-15 where the result is a normal number:
/// `2ⁿ·e^r`, |r| ≤ ln 2 / 2, by 17 terms of the series.
fn exponential(x: f64) -> f64 {
    /// ln 2 with its last 21 bits cleared, so that n times it is exact, and the rest of it.
    const LN2_HIGH: f64 = f64::from_bits(LN_2.to_bits() & !0x1f_ffff);
    const LN2_REST: f64 = (LN_2 - LN2_HIGH) + 2.319_046_813_846_299_6e-17;
    if x < -745.0 {
        return 0.0;
    }
    let n = (x * LOG2_E).round();
    let r = (x - n * LN2_HIGH) - n * LN2_REST;
    let sum = (1..=17u32).rev().fold(1.0, |sum, k| 1.0 + sum * r / f64::from(k));
    // In two steps: 2ⁿ itself may be below the normal numbers.
    let half = (n * 0.5).floor();
    sum * power_of_two(half) * power_of_two(n - half)
}

/// `2ⁿ` for an integer -1022 ≤ n ≤ 1023.
fn power_of_two(n: f64) -> f64 {
    f64::from_bits(((n as i64 + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// statrs is good to a few 1e-11 only; the digits beyond are in the next test.
    #[test]
    fn agrees_with_statrs() {
        for k in -600..=2600 {
            let x = f64::from(k) / 100.0;
            let (ours, theirs) = (complementary_error_function(x), statrs::function::erf::erfc(x));
            assert!((ours - theirs).abs() < 1e-10, "erfc({x}) = {ours}, not {theirs}");
            assert!((ours / theirs - 1.0).abs() < 1e-9, "erfc({x}) = {ours}, not {theirs}");
        }
    }

    /// `math.erfc` of Python 3, the C library's.
    #[test]
    fn agrees_with_the_c_library() {
        for (x, expected) in [
            (-5.0, 1.999_999_999_998_462_6),
            (-1.6, 1.976_348_383_344_644),
            (-0.3, 1.328_626_759_459_127_4),
            (0.0, 1.0),
            (0.1, 0.887_537_083_981_715_2),
            (0.7, 0.322_198_806_162_581_56),
            (1.2, 0.089_686_021_770_364_65),
            (1.74, 0.013_865_405_003_367_061),
            (1.76, 0.012_809_724_768_869_872),
            (2.5, 0.000_406_952_017_444_958_9),
            (4.0, 1.541_725_790_028_002e-8),
            (6.0, 2.151_973_671_249_891_6e-17),
            (10.0, 2.088_487_583_762_545e-45),
            (15.0, 7.212_994_172_451_206e-100),
            (22.0, 1.621_905_860_933_472_4e-212),
            (26.0, 5.663_192_408_856_143e-296),
        ] {
            let relative = complementary_error_function(x) / expected - 1.0;
            assert!(relative.abs() < 1e-13, "erfc({x}): {relative}");
        }
    }

    #[test]
    fn ends_are_exact() {
        assert_eq!((normal_tail(f64::INFINITY), normal_tail(f64::NEG_INFINITY)), (0.0, 1.0));
        assert!(normal_tail(f64::NAN).is_nan());
        assert_eq!(normal_tail(0.0), 0.5);
    }
}
