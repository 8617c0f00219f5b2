//! The whole network against queueing theory: an ideal radio and an edge with a
//! synthetic law make it a textbook queue, and an idle edge makes the uplink one.
//!
//! Each run gives one independent estimate. `Σ (Tᵢ - T)` over the requests after
//! the warm-up has mean 0 in equilibrium; the sample mean of T has not, since
//! runs with more arrivals have longer queues.

use splitwave::network::rows::Outcome;
use splitwave::stats::{StudentInterval, mean_interval};

use crate::network_support::{Finished, Row, assembly, check, seconds, simulate};

const WARMUP_S: f64 = 50.0;
const DURATION_S: f64 = 500.0;
const SPAN_S: f64 = DURATION_S - WARMUP_S;

/// Mean service time at the edge and on the uplink \[s\].
const SERVICE_S: f64 = 0.1;

/// Prompts at an edge of mean service time 0.1 s, over a radio that takes no time.
fn edge_only(rate_per_s: f64, edge: &str, sample_interval_s: f64) -> String {
    format!(
        "name = \"queue\"
duration_s = {DURATION_S}
warmup_s = {WARMUP_S}
service.mode = \"edge-only\"
quality.source = \"none\"
[radio]
sharing = \"ideal\"
[[ue]]
name = \"source\"
workload = {{ rate_per_s = {rate_per_s} }}
[edge]
{edge}
[output]
sample_interval_s = {sample_interval_s}
"
    )
}

fn runs(text: &str, seeds: u64) -> Vec<Finished> {
    let assembly = assembly(text);
    let run = |seed| {
        let finished = simulate(&assembly, seed, 0);
        check(&assembly, &finished);
        assert_eq!(finished.count(Outcome::Completed), finished.rows.len());
        finished
    };
    (0..seeds).map(run).collect()
}

/// Time at the edge \[s\].
fn edge_sojourn(row: &Row) -> f64 {
    (row.edge_wait_s.expect("served") + row.edge_compute_s.expect("served")).as_secs_f64()
}

/// Time on the uplink \[s\].
fn uplink_sojourn(row: &Row) -> f64 {
    (row.uplink_wait_s.expect("sent") + row.uplink_air_s.expect("sent")).as_secs_f64()
}

/// By run, an unbiased estimate of the mean sojourn if it is `theory`.
fn estimates(runs: &[Finished], rate_per_s: f64, theory: f64, sojourn: fn(&Row) -> f64) -> Vec<f64> {
    let warm = seconds(WARMUP_S);
    let estimate = |finished: &Finished| {
        let excess: f64 =
            finished.rows.iter().filter(|row| row.arrival_s >= warm).map(|row| sojourn(row) - theory).sum();
        theory + excess / (rate_per_s * SPAN_S)
    };
    runs.iter().map(estimate).collect()
}

/// The 99.9 % interval covers the theory and is narrow.
fn agree(values: &[f64], theory: f64, width: f64) {
    let interval: StudentInterval = mean_interval(values, 0.999).expect("several runs");
    assert!(interval.covers(theory), "{theory} is not in {} to {}", interval.low(), interval.high());
    let found = (interval.high() - interval.low()) / theory;
    assert!(found < width, "{found} of the value is a wide interval");
}

fn edge_utilisations(runs: &[Finished]) -> Vec<f64> {
    runs.iter().map(|run| run.totals.edge_utilisation.expect("a span")).collect()
}

/// M/M/1: `E T = E S/(1 - ρ)`.
#[test]
fn an_exponential_edge_is_mm1() {
    let (rate, theory) = (6.0, SERVICE_S / (1.0 - 0.6));
    let runs = runs(&edge_only(rate, "service_time = { law = \"exponential\", mean_ms = 100.0 }", 0.0), 100);
    let values = estimates(&runs, rate, theory, edge_sojourn);
    agree(&values, theory, 0.08);
    agree(&edge_utilisations(&runs), 0.6, 0.05);
    // Of 20 intervals of level 0.9, fewer than 14 cover the truth once in 400 times.
    let covering = values.chunks(5).filter(|five| mean_interval(five, 0.9).expect("five").covers(theory)).count();
    assert!((14..=20).contains(&covering), "{covering} of 20");
}

/// M/M/3 by Erlang's delay formula.
#[test]
fn three_servers_are_mmc() {
    let (rate, offered, servers) = (20.0, 2.0f64, 3.0);
    let terms = [1.0, offered, offered.powi(2) / 2.0, offered.powi(3) / 6.0];
    let blocked = terms[3] / terms.iter().sum::<f64>();
    let delayed = blocked / (1.0 - offered / servers * (1.0 - blocked));
    let theory = SERVICE_S + delayed * SERVICE_S / (servers - offered);
    assert!((delayed - 4.0 / 9.0).abs() < 1e-12);
    let edge = "servers = 3\nservice_time = { law = \"exponential\", mean_ms = 100.0 }";
    let runs = runs(&edge_only(rate, edge, 0.0), 30);
    agree(&estimates(&runs, rate, theory, edge_sojourn), theory, 0.08);
    agree(&edge_utilisations(&runs), offered / servers, 0.05);
}

/// M/D/1: the wait is half that of M/M/1 (Pollaczek and Khinchine). Little's law on the samples.
#[test]
fn a_deterministic_edge_is_md1_and_obeys_little() {
    let (rate, load) = (7.0, 0.7);
    let theory = SERVICE_S * (1.0 + load / (2.0 * (1.0 - load)));
    let runs = runs(&edge_only(rate, "service_time = { law = \"deterministic\", mean_ms = 100.0 }", 0.25), 30);
    agree(&estimates(&runs, rate, theory, edge_sojourn), theory, 0.08);
    agree(&edge_utilisations(&runs), load, 0.05);
    let warm = seconds(WARMUP_S);
    let mean_in_system = |finished: &Finished| {
        let samples = finished.series.iter().filter(|row| row.time_s >= warm && row.time_s < seconds(DURATION_S));
        let levels: Vec<f64> = samples.map(|row| f64::from(row.edge_queue + row.edge_busy)).collect();
        assert_eq!(levels.len(), 1800);
        levels.iter().sum::<f64>() / levels.len() as f64
    };
    let levels: Vec<f64> = runs.iter().map(mean_in_system).collect();
    agree(&levels, rate * theory, 0.15);
    // By path: L - Σ T / span, which samples alone blur.
    let gaps: Vec<f64> = runs
        .iter()
        .zip(&levels)
        .map(|(run, level)| {
            let sum: f64 = run.rows.iter().filter(|row| row.arrival_s >= warm).map(edge_sojourn).sum();
            level - sum / SPAN_S
        })
        .collect();
    let interval = mean_interval(&gaps, 0.999).expect("runs");
    assert!(interval.covers(0.0) && interval.high() - interval.low() < 0.04, "{} {}", interval.low(), interval.high());
}

/// Processor sharing: `E T = E S/(1 - ρ)`, whatever the law.
#[test]
fn a_shared_edge_does_not_feel_the_law() {
    let (rate, theory) = (6.0, SERVICE_S / (1.0 - 0.6));
    for (law, width) in [("deterministic", 0.08), ("exponential", 0.12)] {
        let edge = format!("discipline = \"ps\"\nservice_time = {{ law = \"{law}\", mean_ms = 100.0 }}");
        let runs = runs(&edge_only(rate, &edge, 0.0), 40);
        agree(&estimates(&runs, rate, theory, edge_sojourn), theory, width);
        agree(&edge_utilisations(&runs), 0.6, 0.05);
    }
}

/// Payloads of one size from ten phones share the uplink: M/D/1-PS.
#[test]
fn the_uplink_is_a_processor_sharing_queue() {
    // 53333 token ids of 15 bits at 8 Mbit/s.
    let airtime = 53_333.0 * 15.0 / 8e6;
    let rate = 6.0;
    let text = format!(
        "name = \"uplink\"
duration_s = {DURATION_S}
warmup_s = {WARMUP_S}
service.mode = \"edge-only\"
quality.source = \"none\"
[channel]
reception = \"digital\"
fading = \"none\"
[radio]
bandwidth_mhz = 2.0
[[ue]]
name = \"source\"
count = 10
workload = {{ rate_per_s = 0.6, prompt_tokens = 53333 }}
[edge]
service_time = {{ law = \"deterministic\", mean_ms = 0.001 }}
[output]
sample_interval_s = 0.0
"
    );
    let theory = airtime / (1.0 - rate * airtime);
    let runs = runs(&text, 40);
    agree(&estimates(&runs, rate, theory, uplink_sojourn), theory, 0.08);
    let utilisations: Vec<f64> = runs.iter().map(|run| run.totals.uplink_utilisation.expect("a span")).collect();
    agree(&utilisations, rate * airtime, 0.05);
    assert!(
        runs.iter()
            .flat_map(|run| &run.rows)
            .all(|row| (row.uplink_air_s.unwrap().as_secs_f64() - airtime).abs() < 1e-9)
    );
}
