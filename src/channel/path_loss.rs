//! Path loss and line of sight by 3GPP TR 38.901: what the distance alone says.
//!
//! The formulas are those of tables 7.4.1-1 (path loss, σ of shadowing), 7.4.2-1
//! (probability of a line of sight), 7.5-6 (decorrelation of shadowing) and
//! 7.6.3.1-2 (decorrelation of the line of sight), as open implementations have
//! them; the losses agree with the test suite of ns-3.

/// Speed of light as TR 38.901 rounds it (table 7.4.1-1, note 1) \[m/s\].
const LIGHT_M_S: f64 = 3.0e8;

/// Effective environment height h_E \[m\].
const ENVIRONMENT_HEIGHT_M: f64 = 1.0;

/// The surroundings, which decide how the mean loss grows with distance (3GPP TR 38.901).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Environment {
    /// Urban macro: base stations of 25 m, above the roofs.
    Uma,
    /// Urban micro, street canyon: base stations of 10 m, below the roofs.
    Umi,
    /// Indoor hotspot, mixed office: base stations of 3 m, at the ceiling.
    Inh,
}

/// Base station and UE as one link sees them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkGeometry {
    /// Horizontal distance \[m\].
    pub distance_2d_m: f64,
    /// Height of the base station's antenna \[m\].
    pub bs_height_m: f64,
    /// Height of the UE's antenna \[m\].
    pub ut_height_m: f64,
}

impl Environment {
    /// Mean path loss \[dB\] at a carrier of `carrier_ghz` \[GHz\], without shadowing.
    ///
    /// With the distance between the antennas d₃ \[m\], the carrier f \[GHz\], the
    /// difference of heights Δh, and `d_BP = 4(h_BS - h_E)(h_UT - h_E)f·10⁹/c`, h_E = 1 m:
    ///
    /// | | LOS up to d_BP | LOS beyond | NLOS: the larger of LOS and |
    /// |---|---|---|---|
    /// | UMa | 28 + 22 lg d₃ + 20 lg f | 28 + 40 lg d₃ + 20 lg f - 9 lg(d_BP² + Δh²) | 13.54 + 39.08 lg d₃ + 20 lg f - 0.6(h_UT - 1.5) |
    /// | UMi | 32.4 + 21 lg d₃ + 20 lg f | 32.4 + 40 lg d₃ + 20 lg f - 9.5 lg(d_BP² + Δh²) | 22.4 + 35.3 lg d₃ + 21.3 lg f - 0.3(h_UT - 1.5) |
    /// | InH | 32.4 + 17.3 lg d₃ + 20 lg f | the same | 17.3 + 38.3 lg d₃ + 24.9 lg f |
    ///
    /// A horizontal distance below [`least_distance_m`](Self::least_distance_m) counts as
    /// that, so the loss is finite everywhere. Beyond 5 km (InH: 150 m) the formulas are
    /// extrapolated. (For h_UT ≥ 13 m the standard draws h_E in UMa; here it stays 1 m.)
    pub fn path_loss_db(self, carrier_ghz: f64, geometry: &LinkGeometry, line_of_sight: bool) -> f64 {
        let LinkGeometry { bs_height_m, ut_height_m, .. } = *geometry;
        let distance_2d_m = geometry.distance_2d_m.max(self.least_distance_m());
        let height_m = bs_height_m - ut_height_m;
        let lg_distance = 0.5 * (distance_2d_m * distance_2d_m + height_m * height_m).log10();
        let lg_carrier = carrier_ghz.log10();
        let break_point_m = break_point_m(carrier_ghz, bs_height_m, ut_height_m);
        let beyond = distance_2d_m > break_point_m;
        let lg_break_point = || (break_point_m * break_point_m + height_m * height_m).log10();
        let clear = match self {
            Self::Uma if beyond => 28.0 + 40.0 * lg_distance + 20.0 * lg_carrier - 9.0 * lg_break_point(),
            Self::Uma => 28.0 + 22.0 * lg_distance + 20.0 * lg_carrier,
            Self::Umi if beyond => 32.4 + 40.0 * lg_distance + 20.0 * lg_carrier - 9.5 * lg_break_point(),
            Self::Umi => 32.4 + 21.0 * lg_distance + 20.0 * lg_carrier,
            Self::Inh => 32.4 + 17.3 * lg_distance + 20.0 * lg_carrier,
        };
        if line_of_sight {
            return clear;
        }
        let obstructed = match self {
            Self::Uma => 13.54 + 39.08 * lg_distance + 20.0 * lg_carrier - 0.6 * (ut_height_m - 1.5),
            Self::Umi => 22.4 + 35.3 * lg_distance + 21.3 * lg_carrier - 0.3 * (ut_height_m - 1.5),
            Self::Inh => 17.3 + 38.3 * lg_distance + 24.9 * lg_carrier,
        };
        clear.max(obstructed)
    }

    /// The probability that nothing stands between base station and UE at the
    /// horizontal distance d \[m\].
    ///
    /// UMa and UMi: 1 up to 18 m, then `18/d + e^(-d/D)·(1 - 18/d)` with D = 63 m (UMa) or
    /// 36 m (UMi); UMa multiplies by `1 + C·(5/4)(d/100)³e^(-d/150)`,
    /// C = ((h_UT - 13)/10)^1.5, for UEs above 13 m. InH (mixed office): 1 up to 1.2 m,
    /// `e^(-(d - 1.2)/4.7)` up to 6.5 m, then `0.32·e^(-(d - 6.5)/32.6)`.
    pub fn line_of_sight_probability(self, distance_2d_m: f64, ut_height_m: f64) -> f64 {
        let d = distance_2d_m;
        let street = |decay_m: f64| {
            if d <= 18.0 { 1.0 } else { 18.0 / d + (-d / decay_m).exp() * (1.0 - 18.0 / d) }
        };
        match self {
            Self::Uma if d > 18.0 && ut_height_m > 13.0 => {
                let height_factor = ((ut_height_m - 13.0) / 10.0).powf(1.5);
                let distance_factor = 1.25 * (d / 100.0).powi(3) * (-d / 150.0).exp();
                (street(63.0) * (1.0 + height_factor * distance_factor)).min(1.0)
            }
            Self::Uma => street(63.0),
            Self::Umi => street(36.0),
            Self::Inh if d <= 1.2 => 1.0,
            Self::Inh if d < 6.5 => (-(d - 1.2) / 4.7).exp(),
            Self::Inh => 0.32 * (-(d - 6.5) / 32.6).exp(),
        }
    }

    /// σ of shadowing \[dB\], which is normal in dB.
    pub fn shadowing_std_db(self, line_of_sight: bool) -> f64 {
        match (self, line_of_sight) {
            (Self::Uma | Self::Umi, true) => 4.0,
            (Self::Uma, false) => 6.0,
            (Self::Umi, false) => 7.82,
            (Self::Inh, true) => 3.0,
            (Self::Inh, false) => 8.03,
        }
    }

    /// The distance over which the correlation of shadowing falls to 1/e \[m\].
    pub fn shadowing_distance_m(self, line_of_sight: bool) -> f64 {
        match (self, line_of_sight) {
            (Self::Uma, true) => 37.0,
            (Self::Uma, false) => 50.0,
            (Self::Umi | Self::Inh, true) => 10.0,
            (Self::Umi, false) => 13.0,
            (Self::Inh, false) => 6.0,
        }
    }

    /// The distance over which the correlation of the normal field behind the state
    /// of the line of sight falls to 1/e \[m\].
    pub fn line_of_sight_distance_m(self) -> f64 {
        match self {
            Self::Uma | Self::Umi => 50.0,
            Self::Inh => 10.0,
        }
    }

    /// Height of a base station's antenna unless the scenario says otherwise \[m\].
    pub fn bs_height_m(self) -> f64 {
        match self {
            Self::Uma => 25.0,
            Self::Umi => 10.0,
            Self::Inh => 3.0,
        }
    }

    /// Height of a UE's antenna unless the scenario says otherwise \[m\].
    pub fn ut_height_m(self) -> f64 {
        match self {
            Self::Uma | Self::Umi => 1.5,
            Self::Inh => 1.0,
        }
    }

    /// The horizontal distance from which on the path loss is meant \[m\]; shorter ones count as this.
    pub fn least_distance_m(self) -> f64 {
        match self {
            Self::Uma | Self::Umi => 10.0,
            Self::Inh => 1.0,
        }
    }

    /// The lowest and the highest carrier \[GHz\] of the model.
    pub fn carrier_range_ghz() -> [f64; 2] {
        [0.5, 100.0]
    }
}

/// d_BP, the horizontal distance beyond which the loss in line of sight grows with
/// the fourth power \[m\]; 0 for antennas below h_E.
fn break_point_m(carrier_ghz: f64, bs_height_m: f64, ut_height_m: f64) -> f64 {
    let above = |height_m: f64| (height_m - ENVIRONMENT_HEIGHT_M).max(0.0);
    4.0 * above(bs_height_m) * above(ut_height_m) * carrier_ghz * 1e9 / LIGHT_M_S
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Environment; 3] = [Environment::Uma, Environment::Umi, Environment::Inh];

    fn at(environment: Environment, distance_2d_m: f64, ut_height_m: f64) -> LinkGeometry {
        LinkGeometry { distance_2d_m, bs_height_m: environment.bs_height_m(), ut_height_m }
    }

    /// The received powers that ns-3's `three-gpp-propagation-loss-model-test-suite.cc`
    /// expects at 5 GHz for 0 dBm, a UE of 1.5 m and horizontal distances.
    #[test]
    fn losses_are_those_of_ns3() {
        let cases = [
            (Environment::Uma, 10.0, 72.9380, 82.5131),
            (Environment::Uma, 100.0, 86.2362, 106.1356),
            (Environment::Uma, 1000.0, 109.7252, 144.7641),
            (Environment::Uma, 5000.0, 137.6794, 172.0753),
            (Environment::Umi, 10.0, 69.8591, 76.7563),
            (Environment::Umi, 100.0, 88.4122, 107.9432),
            (Environment::Umi, 1000.0, 119.3114, 143.1886),
            (Environment::Umi, 5000.0, 147.2696, 167.8617),
            (Environment::Inh, 1.0, 50.8072, 50.8072),
            (Environment::Inh, 10.0, 63.7630, 73.1894),
            (Environment::Inh, 50.0, 75.7750, 99.7824),
            (Environment::Inh, 100.0, 80.9802, 111.3062),
        ];
        for (environment, distance_m, clear, obstructed) in cases {
            let geometry = at(environment, distance_m, 1.5);
            let loss = |line_of_sight| environment.path_loss_db(5.0, &geometry, line_of_sight);
            assert!((loss(true) - clear).abs() < 1e-4, "{environment:?} {distance_m} m: {}", loss(true));
            assert!((loss(false) - obstructed).abs() < 1e-4, "{environment:?} {distance_m} m: {}", loss(false));
        }
    }

    #[test]
    fn loss_grows_with_distance_and_nothing_is_infinite() {
        for environment in ALL {
            for line_of_sight in [true, false] {
                for carrier_ghz in [0.5, 3.5, 28.0, 100.0] {
                    let loss = |distance_m| {
                        let geometry = at(environment, distance_m, environment.ut_height_m());
                        environment.path_loss_db(carrier_ghz, &geometry, line_of_sight)
                    };
                    let least_m = environment.least_distance_m();
                    assert_eq!(loss(0.0), loss(least_m));
                    assert!(loss(0.0).is_finite());
                    for step in 0..2_000 {
                        let distance_m = least_m * 1.005f64.powi(step);
                        assert!(loss(distance_m) < loss(distance_m * 1.005), "{environment:?} {distance_m} m");
                    }
                }
            }
        }
    }

    #[test]
    fn loss_is_continuous_at_the_break_point() {
        for environment in [Environment::Uma, Environment::Umi] {
            for (carrier_ghz, ut_height_m) in [(0.7, 1.5), (3.5, 1.5), (28.0, 10.0)] {
                let break_point_m = break_point_m(carrier_ghz, environment.bs_height_m(), ut_height_m);
                let loss = |factor: f64| {
                    environment.path_loss_db(carrier_ghz, &at(environment, break_point_m * factor, ut_height_m), true)
                };
                assert!((loss(1.0 + 1e-12) - loss(1.0)).abs() < 1e-9, "{environment:?} {carrier_ghz} GHz");
            }
        }
        // UMa, 5 GHz, 25 m and 1.5 m: 4·24·0.5·5·10⁹/(3·10⁸).
        assert!((break_point_m(5.0, 25.0, 1.5) - 800.0).abs() < 1e-9);
    }

    /// By hand from the formulas in the documentation.
    #[test]
    fn line_of_sight_probabilities() {
        for environment in ALL {
            for distance_m in [0.0, 1.2, 6.5, 18.0, 1e3, 1e6] {
                let p = environment.line_of_sight_probability(distance_m, 1.5);
                assert!((0.0..=1.0).contains(&p), "{environment:?} {distance_m} m: {p}");
            }
        }
        let close = |environment: Environment, distance_m: f64, ut_height_m: f64, expected: f64| {
            let p = environment.line_of_sight_probability(distance_m, ut_height_m);
            assert!((p - expected).abs() < 5e-7, "{environment:?} {distance_m} m: {p}");
        };
        close(Environment::Uma, 18.0, 1.5, 1.0);
        close(Environment::Uma, 18.0 + 1e-9, 1.5, 1.0);
        // 0.18 + e^(-100/63)·0.82 and 0.18 + e^(-100/36)·0.82.
        close(Environment::Uma, 100.0, 1.5, 0.347_671);
        close(Environment::Umi, 100.0, 1.5, 0.230_985);
        // C = 1 at 23 m: the factor 1 + 1.25·e^(-2/3).
        close(Environment::Uma, 100.0, 23.0, 0.570_796);
        close(Environment::Inh, 1.2, 1.0, 1.0);
        close(Environment::Inh, 5.9, 1.0, 0.367_879);
        close(Environment::Inh, 6.5, 1.0, 0.32);
        close(Environment::Inh, 39.1, 1.0, 0.117_721);
    }
}
