//! Uplink power control.

use crate::units::{Db, Dbm};

/// Open-loop power control of the uplink (3GPP TS 38.213, section 7.1.1, without closed-loop terms).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerControl {
    /// The most that a UE radiates \[dBm\].
    pub max_dbm: Dbm,
    /// P0: power per resource block that the base station wants to receive \[dBm\].
    pub p0_dbm: Dbm,
    /// α: share of the path loss that is compensated, 0 to 1.
    pub compensation: f64,
    /// Resource blocks that a transmission takes.
    pub resource_blocks: u32,
}

impl PowerControl {
    /// Radiated power at a path loss (shadowing included), `min(P_max, P0 + α·PL + 10 lg n_PRB)` \[dBm\].
    pub fn power_dbm(&self, path_loss_db: Db) -> Dbm {
        let blocks_db = 10.0 * f64::from(self.resource_blocks.max(1)).log10();
        (self.p0_dbm + self.compensation * path_loss_db + blocks_db).min(self.max_dbm)
    }
}

/// Power of thermal noise and the receiver's own, `-174 + 10 lg B + NF` \[dBm\], B in Hz.
pub fn noise_dbm(bandwidth_hz: f64, noise_figure_db: Db) -> Dbm {
    -174.0 + 10.0 * bandwidth_hz.log10() + noise_figure_db
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_ues_turn_down_and_far_ones_are_limited() {
        let control = PowerControl { max_dbm: 23.0, p0_dbm: -90.0, compensation: 1.0, resource_blocks: 100 };
        // 100 blocks are 20 dB: 80 dB of loss ask for 10 dBm, 100 dB for 30.
        assert!((control.power_dbm(80.0) - 10.0).abs() < 1e-12);
        assert_eq!(control.power_dbm(100.0), 23.0);
        let fractional = PowerControl { compensation: 0.8, ..control };
        assert!((fractional.power_dbm(80.0) + 6.0).abs() < 1e-12);
    }

    #[test]
    fn noise_of_twenty_megahertz() {
        assert!((noise_dbm(20e6, 5.0) + 95.989_700_043_360_2).abs() < 1e-9);
    }
}
