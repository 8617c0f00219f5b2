//! Uncoded analog transmission of values, Chen25 (3): gain and additive noise.
//!
//! The transmitter's scaling and its undoing are taken together with the
//! channel, `s·(h·y/s + n) = h·y + s·n`, in double precision: one rounding per
//! value, and a row without power (s = 0) stays zero.

/// Received as printed: `ŷ = h·y + s·σ·n` for each of `values`, in place.
///
/// `gain` is h, `noise_std` σ, `scale` s of [`tx_scales`](super::tx_scales) (1
/// without normalisation), `normals` a standard normal for each value. Saturates at ±[`f32::MAX`].
pub fn receive_raw(values: &mut [f32], gain: f64, noise_std: f64, scale: f64, normals: &[f64]) {
    scale_and_add(values, gain, noise_std * scale, normals);
}

/// Received with coherent equalisation: `ŷ = y + s·σ·n/h`, arguments as in [`receive_raw`].
///
/// A gain of 0 cannot be equalised. Nothing arrives, which is a matter of losses: `values` stay.
pub fn receive_equalised(values: &mut [f32], gain: f64, noise_std: f64, scale: f64, normals: &[f64]) {
    let std = if gain > 0.0 { noise_std * scale / gain } else { 0.0 };
    scale_and_add(values, 1.0, std, normals);
}

/// `ŷ = a·y + b·n`.
#[inline]
fn scale_and_add(values: &mut [f32], a: f64, b: f64, normals: &[f64]) {
    for (y, n) in values.iter_mut().zip(normals) {
        *y = saturate(a * f64::from(*y) + b * n);
    }
}

/// The nearest finite single-precision value.
#[inline]
fn saturate(value: f64) -> f32 {
    value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}
