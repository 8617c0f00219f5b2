//! The law of a link's gain, which ties loss probability, threshold and scale.

use super::nakagami::{nakagami_outage, nakagami_quantile};
use super::rician::{rician_law, rician_quantile};
use super::trace::GainTrace;
use crate::channel::outage::{
    OutageError, check_loss_probability, check_scale, check_threshold, gain_threshold_for, outage_probability,
    rayleigh_scale_for, relative_threshold,
};
use std::f64::consts::SQRT_2;

/// The distribution of |z|, E|z|² = 1. With the gain h = √2·σ_h·|z| it makes of Chen25 (4)
/// `P = P(|z| < ρ)`, ρ = h_th/(√2·σ_h).
#[derive(Debug, Clone, Copy)]
pub enum FadingLaw<'a> {
    /// `P = 1 - e^{-ρ²}`: eq. (4) as it stands. Also that of block fading, and of no fading,
    /// where P counts single elements and loses no packet.
    Rayleigh,
    /// `P = 1 - Q₁(√(2K), √(2(K+1))·ρ)`, Q₁ Marcum's.
    Rician {
        /// K, as a ratio.
        k: f64,
    },
    /// `P = P(m, mρ²)`, the regularised incomplete gamma function.
    Nakagami {
        /// m.
        m: f64,
    },
    /// The share of a trace's time.
    Empirical(&'a GainTrace),
}

impl FadingLaw<'_> {
    /// P(|z|² < ρ²), for ρ² ≥ 0; absolute error below 10⁻⁹.
    pub fn outage(self, rho2: f64) -> f64 {
        match self {
            Self::Rayleigh => -(-rho2).exp_m1(),
            Self::Rician { k } => rician_law(k, (k + 1.0) * rho2)[0],
            Self::Nakagami { m } => nakagami_outage(m, rho2),
            Self::Empirical(trace) => trace.share_below(rho2.sqrt()),
        }
    }

    /// The ρ² at which [`FadingLaw::outage`] is `probability`; 0 for 0, infinite for 1, but for a
    /// trace its least |z|². Of a trace that stands still, the largest with no more.
    pub fn quantile(self, probability: f64) -> f64 {
        match self {
            Self::Empirical(trace) => trace.quantile(probability).powi(2),
            _ if probability <= 0.0 => 0.0,
            _ if probability >= 1.0 => f64::INFINITY,
            Self::Rayleigh => -(-probability).ln_1p(),
            Self::Rician { k } => rician_quantile(k, probability),
            Self::Nakagami { m } => nakagami_quantile(m, probability),
        }
    }

    /// P of a gain of scale σ_h > 0 against a threshold h_th ≥ 0.
    pub fn outage_probability(self, gain_threshold: f64, rayleigh_scale: f64) -> f64 {
        if matches!(self, Self::Rayleigh) {
            return outage_probability(gain_threshold, rayleigh_scale);
        }
        self.outage(relative_threshold(gain_threshold, rayleigh_scale).powi(2))
    }

    /// The threshold that loses a share P: `h_th = √2·σ_h·ρ(P)`.
    ///
    /// # Errors
    /// [`OutageError`] unless P is in [0, 1) and σ_h is positive and finite.
    pub fn gain_threshold_for(self, loss_probability: f64, rayleigh_scale: f64) -> Result<f64, OutageError> {
        if matches!(self, Self::Rayleigh) {
            return gain_threshold_for(loss_probability, rayleigh_scale);
        }
        check_loss_probability(loss_probability)?;
        check_scale(rayleigh_scale)?;
        Ok(SQRT_2 * rayleigh_scale * self.quantile(loss_probability).sqrt())
    }

    /// The scale at which a threshold loses a share P: `σ_h = h_th/(√2·ρ(P))`.
    ///
    /// # Errors
    /// [`OutageError`] unless P is in (0, 1) and h_th is positive and finite.
    pub fn rayleigh_scale_for(self, loss_probability: f64, gain_threshold: f64) -> Result<f64, OutageError> {
        if matches!(self, Self::Rayleigh) {
            return rayleigh_scale_for(loss_probability, gain_threshold);
        }
        check_threshold(gain_threshold)?;
        check_loss_probability(loss_probability)?;
        let rho = self.quantile(loss_probability).sqrt();
        if loss_probability == 0.0 || gain_threshold == 0.0 || rho == 0.0 {
            return Err(OutageError::Undetermined { loss_probability, gain_threshold });
        }
        Ok(gain_threshold / (SQRT_2 * rho))
    }
}
