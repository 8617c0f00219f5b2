//! Power of a UE's transmitter.

/// Power drawn while transmitting at `tx_power_dbm` \[W\], by the relative model
/// of 3GPP TR 38.840: 250 units at 0 dBm, 700 at 23 dBm, linear in the radiated
/// milliwatts between (`250 + 2.267 (P_mW - 1)`). The report leaves the unit's
/// milliwatts open; 2 to 4 are in use.
pub fn transmit_power_w(tx_power_dbm: f64, unit_mw: f64) -> f64 {
    let radiated_mw = crate::units::ratio_from_db(tx_power_dbm);
    let units = 250.0 + 2.267 * (radiated_mw - 1.0);
    units * unit_mw * 1e-3
}

/// Power drawn in between, at so many of the same units \[W\]: TR 38.840 has 45 for micro sleep, which a
/// radio can leave at any time, 20 for light and 1 for deep sleep, whose transitions it also prices.
pub fn sleep_power_w(units: f64, unit_mw: f64) -> f64 {
    units * unit_mw * 1e-3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meets_the_reports_two_points() {
        assert!((transmit_power_w(0.0, 1000.0) - 250.0).abs() < 1e-9);
        assert!((transmit_power_w(23.0, 1000.0) - 700.0).abs() < 0.1);
        assert!((sleep_power_w(45.0, 3.0) - 0.135).abs() < 1e-15);
    }
}
