//! Multi-user diversity: how much a cell gains by serving whoever's channel is best.

use crate::kernel::CapacityGain;

/// `G(n) = E[log2(1 + γ·max(x₁ … xₙ))] / E[log2(1 + γ·x)]`, x exponential of mean 1: the
/// capacity of a cell that always serves the best of `n` = 1 … `flows` links with independent
/// Rayleigh fading at the mean SNR γ = `mean_snr` > 0 (a ratio), relative to one link.
///
/// `E[log2(1 + γ·max)] = 1/ln 2 · ∫₀^∞ γ/(1 + γx) · (1 - (1 - e^{-x})ⁿ) dx` by parts, and with
/// `1 + γx = e^y` the first factor goes into the measure; Simpson's rule in y, relative
/// error below 1e-8 (Viswanath, Tse, Laroia, "Opportunistic beamforming using dumb antennas",
/// IEEE Trans. Inf. Theory 48(6), 2002, has the effect).
pub fn rayleigh_multi_user_gain(mean_snr: f64, flows: usize) -> Vec<f64> {
    /// Intervals of Simpson's rule; even.
    const INTERVALS: u32 = 4096;
    // Beyond, the best of n is above x with a chance below e⁻⁴⁰.
    let end = (mean_snr * ((flows.max(1) as f64).ln() + 40.0)).ln_1p();
    let step = end / f64::from(INTERVALS);
    let mut integrals = vec![0.0; flows];
    for node in 0..=INTERVALS {
        let simpson = match node {
            0 | INTERVALS => 1.0,
            odd if odd % 2 == 1 => 4.0,
            _ => 2.0,
        };
        let x = (f64::from(node) * step).exp_m1() / mean_snr;
        let below = -(-x).exp_m1();
        let mut all_below = 1.0;
        for integral in &mut integrals {
            all_below *= below;
            *integral += simpson * (1.0 - all_below);
        }
    }
    let one = integrals.first().copied().unwrap_or(1.0);
    integrals.into_iter().map(|integral| integral / one).collect()
}

/// [`rayleigh_multi_user_gain`] as the capacity of a
/// [`ProcessorSharing`](crate::kernel::ProcessorSharing) server: G(1) to G(256), and G(256) beyond.
///
/// `mean_snr` counts as the nearest ratio between -60 and 80 dB, NaN as 0 dB.
pub fn rayleigh_capacity_gain(mean_snr: f64) -> CapacityGain {
    /// Flows beyond this count as so many.
    const FLOWS: usize = 256;
    let mean_snr = if mean_snr.is_nan() { 1.0 } else { mean_snr.clamp(1e-6, 1e8) };
    CapacityGain::new(rayleigh_multi_user_gain(mean_snr, FLOWS))
        .expect("1 <= G(n) <= n: the best link carries no less than one and no more than all together")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ratio_from_db;

    #[test]
    fn has_the_published_gains() {
        for (mean_db, expected) in [(10.0, [1.26, 1.46, 1.61, 1.73, 1.83]), (20.0, [1.16, 1.27, 1.35, 1.41, 1.46])] {
            let gains = rayleigh_multi_user_gain(ratio_from_db(mean_db), 32);
            assert_eq!(gains[0], 1.0);
            for (n, expected) in [2, 4, 8, 16, 32].into_iter().zip(expected) {
                let gain = gains[n - 1];
                assert!((gain - expected).abs() <= 0.005 + 1e-3, "{mean_db} dB, n = {n}: {gain}, not {expected}");
            }
        }
    }

    /// At low SNR the rate is linear in the gain, and E max of n exponentials is the harmonic number.
    #[test]
    fn at_low_snr_it_is_the_harmonic_number() {
        let gains = rayleigh_multi_user_gain(1e-6, 32);
        let mut harmonic = 0.0;
        for (n, gain) in (1..=32).zip(gains) {
            harmonic += 1.0 / f64::from(n);
            assert!((gain / harmonic - 1.0).abs() < 1e-4, "n = {n}: {gain}, not {harmonic}");
        }
    }

    /// One link: E log2(1 + γx) = e^{1/γ}·E₁(1/γ)/ln 2; two: 2·f(γ) - f(γ/2), as the larger of
    /// two has the density 2e^{-x} - 2e^{-2x}.
    #[test]
    fn two_links_have_a_closed_form() {
        // f(10) = e^{0.1}·E₁(0.1), f(5) = e^{0.2}·E₁(0.2); E₁ from Abramowitz and Stegun, table 5.1.
        let (f10, f5) = (0.1f64.exp() * 1.822_923_958_4, 0.2f64.exp() * 1.222_650_543_7);
        let gain = rayleigh_multi_user_gain(10.0, 2)[1];
        assert!((gain - (2.0 - f5 / f10)).abs() < 1e-6, "{gain}, not {}", 2.0 - f5 / f10);
    }

    #[test]
    fn a_capacity_for_any_snr() {
        for snr in [f64::NAN, -1.0, 0.0, 1e-300, 1.0, 1e300, f64::INFINITY] {
            let gain = rayleigh_capacity_gain(snr);
            assert!(gain.of(1) == CapacityGain::ONE && gain.of(2) > gain.of(1) && gain.of(999) == gain.of(256));
        }
        assert_eq!(rayleigh_capacity_gain(10.0).of(32), 1873); // 1.829
    }
}
