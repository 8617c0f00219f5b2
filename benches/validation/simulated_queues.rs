//! The whole simulator as a textbook queue: an ideal radio and an edge with a synthetic law, or an idle
//! edge behind a shared uplink.
//!
//! A run gives one independent estimate. `Σ (Tᵢ - T)` over the requests after the warm-up has the mean 0 in
//! equilibrium; the sample mean of T has not, as runs with more arrivals have longer queues.

use crate::estimates::mean;
use crate::network_support::{Finished, Row, assembly, seconds, simulate};
use crate::page::{Check, Page};

const WARMUP_S: f64 = 100.0;
const DURATION_S: f64 = 1000.0;
const SPAN_S: f64 = DURATION_S - WARMUP_S;
const RUNS: u64 = 60;
/// Mean service time \[s\].
const SERVICE_S: f64 = 0.1;

fn edge_only(rate_per_s: f64, edge: &str, sample_interval_s: f64) -> String {
    format!(
        "name = \"queue\"\nduration_s = {DURATION_S}\nwarmup_s = {WARMUP_S}\nservice.mode = \"edge-only\"
quality.source = \"none\"\n[radio]\nsharing = \"ideal\"\n[[ue]]\nname = \"source\"
workload = {{ rate_per_s = {rate_per_s} }}\n[edge]\n{edge}\n[output]\nsample_interval_s = {sample_interval_s}\n"
    )
}

fn runs(text: &str) -> Vec<Finished> {
    let assembly = assembly(text);
    (0..RUNS).map(|seed| simulate(&assembly, 1000 + seed, 0)).collect()
}

/// Time waited and served \[s\].
fn edge_sojourn(row: &Row) -> f64 {
    edge_wait(row) + row.edge_compute_s.expect("served").as_secs_f64()
}

fn edge_wait(row: &Row) -> f64 {
    row.edge_wait_s.expect("served").as_secs_f64()
}

fn uplink_sojourn(row: &Row) -> f64 {
    (row.uplink_wait_s.expect("sent") + row.uplink_air_s.expect("sent")).as_secs_f64()
}

/// By run, an estimate without bias if the mean is `theory`.
fn estimates(runs: &[Finished], rate_per_s: f64, theory: f64, quantity: fn(&Row) -> f64) -> Vec<f64> {
    let warm = seconds(WARMUP_S);
    let of = |run: &Finished| {
        let excess = run.rows.iter().filter(|row| row.arrival_s >= warm).map(|row| quantity(row) - theory);
        theory + excess.sum::<f64>() / (rate_per_s * SPAN_S)
    };
    runs.iter().map(of).collect()
}

fn utilisations(runs: &[Finished]) -> Vec<f64> {
    runs.iter().map(|run| run.totals.edge_utilisation.expect("a span")).collect()
}

fn edge() -> Vec<Check> {
    let mut rows = Vec::new();
    let scenario = include_str!("../../scenarios/queueing_mm1.toml")
        .replace("duration_s = 100000.0", &format!("duration_s = {DURATION_S}"))
        .replace("warmup_s = 1000.0", &format!("warmup_s = {WARMUP_S}"));
    let mm1 = runs(&scenario);
    for (name, theory, quantity) in
        [("sojourn", 0.5, edge_sojourn as fn(&Row) -> f64), ("wait", 0.4, edge_wait as fn(&Row) -> f64)]
    {
        let values = estimates(&mm1, 8.0, theory, quantity);
        rows.push(Check::mean(format!("`scenarios/queueing_mm1.toml`, ρ = 0.8: {name}, s"), theory, mean(&values)));
    }
    rows.push(Check::mean("the same: utilisation", 0.8, mean(&utilisations(&mm1))));

    // Erlang's delay formula for three servers and an offered load of 2: 4/9 wait.
    let theory = SERVICE_S + 4.0 / 9.0 * SERVICE_S / (3.0 - 2.0);
    let mm3 = runs(&edge_only(20.0, "servers = 3\nservice_time = { law = \"exponential\", mean_ms = 100.0 }", 0.0));
    rows.push(Check::mean("M/M/3, a = 2: sojourn, s", theory, mean(&estimates(&mm3, 20.0, theory, edge_sojourn))));

    let (rate, load) = (7.0, 0.7);
    let theory = SERVICE_S * (1.0 + load / (2.0 * (1.0 - load)));
    let md1 = runs(&edge_only(rate, "service_time = { law = \"deterministic\", mean_ms = 100.0 }", 0.25));
    rows.push(Check::mean("M/D/1, ρ = 0.7: sojourn, s", theory, mean(&estimates(&md1, rate, theory, edge_sojourn))));
    let level = |run: &Finished| {
        let warm = run.series.iter().filter(|row| row.time_s >= seconds(WARMUP_S) && row.time_s < seconds(DURATION_S));
        let levels: Vec<f64> = warm.map(|row| f64::from(row.edge_queue + row.edge_busy)).collect();
        levels.iter().sum::<f64>() / levels.len() as f64
    };
    let levels: Vec<f64> = md1.iter().map(level).collect();
    rows.push(Check::mean("the same: requests at the edge, λT", rate * theory, mean(&levels)));
    let gap = |(run, level): (&Finished, &f64)| {
        let warm = run.rows.iter().filter(|row| row.arrival_s >= seconds(WARMUP_S));
        level - warm.map(edge_sojourn).sum::<f64>() / SPAN_S
    };
    let gaps: Vec<f64> = md1.iter().zip(&levels).map(gap).collect();
    rows.push(Check::mean("the same: L - Σ T/span, by path", 0.0, mean(&gaps)));

    let theory = SERVICE_S / (1.0 - 0.6);
    for law in ["deterministic", "exponential"] {
        let edge = format!("discipline = \"ps\"\nservice_time = {{ law = \"{law}\", mean_ms = 100.0 }}");
        let values = estimates(&runs(&edge_only(6.0, &edge, 0.0)), 6.0, theory, edge_sojourn);
        rows.push(Check::mean(format!("M/G/1-PS, ρ = 0.6, {law}: sojourn, s"), theory, mean(&values)));
    }
    rows
}

fn uplink() -> Vec<Check> {
    // 53333 token ids of 15 bits at 8 Mbit/s.
    let (airtime, rate) = (53_333.0 * 15.0 / 8e6, 6.0);
    let text = format!(
        "name = \"uplink\"\nduration_s = {DURATION_S}\nwarmup_s = {WARMUP_S}\nservice.mode = \"edge-only\"
quality.source = \"none\"\n[channel]\nreception = \"digital\"\nfading = \"none\"\n[radio]\nbandwidth_mhz = 2.0\n[[ue]]
name = \"source\"\ncount = 10\nworkload = {{ rate_per_s = 0.6, prompt_tokens = 53333 }}\n[edge]
service_time = {{ law = \"deterministic\", mean_ms = 0.001 }}\n[output]\nsample_interval_s = 0.0\n"
    );
    let theory = airtime / (1.0 - rate * airtime);
    let runs = runs(&text);
    let sojourns = estimates(&runs, rate, theory, uplink_sojourn);
    let busy: Vec<f64> = runs.iter().map(|run| run.totals.uplink_utilisation.expect("a span")).collect();
    vec![
        Check::mean("M/D/1-PS, ρ = 0.6: uplink sojourn, s", theory, mean(&sojourns)),
        Check::mean("the same: utilisation", rate * airtime, mean(&busy)),
    ]
}

/// Adds the topic.
pub fn check(page: &mut Page) {
    page.topic("Queues and sharing: the whole simulator");
    page.table(
        "The edge as a queue, the radio ideal",
        "M/M/1, Erlang's C, Pollaczek and Khinchine, M/G/1-PS, Little's law; 60 runs of 1000 s, the first 100 s left out.",
        "`tests/it/network_theory.rs`",
        edge(),
    );
    page.table(
        "The uplink as a queue, the edge idle",
        "E T = E S/(1 - ρ); ten phones whose payloads are all of one size.",
        "`tests/it/network_theory.rs`",
        uplink(),
    );
}
