//! The standard normal distribution function.

/// `Φ(x)`, the probability that a standard normal is below `x`; absolute error below 7.5·10⁻⁸.
///
/// Abramowitz and Stegun, Handbook of Mathematical Functions, 26.2.17: with `t = 1/(1 + px)`,
/// `1 - Φ(x) = φ(x)·(b₁t + … + b₅t⁵)` for x ≥ 0.
pub fn normal_cdf(x: f64) -> f64 {
    const P: f64 = 0.231_641_9;
    const B: [f64; 5] = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let t = 1.0 / (1.0 + P * x.abs());
    let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    let tail = density * t * (B[0] + t * (B[1] + t * (B[2] + t * (B[3] + t * B[4]))));
    if x < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::{ContinuousCDF, Normal};

    #[test]
    fn error_is_the_published_one() {
        let exact = Normal::standard();
        let worst = (-800..=800)
            .map(|i| f64::from(i) / 100.0)
            .map(|x| (normal_cdf(x) - exact.cdf(x)).abs())
            .fold(0.0, f64::max);
        assert!(worst < 7.5e-8, "{worst:e}");
    }
}
