//! Traffic: rates and burstiness of arrivals.

use splitwave::kernel::{Purpose, Streams};
use splitwave::network::modulated::{ChainCursor, Modulated};
use splitwave::network::renewal::{GapLaw, Renewal};
use splitwave::units::SimTime;
use statrs::function::gamma::gamma;

use crate::estimates::mean;
use crate::network_support::seconds;
use crate::page::{Check, Page};

const UES: u32 = 20_000;

/// Arrivals of a UE within each of the given times.
fn counts(process: &Modulated, ue: u32, times_s: [f64; 2]) -> [f64; 2] {
    let (streams, mut cursor) = (Streams::new(113, 0), ChainCursor::default());
    let (mut at, mut counts) = (SimTime::ZERO, [0.0; 2]);
    for k in 0.. {
        let next = process.arrival(&streams, ue, k, at, &mut cursor);
        let Some(next) = next.filter(|&next| next < seconds(times_s[1])) else { break };
        at = next;
        for (count, time_s) in counts.iter_mut().zip(times_s) {
            *count += f64::from(u8::from(at < seconds(time_s)));
        }
    }
    counts
}

fn modulated() -> Vec<Check> {
    let mut rows = Vec::new();
    for (name, rates_per_s, sojourns_s) in
        [("MMPP 9/s, 0.5/s; 2 s, 6 s", [9.0, 0.5], [2.0, 6.0]), ("on-off 5/s; 1 s, 3 s", [5.0, 0.0], [1.0, 3.0])]
    {
        let process = Modulated { rates_per_s, sojourns_s };
        let times_s = [3.0, 20.0];
        let all: Vec<[f64; 2]> = (0..UES).map(|ue| counts(&process, ue, times_s)).collect();
        let share = sojourns_s[0] / (sojourns_s[0] + sojourns_s[1]);
        let rate = share * rates_per_s[0] + (1.0 - share) * rates_per_s[1];
        let relaxation = 1.0 / sojourns_s[0] + 1.0 / sojourns_s[1];
        let limit = 2.0 * (rates_per_s[0] - rates_per_s[1]).powi(2) * share * (1.0 - share) / (rate * relaxation);
        for (i, t) in times_s.into_iter().enumerate() {
            let per_second: Vec<f64> = all.iter().map(|counts| counts[i] / t).collect();
            rows.push(Check::mean(format!("{name}: rate over {t} s, 1/s"), rate, mean(&per_second)));
            let spread: Vec<f64> = all.iter().map(|counts| (counts[i] - rate * t).powi(2) / (rate * t)).collect();
            let theory = 1.0 + limit * (1.0 - (1.0 - (-relaxation * t).exp()) / (relaxation * t));
            rows.push(Check::mean(format!("{name}: dispersion over {t} s"), theory, mean(&spread)));
        }
    }
    rows
}

fn renewals() -> Vec<Check> {
    let mut rows = Vec::new();
    for (name, law, shape) in [
        ("gamma", GapLaw::Gamma, 0.25),
        ("gamma", GapLaw::Gamma, 4.0),
        ("Weibull", GapLaw::Weibull, 0.6),
        ("Weibull", GapLaw::Weibull, 2.0),
    ] {
        let renewal = Renewal::new(law, shape, 4.0);
        let (gaps, ues) = (5_000, 50);
        let (mut means, mut variations) = (Vec::new(), Vec::new());
        for ue in 0..ues {
            let stream = Streams::new(114, 0).stream(ue, Purpose::Arrival);
            let sample: Vec<f64> = (1..=gaps).map(|k| renewal.gap_s(&stream, k)).collect();
            let n = gaps as f64;
            let average = sample.iter().sum::<f64>() / n;
            let variance = sample.iter().map(|gap| (gap - 0.25).powi(2)).sum::<f64>() / n;
            means.push(average);
            // About the true mean, so that there is no bias.
            variations.push(16.0 * variance);
        }
        let squared = match law {
            GapLaw::Gamma => 1.0 / shape,
            GapLaw::Weibull => gamma(1.0 + 2.0 / shape) / gamma(1.0 + 1.0 / shape).powi(2) - 1.0,
        };
        rows.push(Check::mean(format!("{name}, shape {shape}: mean gap, s"), 0.25, mean(&means)));
        let variation = crate::estimates::root(mean(&variations));
        rows.push(Check::mean(format!("{name}, shape {shape}: coefficient of variation"), squared.sqrt(), variation));
    }
    rows
}

/// Adds the topic.
pub fn check(page: &mut Page) {
    page.topic("Traffic");
    page.table(
        "Modulated Poisson arrivals",
        "mean rate Σ π_i λ_i; Var N(t)/E N(t) = 1 + 2 (λ₁ - λ₂)² π₁ π₂/(λ̄ r) · (1 - (1 - e^{-rt})/(rt)), r the sum of the rates of leaving \
         both states. 20,000 UEs from time 0 on.",
        "`tests/it/network_traffic.rs`",
        modulated(),
    );
    page.table(
        "Renewal arrivals of 4 per second",
        "coefficient of variation 1/√a (gamma), √(Γ(1 + 2/a)/Γ(1 + 1/a)² - 1) (Weibull). 50 UEs of 5000 gaps.",
        "`src/network/renewal.rs`",
        renewals(),
    );
}
