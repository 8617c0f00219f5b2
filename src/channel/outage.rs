//! Loss by fading: Chen25 (4), its inverses, and how long a fade lasts.

use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2, TAU};

/// σ_h = 1/√2, so that E h² = 1 and the loss probability does not move the SNR.
pub const DEFAULT_RAYLEIGH_SCALE: f64 = FRAC_1_SQRT_2;

/// Why two of (loss probability, gain threshold, Rayleigh scale) do not give the third.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum OutageError {
    /// The loss probability is no probability, or 1, which no finite threshold has.
    #[error("loss probability {0} is not in [0, 1)")]
    LossProbability(f64),
    /// The Rayleigh scale is not positive and finite.
    #[error("Rayleigh scale {0} is not positive and finite")]
    RayleighScale(f64),
    /// The gain threshold is not finite, or negative.
    #[error("gain threshold {0} is not finite and at least 0")]
    GainThreshold(f64),
    /// P = 0 means h_th = 0 at any scale, and only then: neither gives a scale.
    #[error(
        "loss probability {loss_probability} with gain threshold {gain_threshold} fixes no Rayleigh scale: \
         both must be above 0"
    )]
    Undetermined {
        /// P.
        loss_probability: f64,
        /// h_th.
        gain_threshold: f64,
    },
}

/// Chen25 (4): `P(h < h_th) = 1 - exp(-h_th²/(2σ_h²))` for a Rayleigh gain of
/// scale σ_h > 0 and a threshold h_th ≥ 0.
pub fn outage_probability(gain_threshold: f64, rayleigh_scale: f64) -> f64 {
    let rho = relative_threshold(gain_threshold, rayleigh_scale);
    -(-rho * rho).exp_m1()
}

/// The threshold that loses a share P: `h_th = σ_h·√(-2 ln(1 - P))`; 0 for P = 0.
///
/// # Errors
/// [`OutageError`] unless P is in [0, 1) and σ_h is positive and finite.
pub fn gain_threshold_for(loss_probability: f64, rayleigh_scale: f64) -> Result<f64, OutageError> {
    check_scale(rayleigh_scale)?;
    Ok(rayleigh_scale * threshold_in_scales(loss_probability)?)
}

/// The scale at which a threshold loses a share P: `σ_h = h_th/√(-2 ln(1 - P))`.
///
/// # Errors
/// [`OutageError`] unless P is in (0, 1) and h_th is positive and finite.
pub fn rayleigh_scale_for(loss_probability: f64, gain_threshold: f64) -> Result<f64, OutageError> {
    check_threshold(gain_threshold)?;
    let thresholds = threshold_in_scales(loss_probability)?;
    if thresholds == 0.0 || gain_threshold == 0.0 {
        return Err(OutageError::Undetermined { loss_probability, gain_threshold });
    }
    Ok(gain_threshold / thresholds)
}

/// `ρ = h_th/√(2σ_h²)`, the threshold relative to the root mean square gain.
pub fn relative_threshold(gain_threshold: f64, rayleigh_scale: f64) -> f64 {
    gain_threshold / (SQRT_2 * rayleigh_scale)
}

/// Fades per second: `LCR = √(2π)·f_d·ρ·e^{-ρ²}`, how often a Rayleigh gain with
/// Clarke's spectrum falls through `ρ` (`relative_threshold`, as
/// [`relative_threshold`]) at a Doppler frequency f_d = `doppler_hz` \[1/s\].
///
/// Source: Rice's formula; Stüber, "Principles of Mobile Communication", section 2.1.
pub fn level_crossing_rate(doppler_hz: f64, relative_threshold: f64) -> f64 {
    TAU.sqrt() * doppler_hz * relative_threshold * (-relative_threshold * relative_threshold).exp()
}

/// The mean length of a fade, a run of losses: `AFD = (e^{ρ²} - 1)/(ρ·f_d·√(2π))`
/// \[s\], which is P/LCR. 0 for ρ = 0, where nothing is lost; infinite for a
/// channel that stands still (f_d = 0).
///
/// Source: as [`level_crossing_rate`].
pub fn average_fade_duration(doppler_hz: f64, relative_threshold: f64) -> f64 {
    if relative_threshold == 0.0 {
        return 0.0;
    }
    (relative_threshold * relative_threshold).exp_m1() / (relative_threshold * doppler_hz * TAU.sqrt())
}

/// The gain below which a digital link of fixed rate R loses a packet:
/// `h_th = √((2^{R/B} - 1)·Γ/SNR₁)`, where B·log2(1 + h²·SNR₁/Γ) falls short of R.
///
/// R = `rate_bps` \[bit/s\], B = `bandwidth_hz` \[Hz\], Γ = `gap` (ratio ≥ 1: how far
/// the code stays from Shannon's limit), SNR₁ = `snr_at_unit_gain` (ratio, at
/// h = 1); all positive.
pub fn digital_gain_threshold(rate_bps: f64, bandwidth_hz: f64, gap: f64, snr_at_unit_gain: f64) -> f64 {
    (digital_snr_needed(rate_bps / bandwidth_hz, gap) / snr_at_unit_gain).sqrt()
}

/// SNR that a digital packet needs: `(2^{R/B} - 1)·Γ`, with R/B = `spectral_efficiency`
/// \[bit/s/Hz\] and Γ = `gap` (ratio).
pub fn digital_snr_needed(spectral_efficiency: f64, gap: f64) -> f64 {
    (spectral_efficiency * std::f64::consts::LN_2).exp_m1() * gap
}

/// `h_th/σ_h = √(-2 ln(1 - P))`
fn threshold_in_scales(loss_probability: f64) -> Result<f64, OutageError> {
    check_loss_probability(loss_probability)?;
    Ok((-2.0 * (-loss_probability).ln_1p()).sqrt())
}

pub(super) fn check_loss_probability(loss_probability: f64) -> Result<(), OutageError> {
    if (0.0..1.0).contains(&loss_probability) { Ok(()) } else { Err(OutageError::LossProbability(loss_probability)) }
}

pub(super) fn check_threshold(gain_threshold: f64) -> Result<(), OutageError> {
    if gain_threshold.is_finite() && gain_threshold >= 0.0 {
        Ok(())
    } else {
        Err(OutageError::GainThreshold(gain_threshold))
    }
}

pub(super) fn check_scale(rayleigh_scale: f64) -> Result<(), OutageError> {
    if rayleigh_scale.is_finite() && rayleigh_scale > 0.0 {
        Ok(())
    } else {
        Err(OutageError::RayleighScale(rayleigh_scale))
    }
}
