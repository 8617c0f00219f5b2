//! `exp` without branches, so that loops over rows vectorise, and without the
//! platform's mathematics library, so that its version does not move a digit.
//!
//! Both widths write `x = n·ln 2 + r` with |r| ≤ ln 2 / 2, sum the Taylor series
//! of `e^r` by Horner's rule, and put `n` into the exponent bits (Muller, "Elementary Functions", 3rd ed.,
//! chapter 11). Not-a-number stays not-a-number.

/// `e^x` in single precision, relative error below 2e-7 for -87 ≤ x ≤ 88;
/// arguments beyond are moved to the ends (1.3e-38 and 2.2e38).
#[inline(always)]
pub(super) fn exp_f32(x: f32) -> f32 {
    /// 1.5·2²³: adding it leaves the nearest integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts; the first has so few bits that n times it is exact.
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_REST: f32 = (std::f64::consts::LN_2 - LN2_HIGH as f64) as f32;
    // Comparisons, not `clamp`: false for NaN, and they become min and max instructions.
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_REST;
    let mut sum = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * r + coefficient;
    }
    sum * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()))
}

/// `e^x` in double precision, relative error below 4e-13 for -708 ≤ x ≤ 709, where
/// the series ends: far below what single-precision logits are good for. Arguments
/// beyond are moved to the ends.
#[inline(always)]
pub(super) fn exp_f64(x: f64) -> f64 {
    /// 1.5·2⁵², as in [`exp_f32`].
    const ROUND: f64 = 6_755_399_441_055_744.0;
    /// ln 2 with its last 21 bits cleared, and the rest of it.
    const LN2_HIGH: f64 = f64::from_bits(std::f64::consts::LN_2.to_bits() & !0x1f_ffff);
    /// `ln 2 - LN2_HIGH`, where ln 2 = `LN_2` + 2.319e-17.
    const LN2_REST: f64 = (std::f64::consts::LN_2 - LN2_HIGH) + 2.319_046_813_846_299_6e-17;
    let x = if x < -708.0 { -708.0 } else { x };
    let x = if x > 709.0 { 709.0 } else { x };
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_REST;
    let mut sum = INVERSE_FACTORIALS[0];
    for coefficient in &INVERSE_FACTORIALS[1..] {
        sum = sum * r + coefficient;
    }
    sum * f64::from_bits((shifted.to_bits() << 52).wrapping_add(1.0_f64.to_bits()))
}

/// 1/10!, 1/9!, …, 1/1!, 1/0!.
const INVERSE_FACTORIALS: [f64; 11] = {
    let mut table = [1.0; 11];
    let mut factorial = 1.0;
    let mut k = 1;
    while k <= 10 {
        factorial *= k as f64;
        table[10 - k] = 1.0 / factorial;
        k += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_precision_agrees_with_the_double() {
        for i in -87_000..=88_000 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp_f32(x)) - exact).abs() / exact;
            assert!(error < 2e-7, "exp({x}): relative error {error:e}");
        }
    }

    #[test]
    fn double_precision_agrees_with_the_platform() {
        for i in -70_800..=70_900 {
            let x = f64::from(i) * 0.01;
            let error = (exp_f64(x) / x.exp() - 1.0).abs();
            assert!(error < 4e-13, "exp({x}): relative error {error:e}");
        }
    }

    #[test]
    fn the_ends_and_nan_are_defined() {
        assert_eq!(exp_f32(0.0), 1.0);
        assert_eq!(exp_f64(0.0), 1.0);
        assert!(exp_f32(f32::NEG_INFINITY) < 2e-38 && exp_f64(f64::NEG_INFINITY) < 1e-307);
        assert!(exp_f32(f32::INFINITY).is_finite() && exp_f64(f64::INFINITY).is_finite());
        assert!(exp_f32(f32::NAN).is_nan() && exp_f64(f64::NAN).is_nan());
    }
}
