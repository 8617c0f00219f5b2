//! Link adaptation: what rate a link carries at a given SINR, and how often a
//! block at that rate fails.
//!
//! Two ways: Shannon's formula with a gap, continuous, or the 15 rows of the CQI
//! table, each with an SINR at which one block in ten fails.

use super::error_function::normal_tail;
use crate::channel::digital_snr_needed;
use crate::units::Db;

/// Spread of the block error curve unless the scenario says otherwise \[dB\].
pub const DEFAULT_BLER_SLOPE_DB: Db = 0.3;

/// Efficiency \[bit/s/Hz\] and SINR threshold \[dB\] of CQI 1 … 15.
///
/// Efficiencies: 3GPP TS 38.214, table 5.2.2.1-2 (up to 64-QAM): modulation bits
/// times code rate. Thresholds, where one block in ten fails, are no part of
/// the standard: these are of link simulations in AWGN, the first three
/// extrapolated.
const CQI_TABLE: [(f64, Db); 15] = [
    (0.1523, -8.8),
    (0.2344, -6.8),
    (0.3770, -4.5),
    (0.6016, -2.5),
    (0.8770, 0.5),
    (1.1758, 2.4),
    (1.4766, 4.2),
    (1.9141, 6.0),
    (2.4063, 7.8),
    (2.7305, 9.7),
    (3.3223, 11.6),
    (3.9023, 13.4),
    (4.5234, 15.0),
    (5.1152, 17.0),
    (5.5547, 19.0),
];

/// A row of the CQI table: the modulation and code rate that a link uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cqi(u8);

impl Cqi {
    /// The lowest row, 1.
    pub const LOWEST: Self = Self(1);

    /// The highest row, 15.
    pub const HIGHEST: Self = Self(CQI_TABLE.len() as u8);

    /// Row `index`, from 1 to 15; `None` for others.
    pub const fn new(index: u8) -> Option<Self> {
        if index >= Self::LOWEST.0 && index <= Self::HIGHEST.0 { Some(Self(index)) } else { None }
    }

    /// All rows, from the lowest.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (Self::LOWEST.0..=Self::HIGHEST.0).map(Self)
    }

    /// The number of the row, 1 to 15.
    pub const fn index(self) -> u8 {
        self.0
    }

    /// Information bits per symbol \[bit/s/Hz\].
    pub const fn efficiency(self) -> f64 {
        CQI_TABLE[self.0 as usize - 1].0
    }

    /// The SINR at which one block in ten fails \[dB\].
    pub const fn threshold_db(self) -> Db {
        CQI_TABLE[self.0 as usize - 1].1
    }

    /// The share of blocks that fail at an SINR: `BLER = Q((SINR - μ)/s)`, Q the normal
    /// tail, `s` = `slope_db` > 0 and μ = threshold - 1.28155·s, so that it is 0.1 at the
    /// threshold. The curves of long codes in AWGN have s between 0.2 and 0.4 dB.
    ///
    /// Nine deviations above μ it counts as 0, below as 1.
    ///
    /// The same bits on every machine. NaN for an SINR that is not a number.
    pub fn block_error_rate(self, sinr_db: Db, slope_db: Db) -> f64 {
        /// Q of this and beyond is below 10⁻¹⁸: never drawn.
        const FARTHEST: f64 = 9.0;
        /// Q⁻¹(0.1).
        const TENTH: f64 = 1.281_551_565_544_600_4;
        let deviations = (sinr_db - self.threshold_db()) / slope_db + TENTH;
        if deviations > FARTHEST {
            return 0.0;
        }
        if deviations < -FARTHEST {
            return 1.0;
        }
        normal_tail(deviations)
    }
}

/// The highest row whose threshold an SINR reaches, where at most one block in ten
/// fails; `None` below the first row, or for NaN: nothing can be sent.
pub fn highest_cqi(sinr_db: Db) -> Option<Cqi> {
    Cqi::new(CQI_TABLE.partition_point(|&(_, threshold_db)| threshold_db <= sinr_db) as u8)
}

/// Shannon's rate with a gap: `log2(1 + SINR/Γ)` \[bit/s/Hz\]; both ratios, Γ = `gap` ≥ 1.
pub fn shannon_efficiency(sinr: f64, gap: f64) -> f64 {
    (sinr / gap).ln_1p() * std::f64::consts::LOG2_E
}

/// The SINR (a ratio) that a spectral efficiency \[bit/s/Hz\] needs: `(2^efficiency - 1)·Γ`,
/// the inverse of [`shannon_efficiency`].
pub fn sinr_needed(efficiency: f64, gap: f64) -> f64 {
    digital_snr_needed(efficiency, gap)
}

/// Information bits that one slot carries on `resource_blocks` blocks at a spectral
/// efficiency \[bit/s/Hz\]: `156 · blocks · efficiency`, rounded down.
///
/// A block has 12 subcarriers and a slot 14 symbols, of which one is for reference
/// signals: 156 is also the most that 3GPP TS 38.214, section 5.1.3.2, counts per
/// block. The standard's quantisation of block sizes, below 5 %, is left out.
pub fn transport_block_bits(resource_blocks: u32, efficiency: f64) -> u64 {
    (156.0 * f64::from(resource_blocks) * efficiency) as u64
}

/// Slots have 14 symbols, whose length goes with the inverse of the subcarrier
/// spacing: `15 / spacing` \[ms\], in nanoseconds; `None` for other spacings than
/// 15, 30, 60 and 120 kHz.
pub fn slot_nanos(subcarrier_spacing_khz: u32) -> Option<u64> {
    matches!(subcarrier_spacing_khz, 15 | 30 | 60 | 120).then(|| 15_000_000 / u64::from(subcarrier_spacing_khz))
}

/// Resource blocks of a carrier of `bandwidth_hz` at a subcarrier spacing of 15, 30, 60
/// or 120 kHz; `None` for other spacings.
///
/// At the standard bandwidths the number in 3GPP TS 38.101-1, table 5.3.2-1 (at
/// 120 kHz: TS 38.101-2, table 5.3.2-1); between them interpolated, and beyond the table in
/// proportion to its end, rounded down. So wider is never less, and a carrier too
/// narrow for one block has 0.
pub fn resource_blocks(bandwidth_hz: f64, subcarrier_spacing_khz: u32) -> Option<u32> {
    let table: &[(f64, f64)] = match subcarrier_spacing_khz {
        15 => &BLOCKS_15_KHZ,
        30 => &BLOCKS_30_KHZ,
        60 => &BLOCKS_60_KHZ,
        120 => &BLOCKS_120_KHZ,
        _ => return None,
    };
    let bandwidth_mhz = bandwidth_hz / 1e6;
    let after = table.partition_point(|row| row.0 < bandwidth_mhz);
    let blocks = match (after.checked_sub(1).map(|before| table[before]), table.get(after)) {
        (Some((below, from)), Some(&(above, to))) => from + (to - from) * (bandwidth_mhz - below) / (above - below),
        (None, Some(&(mhz, blocks))) | (Some((mhz, blocks)), None) => blocks * (bandwidth_mhz / mhz),
        (None, None) => 0.0,
    };
    Some(blocks as u32)
}

/// Bandwidth \[MHz\] and resource blocks.
const BLOCKS_15_KHZ: [(f64, f64); 10] = [
    (5.0, 25.0),
    (10.0, 52.0),
    (15.0, 79.0),
    (20.0, 106.0),
    (25.0, 133.0),
    (30.0, 160.0),
    (35.0, 188.0),
    (40.0, 216.0),
    (45.0, 242.0),
    (50.0, 270.0),
];

const BLOCKS_30_KHZ: [(f64, f64); 15] = [
    (5.0, 11.0),
    (10.0, 24.0),
    (15.0, 38.0),
    (20.0, 51.0),
    (25.0, 65.0),
    (30.0, 78.0),
    (35.0, 92.0),
    (40.0, 106.0),
    (45.0, 119.0),
    (50.0, 133.0),
    (60.0, 162.0),
    (70.0, 189.0),
    (80.0, 217.0),
    (90.0, 245.0),
    (100.0, 273.0),
];

const BLOCKS_60_KHZ: [(f64, f64); 14] = [
    (10.0, 11.0),
    (15.0, 18.0),
    (20.0, 24.0),
    (25.0, 31.0),
    (30.0, 38.0),
    (35.0, 44.0),
    (40.0, 51.0),
    (45.0, 58.0),
    (50.0, 65.0),
    (60.0, 79.0),
    (70.0, 93.0),
    (80.0, 107.0),
    (90.0, 121.0),
    (100.0, 135.0),
];

const BLOCKS_120_KHZ: [(f64, f64); 4] = [(50.0, 32.0), (100.0, 66.0), (200.0, 132.0), (400.0, 264.0)];

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::{ContinuousCDF, Normal};

    /// Modulation bits times code rate in 1024ths, as the standard's table gives them beside the product.
    #[test]
    fn efficiencies_are_modulation_times_code_rate() {
        let qpsk = [78, 120, 193, 308, 449, 602].map(|rate| 2 * rate);
        let qam16 = [378, 490, 616].map(|rate| 4 * rate);
        let qam64 = [466, 567, 666, 772, 873, 948].map(|rate| 6 * rate);
        let products = qpsk.into_iter().chain(qam16).chain(qam64);
        for (cqi, product) in Cqi::all().zip(products) {
            let exact = f64::from(product) / 1024.0;
            assert!((cqi.efficiency() - exact).abs() <= 0.5e-4 + 1e-12, "{cqi:?}: {exact}");
        }
        assert_eq!((Cqi::new(0), Cqi::new(16), Cqi::new(15)), (None, None, Some(Cqi::HIGHEST)));
    }

    #[test]
    fn thresholds_rise_and_stay_below_shannon() {
        for (lower, higher) in Cqi::all().zip(Cqi::all().skip(1)) {
            assert!(lower.threshold_db() < higher.threshold_db() && lower.efficiency() < higher.efficiency());
        }
        for cqi in Cqi::all() {
            // The gap to Shannon's limit is positive, and below 5 dB.
            let gap_db = cqi.threshold_db() - crate::units::db_from_ratio(sinr_needed(cqi.efficiency(), 1.0));
            assert!((0.0..5.0).contains(&gap_db), "{cqi:?}: {gap_db} dB");
        }
    }

    #[test]
    fn the_highest_row_is_the_last_within_its_threshold() {
        for (sinr_db, index) in
            [(-8.81, 0), (-8.8, 1), (4.19, 6), (4.2, 7), (18.9, 14), (19.0, 15), (f64::INFINITY, 15), (f64::NAN, 0)]
        {
            assert_eq!(highest_cqi(sinr_db).map_or(0, Cqi::index), index, "{sinr_db} dB");
        }
    }

    #[test]
    fn one_block_in_ten_fails_at_the_threshold() {
        let normal = Normal::standard();
        for cqi in Cqi::all() {
            let bler = |offset| cqi.block_error_rate(cqi.threshold_db() + offset, DEFAULT_BLER_SLOPE_DB);
            assert!((bler(0.0) - 0.1).abs() < 1e-14);
            for offset in [-1.0, -0.6, -0.1, 0.05, 0.3, 1.0] {
                let expected = normal.sf(1.281_551_565_544_600_4 + offset / 0.3);
                assert!((bler(offset) - expected).abs() < 1e-10, "{offset} dB: {}, not {expected}", bler(offset));
            }
            assert_eq!((bler(f64::NEG_INFINITY), bler(f64::INFINITY)), (1.0, 0.0));
        }
    }

    #[test]
    fn shannon_and_its_inverse() {
        assert!((shannon_efficiency(15.0, 1.0) - 4.0).abs() < 1e-14);
        for efficiency in [0.01, 0.5, 4.0, 12.0] {
            let gap = crate::units::ratio_from_db(1.5);
            assert!((shannon_efficiency(sinr_needed(efficiency, gap), gap) / efficiency - 1.0).abs() < 1e-13);
        }
    }

    #[test]
    fn a_20_mhz_slot_at_cqi_7_carries_24_kbit() {
        let cqi = Cqi::new(7).unwrap();
        assert_eq!(resource_blocks(20e6, 15), Some(106));
        assert_eq!(transport_block_bits(106, cqi.efficiency()), 24_417); // 156 · 106 · 1.4766 = 24 417.06
    }

    #[test]
    fn resource_blocks_of_standard_and_other_bandwidths() {
        for (mhz, khz, blocks) in [
            (100.0, 30, 273),
            (50.0, 15, 270),
            (100.0, 60, 135),
            (400.0, 120, 264),
            (22.5, 15, 119), // half way from 106 to 133: 119.5
            (2.5, 15, 12),   // half of 25
            (0.1, 15, 0),
            (100.0, 15, 540),
        ] {
            assert_eq!(resource_blocks(mhz * 1e6, khz), Some(blocks), "{mhz} MHz, {khz} kHz");
        }
        assert_eq!((resource_blocks(20e6, 45), slot_nanos(45)), (None, None));
        assert_eq!([15, 30, 60, 120].map(slot_nanos), [1_000_000, 500_000, 250_000, 125_000].map(Some));
        assert_eq!(resource_blocks(f64::NAN, 15), Some(0));
        // No standard carrier fills more than its bandwidth.
        for (khz, table) in
            [(15.0, &BLOCKS_15_KHZ[..]), (30.0, &BLOCKS_30_KHZ), (60.0, &BLOCKS_60_KHZ), (120.0, &BLOCKS_120_KHZ)]
        {
            for (mhz, blocks) in table {
                let filled = blocks * 12.0 * khz / (mhz * 1e3);
                assert!((0.75..1.0).contains(&filled), "{mhz} MHz, {khz} kHz: {filled}");
            }
        }
    }
}
