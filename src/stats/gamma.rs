//! The gamma function and the gamma distribution: what inverse-CDF draws of Gamma,
//! Weibull and Nakagami laws need.

/// Steps of a series or continued fraction; shapes up to 10⁶ take a few thousand.
const MOST_TERMS: u32 = 100_000;

/// From here on Stirling's series is exact to the last digits.
const LARGE: f64 = 10.0;

/// `ln Γ(x)` for `x > 0`: Stirling's series with its terms up to x⁻¹³ (Abramowitz and
/// Stegun 6.1.41) where x is at least 10, and Γ(x + 1) = x·Γ(x) below. Relative error
/// about 10⁻¹⁵ of max(1, |ln Γ|). NaN for other `x`.
pub fn ln_gamma(x: f64) -> f64 {
    if x.is_nan() || x <= 0.0 {
        return f64::NAN;
    }
    let (mut x, mut product) = (x, 1.0);
    while x < LARGE {
        product *= x;
        x += 1.0;
    }
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + stirling_rest(x) - f64::ln(product)
}

/// ln Γ(x) less (x - 1/2)·ln x - x + ln(2π)/2, for large `x`.
fn stirling_rest(x: f64) -> f64 {
    // B_2n/(2n(2n - 1)) for n = 1..7.
    const TERMS: [f64; 7] =
        [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0, 1.0 / 156.0];
    let inverse = 1.0 / x;
    let squared = inverse * inverse;
    TERMS.iter().rev().fold(0.0, |sum, term| sum * squared + term) * inverse
}

/// ln(x^a·exp(-x)/Γ(a)). For large shapes in powers of how far x is from a: the terms
/// of the plain formula are large and cancel.
fn ln_front(a: f64, x: f64) -> f64 {
    if a < LARGE {
        return a * x.ln() - x - ln_gamma(a);
    }
    let apart = (x - a) / a;
    a * (apart.ln_1p() - apart) - stirling_rest(a) + 0.5 * (a.ln() - std::f64::consts::TAU.ln())
}

/// `(P(a, x), Q(a, x))`, the regularised incomplete gamma functions: the distribution
/// function of a Gamma variate of shape `a` and scale 1, and its complement. Each is as
/// accurate in its own small values as in its large ones, to about 10⁻¹³.
///
/// By the power series of P below `a + 1` (Abramowitz and Stegun 6.5.29), by the
/// continued fraction of Q above (6.5.31), evaluated by Lentz's method. NaN for `a`
/// not above 0 or `x` below 0.
pub fn regularised_gamma(a: f64, x: f64) -> (f64, f64) {
    if a.is_nan() || a <= 0.0 || x.is_nan() || x < 0.0 {
        return (f64::NAN, f64::NAN);
    }
    if x == 0.0 {
        return (0.0, 1.0);
    }
    if x == f64::INFINITY {
        return (1.0, 0.0);
    }
    let front = ln_front(a, x).exp();
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        for _ in 0..MOST_TERMS {
            n += 1.0;
            term *= x / n;
            sum += term;
            if term < sum * (0.5 * f64::EPSILON) {
                break;
            }
        }
        let lower = (front * sum).min(1.0);
        (lower, 1.0 - lower)
    } else {
        // Q = front/(x + 1 - a - 1·(1 - a)/(x + 3 - a - 2·(2 - a)/(x + 5 - a - …))).
        let mut b = x + 1.0 - a;
        let (mut c, mut d) = (1.0 / f64::MIN_POSITIVE, 1.0 / b);
        let mut fraction = d;
        for i in 1..MOST_TERMS {
            let i = f64::from(i);
            let an = -i * (i - a);
            b += 2.0;
            d = 1.0 / away_from_zero(an * d + b);
            c = away_from_zero(b + an / c);
            let factor = d * c;
            fraction *= factor;
            if (factor - 1.0).abs() < f64::EPSILON {
                break;
            }
        }
        let upper = (front * fraction).min(1.0);
        (1.0 - upper, upper)
    }
}

fn away_from_zero(x: f64) -> f64 {
    if x.abs() < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { x }
}

/// The quantile of a Gamma variate of shape `a` and scale 1: the `x` with `P(a, x) = p`.
///
/// Newton's method in ln x on the smaller of P and Q, kept inside a bracket that every
/// step narrows; relative error about 10⁻¹³. A quantile below the smallest number is 0
/// (shapes below 0.01 have many). 0 for `p` not above 0, infinity from 1 on, NaN for `a`
/// not above 0.
pub fn gamma_inverse(a: f64, p: f64) -> f64 {
    if a.is_nan() || a <= 0.0 || p.is_nan() {
        return f64::NAN;
    }
    if p <= 0.0 {
        return 0.0;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    // P(a, x) = x^a/Γ(a + 1)·(1 - a·x/(a + 1) + …): where x is small this is the quantile.
    let ln_small = (p.ln() + ln_gamma(a + 1.0)) / a;
    if ln_small < -40.0 {
        return ln_small.exp();
    }
    let upper = p > 0.5;
    // Increasing in x, and 0 at the quantile.
    let distance = |x: f64| {
        let (lower_part, upper_part) = regularised_gamma(a, x);
        if upper { (1.0 - p) - upper_part } else { lower_part - p }
    };
    let mut low = f64::NEG_INFINITY;
    let mut high = (a + 1.0).ln();
    while distance(high.exp()) < 0.0 {
        low = high;
        high += 1.0;
    }
    let mut at = ln_small.min(a.ln()).max(low);
    for _ in 0..200 {
        let x = at.exp();
        let off = distance(x);
        if off == 0.0 {
            return x;
        }
        if off < 0.0 {
            low = at;
        } else {
            high = at;
        }
        let slope = ln_front(a, x).exp();
        let newton = at - off / slope;
        let next = if newton > low && newton < high {
            newton
        } else if low.is_finite() {
            0.5 * (low + high)
        } else {
            high - 1.0
        };
        if (next - at).abs() <= 2.0 * f64::EPSILON * at.abs().max(1.0) {
            return next.exp();
        }
        at = next;
    }
    at.exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::{ContinuousCDF as _, Gamma};
    use statrs::function::gamma as reference;

    const SHAPES: [f64; 12] = [0.005, 0.05, 0.3, 0.5, 1.0, 1.7, 4.0, 9.99, 10.0, 55.5, 1e3, 1e5];

    #[test]
    fn ln_gamma_meets_known_values() {
        // Γ(1/2) = √π, Γ(1) = Γ(2) = 1, Γ(11) = 10!.
        let half = 0.5 * std::f64::consts::PI.ln();
        for (x, value) in [(0.5, half), (1.0, 0.0), (2.0, 0.0), (11.0, 3_628_800f64.ln())] {
            assert!((ln_gamma(x) - value).abs() < 4e-15 * value.abs().max(1.0), "{x}: {}", ln_gamma(x));
        }
        for x in SHAPES {
            let value = reference::ln_gamma(x);
            assert!((ln_gamma(x) - value).abs() < 2e-14 * value.abs().max(1.0), "{x}: {} {value}", ln_gamma(x));
        }
        assert!(ln_gamma(0.0).is_nan() && ln_gamma(-1.5).is_nan() && ln_gamma(f64::NAN).is_nan());
    }

    #[test]
    fn incomplete_gammas_meet_another_implementation() {
        for a in SHAPES {
            for factor in [1e-3, 0.1, 0.5, 0.9, 0.999, 1.0, 1.001, 1.2, 2.0, 5.0] {
                let x = a * factor;
                let (lower, upper) = regularised_gamma(a, x);
                let (p, q) = (reference::gamma_lr(a, x), reference::gamma_ur(a, x));
                // The other one loses digits to large shapes, and both what cancels in a complement.
                let tolerance = 1e-14 * a.max(100.0);
                assert!((lower - p).abs() < tolerance * p + 1e-13, "P({a}, {x}): {lower} for {p}");
                assert!((upper - q).abs() < tolerance * q + 1e-13, "Q({a}, {x}): {upper} for {q}");
                assert!((lower + upper - 1.0).abs() < 1e-15);
            }
        }
        // Exact: P(1, x) = 1 - exp(-x), Q(2, x) = (1 + x)·exp(-x), also far out.
        for x in [1e-12, 0.3, 3.0, 50.0, 700.0] {
            let (exponential, erlang) = (regularised_gamma(1.0, x), regularised_gamma(2.0, x).1);
            assert!((exponential.0 / -(-x).exp_m1() - 1.0).abs() < 1e-13, "{x}");
            assert!((erlang / ((1.0 + x) * (-x).exp()) - 1.0).abs() < 1e-12, "{x}: {erlang}");
        }
        // Γ(a, a) by its expansion in a^(-1/2) (DLMF 8.11.12), with two terms of Γ(a).
        for a in [1e4, 1e5, 1e6] {
            let (root, tau) = (f64::sqrt(a), std::f64::consts::TAU.sqrt());
            let above = 0.5 * tau * root - 1.0 / 3.0 + tau / (24.0 * root) - 4.0 / (135.0 * a);
            let expected = above / (tau * root * (1.0 + 1.0 / (12.0 * a) + 1.0 / (288.0 * a * a)));
            let found = regularised_gamma(a, a).1;
            // The next term is √(2π)/(576·a^(3/2)).
            assert!((found - expected).abs() < 0.01 / (a * a) + 2e-13, "{a}: {found} for {expected}");
        }
        assert_eq!(regularised_gamma(2.0, 0.0), (0.0, 1.0));
        assert_eq!(regularised_gamma(2.0, f64::INFINITY), (1.0, 0.0));
        assert!(regularised_gamma(-1.0, 1.0).0.is_nan() && regularised_gamma(1.0, -1.0).0.is_nan());
    }

    #[test]
    fn quantiles_invert_the_distribution_function() {
        for a in SHAPES {
            let mut last = 0.0;
            for p in [1e-15, 1e-9, 1e-3, 0.1, 0.4999, 0.5, 0.5001, 0.9, 0.999, 1.0 - 1e-9, 1.0 - 1e-15] {
                let x = gamma_inverse(a, p);
                assert!(x >= last, "{a}, {p}");
                last = x;
                if x > 1e-300 {
                    let (lower, upper) = regularised_gamma(a, x);
                    let error = if p > 0.5 { upper / (1.0 - p) - 1.0 } else { lower / p - 1.0 };
                    // A relative error of x times the condition x·f/P (≤ about a) of the function.
                    assert!(error.abs() < 1e-11 * a.max(1.0), "{a}, {p}: {x}, off by {error}");
                }
            }
        }
    }

    #[test]
    fn quantiles_meet_other_implementations() {
        // Exponential, exactly; shape 1/2 is half the square of a normal: 0.95 at 1.959964/√2.
        for p in [1e-10, 0.3, 0.7, 0.999_999] {
            assert!((gamma_inverse(1.0, p) / -(-p).ln_1p() - 1.0).abs() < 1e-13, "{p}");
        }
        assert!((gamma_inverse(0.5, 0.95) - 1.959_963_984_540_054f64.powi(2) / 2.0).abs() < 1e-13);
        for a in [0.3, 1.7, 4.0, 55.5] {
            let law = Gamma::new(a, 1.0).unwrap();
            for p in [0.01, 0.25, 0.5, 0.8, 0.99] {
                let (own, theirs) = (gamma_inverse(a, p), law.inverse_cdf(p));
                assert!((own - theirs).abs() < 1e-6 * theirs.max(1e-3), "{a}, {p}: {own} for {theirs}");
            }
        }
        assert_eq!((gamma_inverse(2.0, 0.0), gamma_inverse(2.0, 1.0)), (0.0, f64::INFINITY));
        assert_eq!(gamma_inverse(1e-3, 1e-10), 0.0);
        assert!(gamma_inverse(0.0, 0.5).is_nan() && gamma_inverse(1.0, f64::NAN).is_nan());
    }
}
