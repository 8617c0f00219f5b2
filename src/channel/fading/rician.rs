//! Rician fading: a line of sight beside the scattered waves.

use super::gamma::{incomplete_gamma, invert, poisson};
use super::{FadingError, Link, SumOfSinusoids};
use crate::channel::turns::sin_cos_turns;
use crate::kernel::{Purpose, Streams};
use crate::units::ratio_from_db;
use std::f64::consts::PI;

/// K unless the scenario says otherwise \[dB\]: the mean of urban macro cells with a
/// line of sight (3GPP TR 38.901, table 7.5-6, UMa LOS: K ~ N(9, 3.5²) dB).
pub const DEFAULT_RICIAN_K_DB: f64 = 9.0;

/// The largest |K| in dB; beyond, take Rayleigh fading or none.
pub const MAX_RICIAN_K_DB: f64 = 30.0;

/// Rician fading of one link: a wave of constant amplitude and the scattered waves,
///
/// `z(u) = √(K/(K+1))·exp j(2πu·cos θ₀ + φ₀) + h(u)/√(K+1)`, θ₀, φ₀ ~ U[-π, π)
///
/// with h a [`SumOfSinusoids`] and u the distance travelled in wavelengths; E|z|² = 1.
/// Source: Xiao, Zheng and Beaulieu, as there. θ₀ and φ₀ are block 0 of the link's
/// [`Purpose::FadingLineOfSight`] stream. Memory: 48 bytes beside the sum's.
#[derive(Debug, Clone)]
pub struct Rician {
    scattered: SumOfSinusoids,
    /// √(K/(K+1)) and 1/√(K+1).
    amplitudes: [f64; 2],
    /// cos θ₀.
    cosine: f64,
    /// φ₀ \[turns\].
    phase: f64,
}

impl Rician {
    /// The fading of `link` at K = `k_db` \[dB\].
    ///
    /// # Errors
    /// [`FadingError`] for a K beyond ±[`MAX_RICIAN_K_DB`], or as [`SumOfSinusoids::new`].
    pub fn new(streams: &Streams, link: Link, k_db: f64, sinusoids: usize) -> Result<Self, FadingError> {
        if !(-MAX_RICIAN_K_DB..=MAX_RICIAN_K_DB).contains(&k_db) {
            return Err(FadingError::RicianK(k_db));
        }
        let k = ratio_from_db(k_db);
        let [theta, phi] = link.stream(*streams, Purpose::FadingLineOfSight).uniform_pair(0);
        let [_, cosine] = sin_cos_turns(theta - 0.5);
        Ok(Self {
            scattered: SumOfSinusoids::new(streams, link, sinusoids)?,
            amplitudes: [(k / (k + 1.0)).sqrt(), (1.0 / (k + 1.0)).sqrt()],
            cosine,
            phase: phi - 0.5,
        })
    }

    /// The complex gain `[Re z, Im z]` after a distance of `turns` wavelengths, as
    /// [`SumOfSinusoids::complex_gain`].
    pub fn complex_gain(&self, turns: f64) -> [f64; 2] {
        let [re, im] = self.scattered.complex_gain(turns);
        let [sin, cos] = sin_cos_turns(turns * self.cosine + self.phase);
        let [direct, scattered] = self.amplitudes;
        [direct * cos + scattered * re, direct * sin + scattered * im]
    }

    /// |z| after a distance of `turns` wavelengths.
    pub fn envelope(&self, turns: f64) -> f64 {
        let [re, im] = self.complex_gain(turns);
        (re * re + im * im).sqrt()
    }
}

/// `[F, y·F'(y)]` of the Rician power law at y = (K + 1)ρ²:
/// `F = 1 - Q₁(√(2K), √(2y)) = Σⱼ Poisson(K; j)·P(j + 1, y)`, with Marcum's Q and the
/// regularised incomplete gamma function P; `F' = Σⱼ Poisson(K; j)·Poisson(y; j)`.
///
/// Summed downwards from where the terms are 10⁻¹⁸ of the largest, at j = √(Ky) + 7(Ky)^¼
/// (they fall off as a Gaussian of variance √(Ky)/2), with P(j, y) = P(j + 1, y) +
/// Poisson(y; j): all terms positive, so the sum is good to about 10⁻¹² of itself.
pub(super) fn rician_law(k: f64, y: f64) -> [f64; 2] {
    if y < 1e-20 {
        let lower = (-k).exp() * y.max(0.0);
        return [lower, lower];
    }
    // 1 - F < exp(-(√y - √K)²) above the mean, and F likewise below.
    let apart = y.sqrt() - k.sqrt();
    if apart > 9.0 {
        return [1.0, 0.0];
    }
    if apart * apart > 700.0 {
        return [0.0, 0.0];
    }
    let centre = (k * y).sqrt();
    let last = (centre + 7.0 * centre.sqrt() + 12.0) as u32;
    let (mut weight, mut at_y) = (poisson(k, last), poisson(y, last));
    let mut lower = incomplete_gamma(f64::from(last) + 1.0, y)[0];
    let (mut sum, mut density) = (0.0, 0.0);
    for j in (0..=last).rev() {
        sum += weight * lower;
        density += weight * at_y;
        lower += at_y;
        weight *= f64::from(j) / k;
        at_y *= f64::from(j) / y;
    }
    [sum.min(1.0), density * y]
}

/// ρ² at which a share `probability` in (0, 1) is below.
pub(super) fn rician_quantile(k: f64, probability: f64) -> f64 {
    invert(probability, k + 1.0, |y| rician_law(k, y)) / (k + 1.0)
}

/// Fades per wavelength of a Rician gain at ρ, in the mean over the direction θ₀ of the
/// line of sight:
///
/// `√(2(K+1)/π)·ρ·e^{-K-(K+1)ρ²} ⟨∫₀^π (1 + (2/ρ)√(K/(K+1))·cos²θ₀·cos α)·
/// exp(2ρ√(K(K+1))·cos α - 2K·cos²θ₀·sin²α) dα⟩`
///
/// which at cos θ₀ = 0, a line of sight without Doppler shift, is the textbooks'
/// √(2π(K+1))·ρ·e^{-K-(K+1)ρ²}·I₀(2ρ√(K(K+1))). Source: Xiao, Zheng and Beaulieu, as
/// [`Rician`]. Both means by the trapezoid rule, which is exact here but for terms that
/// fall off geometrically.
pub(super) fn rician_crossings(k: f64, rho: f64) -> f64 {
    if rho <= 0.0 {
        return 0.0;
    }
    let intervals = 48 + 12 * k.sqrt() as u32;
    let points = || {
        (0..=intervals).map(|i| {
            let weight = if i == 0 || i == intervals { 0.5 } else { 1.0 };
            ((PI * f64::from(i) / f64::from(intervals)).cos(), weight / f64::from(intervals))
        })
    };
    let slope = 2.0 / rho * (k / (k + 1.0)).sqrt();
    let steepness = 2.0 * rho * (k * (k + 1.0)).sqrt();
    let level = k + (k + 1.0) * rho * rho;
    let mut mean = 0.0;
    for (double_angle, outer) in points() {
        let squared_cosine = 0.5 * (1.0 + double_angle);
        for (cosine, inner) in points() {
            let exponent = steepness * cosine - level - 2.0 * k * squared_cosine * (1.0 - cosine * cosine);
            mean += outer * inner * (1.0 + slope * squared_cosine * cosine) * exponent.exp();
        }
    }
    // ∫₀^π is π times the mean over α.
    (2.0 * PI * (k + 1.0)).sqrt() * rho * mean
}
