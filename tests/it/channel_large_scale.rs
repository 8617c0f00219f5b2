//! Shadowing and line of sight against their laws.
//!
//! Realisations are cells; seeds are fixed, so each test passes or fails for good.

use splitwave::channel::{DEFAULT_WAVES, Environment, GaussianField, LargeScale, LargeScaleSpec, LineOfSightMode};
use splitwave::kernel::{Purpose, Streams};
use splitwave::stats::{ks_critical_value, ks_statistic, normal_cdf};

fn field(number: u32, decorrelation_m: f64) -> GaussianField {
    GaussianField::new(&Streams::new(26, 0).stream(number, Purpose::Shadowing), decorrelation_m, DEFAULT_WAVES)
}

#[test]
fn a_field_at_one_place_is_standard_normal() {
    let n = 20_000;
    let mut values: Vec<f64> = (0..n).map(|number| field(number, 50.0).value(123.0, -456.0)).collect();
    let mean = values.iter().sum::<f64>() / f64::from(n);
    let power = values.iter().map(|g| g * g).sum::<f64>() / f64::from(n);
    let fourth = values.iter().map(|g| g.powi(4)).sum::<f64>() / f64::from(n);
    // Four standard errors of a normal's mean, square (variance 2) and fourth power (variance 96).
    assert!(mean.abs() < 4.0 / f64::from(n).sqrt(), "{mean}");
    assert!((power - 1.0).abs() < 4.0 * (2.0 / f64::from(n)).sqrt(), "{power}");
    let kurtosis = 3.0 - 1.5 / DEFAULT_WAVES as f64;
    assert!((fourth - kurtosis).abs() < 4.0 * (96.0 / f64::from(n)).sqrt(), "{fourth}");
    values.sort_by(f64::total_cmp);
    let distance = ks_statistic(&values, normal_cdf);
    assert!(distance < ks_critical_value(values.len(), 0.01), "{distance}");
}

#[test]
fn the_kurtosis_is_that_of_m_cosines() {
    let n = 100_000;
    for (waves, kurtosis) in [(1, 1.5), (4, 2.625), (5, 2.7)] {
        let (mut fourth, mut eighth) = (0.0, 0.0);
        for number in 0..n {
            let stream = Streams::new(26, 1).stream(number, Purpose::Shadowing);
            let g = GaussianField::new(&stream, 50.0, waves).value(10.0, 20.0);
            fourth += g.powi(4) / f64::from(n);
            eighth += g.powi(8) / f64::from(n);
        }
        let error = ((eighth - fourth * fourth) / f64::from(n)).sqrt();
        assert!((fourth - kurtosis).abs() < 4.0 * error, "M = {waves}: {fourth} for {kurtosis}");
    }
}

/// Gudmundson's law, in any direction and anywhere.
#[test]
fn autocorrelation_is_exponential() {
    let n = 20_000;
    let lags = [0.25, 0.5, 1.0, 2.0, 4.0];
    let directions = [0.0f64, 0.7, 1.9, 3.9];
    let decorrelation_m = 13.0;
    let mut sums = [[[0.0f64; 2]; 4]; 5];
    for number in 0..n {
        let field = field(number, decorrelation_m);
        let here = field.value(-300.0, 70.0);
        for (sums, lag) in sums.iter_mut().zip(lags) {
            for (sum, direction) in sums.iter_mut().zip(directions) {
                let (sin, cos) = direction.sin_cos();
                let step_m = lag * decorrelation_m;
                let product = here * field.value(-300.0 + step_m * cos, 70.0 + step_m * sin);
                sum[0] += product / f64::from(n);
                sum[1] += product * product / f64::from(n);
            }
        }
    }
    for (sums, lag) in sums.iter().zip(lags) {
        let expected = (-lag).exp();
        for ([mean, square], direction) in sums.iter().zip(directions) {
            let error = ((square - mean * mean) / f64::from(n)).sqrt();
            let off = (mean - expected).abs() / error;
            assert!(off < 4.0, "lag {lag}, direction {direction}: {mean} for {expected}, {off} standard errors");
        }
    }
}

/// One realisation, averaged over its plane: what a single run's cell shows its UEs.
#[test]
fn a_single_realisation_has_unit_power_over_its_plane() {
    for number in 0..20 {
        let field = field(number, 50.0);
        let points = 10_000;
        let (mut mean, mut power) = (0.0, 0.0);
        for i in 0..points {
            let place = Streams::new(5, 0).stream(0, Purpose::Test).uniform_pair(i);
            let g = field.value(20_000.0 * place[0], 20_000.0 * place[1]);
            mean += g / points as f64;
            power += g * g / points as f64;
        }
        // Each cosine has power 1/2 over the plane; four standard errors of 10,000 places.
        assert!(mean.abs() < 0.04 && (power - 1.0).abs() < 0.06, "field {number}: {mean}, {power}");
    }
}

/// Computed in another language from the same formulas; the last is far away, where each bit of a phase counts.
#[test]
fn values_are_pinned() {
    let values = [(0.0, 0.0), (10.0, -20.0), (1e6, 1e6)].map(|(x_m, y_m)| field(3, 50.0).value(x_m, y_m).to_bits());
    assert_eq!(values, PINNED_FIELD, "{values:#x?}");
}

const PINNED_FIELD: [u64; 3] = [0x3fe7_6877_dc7f_a4f5, 0x3ff2_3df2_82b9_e3a3, 0x3fba_0b9b_ee02_c4ef];

fn cell(number: u32, environment: Environment, line_of_sight: LineOfSightMode) -> LargeScale {
    let spec = LargeScaleSpec {
        environment,
        carrier_ghz: 3.5,
        bs_height_m: environment.bs_height_m(),
        ut_height_m: environment.ut_height_m(),
        line_of_sight,
        shadowing: true,
    };
    LargeScale::new(spec, &Streams::new(27, 0), number, 100.0, -50.0)
}

#[test]
fn line_of_sight_has_its_probability_and_shadowing_its_spread() {
    let n = 20_000;
    let cases = [(Environment::Uma, 100.0), (Environment::Umi, 60.0), (Environment::Inh, 10.0)];
    for (environment, distance_m) in cases {
        // Seen, and the sum of squares of what is added to the loss, by state.
        let mut seen = [0.0f64; 2];
        let mut squares = [0.0; 2];
        for number in 0..n {
            let loss = cell(number, environment, LineOfSightMode::Drawn)
                .link_loss(100.0 + 0.6 * distance_m, -50.0 - 0.8 * distance_m);
            assert!((loss.distance_m - distance_m).abs() < 1e-9);
            seen[usize::from(loss.line_of_sight)] += 1.0;
            squares[usize::from(loss.line_of_sight)] += loss.shadowing_db.powi(2);
        }
        let p = environment.line_of_sight_probability(distance_m, environment.ut_height_m());
        let share = seen[1] / f64::from(n);
        assert!((share - p).abs() < 4.0 * (p * (1.0 - p) / f64::from(n)).sqrt(), "{environment:?}: {share} for {p}");
        for line_of_sight in [false, true] {
            let state = usize::from(line_of_sight);
            let ratio = squares[state] / seen[state] / environment.shadowing_std_db(line_of_sight).powi(2);
            assert!((ratio - 1.0).abs() < 4.0 * (2.0 / seen[state]).sqrt(), "{environment:?}: {ratio}");
        }
    }
}

/// With latent fields of correlation ρ, two places that see with probability 1/2 agree with
/// the probability `1/2 + asin(ρ)/π` (Sheppard 1899).
#[test]
fn near_places_share_their_line_of_sight() {
    // UMi: P_LOS = 1/2 at 49.49 m; two places there, 20 m apart: ρ = e^(-20/50).
    let (mut low, mut high) = (18.0, 100.0);
    for _ in 0..60 {
        let middle: f64 = 0.5 * (low + high);
        if Environment::Umi.line_of_sight_probability(middle, 1.5) > 0.5 { low = middle } else { high = middle }
    }
    let angle = 2.0 * (10.0f64 / low).asin();
    let n = 20_000;
    let mut agree = 0.0;
    for number in 0..n {
        let cell = cell(number, Environment::Umi, LineOfSightMode::Drawn);
        let at = |angle: f64| cell.link_loss(100.0 + low * angle.cos(), -50.0 + low * angle.sin()).line_of_sight;
        agree += f64::from(u8::from(at(0.0) == at(angle)));
    }
    let expected = 0.5 + (-0.4f64).exp().asin() / std::f64::consts::PI;
    let share = agree / f64::from(n);
    let error = (expected * (1.0 - expected) / f64::from(n)).sqrt();
    assert!((share - expected).abs() < 4.0 * error, "{share} for {expected}");
}

#[test]
fn modes_and_cells() {
    let place = (400.0, 300.0);
    let always = cell(0, Environment::Uma, LineOfSightMode::Always).link_loss(place.0, place.1);
    let never = cell(0, Environment::Uma, LineOfSightMode::Never).link_loss(place.0, place.1);
    assert!(always.line_of_sight && !never.line_of_sight);
    assert!(always.path_loss_db < never.path_loss_db);
    // A drawn link is one of the two, and a function of the place alone.
    let drawn = cell(0, Environment::Uma, LineOfSightMode::Drawn);
    let first = drawn.link_loss(place.0, place.1);
    assert_eq!(first, if first.line_of_sight { always } else { never });
    drawn.link_loss(-1000.0, 20.0);
    assert_eq!(drawn.link_loss(place.0, place.1), first);
    assert_eq!(first.gain_db(), -(first.path_loss_db + first.shadowing_db));
    // Another cell at the same place has another shadowing; at its foot all is finite and in sight.
    assert_ne!(cell(1, Environment::Uma, LineOfSightMode::Always).link_loss(place.0, place.1), always);
    let foot = drawn.link_loss(100.0, -50.0);
    assert!(foot.line_of_sight && foot.gain_db().is_finite() && foot.distance_m == 0.0);
}

#[test]
fn without_shadowing_the_loss_is_the_mean() {
    let spec = LargeScaleSpec {
        environment: Environment::Uma,
        carrier_ghz: 5.0,
        bs_height_m: 25.0,
        ut_height_m: 1.5,
        line_of_sight: LineOfSightMode::Never,
        shadowing: false,
    };
    let loss = LargeScale::new(spec, &Streams::new(1, 0), 0, 0.0, 0.0).link_loss(600.0, 800.0);
    // ns-3's test suite at 1 km.
    assert!((loss.gain_db() + 144.7641).abs() < 1e-4, "{loss:?}");
}
