//! The numbers that a network computes in: `f32` for what learns, `f64` for the tests of
//! its gradients.
//!
//! `tanh` and `exp` are our own: without branches, so that loops over layers vectorise, and
//! without the platform's mathematics library, whose version would move digits. Both go by
//! `e^x - 1 = 2^n (e^r - 1) + (2^n - 1)` with `x = n ln 2 + r`, |r| ≤ ln 2 / 2, and the Taylor
//! series of `e^r - 1` (Muller, "Elementary Functions", 3rd ed., chapter 11): near zero n = 0,
//! and nothing cancels.

use std::f64::consts::LN_2;

use pulp::{Arch, Simd, WithSimd};

/// `f32` or `f64`.
pub trait Real: nalgebra::RealField + Copy + Send + Sync {
    /// The nearest number of this type.
    fn of(value: f64) -> Self;

    /// The same number in double precision.
    fn get(self) -> f64;

    /// `tanh x` in place of each, within a few units of the last place. Not-a-number stays so.
    fn tanh_all(values: &mut [Self]);
}

impl Real for f32 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn get(self) -> f64 {
        f64::from(self)
    }

    fn tanh_all(values: &mut [Self]) {
        Arch::new().dispatch(TanhSingle(values));
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn get(self) -> f64 {
        self
    }

    fn tanh_all(values: &mut [Self]) {
        Arch::new().dispatch(TanhDouble(values));
    }
}

struct TanhSingle<'a>(&'a mut [f32]);

impl WithSimd for TanhSingle<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for x in self.0 {
            *x = tanh_single(*x);
        }
    }
}

struct TanhDouble<'a>(&'a mut [f64]);

impl WithSimd for TanhDouble<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for x in self.0 {
            *x = tanh_double(*x);
        }
    }
}

/// `tanh |x| = -m / (m + 2)` with `m = e^(-2|x|) - 1`, and the sign of x. From |x| = 30 on it is 1.
#[inline(always)]
fn tanh_single(x: f32) -> f32 {
    /// Adding 1.5·2²³ leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 without the lower half of its digits, so that n times it is exact, and the rest of it.
    const HIGH: f32 = f32::from_bits((LN_2 as f32).to_bits() & !0xfff);
    const REST: f32 = (LN_2 - HIGH as f64) as f32;
    let y = -2.0 * x.abs();
    // A comparison, not `max`: false for not-a-number.
    let y = if y < -60.0 { -60.0 } else { y };
    let shifted = y * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (y - n * HIGH) - n * REST;
    let mut sum = 1.0 / 5040.0;
    for inverse_factorial in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0] {
        sum = sum * r + inverse_factorial;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    let m = power * (sum * r) + (power - 1.0);
    (-m / (m + 2.0)).copysign(x)
}

/// As [`tanh_single`].
#[inline(always)]
fn tanh_double(x: f64) -> f64 {
    let y = -2.0 * x.abs();
    let y = if y < -60.0 { -60.0 } else { y };
    let (p, power) = reduced(y);
    let m = power * p + (power - 1.0);
    (-m / (m + 2.0)).copysign(x)
}

/// `(e^r - 1, 2^n)` of `x = n ln 2 + r`, for -708 ≤ x ≤ 709.
#[inline(always)]
fn reduced(x: f64) -> (f64, f64) {
    /// 1.5·2⁵².
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const HIGH: f64 = f64::from_bits(LN_2.to_bits() & !0xfff_ffff);
    /// `LN_2` is ln 2 less 2.319e-17.
    const REST: f64 = (LN_2 - HIGH) + 2.319_046_813_846_299_6e-17;
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * HIGH) - n * REST;
    let mut sum = INVERSE_FACTORIALS[13];
    for k in (0..13).rev() {
        sum = sum * r + INVERSE_FACTORIALS[k];
    }
    (sum * r, f64::from_bits((shifted.to_bits() << 52).wrapping_add(1.0_f64.to_bits())))
}

/// 1/1!, 1/2!, …, 1/14!: the next term is below 2⁻⁵³ of the sum.
const INVERSE_FACTORIALS: [f64; 14] = {
    let mut table = [1.0; 14];
    let mut k = 1;
    let mut factorial = 1.0;
    while k < 14 {
        factorial *= (k + 1) as f64;
        table[k] = 1.0 / factorial;
        k += 1;
    }
    table
};

/// `e^x` within a few units of the last place; 0 below x = -708, infinite above 709.
pub fn exp(x: f64) -> f64 {
    if x < -708.0 {
        0.0
    } else if x > 709.0 {
        f64::INFINITY
    } else {
        let (p, power) = reduced(x);
        power * p + power
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 7,919th number from the least subnormal one up to infinity, and its negative.
    #[test]
    fn single_precision_tanh_agrees_with_the_double() {
        let mut worst: f64 = 0.0;
        for bits in (1..f32::INFINITY.to_bits()).step_by(7919) {
            let x = f32::from_bits(bits);
            let mut y = [x, -x];
            f32::tanh_all(&mut y);
            assert_eq!(y[0], -y[1]);
            let exact = f64::from(x).tanh();
            worst = worst.max((f64::from(y[0]) / exact - 1.0).abs());
        }
        assert!(worst < 2.5e-7, "{worst:e}");
    }

    #[test]
    fn double_precision_tanh_agrees_with_the_platform() {
        let mut worst: f64 = 0.0;
        let xs = (1..400_000).map(|i| f64::from(i) * 1e-4).chain((1..3000).map(|i| 10.0_f64.powf(f64::from(-i) * 0.1)));
        for x in xs {
            let mut y = [x, -x];
            f64::tanh_all(&mut y);
            assert_eq!(y[0], -y[1]);
            worst = worst.max((y[0] / x.tanh() - 1.0).abs());
        }
        assert!(worst < 7e-16, "{worst:e}");
    }

    #[test]
    fn the_ends_of_tanh_are_defined() {
        let mut y = [0.0_f32, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        f32::tanh_all(&mut y);
        assert_eq!(y[..4], [0.0, 0.0, 1.0, -1.0]);
        assert!(y[4].is_nan());
        let mut y = [0.0_f64, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        f64::tanh_all(&mut y);
        assert_eq!(y[..4], [0.0, 0.0, 1.0, -1.0]);
        assert!(y[4].is_nan());
    }

    #[test]
    fn exp_agrees_with_the_platform() {
        let mut worst: f64 = 0.0;
        for i in -70_800..=70_900 {
            let x = f64::from(i) * 0.01;
            worst = worst.max((exp(x) / x.exp() - 1.0).abs());
        }
        assert!(worst < 1e-15, "{worst:e}");
        assert_eq!((exp(0.0), exp(-1e9), exp(1e9)), (1.0, 0.0, f64::INFINITY));
        assert!(exp(f64::NAN).is_nan());
    }
}
