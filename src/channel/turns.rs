//! Sine and cosine of an angle in turns, as plain multiplications and additions.
//!
//! The standard library's `sin_cos` calls the platform's libm: its bits differ
//! between platforms, and a call cannot be vectorised. This one is branch-free
//! IEEE arithmetic, so loops over it become vector code on any target and give
//! the same bits on all.

/// `1.5 · 2⁵²`: adding it rounds a number below 2⁵¹ to an integer, ties to even.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// `1 / n!`
const fn inverse_factorial(n: u32) -> f64 {
    let mut factorial = 1.0;
    let mut k = 2;
    while k <= n {
        factorial *= k as f64;
        k += 1;
    }
    1.0 / factorial
}

/// `x` to the nearest integer, ties to even, for |x| < 2⁵¹. (`f64::round_ties_even`
/// is a libm call where the target has no rounding instruction, as SSE2.)
#[inline]
fn round(x: f64) -> f64 {
    (x + ROUNDER) - ROUNDER
}

/// `[sin 2πx, cos 2πx]` for |x| < 2⁵¹; absolute error below 3·10⁻⁹, to which the
/// rounding of `x` itself adds π·|x|·2⁻⁵².
///
/// With `a = π(x - round x)` in [-π/2, π/2], Taylor's sums of sin a (to a¹³) and
/// cos a (to a¹⁴) leave 7·10⁻¹⁰ and 7·10⁻¹¹; then sin 2a = 2 sin a cos a and
/// cos 2a = 1 - 2 sin² a, which at most quadruples the former. Taylor's
/// coefficients rather than a minimax fit's: two terms more, and nothing to explain.
#[inline]
pub fn sin_cos_turns(x: f64) -> [f64; 2] {
    const S: [f64; 7] = [
        inverse_factorial(1),
        -inverse_factorial(3),
        inverse_factorial(5),
        -inverse_factorial(7),
        inverse_factorial(9),
        -inverse_factorial(11),
        inverse_factorial(13),
    ];
    const C: [f64; 8] = [
        inverse_factorial(0),
        -inverse_factorial(2),
        inverse_factorial(4),
        -inverse_factorial(6),
        inverse_factorial(8),
        -inverse_factorial(10),
        inverse_factorial(12),
        -inverse_factorial(14),
    ];
    let a = (x - round(x)) * std::f64::consts::PI;
    let q = a * a;
    let sin = a * (S[0] + q * (S[1] + q * (S[2] + q * (S[3] + q * (S[4] + q * (S[5] + q * S[6]))))));
    let cos = C[0] + q * (C[1] + q * (C[2] + q * (C[3] + q * (C[4] + q * (C[5] + q * (C[6] + q * C[7]))))));
    [2.0 * sin * cos, 1.0 - 2.0 * sin * sin]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_against_libm_is_below_three_in_a_billion() {
        let mut worst = 0f64;
        for i in -200_000..=200_000 {
            let x = f64::from(i) / 100_000.0;
            let [sin, cos] = sin_cos_turns(x);
            // The reference reduces exactly, as libm does not know turns.
            let (s, c) = (std::f64::consts::TAU * (x - x.round_ties_even())).sin_cos();
            worst = worst.max((sin - s).abs()).max((cos - c).abs());
        }
        assert!(worst < 3e-9, "{worst:e}");
    }

    #[test]
    fn whole_turns_do_not_move_the_angle() {
        for turns in [1.0, 1e3, 1e9, 2f64.powi(50)] {
            assert_eq!(sin_cos_turns(turns), [0.0, 1.0]);
            assert_eq!(sin_cos_turns(0.25 - turns), sin_cos_turns(0.25), "{turns}");
        }
    }

    /// Computed in another language from the same formulas; a changed bit here changes every fading gain.
    #[test]
    fn bits_are_pinned() {
        let [sin, cos] = sin_cos_turns(0.123);
        assert_eq!((sin.to_bits(), cos.to_bits()), PINNED);
    }

    const PINNED: (u64, u64) = (0x3fe6_575f_0138_cda4, 0x3fe6_e8f3_a092_f1dc);
}
