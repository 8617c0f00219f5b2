//! Path loss, line of sight and shadowing.

use splitwave::channel::{Environment, LargeScale, LargeScaleSpec, LineOfSightMode, LinkGeometry};
use splitwave::kernel::Streams;

use crate::estimates::{mean, root, share};
use crate::page::{Check, Page};

const CELLS: u32 = 20_000;

fn name(environment: Environment) -> &'static str {
    match environment {
        Environment::Uma => "UMa",
        Environment::Umi => "UMi",
        Environment::Inh => "InH",
    }
}

fn path_losses() -> Vec<Check> {
    let cases = [
        (Environment::Uma, 100.0, [86.2362, 106.1356]),
        (Environment::Uma, 1000.0, [109.7252, 144.7641]),
        (Environment::Umi, 100.0, [88.4122, 107.9432]),
        (Environment::Umi, 1000.0, [119.3114, 143.1886]),
        (Environment::Inh, 50.0, [75.7750, 99.7824]),
    ];
    let mut rows = Vec::new();
    for (environment, distance_2d_m, losses_db) in cases {
        let geometry = LinkGeometry { distance_2d_m, bs_height_m: environment.bs_height_m(), ut_height_m: 1.5 };
        for (line_of_sight, theory) in [true, false].into_iter().zip(losses_db) {
            let found = environment.path_loss_db(5.0, &geometry, line_of_sight);
            let sight = if line_of_sight { "LOS" } else { "NLOS" };
            let what = format!("{}, {distance_2d_m} m, {sight}: dB", name(environment));
            rows.push(Check::exact(what, theory, found, 1e-4));
        }
    }
    rows
}

fn cell(number: u32, environment: Environment, line_of_sight: LineOfSightMode) -> LargeScale {
    let spec = LargeScaleSpec {
        environment,
        carrier_ghz: 3.5,
        bs_height_m: environment.bs_height_m(),
        ut_height_m: environment.ut_height_m(),
        line_of_sight,
        shadowing: true,
    };
    LargeScale::new(spec, &Streams::new(102, 0), number, 0.0, 0.0)
}

fn sights_and_spreads() -> Vec<Check> {
    let (mut sights, mut spreads) = (Vec::new(), Vec::new());
    for (environment, distance_m) in [(Environment::Uma, 100.0), (Environment::Umi, 60.0), (Environment::Inh, 10.0)] {
        let mut squares = [Vec::new(), Vec::new()];
        for number in 0..CELLS {
            let loss = cell(number, environment, LineOfSightMode::Drawn).link_loss(0.6 * distance_m, -0.8 * distance_m);
            squares[usize::from(loss.line_of_sight)].push(loss.shadowing_db.powi(2));
        }
        let street = |decay: f64| 18.0 / distance_m + (-distance_m / decay).exp() * (1.0 - 18.0 / distance_m);
        let theory = match environment {
            Environment::Uma => street(63.0),
            Environment::Umi => street(36.0),
            Environment::Inh => 0.32 * (-(distance_m - 6.5) / 32.6).exp(),
        };
        let what = format!("{}: P(LOS) at {distance_m} m", name(environment));
        sights.push(Check::mean(what, theory, share(squares[1].len() as u32, CELLS)));
        for (sight, squares) in ["NLOS", "LOS"].into_iter().zip(&squares) {
            let theory = match (environment, sight) {
                (Environment::Uma | Environment::Umi, "LOS") => 4.0,
                (Environment::Uma, _) => 6.0,
                (Environment::Umi, _) => 7.82,
                (Environment::Inh, "LOS") => 3.0,
                (Environment::Inh, _) => 8.03,
            };
            let what = format!("{}, {sight}: σ of shadowing, dB", name(environment));
            spreads.push(Check::mean(what, theory, root(mean(squares))));
        }
    }
    sights.append(&mut spreads);
    sights
}

fn correlations() -> Vec<Check> {
    let mut rows = Vec::new();
    for (environment, sight, mode, spread_db, distance_m) in [
        (Environment::Uma, "LOS", LineOfSightMode::Always, 4.0, 37.0),
        (Environment::Umi, "NLOS", LineOfSightMode::Never, 7.82, 13.0),
    ] {
        for lag in [0.5, 1.0, 2.0] {
            let products: Vec<f64> = (0..CELLS)
                .map(|number| {
                    let cell = cell(number, environment, mode);
                    let shadowing = |x_m: f64| cell.link_loss(x_m, 70.0).shadowing_db / spread_db;
                    shadowing(-300.0) * shadowing(-300.0 + lag * distance_m)
                })
                .collect();
            let what = format!("{}, {sight}: correlation over {} m", name(environment), lag * distance_m);
            rows.push(Check::mean(what, (-lag).exp(), mean(&products)));
        }
    }
    rows
}

/// Adds the topic.
pub fn check(page: &mut Page) {
    page.topic("Path loss, line of sight, shadowing");
    page.table(
        "Mean path loss at 5 GHz",
        "3GPP TR 38.901, table 7.4.1-1, as the test suite of ns-3 has its values.",
        "`src/channel/path_loss.rs`",
        path_losses(),
    );
    page.table(
        "Line of sight and spread of shadowing",
        "TR 38.901, tables 7.4.2-1 and 7.4.1-1; over 20,000 cells.",
        "`tests/it/channel_large_scale.rs`",
        sights_and_spreads(),
    );
    page.table(
        "Correlation of shadowing",
        "Gudmundson: e^{-Δd/d_corr}, d_corr of TR 38.901, table 7.5-6; over 20,000 cells.",
        "`tests/it/channel_large_scale.rs`",
        correlations(),
    );
}
