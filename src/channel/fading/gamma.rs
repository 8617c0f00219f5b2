//! The incomplete gamma function and the inverse of a distribution function.

use crate::stats::{ln_gamma, regularised_gamma};

/// Terms of a series or fraction at most; at a ≤ 2000 some hundred are enough.
const MOST_TERMS: u32 = 20_000;

/// Steps of an inversion at most; Newton's take about five.
const MOST_STEPS: u32 = 2_000;

/// `x^a e^{-x}/Γ(a)`, which is x times the density of the gamma law of shape a.
pub(super) fn gamma_density_times_x(a: f64, x: f64) -> f64 {
    if x > 0.0 { (a * x.ln() - x - ln_gamma(a)).exp() } else { 0.0 }
}

/// The Poisson probability `e^{-μ} μ^j/j!` of j at mean μ > 0.
pub(super) fn poisson(mean: f64, j: u32) -> f64 {
    (f64::from(j) * mean.ln() - mean - ln_gamma(f64::from(j) + 1.0)).exp()
}

/// [`regularised_gamma`] as `[P(a, x), Q(a, x)]`, for a > 0; P = 0 for x below 0.
pub(super) fn incomplete_gamma(a: f64, x: f64) -> [f64; 2] {
    let (lower, upper) = regularised_gamma(a, x.max(0.0));
    [lower, upper]
}

/// `ln Q(a, x)`, also where Q itself is too small for a float.
pub(super) fn ln_upper_gamma(a: f64, x: f64) -> f64 {
    if x < a + 1.0 { incomplete_gamma(a, x)[1].ln() } else { a * x.ln() - x - ln_gamma(a) + upper_fraction(a, x).ln() }
}

/// `Q(a, x)·Γ(a)/(x^a e^{-x})`, for x ≥ a + 1.
fn upper_fraction(a: f64, x: f64) -> f64 {
    let mut b = x + 1.0 - a;
    let mut d = 1.0 / b;
    let (mut c, mut fraction) = (f64::MAX, d);
    for n in 1..MOST_TERMS {
        let n = f64::from(n);
        let numerator = -n * (n - a);
        b += 2.0;
        d = 1.0 / nonzero(numerator * d + b);
        c = nonzero(b + numerator / c);
        fraction *= d * c;
        if (d * c - 1.0).abs() < 1e-16 {
            break;
        }
    }
    fraction
}

fn nonzero(x: f64) -> f64 {
    if x == 0.0 { f64::MIN_POSITIVE } else { x }
}

/// The x > 0 at which a distribution function reaches `probability` in (0, 1).
///
/// `law` gives `[F(x), x·F'(x)]`. Newton's method on ln F over ln x, where laws that
/// begin as a power of x are nearly straight, within a bracket that bisection narrows
/// where Newton leaves it. `start` > 0 is a first guess.
pub(super) fn invert(probability: f64, start: f64, law: impl Fn(f64) -> [f64; 2]) -> f64 {
    let target = probability.ln();
    let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
    let mut at = start.ln();
    for _ in 0..MOST_STEPS {
        let [reached, density] = law(at.exp());
        let miss = reached.ln() - target;
        if miss < 0.0 {
            low = at;
        } else {
            high = at;
        }
        let newton = at - miss * reached / density;
        let next = if newton > low && newton < high {
            // A step of more than a factor of 16 trusts the tangent too far.
            newton.clamp(at - 2.8, at + 2.8)
        } else if low.is_finite() && high.is_finite() {
            0.5 * (low + high)
        } else if miss < 0.0 {
            at + 1.0
        } else {
            at - 1.0
        };
        if (next - at).abs() <= 1e-15 * (1.0 + at.abs()) || next == at {
            return next.exp();
        }
        at = next;
    }
    at.exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::function::gamma::{checked_gamma_lr, checked_gamma_ur};

    #[test]
    fn known_values() {
        // Γ(1/2) = √π, Γ(5) = 24; Abramowitz and Stegun, table 6.1: Γ(1.5) = 0.8862269255.
        assert!((ln_gamma(0.5) - 0.5 * std::f64::consts::PI.ln()).abs() < 1e-14);
        assert!((ln_gamma(5.0) - 24f64.ln()).abs() < 1e-14);
        assert!((ln_gamma(1.5).exp() - 0.886_226_925_452_758).abs() < 1e-14);
        // P(1, x) = 1 - e^{-x}; Q(2, x) = (1 + x)e^{-x}.
        for x in [1e-9, 0.3, 1.9, 2.1, 30.0, 600.0] {
            assert!((incomplete_gamma(1.0, x)[0] / -(-x).exp_m1() - 1.0).abs() < 1e-12, "{x}");
            assert!((incomplete_gamma(2.0, x)[1] / ((1.0 + x) * (-x).exp()) - 1.0).abs() < 1e-12, "{x}");
        }
        assert!((ln_upper_gamma(2.0, 2000.0) - (2001f64.ln() - 2000.0)).abs() < 1e-9);
        assert!((poisson(2.5, 3) - 2.5f64.powi(3) / 6.0 * (-2.5f64).exp()).abs() < 1e-13);
    }

    #[test]
    fn agrees_with_another_implementation() {
        for a in [0.5, 0.77, 1.0, 2.5, 8.0, 40.0, 100.0] {
            for share in [1e-3, 0.1, 0.5, 0.9, 1.0, 1.1, 2.0, 5.0] {
                let [lower, upper] = incomplete_gamma(a, a * share);
                let (theirs, rest) = (checked_gamma_lr(a, a * share).unwrap(), checked_gamma_ur(a, a * share).unwrap());
                assert!((lower - theirs).abs() < 1e-11 && (upper - rest).abs() < 1e-11, "a = {a}, x = {}", a * share);
            }
        }
    }

    #[test]
    fn the_inverse_is_one() {
        for a in [0.5, 0.77, 3.0, 100.0] {
            for probability in [1e-12, 1e-3, 0.1, 0.5, 0.9, 0.999_999] {
                let law = |x| [incomplete_gamma(a, x)[0], gamma_density_times_x(a, x)];
                let x = invert(probability, a, law);
                assert!((law(x)[0] / probability - 1.0).abs() < 1e-11, "a = {a}, P = {probability}: x = {x}");
            }
        }
    }
}
