//! Student's confidence interval for a mean.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};

use super::Moments;

/// Degrees of freedom up to which Student's distribution is summed exactly.
const EXACT_UP_TO: u64 = 10_000;

/// A two-sided confidence interval `mean ± half_width` for the expectation of
/// independent, roughly normal values (Student, "The probable error of a mean",
/// Biometrika 6(1), 1908).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StudentInterval {
    /// The mean of the values.
    pub mean: f64,
    /// `t_{(1+level)/2, n-1} · s / √n`.
    pub half_width: f64,
}

impl StudentInterval {
    /// The interval at confidence `level`, between 0 and 1 exclusive; `None` of
    /// fewer than two values, or at any other level.
    pub fn from_moments(moments: &Moments, level: f64) -> Option<Self> {
        let (mean, std_dev) = (moments.mean()?, moments.std_dev()?);
        let t = student_t_quantile(moments.n() - 1, level)?;
        Some(Self { mean, half_width: t * std_dev / (moments.n() as f64).sqrt() })
    }

    /// Whether `value` lies in the interval.
    pub fn covers(&self, value: f64) -> bool {
        (value - self.mean).abs() <= self.half_width
    }

    /// The lower end.
    pub fn low(&self) -> f64 {
        self.mean - self.half_width
    }

    /// The upper end.
    pub fn high(&self) -> f64 {
        self.mean + self.half_width
    }
}

/// [`StudentInterval`] of a list of values.
pub fn mean_interval(values: &[f64], level: f64) -> Option<StudentInterval> {
    StudentInterval::from_moments(&values.iter().copied().collect(), level)
}

/// The `t` with `P(|T| <= t) = level` for `T` of Student's distribution: the
/// factor of a two-sided interval. `None` without degrees of freedom, or unless `0 < level < 1`.
pub fn student_t_quantile(degrees_of_freedom: u64, level: f64) -> Option<f64> {
    if degrees_of_freedom == 0 || !(level > 0.0 && level < 1.0) {
        return None;
    }
    let summed = degrees_of_freedom.min(EXACT_UP_TO);
    let n = summed as f64;
    // θ = atan(t/√n) maps the half-line to a finite interval, on which bisection is safe.
    let (mut low, mut high) = (0.0, FRAC_PI_2);
    for _ in 0..64 {
        let middle = 0.5 * (low + high);
        if central_probability(summed, middle) < level { low = middle } else { high = middle }
    }
    let t = n.sqrt() * (0.5 * (low + high)).tan();
    // Beyond, one term of Fisher's expansion in 1/n leads on (Abramowitz and
    // Stegun 26.7.5); the next is of order 1/n², below 1e-8 here.
    Some(t - 0.25 * (t.powi(3) + t) * (1.0 / n - 1.0 / degrees_of_freedom as f64))
}

/// `P(|T| <= √n · tan θ)` for `n` degrees of freedom, as a finite sum: Abramowitz
/// and Stegun, "Handbook of mathematical functions", 26.7.3 and 26.7.4.
fn central_probability(n: u64, theta: f64) -> f64 {
    let (sin, cos) = theta.sin_cos();
    let odd = n % 2 == 1;
    // odd:  cos + (2/3) cos³ + (2·4)/(3·5) cos⁵ + … up to cosⁿ⁻²
    // even: 1 + (1/2) cos² + (1·3)/(2·4) cos⁴ + … up to cosⁿ⁻²
    let (mut term, mut power) = if odd { (cos, 1) } else { (1.0, 0) };
    let mut sum = 0.0;
    while power + 2 <= n {
        sum += term;
        power += 2;
        term *= cos * cos * (power - 1) as f64 / power as f64;
    }
    if odd { FRAC_2_PI * (theta + sin * sum) } else { sin * sum }
}

#[cfg(test)]
mod tests {
    use statrs::distribution::{ContinuousCDF, StudentsT};

    use super::*;

    #[test]
    fn quantiles_match_the_tables() {
        // Fisher and Yates, table III.
        for (n, level, t) in [
            (1, 0.95, 12.706_204_736),
            (2, 0.95, 4.302_652_730),
            (4, 0.90, 2.131_846_786),
            (9, 0.95, 2.262_157_163),
            (29, 0.99, 2.756_385_904),
        ] {
            assert!((student_t_quantile(n, level).unwrap() - t).abs() < 1e-8, "{n} {level}");
        }
        // The normal limit.
        assert!((student_t_quantile(u64::MAX, 0.95).unwrap() - 1.959_963_985).abs() < 1e-7);
    }

    #[test]
    fn quantiles_agree_with_an_independent_distribution_function() {
        for n in (1..40).chain([99, 100, 999, 1000, 9_999, 10_000, 10_001, 50_000, 1_000_000]) {
            let reference = StudentsT::new(0.0, 1.0, n as f64).unwrap();
            for level in [0.5, 0.8, 0.9, 0.95, 0.99, 0.999] {
                let t = student_t_quantile(n, level).unwrap();
                let found = 2.0 * reference.cdf(t) - 1.0;
                assert!((found - level).abs() < 1e-8, "{n} degrees of freedom: {found} for {level}");
            }
        }
    }

    #[test]
    fn a_worked_interval() {
        let interval = mean_interval(&[1.0, 2.0, 3.0, 4.0], 0.95).unwrap();
        // t = 3.182446305, s/√4 = 0.645497224.
        assert!((interval.mean - 2.5).abs() < 1e-15);
        assert!((interval.half_width - 2.054_260_255).abs() < 1e-8);
        assert!(interval.covers(0.45) && !interval.covers(0.44));
        assert!((interval.high() - interval.low() - 2.0 * interval.half_width).abs() < 1e-15);
    }

    #[test]
    fn refuses_what_has_no_interval() {
        assert_eq!(mean_interval(&[1.0], 0.95), None);
        for level in [0.0, 1.0, -0.5, f64::NAN] {
            assert_eq!(mean_interval(&[1.0, 2.0], level), None);
        }
    }
}
