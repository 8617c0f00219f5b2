//! The RMS norm and what it passes back.

/// Rows after a norm, and what the way back needs.
pub(super) struct Normed {
    /// `x_i · w_i · r`, \[S × d\].
    pub rows: Vec<f64>,
    /// `r = 1/√(mean(x²) + ε)` of each row.
    pub inverse_rms: Vec<f64>,
}

/// `x_i · w_i / √(mean(x²) + ε)` of each row of `x` \[S × d\].
pub(super) fn rms_norm(x: &[f64], weight: &[f64], eps: f64) -> Normed {
    let width = weight.len();
    let (mut rows, mut inverse_rms) = (Vec::with_capacity(x.len()), Vec::new());
    for row in x.chunks_exact(width) {
        let square = row.iter().map(|x| x * x).sum::<f64>() / width as f64;
        let inverse = 1.0 / (square + eps).sqrt();
        rows.extend(row.iter().zip(weight).map(|(x, w)| x * w * inverse));
        inverse_rms.push(inverse);
    }
    Normed { rows, inverse_rms }
}

/// Adds to `dx` what the gradient `dn` of the normalised rows says about `x`:
/// `r·w_i·dn_i - x_i · r³/d · Σ_j dn_j·w_j·x_j`.
pub(super) fn rms_norm_back(dn: &[f64], x: &[f64], weight: &[f64], inverse_rms: &[f64], dx: &mut [f64]) {
    let width = weight.len();
    let rows = dn.chunks_exact(width).zip(x.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
    for (((dn, x), dx), &r) in rows.zip(inverse_rms) {
        let along: f64 = dn.iter().zip(weight).zip(x).map(|((dn, w), x)| dn * w * x).sum();
        let along = along * r.powi(3) / width as f64;
        for (((dx, dn), w), x) in dx.iter_mut().zip(dn).zip(weight).zip(x) {
            *dx += r * w * dn - x * along;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_computed_row() {
        // mean(9, 16) = 12.5
        let normed = rms_norm(&[3.0, 4.0], &[1.0, 2.0], 0.0);
        let root = 12.5_f64.sqrt();
        assert!((normed.rows[0] - 3.0 / root).abs() < 1e-15 && (normed.rows[1] - 8.0 / root).abs() < 1e-15);
        // A row's length doesn't matter, so no gradient points along it.
        let mut dx = vec![0.0; 2];
        rms_norm_back(&[0.7, -0.2], &[3.0, 4.0], &[1.0, 2.0], &normed.inverse_rms, &mut dx);
        assert!((3.0 * dx[0] + 4.0 * dx[1]).abs() < 1e-15);
        // Across it, (4, -3): Σ dn·w·(4, -3)/√12.5.
        assert!((4.0 * dx[0] - 3.0 * dx[1] - (0.7 * 4.0 + 0.4 * 3.0) / root).abs() < 1e-15);
    }
}
