//! Time and energy of devices: prefill and decode apart, energy by work and by cycles, layers that are
//! loaded, memory that bounds the split, and what is drawn while nothing happens. All by hand.

use std::path::Path;

use splitwave::kernel::Streams;
use splitwave::network::ports::{Controller, Decision, Observation};
use splitwave::network::rows::Outcome;
use splitwave::run::assembly::{Assembly, assemble};
use splitwave::run::inputs::Library;
use splitwave::scenario::{LoadedScenario, Problem};
use splitwave::units::SimTime;

use crate::network_support::{
    DEVICES, Finished, HEAD, LAYER, Row, assembly, check, layer_flop, run, seconds, simulate, simulate_with, trace,
};

/// Bytes of a layer's keys and values per position: 2·4096 values in f16.
const KV: f64 = 16_384.0;
/// TR 38.840 at 23 dBm, 3 mW a unit \[W\].
const TX_W: f64 = (250.0 + 2.267 * (199.526_231_496_887_96 - 1.0)) * 3e-3;

fn close(found: f64, expected: f64, relative: f64) {
    assert!((found - expected).abs() <= relative * expected.abs(), "{found}, not {expected}");
}

/// Within the nanoseconds that the rounding of so many parts takes.
fn same_time(found: Option<SimTime>, expected_s: f64) {
    let found = found.expect("a time");
    assert!((found.as_nanos() as f64 - expected_s * 1e9).abs() <= 3.0, "{found} s, not {expected_s} s");
}

/// One phone with `device` at the given instants; prompts of 16 tokens, the split after two layers of 32.
fn text(path: &Path, device: &str, top: &str, ue: &str) -> String {
    format!(
        "name = \"energy\"
duration_s = 2.0
model.source = \"none\"
quality.source = \"none\"
{top}
[channel]
fading = \"none\"
[[device]]
name = \"own\"
overhead_ms = 1.0
{device}
[[ue]]
name = \"phone\"
device = \"own\"
workload.kind = \"trace\"
workload.path = \"{}\"
{ue}
[edge]
device = \"server\"
{DEVICES}",
        path.display()
    )
}

const SPLIT: &str = "split.initial = 2\ncontroller.kind = \"fixed\"";

fn single(arrivals: &[f64], device: &str, top: &str, ue: &str) -> Finished {
    let file = trace(arrivals, 16);
    run(&text(file.path(), device, top, ue))
}

#[test]
fn decode_rounds_have_a_speed_of_their_own() {
    let device = "peak_tflops = 10.0\nmemory_gb_s = 100.0\nmemory_efficiency = 0.5
decode_memory_efficiency = 0.25\ndecode_compute_efficiency = 0.001\ndecode_overhead_ms = 0.25";
    let row = &single(&[0.0], device, SPLIT, "workload.output_tokens = 3").rows[0];
    // The prompt reads two layers in f16 at 50 GB/s. Each further token reads them and its keys and
    // values at 25 GB/s, and computes at 10 GFLOP/s, which takes longer: 810 MFLOP.
    let prompt = 2.0 * LAYER * 2.0 / 50e9 + 1e-3;
    let decoded = |context: f64| {
        let arithmetic = 2.0 * (2.0 * LAYER + 4.0 * context * 4096.0) / 10e9;
        let memory = (2.0 * LAYER * 2.0 + 2.0 * KV * context) / 25e9;
        assert!(arithmetic > memory);
        arithmetic + 0.25e-3
    };
    same_time(row.ue_compute_s, prompt + decoded(17.0) + decoded(18.0));
    let slower = "peak_tflops = 10.0\nmemory_gb_s = 100.0\nmemory_efficiency = 0.5\ndecode_memory_efficiency = 0.25";
    let row = &single(&[0.0], slower, SPLIT, "workload.output_tokens = 2").rows[0];
    same_time(row.ue_compute_s, prompt + (2.0 * LAYER * 2.0 + 2.0 * KV * 17.0) / 25e9 + 1e-3);
}

#[test]
fn a_batch_of_tokens_alone_decodes() {
    let edge = "discipline = \"batch\"\nmax_wait_ms = 0.0";
    let slow = DEVICES.replace("overhead_ms = 2.0", "overhead_ms = 2.0\ndecode_memory_efficiency = 0.5");
    let file = trace(&[0.0], 16);
    let of = |devices: &str| {
        let text = text(file.path(), "peak_tflops = 10.0\nmemory_gb_s = 100.0", SPLIT, "workload.output_tokens = 2");
        run(&text.replace(DEVICES, devices).replace("device = \"server\"", &format!("device = \"server\"\n{edge}")))
    };
    let (fast, slow) = (of(DEVICES), of(&slow));
    // The prompt's batch is as before; the token's reads 30 layers and the head at half the rate.
    let read = ((30.0 * LAYER + HEAD) * 2.0 + 30.0 * KV * 17.0) / 1e12;
    let [fast, slow] = [&fast.rows[0], &slow.rows[0]].map(|row| row.edge_compute_s.unwrap().as_secs_f64());
    close(slow - fast, read, 1e-6);
}

/// 1 pJ per FLOP, 50 pJ per byte and 0.25 W beside.
const PER_WORK: &str = "peak_tflops = 10.0\nmemory_gb_s = 100.0
energy_per_flop_pj = 1.0\nenergy_per_byte_pj = 50.0\nidle_power_w = 0.25";

#[test]
fn energy_follows_flop_bytes_and_time() {
    let finished = single(&[0.5], PER_WORK, SPLIT, "workload.output_tokens = 2");
    let row = &finished.rows[0];
    let flop = 2.0 * layer_flop(16.0) + 2.0 * (2.0 * LAYER + 4.0 * 17.0 * 4096.0);
    let bytes = 2.0 * (2.0 * LAYER * 2.0) + 2.0 * KV * 17.0;
    close(row.ue_flop.unwrap(), flop, 1e-12);
    let computing = row.ue_compute_s.unwrap().as_secs_f64();
    close(row.ue_energy_j.unwrap(), 1e-12 * flop + 50e-12 * bytes + 0.25 * computing, 1e-12);
    // Idle from the start until arrivals end at 2 s, but for that; the server draws 300 W at work, nothing else.
    close(finished.energies[&0].idle_j.unwrap(), 0.25 * (2.0 - computing), 1e-12);
    assert_eq!((finished.energies[&0].sleep_j, finished.energies[&0].battery_left_j), (None, None));
    close(finished.totals.edge_energy_j.unwrap(), 300.0 * row.edge_compute_s.unwrap().as_secs_f64(), 1e-12);
}

#[test]
fn a_session_on_the_device_that_is_cut_off_counts_what_it_did() {
    // A prompt of 16 tokens reads 32 layers and the head in 132.2 ms; so does each further token. 300 ms are two
    // passes and 0.27 of the third.
    let top = "service.mode = \"device-only\"";
    let finished = single(&[0.0], PER_WORK, top, "deadline_ms = 300.0\nworkload.output_tokens = 4");
    let row = &finished.rows[0];
    assert_eq!((row.outcome, finished.totals.edge_energy_j), (Outcome::Timeout, None));
    let weights = (32.0 * LAYER + HEAD) * 2.0;
    let decoded = |context: f64| {
        let flop = 32.0 * (2.0 * LAYER + 4.0 * context * 4096.0) + 2.0 * HEAD;
        (flop, weights + 32.0 * KV * context)
    };
    let passes = [(32.0 * layer_flop(16.0) + 2.0 * HEAD, weights), decoded(17.0), decoded(18.0)];
    let time = |(flop, bytes): (f64, f64)| (flop / 10e12).max(bytes / 100e9) + 1e-3;
    let third = (0.3 - time(passes[0]) - time(passes[1])) / time(passes[2]);
    assert!((0.1..0.9).contains(&third), "{third}");
    let done = |part: fn((f64, f64)) -> f64| part(passes[0]) + part(passes[1]) + third * part(passes[2]);
    close(row.ue_energy_j.unwrap(), 1e-12 * done(|pass| pass.0) + 50e-12 * done(|pass| pass.1) + 0.25 * 0.3, 1e-7);
}

#[test]
fn a_clock_has_cycles() {
    // 2 GHz, 64 FLOP a cycle: 128 GFLOP/s; κ f² = 1e-27·4e18 = 4 nJ per cycle.
    let device = "clock_ghz = 2.0\nflop_per_cycle = 64.0\nkappa = 1e-27";
    let finished = single(&[0.0], device, SPLIT, "");
    let row = &finished.rows[0];
    let cycles = 2.0 * layer_flop(16.0) / 64.0;
    same_time(row.ue_compute_s, cycles / 2e9 + 1e-3);
    close(row.ue_energy_j.unwrap(), 4e-9 * cycles, 1e-12);
    assert!(finished.energies.is_empty(), "nothing is said of idle power");
    // By default κ = 1e-28; and 0.1 W all the time.
    let device = "clock_ghz = 2.0\nflop_per_cycle = 64.0\nidle_power_w = 0.1";
    let row = &single(&[0.0], device, SPLIT, "").rows[0];
    close(row.ue_energy_j.unwrap(), 4e-10 * cycles + 0.1 * row.ue_compute_s.unwrap().as_secs_f64(), 1e-12);
}

#[test]
fn the_radio_sleeps_and_the_edge_idles() {
    let server = DEVICES.replace("power_w = 300.0", "power_w = 300.0\nidle_power_w = 40.0");
    let file = trace(&[0.25, 0.75], 16);
    let device = "peak_tflops = 10.0\nmemory_gb_s = 100.0\npower_w = 2.0\nidle_power_w = 0.5";
    let top = format!("{SPLIT}\nradio.sleep_power_units = 45.0\nradio.bandwidth_mhz = 1.0");
    let text = text(file.path(), device, &top, "").replace(DEVICES, &server);
    let finished = run(&text.replace("device = \"server\"", "device = \"server\"\nservers = 2"));
    let sum =
        |time: fn(&Row) -> Option<SimTime>| finished.rows.iter().map(|row| time(row).unwrap().as_secs_f64()).sum();
    let (computing, on_air, at_edge): (f64, f64, f64) =
        (sum(|row| row.ue_compute_s), sum(|row| row.uplink_air_s), sum(|row| row.edge_compute_s));
    let drawn = finished.energies[&0];
    close(drawn.idle_j.unwrap(), 0.5 * (2.0 - computing), 1e-12);
    // 45 units of 3 mW.
    close(drawn.sleep_j.unwrap(), 0.135 * (2.0 - on_air), 1e-12);
    close(finished.totals.edge_energy_j.unwrap(), 300.0 * at_edge + 40.0 * (2.0 * 2.0 - at_edge), 1e-12);
    for row in &finished.rows {
        close(row.ue_energy_j.unwrap(), 2.0 * row.ue_compute_s.unwrap().as_secs_f64(), 1e-12);
        close(row.tx_energy_j.unwrap(), TX_W * row.uplink_air_s.unwrap().as_secs_f64(), 1e-12);
    }
    // With a warm-up of 0.6 s the first request counts no more, nor does the time before.
    let finished = run(&text.replace("duration_s = 2.0", "duration_s = 2.0\nwarmup_s = 0.6"));
    let second = finished.rows[1].ue_compute_s.unwrap().as_secs_f64();
    close(finished.energies[&0].idle_j.unwrap(), 0.5 * (1.4 - second), 1e-12);
    close(
        finished.totals.edge_energy_j.unwrap(),
        {
            let at_edge = finished.rows[1].edge_compute_s.unwrap().as_secs_f64();
            300.0 * at_edge + 40.0 * (1.4 - at_edge)
        },
        1e-12,
    );
}

#[test]
fn an_edge_pays_for_a_batch_once() {
    let server = DEVICES.replace("power_w = 300.0", "energy_per_flop_pj = 2.0\nenergy_per_byte_pj = 10.0");
    let file = trace(&[0.0, 0.0], 16);
    let device = "peak_tflops = 10.0\nmemory_gb_s = 100.0";
    let text = text(file.path(), device, &format!("{SPLIT}\nradio.sharing = \"ideal\""), "count = 2");
    let text = text.replace(DEVICES, &server);
    let flop = 2.0 * (30.0 * layer_flop(16.0) + 2.0 * HEAD);
    let weights = (30.0 * LAYER + HEAD) * 2.0;
    for (edge, times) in [("discipline = \"batch\"\nmax_batch = 2", 1.0), ("discipline = \"ps\"", 2.0), ("", 2.0)] {
        let finished = run(&text.replace("device = \"server\"", &format!("device = \"server\"\n{edge}")));
        close(finished.totals.edge_energy_j.unwrap(), 2e-12 * flop + 10e-12 * weights * times, 1e-12);
    }
}

/// Chooses these splits in turn.
struct Script(Vec<u32>);

impl Controller for Script {
    fn decide(&mut self, observation: &Observation) -> Decision {
        Decision { action: 0, split: self.0[observation.decision as usize], log_prob: None, value: None }
    }
}

#[test]
fn layers_are_loaded_when_they_are_first_used() {
    let file = trace(&[0.0, 0.4, 0.8, 1.2, 1.6], 16);
    let device = format!("{PER_WORK}\nload_gb_s = 4.0");
    let assembly = assembly(&text(file.path(), &device, "split.initial = 2", ""));
    let splits = vec![2, 5, 3, 5, 7];
    let finished = simulate_with(&assembly, 1, 0, vec![Box::new(Script(splits.clone()))]);
    check(&assembly, &finished);
    let layer_s = LAYER * 2.0 / 4e9;
    for ((row, split), loaded) in finished.rows.iter().zip(splits).zip([0.0, 3.0, 0.0, 0.0, 2.0]) {
        let layers = f64::from(split);
        assert_eq!(row.split, Some(split));
        same_time(row.layer_load_s, loaded * layer_s);
        let computing = layers * LAYER * 2.0 / 100e9 + 1e-3;
        same_time(row.ue_compute_s, loaded * layer_s + computing);
        // What is loaded is bytes, too.
        let bytes = (layers + loaded) * LAYER * 2.0;
        let busy = row.ue_compute_s.unwrap().as_secs_f64();
        close(row.ue_energy_j.unwrap(), 1e-12 * layers * layer_flop(16.0) + 50e-12 * bytes + 0.25 * busy, 1e-9);
    }
    // Cut off while loading: no FLOP, and part of the bytes.
    let text = text(file.path(), &device, "split.initial = 2", "deadline_ms = 100.0");
    let assembly = crate::network_support::assembly(&text);
    let row = simulate_with(&assembly, 1, 0, vec![Box::new(Script(vec![4; 5]))]).rows[0].clone();
    assert_eq!((row.outcome, row.layer_load_s, row.ue_flop), (Outcome::Timeout, Some(seconds(0.1)), Some(0.0)));
    close(row.ue_energy_j.unwrap(), 50e-12 * 0.4e9 + 0.25 * 0.1, 1e-9);
}

/// Problems of a scenario and its inputs.
fn problems(text: &str) -> Result<Assembly, Vec<Problem>> {
    let loaded =
        LoadedScenario::from_bytes(Path::new("test.toml"), text.as_bytes(), &[]).map_err(|bad| bad.problems)?;
    assemble(loaded, &mut Library::default()).map_err(|bad| bad.problems)
}

#[test]
fn memory_bounds_the_split() {
    // A layer has 404.75 MB of weights and 1.05 MB of keys and values of 64 tokens: ten fit into 4.1 GB.
    let file = trace(&[0.0], 64);
    let device = "peak_tflops = 10.0\nmemory_gb_s = 100.0\nmemory_gb = 4.1";
    let fits = (4.1e9 / (LAYER * 2.0 + KV * 64.0)).floor() as u32;
    assert_eq!(fits, 10);
    let of = |top: &str, ue: &str| problems(&text(file.path(), device, top, ue));
    let cut = of("controller = { kind = \"fixed\" }", "").unwrap();
    assert_eq!((cut.network.split.max, cut.network.groups[0].max_split), (10, 10));
    let warning = &cut.warnings[0];
    assert_eq!((warning.path.as_str(), warning.is_error()), ("split.max", false));
    assert!(warning.message.contains("\"all\" is 10 for group \"phone\""), "{}", warning.message);
    for (top, ue, path, allowed) in [
        ("split.max = 11", "", "split.max", Some("1 to 10")),
        ("split.initial = 11", "", "split.initial", Some("1 to 10")),
        ("split.min = 11", "", "split.min", Some("nothing")),
        ("service.mode = \"device-only\"", "", "ue[0].device", None),
        // 700 more tokens have 12 MB per layer: nine fit.
        ("split.max = 10", "workload.output_tokens = 701", "split.max", Some("1 to 9")),
    ] {
        let found = of(top, ue).err().unwrap_or_else(|| panic!("{top} is allowed"));
        let error = found.iter().find(|problem| problem.is_error()).unwrap();
        assert_eq!((error.path.as_str(), error.allowed.as_deref()), (path, allowed), "{}", error.message);
        assert!(error.message.contains("GB") && error.hint.is_some(), "{error:?}");
    }
    assert_eq!(of("split.max = 10\nsplit.initial = 10", "").unwrap().warnings, []);
    let edge_only = of("service.mode = \"edge-only\"", "").unwrap();
    assert_eq!(edge_only.network.split.max, 32);
}

/// A group with less memory follows a common controller as far as it can.
#[test]
fn a_controllers_word_is_bounded_by_each_groups_memory() {
    let file = trace(&[0.0, 0.1], 16);
    let two = "[[device]]\nname = \"small\"\npeak_tflops = 10.0\nmemory_gb_s = 100.0\nmemory_gb = 1.0
[[ue]]\nname = \"small\"\ndevice = \"small\"\nworkload.kind = \"trace\"\nworkload.path = \"PATH\"\n[edge]"
        .replace("PATH", &file.path().display().to_string());
    let text =
        text(file.path(), "peak_tflops = 10.0\nmemory_gb_s = 100.0", "split.initial = 1", "").replace("[edge]", &two);
    let assembly = assembly(&text);
    assert_eq!(assembly.network.split.max, 32);
    let script = || Box::new(Script(vec![20; 2])) as Box<dyn Controller>;
    let finished = simulate_with(&assembly, 1, 0, vec![script(), script()]);
    check(&assembly, &finished);
    // Two layers of 404.75 MB fit into 1 GB.
    assert!(finished.rows.iter().all(|row| row.split == Some(if row.ue_id == 0 { 20 } else { 2 })));
}

#[test]
fn no_key_no_column() {
    let file = trace(&[0.0], 16);
    let assembly = assembly(&text(file.path(), "peak_tflops = 10.0\nmemory_gb_s = 100.0\npower_w = 3.0", SPLIT, ""));
    let finished = simulate(&assembly, 1, 0);
    let row = &finished.rows[0];
    assert_eq!((row.layer_load_s, row.battery_j), (None, None));
    assert!(finished.energies.is_empty());
    let streams = Streams::new(1, 0);
    assert_eq!(assembly.controllers(streams).len(), 1);
}
