//! Sharing flow by flow against slot by slot, in scenarios of 50 UEs that stand still.

use std::fmt::Write as _;

use splitwave::run::assembly::Assembly;
use splitwave::stats::{StudentInterval, mean_interval};

use crate::network_support::{Row, assembly, seconds, simulate};
use crate::page::{Check, Page};

const RUNS: u64 = 20;
const WARMUP_S: f64 = 20.0;
const DURATION_S: f64 = 120.0;
/// Difference that counts as none.
const MARGIN: f64 = 0.03;

fn scenario(sharing: &str, rate_per_s: f64, channel: &str, radio: &str, mobility: &str) -> String {
    format!(
        "name = \"sharing\"\nduration_s = {DURATION_S}\nmodel.source = \"none\"\nquality.source = \"none\"
split.initial = 2\ncontroller.kind = \"fixed\"\n[channel]\nreception = \"digital\"\n{channel}\n[radio]
sharing = \"{sharing}\"\n{radio}\n[[ue]]\nname = \"phone\"\ncount = 50
workload = {{ rate_per_s = {rate_per_s}, prompt_tokens = 64 }}\n{mobility}\n[edge]\ndevice = \"h100-sxm\"
[output]\nsample_interval_s = 0.0\n"
    )
}

/// Means of a run: uplink sojourn, end-to-end time and airtime \[s\], lost packets of those sent, and
/// utilisation of the uplink.
fn figures(assembly: &Assembly, seed: u64) -> [f64; 5] {
    let finished = simulate(assembly, seed, 0);
    let warm = seconds(WARMUP_S);
    let sum = |quantity: fn(&Row) -> Option<f64>| {
        let values = finished.rows.iter().filter(|row| row.arrival_s >= warm).filter_map(quantity);
        values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0))
    };
    let mean = |quantity| {
        let (sum, count) = sum(quantity);
        sum / count
    };
    [
        mean(|row| Some((row.uplink_wait_s? + row.uplink_air_s?).as_secs_f64())),
        mean(|row| Some(row.e2e_s?.as_secs_f64())),
        mean(|row| Some(row.uplink_air_s?.as_secs_f64())),
        sum(|row| row.packets_lost.map(f64::from)).0 / sum(|row| row.packets_sent.map(f64::from)).0,
        finished.totals.uplink_utilisation.expect("a span"),
    ]
}

/// Slot against flow: rows, and the mean figures of both ways.
fn compare(name: &str, rate_per_s: f64, channel: &str, radio: &str, mobility: &str) -> (Vec<Check>, String) {
    let of = |sharing| -> Vec<[f64; 5]> {
        let assembly = assembly(&scenario(sharing, rate_per_s, channel, radio, mobility));
        (0..RUNS).map(|seed| figures(&assembly, 2000 + seed)).collect()
    };
    let (flow, slot) = (of("flow-ps"), of("slot-round-robin"));
    let average =
        |runs: &[[f64; 5]], column: usize| runs.iter().map(|run| run[column]).sum::<f64>() / runs.len() as f64;
    let mut rows = Vec::new();
    for (column, what) in ["uplink sojourn", "end to end"].into_iter().enumerate() {
        let differences: Vec<f64> = slot.iter().zip(&flow).map(|(slot, flow)| slot[column] - flow[column]).collect();
        let StudentInterval { mean, half_width } = mean_interval(&differences, 0.95).expect("several runs");
        let base = average(&flow, column);
        let relative = StudentInterval { mean: mean / base, half_width: half_width / base };
        rows.push(Check::agreement(format!("{name}: {what}"), relative, MARGIN));
    }
    let mut figures = format!("| {name} |");
    for (column, scale, places) in [(0, 1e3, 1), (1, 1e3, 1), (2, 1e3, 2), (3, 1e2, 2), (4, 1.0, 3)] {
        let [flow, slot] = [&flow, &slot].map(|runs| scale * average(runs, column));
        let _ = write!(figures, " {flow:.places$}, {slot:.places$} |");
    }
    figures.push('\n');
    (rows, figures)
}

/// Adds the topic.
pub fn check(page: &mut Page) {
    let radio = "link = \"cqi\"\nlink_adapts_to = \"reports\"\ninterference = false";
    let place = "mobility = { radius_m = 150.0 }";
    let cellular =
        |fading: &str| format!("kind = \"cellular\"\nline_of_sight = \"always\"\nshadowing = false\n{fading}");
    let (slow, fast) = (cellular("doppler_hz = 10.0"), cellular("doppler_hz = 100.0"));
    let cases = [
        ("statistical, 0.27/s", 0.27, "loss_probability = 0.1", "", ""),
        ("cellular, no fading, 0.3/s", 0.3, &cellular("fading = \"none\""), radio, place),
        ("cellular, f_d = 10 Hz, 0.1/s", 0.1, &slow, radio, place),
        ("cellular, f_d = 10 Hz, 0.2/s", 0.2, &slow, radio, place),
        ("cellular, f_d = 10 Hz, 0.3/s", 0.3, &slow, radio, place),
        ("cellular, f_d = 100 Hz, 0.2/s", 0.2, &fast, radio, place),
    ];
    let (mut rows, mut note) = (Vec::new(), String::new());
    for (name, rate_per_s, channel, radio, mobility) in cases {
        let (mut checks, figures) = compare(name, rate_per_s, channel, radio, mobility);
        rows.append(&mut checks);
        note.push_str(&figures);
    }
    page.topic("Slot by slot against flow by flow");
    page.table(
        "`sharing = \"slot-round-robin\"` relative to `\"flow-ps\"`",
        "with slots much shorter than transmissions turns are processor sharing. 50 UEs that stand still and send so many \
         prompts of 64 tokens each per second; 20 pairs of runs of 120 s with the same arrivals, places and fading; cellular: line \
         of sight, within 150 m, Rayleigh fading, rates by `cqi` and `reports`, no interference. The interval is that of 95 % of the \
         paired difference. They agree if it holds 0 or lies within 3 %.",
        "`tests/it/cells.rs`; the parts alone in `src/radio/slots/tests.rs` and `tests/it/network_theory.rs`",
        rows,
    );
    page.note(&format!(
        "The means behind it, flow by flow and slot by slot:\n\n| scenario | uplink, ms | end to end, ms | airtime, ms | \
         packets lost, % | utilisation |\n|---|---|---|---|---|---|\n{}",
        note.trim_end()
    ));
    page.note(
        "Flow by flow the airtime of a transmission is settled at its start, by the reports to come in the company that it has \
         then (`link_adapts_to = \"reports\"`). As company comes and goes it meets other fading than was reckoned with. The difference in \
         airtime is small, but as that of any queue the sojourn multiplies it by 1/(1 - ρ). It vanishes without fading and at light \
         load.",
    );
}
