//! The transmitter's scaling of an analog tensor, and the SNR that it gives.

use crate::units::db_from_ratio;

/// How an analog transmitter scales the tensor. The receiver knows the scale
/// factors without error and scales back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TxNormalisation {
    /// Not at all: σ is absolute, as in Chen25.
    #[default]
    None,
    /// Each row to unit mean power: σ is relative to the row.
    PerRow,
    /// The whole tensor to unit mean power: σ is relative to the request. In a
    /// session, the prompt's tensor; the row of a decode round is a
    /// transmission of its own and has unit power itself.
    PerRequest,
}

/// The mean square of each row of `d` values: `P_r = 1/d Σ_i y_ri²`.
pub fn row_powers(rows: &[f32], d: usize) -> Vec<f64> {
    rows.chunks(d.max(1)).map(mean_power).collect()
}

/// The mean square of values.
fn mean_power(values: &[f32]) -> f64 {
    values.iter().map(|&y| f64::from(y) * f64::from(y)).sum::<f64>() / values.len() as f64
}

/// By row of one transmission, the scale s that normalisation divides by and the
/// receiver multiplies with: the root mean square of the row (`per-row`) or of
/// all values (`per-request`), or 1.
///
/// `power` is that of the rows, from [`row_powers`]. s = 0 for rows without power.
pub fn tx_scales(normalisation: TxNormalisation, power: &[f64], rows: &[f32]) -> Vec<f64> {
    match normalisation {
        TxNormalisation::None => vec![1.0; power.len()],
        TxNormalisation::PerRow => power.iter().map(|power| power.sqrt()).collect(),
        TxNormalisation::PerRequest => vec![mean_power(rows).sqrt(); power.len()],
    }
}

/// Activation SNR \[dB\] of rows as transmitted, at h = 1: `10 lg(median of P_r/s_r² / σ²)`.
/// The median, as LLaMA's first row is an outlier. `None` for σ = 0, or a median of 0.
pub fn activation_snr_db(power: &[f64], scale: &[f64], noise_std: f64) -> Option<f64> {
    let mut sent: Vec<f64> = power
        .iter()
        .zip(scale)
        .map(|(power, scale)| if *scale > 0.0 { power / (scale * scale) } else { 0.0 })
        .collect();
    sent.sort_by(f64::total_cmp);
    let middle = sent.len() / 2;
    let median = if sent.len() % 2 == 1 {
        sent[middle]
    } else if middle > 0 {
        f64::midpoint(sent[middle - 1], sent[middle])
    } else {
        0.0
    };
    (median > 0.0 && noise_std > 0.0).then(|| db_from_ratio(median / (noise_std * noise_std)))
}
