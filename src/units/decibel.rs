//! Power ratios in decibels.

/// A power ratio \[dB\].
pub type Db = f64;

/// A power relative to a milliwatt \[dBm\].
pub type Dbm = f64;

/// `10 lg(ratio)` \[dB\]; `-inf` for a ratio of 0.
pub fn db_from_ratio(ratio: f64) -> Db {
    10.0 * ratio.log10()
}

/// `10^(level / 10)`, the inverse of [`db_from_ratio`].
pub fn ratio_from_db(level: Db) -> f64 {
    10f64.powf(level / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decibels_and_ratios_are_inverse() {
        assert_eq!(db_from_ratio(100.0), 20.0);
        assert!((ratio_from_db(3.0) - 1.995_262_314_968_879_5).abs() < 1e-15);
        assert_eq!(db_from_ratio(0.0), f64::NEG_INFINITY);
    }
}
