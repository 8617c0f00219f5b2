//! The Kolmogorov–Smirnov distance.

/// `D = sup |F_n(x) - F(x)|`: the largest distance between the empirical
/// distribution of `sorted` (in increasing order) and the continuous
/// distribution function `cdf` (Kolmogorov 1933). 0 for an empty sample.
pub fn ks_statistic(sorted: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
    debug_assert!(sorted.is_sorted(), "the sample is not in increasing order");
    let n = sorted.len() as f64;
    sorted.iter().enumerate().fold(0.0, |distance: f64, (i, &x)| {
        // The empirical distribution steps from i/n to (i+1)/n at x.
        let expected = cdf(x);
        distance.max(expected - i as f64 / n).max((i + 1) as f64 / n - expected)
    })
}

/// The distance that a sample of `n` independent draws from the distribution
/// itself exceeds with probability about `alpha`: `√(ln(2/α) / 2n)`.
///
/// By the inequality of Dvoretzky, Kiefer and Wolfowitz with Massart's constant
/// (Annals of Probability 18(3), 1990) the probability is at most `alpha` for
/// every `n`; it is close to it for `alpha` up to 0.1 and `n` from about 50.
pub fn ks_critical_value(n: usize, alpha: f64) -> f64 {
    ((2.0 / alpha).ln() / (2.0 * n as f64)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_distances() {
        let uniform = |x: f64| x.clamp(0.0, 1.0);
        assert_eq!(ks_statistic(&[0.5], uniform), 0.5);
        assert!((ks_statistic(&[0.1, 0.2, 0.9], uniform) - (2.0 / 3.0 - 0.2)).abs() < 1e-15);
        // Evenly spread: half a step.
        let even: Vec<f64> = (0..100).map(|i| (f64::from(i) + 0.5) / 100.0).collect();
        assert!((ks_statistic(&even, uniform) - 0.005).abs() < 1e-12);
        assert_eq!(ks_statistic(&[], uniform), 0.0);
    }

    /// Asymptotic critical values: 1.358/√n at 5 %, 1.628/√n at 1 %.
    #[test]
    fn critical_values_match_the_tables() {
        assert!((ks_critical_value(100, 0.05) - 0.1358).abs() < 1e-4);
        assert!((ks_critical_value(100, 0.01) - 0.1628).abs() < 1e-4);
    }
}
