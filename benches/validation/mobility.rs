//! Mobility: stationary laws.

use splitwave::channel::{Area, Mobility, Mover, Whereabouts};
use splitwave::kernel::Streams;
use splitwave::units::SimTime;

use crate::estimates::{mean, root, scaled};
use crate::page::{Check, Page};

const DISC: Area = Area::Disc { x_m: 50.0, y_m: -20.0, radius_m: 100.0 };
const UES: u32 = 20_000;

fn fresh(ue: u32, mobility: &Mobility, area: &Area, time_s: f64) -> Whereabouts {
    let at = SimTime::from_secs_f64(time_s).expect("a time");
    Mover::new(ue, ue).at(mobility, area, &Streams::new(103, 0), at)
}

fn waypoints() -> Vec<Check> {
    let mobility = Mobility::RandomWaypoint { min_speed_m_s: 1.0, max_speed_m_s: 10.0, pause_s: 0.0 };
    let mut rows = Vec::new();
    for (first, time_s) in [(0, 0.0), (UES, 1000.0)] {
        let there: Vec<Whereabouts> = (first..first + UES).map(|ue| fresh(ue, &mobility, &DISC, time_s)).collect();
        let square = |w: &Whereabouts| ((w.x_m - 50.0).powi(2) + (w.y_m + 20.0).powi(2)) / 1e4;
        let squares: Vec<f64> = there.iter().map(square).collect();
        let speeds: Vec<f64> = there.iter().map(|w| w.speed_m_s).collect();
        rows.push(Check::mean(format!("E r²/R² at {time_s} s"), 11.0 / 35.0, mean(&squares)));
        rows.push(Check::mean(format!("mean speed at {time_s} s, m/s"), 9.0 / 10f64.ln(), mean(&speeds)));
    }
    rows
}

fn gauss_markov() -> Vec<Check> {
    let (mean_speed, std, alpha) = (3.0, 1.5, 0.8);
    let mobility = Mobility::GaussMarkov { mean_speed_m_s: mean_speed, speed_std_m_s: std, alpha };
    let wide = Area::Disc { x_m: 0.0, y_m: 0.0, radius_m: 1e6 };
    let mut rows = Vec::new();
    for start_s in [0.0, 50.0] {
        let (mut squares, mut products) = (Vec::new(), Vec::new());
        for ue in 0..UES {
            // The velocity holds for a second: it is the way of half of one.
            let velocity = |time_s: f64| {
                let [a, b] = [time_s, time_s + 0.5].map(|at| fresh(ue, &mobility, &wide, at));
                [2.0 * (b.x_m - a.x_m), 2.0 * (b.y_m - a.y_m)]
            };
            let ([u, v], [x, y]) = (velocity(start_s), velocity(start_s + 1.0));
            squares.push(u * u + v * v);
            products.push(u * x + v * y);
        }
        // E |v|² = v̄² + 2σ², E v(0)·v(1) = v̄² + 2σ²α.
        let drift = mean_speed * mean_speed;
        let spread = root(scaled(mean(&squares), drift, 2.0));
        rows.push(Check::mean(format!("σ of each component from {start_s} s, m/s"), std, spread));
        let lag = scaled(mean(&products), drift, 2.0 * std * std);
        rows.push(Check::mean(format!("correlation after 1 s, from {start_s} s"), alpha, lag));
    }
    rows
}

/// Adds the topic.
pub fn check(page: &mut Page) {
    page.topic("Mobility");
    page.table(
        "Random waypoint in a disc, 1 to 10 m/s",
        "E r²/R² = 1/5 + 4/5 · 1/7 = 11/35 (a uniform place has 1/2), E v = (v_max - v_min)/ln(v_max/v_min): from the start, and \
         without the decay of speed that a start at waypoints has.",
        "`tests/it/channel_mobility.rs`",
        waypoints(),
    );
    page.table(
        "Gauss-Markov far from borders",
        "v' = αv + (1 - α)v̄ + √(1 - α²) σ w: standard deviation σ = 1.5 m/s of each component, correlation α = 0.8 over a second.",
        "`tests/it/channel_mobility.rs`",
        gauss_markov(),
    );
}
