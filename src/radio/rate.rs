//! How a transmission chooses its rate, and when a packet at that rate is received.

use super::adaptation::{Cqi, highest_cqi, shannon_efficiency, sinr_needed};
use crate::units::Db;

/// A rule that gives the rate for an SINR.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RateRule {
    /// Always the same efficiency; a packet needs the SINR at which Shannon's formula with the
    /// gap gives it.
    Fixed {
        /// Rate per bandwidth \[bit/s/Hz\].
        efficiency: f64,
        /// Γ, a ratio.
        gap: f64,
    },
    /// Shannon's formula with a gap, continuous.
    Shannon {
        /// Γ, a ratio.
        gap: f64,
    },
    /// The highest row of the CQI table that the SINR reaches; packets fail by its block error rate.
    Cqi {
        /// Spread s of the block error curve \[dB\].
        slope_db: Db,
    },
}

/// The rate of a transmission.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Rate per bandwidth \[bit/s/Hz\].
    pub efficiency: f64,
    /// SINR that a packet needs, a ratio; of a CQI the one at which one block in ten fails.
    pub needed: f64,
    /// Row of the CQI table and the spread of its block errors \[dB\], if it is one.
    pub cqi: Option<(Cqi, Db)>,
}

impl RateRule {
    /// The rate for an SINR (a ratio) that the sender takes for granted.
    ///
    /// A link too weak for anything sends at the lowest rate there is, that of CQI 1, and
    /// loses what it loses: 0.1523 bit/s/Hz.
    pub fn choose(&self, sinr: f64) -> Rate {
        match *self {
            Self::Fixed { efficiency, gap } => Rate { efficiency, needed: sinr_needed(efficiency, gap), cqi: None },
            Self::Shannon { gap } => {
                let efficiency = shannon_efficiency(sinr, gap).max(Cqi::LOWEST.efficiency());
                Rate { efficiency, needed: sinr_needed(efficiency, gap), cqi: None }
            }
            Self::Cqi { slope_db } => {
                let cqi = highest_cqi(10.0 * sinr.log10()).unwrap_or(Cqi::LOWEST);
                let needed = 10f64.powf(0.1 * cqi.threshold_db());
                Rate { efficiency: cqi.efficiency(), needed, cqi: Some((cqi, slope_db)) }
            }
        }
    }
}

impl Rate {
    /// Whether a packet is received at an SINR (a ratio, of all its attempts together). `uniform`
    /// on (0, 1) decides where block errors are drawn.
    pub fn received(&self, sinr: f64, uniform: impl FnOnce() -> f64) -> bool {
        match self.cqi {
            None => sinr >= self.needed,
            Some((cqi, slope_db)) => {
                let error_rate = cqi.block_error_rate(10.0 * sinr.log10(), slope_db);
                // Far from the threshold there is nothing to draw.
                error_rate < 1e-15 || (error_rate < 1.0 - 1e-15 && uniform() >= error_rate)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_the_sinr_that_it_was_chosen_for() {
        let rule = RateRule::Shannon { gap: 1.4125 };
        let rate = rule.choose(10.0);
        // log2(1 + 10/1.4125)
        assert!((rate.efficiency - 3.014_7).abs() < 1e-3, "{}", rate.efficiency);
        assert!((rate.needed / 10.0 - 1.0).abs() < 1e-12);
        assert!(rate.received(10.001, || 0.0) && !rate.received(9.999, || 1.0));
        let weak = rule.choose(1e-9);
        assert_eq!(weak.efficiency, 0.1523);
        assert!(!weak.received(1e-9, || 1.0));
    }

    #[test]
    fn one_block_in_ten_fails_at_a_threshold() {
        let rate = RateRule::Cqi { slope_db: 0.3 }.choose(10f64.powf(0.78));
        assert_eq!((rate.efficiency, rate.cqi.map(|(cqi, _)| cqi.index())), (2.4063, Some(9)));
        assert!(rate.received(rate.needed, || 0.101) && !rate.received(rate.needed, || 0.099));
        assert!(rate.received(10.0 * rate.needed, || unreachable!("nothing to draw")));
        assert_eq!(RateRule::Cqi { slope_db: 0.3 }.choose(0.0).efficiency, 0.1523);
    }
}
