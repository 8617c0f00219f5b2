//! Sharing flow by flow against slot by slot, in scenarios of 50 UEs that stand still.

use splitwave::stats::{StudentInterval, mean_interval};

use crate::network_support::{Row, assembly, seconds, simulate};
use crate::page::{Check, Page};

const RUNS: u64 = 20;
const WARMUP_S: f64 = 20.0;
const DURATION_S: f64 = 220.0;
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

/// Means of a run: uplink sojourn and end-to-end time \[s\], utilisation of the uplink.
fn figures(text: &str, seed: u64) -> [f64; 3] {
    let finished = simulate(&assembly(text), seed, 0);
    let warm = seconds(WARMUP_S);
    let mean = |quantity: fn(&Row) -> Option<f64>| {
        let values: Vec<f64> = finished.rows.iter().filter(|row| row.arrival_s >= warm).filter_map(quantity).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    let uplink = mean(|row| Some((row.uplink_wait_s? + row.uplink_air_s?).as_secs_f64()));
    let e2e = mean(|row| Some(row.e2e_s?.as_secs_f64()));
    [uplink, e2e, finished.totals.uplink_utilisation.unwrap_or(f64::NAN)]
}

/// Slot against flow: rows, and the mean figures of both ways.
fn compare(name: &str, rate_per_s: f64, channel: &str, radio: &str, mobility: &str) -> (Vec<Check>, String) {
    let of = |sharing| -> Vec<[f64; 3]> {
        let text = scenario(sharing, rate_per_s, channel, radio, mobility);
        (0..RUNS).map(|seed| figures(&text, 2000 + seed)).collect()
    };
    let (flow, slot) = (of("flow-ps"), of("slot-round-robin"));
    let average =
        |runs: &[[f64; 3]], column: usize| runs.iter().map(|run| run[column]).sum::<f64>() / runs.len() as f64;
    let mut rows = Vec::new();
    for (column, what) in ["uplink sojourn", "end to end"].into_iter().enumerate() {
        let differences: Vec<f64> = slot.iter().zip(&flow).map(|(slot, flow)| slot[column] - flow[column]).collect();
        let StudentInterval { mean, half_width } = mean_interval(&differences, 0.95).expect("several runs");
        let base = average(&flow, column);
        let relative = StudentInterval { mean: mean / base, half_width: half_width / base };
        rows.push(Check::agreement(format!("{name}: {what}"), relative, MARGIN));
    }
    let [[uplink, slot_uplink], [e2e, slot_e2e], [busy, slot_busy]] =
        [0, 1, 2].map(|column| [average(&flow, column), average(&slot, column)]);
    let figures = format!(
        "| {name} | {:.1} | {:.1} | {:.1} | {:.1} | {busy:.3} | {slot_busy:.3} |\n",
        1e3 * uplink,
        1e3 * slot_uplink,
        1e3 * e2e,
        1e3 * slot_e2e
    );
    (rows, figures)
}

/// Adds the topic.
pub fn check(page: &mut Page) {
    let cellular = "link = \"cqi\"\nlink_adapts_to = \"reports\"\ninterference = false";
    let place = "mobility = { radius_m = 250.0 }";
    let cases = [
        ("statistical", 0.27, "loss_probability = 0.1", "", ""),
        ("cellular, no fading", 0.15, "kind = \"cellular\"\nfading = \"none\"", cellular, place),
        ("cellular, Rayleigh, f_d = 10 Hz", 0.15, "kind = \"cellular\"\ndoppler_hz = 10.0", cellular, place),
        ("cellular, Rayleigh, f_d = 50 Hz", 0.15, "kind = \"cellular\"\ndoppler_hz = 50.0", cellular, place),
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
        "with slots much shorter than transmissions turns are processor sharing. 50 UEs that stand still, prompts of 64 tokens, 20 \
         pairs of runs of 220 s with the same arrivals, places and fading; the 95 % interval of the paired difference. They agree \
         if it holds 0 or lies within 3 %.",
        "none; the parts alone in `src/radio/slots/tests.rs` and `tests/it/network_theory.rs`",
        rows,
    );
    page.note(&format!(
        "The means behind it:\n\n| scenario | flow: uplink, ms | slot: uplink, ms | flow: e2e, ms | slot: e2e, ms | flow: busy | slot: busy |\n\
         |---|---|---|---|---|---|---|\n{}",
        note.trim_end()
    ));
}
