//! Logarithm and exponential from additions, multiplications and divisions alone: the values of a range on a log scale
//! enter run ids, and the C library's own differ in the last digit from machine to machine.

use std::f64::consts::SQRT_2;

/// ln 2 in two parts: the first has so few digits that its product with an exponent is exact.
const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// ln x for finite x > 0, within a few units in the last place: x = m·2^e with m in (√½, √2],
/// ln m = 2·artanh(s), s = (m - 1)/(m + 1).
pub(super) fn ln(x: f64) -> f64 {
    let subnormal = x < f64::MIN_POSITIVE;
    let scaled = if subnormal { x * (1u64 << 54) as f64 } else { x };
    let bits = scaled.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i32 - 1023 - if subnormal { 54 } else { 0 };
    let mut mantissa = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 1023 << 52);
    if mantissa > SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    // s ≤ 0.1716: the first term left out is below 1e-18 of the first.
    let series = (0..13).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    f64::from(exponent) * LN_2_HIGH + (2.0 * s * series + f64::from(exponent) * LN_2_LOW)
}

/// e^x for x whose result is finite and not 0: x = k·ln 2 + r, and Taylor's series at r.
pub(super) fn exp(x: f64) -> f64 {
    let k = (x / std::f64::consts::LN_2).round();
    let r = (x - k * LN_2_HIGH) - k * LN_2_LOW;
    let series = (1..=16).rev().fold(1.0, |sum, n| 1.0 + sum * r / f64::from(n));
    // In two steps, as the power itself may be beyond what a float holds.
    let half = k as i32 / 2;
    series * power_of_two(half) * power_of_two(k as i32 - half)
}

fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent.clamp(-1022, 1023) + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_agree_with_the_system_library() {
        for x in [5e-324, 1e-300, 1e-9, 0.3, 0.5, 0.999_999, 1.0, 1.5, 2.0, 10.0, 12_345.678, 1e9, f64::MAX] {
            let difference = (ln(x) - x.ln()).abs();
            assert!(difference <= 4.0 * f64::EPSILON * x.ln().abs().max(f64::EPSILON), "ln {x}: {difference:e}");
        }
        for x in [-700.0, -20.5, -1.0, -1e-9, 0.0, 0.346, 0.347, 1.0, 3.25, 21.0, 700.0, 709.0] {
            let ratio = exp(x) / x.exp() - 1.0;
            assert!(ratio.abs() <= 4.0 * f64::EPSILON, "exp {x}: {ratio:e}");
        }
        assert_eq!((ln(1.0), exp(0.0)), (0.0, 1.0));
    }
}
