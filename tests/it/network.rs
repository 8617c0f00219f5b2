//! Requests through the whole network: outcomes, phases and their times.

use std::collections::BTreeSet;

use proptest::prelude::*;
use splitwave::network::rows::Outcome;
use splitwave::units::SimTime;

use crate::network_support::{
    DEVICES, HEAD, LAYER, Row, assembly, check, layer_flop, run, seconds, simulate, together, trace,
};

/// Roofline of the phone \[s\].
fn phone(flop: f64, parameters: f64) -> f64 {
    (flop / 10e12).max(2.0 * parameters / 100e9) + 1e-3
}

/// Roofline of the server \[s\].
fn server(flop: f64, parameters: f64) -> f64 {
    (flop / 100e12).max(2.0 * parameters / 1e12) + 2e-3
}

const EDGES: [&str; 4] = [
    "discipline = \"fifo\"",
    "discipline = \"fifo\"\nservers = 3",
    "discipline = \"ps\"",
    "discipline = \"batch\"\nmax_batch = 3\nmax_wait_ms = 15.0",
];

/// A crowded cell: 6 phones, lossy channel, short queues, short drain.
fn crowded(mode: &str, edge: &str, digital: bool, sharing: &str, deadline_ms: f64) -> String {
    let reception = if digital { "digital" } else { "equalised" };
    let bandwidth = if digital { 20.0 } else { 3.0 };
    format!(
        "name = \"crowded\"
duration_s = 3.0
drain_limit_s = 0.01
[service]
mode = \"{mode}\"
[quality]
source = \"none\"
[split]
initial = {{ min = 1, max = 8, draw = \"per-request\" }}
[channel]
reception = \"{reception}\"
loss_probability = 0.3
doppler_hz = 4.0
[radio]
sharing = \"{sharing}\"
bandwidth_mhz = {bandwidth}
retransmission_delay_ms = 12.0
max_transmissions = 2
[[ue]]
name = \"phone\"
device = \"phone\"
count = 6
queue_capacity = 1
deadline_ms = {deadline_ms}
workload = {{ rate_per_s = 9.0, prompt_tokens = {{ min = 5, max = 60, draw = \"per-request\" }} }}
[edge]
device = \"server\"
{edge}
{DEVICES}"
    )
}

/// Every service mode, discipline, reception and radio, with deadlines that
/// strike in every phase: the invariants of `check`, and that it all happens.
#[test]
fn phases_add_up_whatever_happens() {
    // By mode: the phases in which deadlines strike. Never in the UE's queue: whoever is
    // ahead there arrived earlier, and so is done or late earlier, too.
    for (mode, struck, outcomes) in [
        ("split", BTreeSet::from([1, 3, 4, 5, 6]), 5),
        ("edge-only", BTreeSet::from([3, 4, 5, 6]), 4),
        ("device-only", BTreeSet::from([1]), 4),
    ] {
        let (mut phases, mut seen) = (BTreeSet::new(), BTreeSet::new());
        for edge in EDGES {
            let mut at_edge = BTreeSet::new();
            for digital in [false, true] {
                for sharing in ["flow-ps", "ideal"] {
                    for deadline_ms in [3.0, 10.0, 17.0, 24.0, 35.0, 50.0, 80.0, 120.0, 200.0, 600.0] {
                        let assembly = assembly(&crowded(mode, edge, digital, sharing, deadline_ms));
                        // Other arrivals for each deadline.
                        let finished = simulate(&assembly, deadline_ms as u64, 0);
                        check(&assembly, &finished);
                        seen.extend(finished.rows.iter().map(|row| row.outcome));
                        let timeouts = finished.rows.iter().filter(|row| row.outcome == Outcome::Timeout);
                        at_edge.extend(timeouts.filter_map(Row::last_phase));
                    }
                }
            }
            if mode != "device-only" {
                assert!(at_edge.contains(&5), "{mode}, {edge}: {at_edge:?}");
            }
            phases.extend(at_edge);
        }
        assert_eq!(phases, struck, "{mode}");
        assert_eq!(seen.len(), outcomes, "{mode}: {seen:?}");
    }
}

/// On an ideal radio token ids wait nowhere but before they are sent again.
#[test]
fn a_deadline_strikes_during_the_backoff() {
    let finished = run(&crowded("edge-only", EDGES[0], true, "ideal", 5.0));
    let waiting: Vec<&Row> =
        finished.rows.iter().filter(|row| row.outcome == Outcome::Timeout && row.last_phase() == Some(3)).collect();
    assert!(!waiting.is_empty());
    for row in waiting {
        assert_eq!((row.uplink_wait_s, row.uplink_air_s), (Some(seconds(5e-3)), Some(SimTime::ZERO)));
        assert!(row.packets_lost > Some(0));
    }
}

/// A request whose second transmission is cut off has sent what its packets say.
#[test]
fn bits_and_packets_tell_the_same_story() {
    let text =
        crowded("edge-only", EDGES[0], true, "flow-ps", 30.0).replace("bandwidth_mhz = 20", "bandwidth_mhz = 0.02");
    let finished = run(&text);
    let mut cut_off = 0;
    for row in &finished.rows {
        // One packet of 15 bits per token id.
        assert_eq!(row.uplink_bits, row.packets_sent.map(|sent| u64::from(sent * 15 * row.prompt_tokens)), "{row:#?}");
        let one = SimTime::from_secs_saturating(f64::from(15 * row.prompt_tokens) / 80e3);
        let again = row.packets_sent == Some(1) && row.uplink_air_s > Some(one);
        cut_off += u32::from(again && row.outcome == Outcome::Timeout);
    }
    assert!(cut_off > 0);
}

/// One request at 0.5 s, alone in the network.
fn alone(mode: &str, channel: &str, tokens: u32) -> Row {
    let file = trace(&[0.5], tokens);
    let path = file.path().display();
    let half = assembly("name = \"layers\"\nquality.source = \"none\"").network.model_layers / 2;
    let finished = run(&format!(
        "name = \"alone\"
duration_s = 1.0
[service]
mode = \"{mode}\"
[quality]
source = \"none\"
[split]
initial = {half}
[channel]
{channel}
[[ue]]
name = \"phone\"
device = \"phone\"
workload = {{ kind = \"trace\", path = \"{path}\" }}
[edge]
device = \"server\"
{DEVICES}"
    ));
    assert_eq!(finished.rows.len(), 1);
    finished.rows[0].clone()
}

/// A result on the deadline is in time; a nanosecond later it is not.
#[test]
fn a_deadline_is_met_to_the_nanosecond() {
    for mode in ["split", "edge-only", "device-only"] {
        let e2e = alone(mode, "", 20).e2e_s.unwrap();
        for (late, outcome) in [(0, Outcome::Completed), (1, Outcome::Timeout)] {
            let file = trace(&[0.5], 20);
            let deadline_ms = (e2e.as_nanos() - late) as f64 / 1e6;
            let half = assembly("name = \"layers\"\nquality.source = \"none\"").network.model_layers / 2;
            let finished = run(&format!(
                "name = \"deadline\"\nduration_s = 1.0\nservice.mode = \"{mode}\"\nquality.source = \"none\"\n\
                 split.initial = {half}\n[[ue]]\nname = \"phone\"\ndevice = \"phone\"\ndeadline_ms = {deadline_ms}\n\
                 workload = {{ kind = \"trace\", path = \"{}\" }}\n[edge]\ndevice = \"server\"\n{DEVICES}",
                file.path().display()
            ));
            assert_eq!(finished.rows[0].outcome, outcome, "{mode}, {late} ns: {:#?}", finished.rows[0]);
        }
    }
}

/// Half of LLaMA-2-7B's 32 layers on either side, on devices with round numbers.
#[test]
fn a_lone_request_takes_the_computed_times() {
    // 5 ms and 15 bits at 50 Mbit/s.
    let downlink = 5e-3 + 15.0 / 50e6;
    for (tokens, s) in [(20, 20.0), (512, 512.0)] {
        let half = 16.0 * layer_flop(s);
        let (on_ue, at_edge) = (phone(half, 16.0 * LAYER), server(half + 2.0 * HEAD, 16.0 * LAYER + HEAD));
        let all = phone(32.0 * layer_flop(s) + 2.0 * HEAD, 32.0 * LAYER + HEAD);
        let edge_all = server(32.0 * layer_flop(s) + 2.0 * HEAD, 32.0 * LAYER + HEAD);
        for (mode, channel, expected) in [
            // Two values per hertz and second at 20 MHz.
            ("split", "", [0.0, on_ue, 0.0, s * 4096.0 / 40e6, 0.0, at_edge, downlink]),
            // 4 bit/s/Hz at 20 MHz: 80 Mbit/s.
            ("split", "reception = \"digital\"", [0.0, on_ue, 0.0, s * 65_536.0 / 80e6, 0.0, at_edge, downlink]),
            (
                "split",
                "reception = \"digital\"\nencoding = \"f32\"",
                [0.0, on_ue, 0.0, s * 4096.0 * 32.0 / 80e6, 0.0, at_edge, downlink],
            ),
            ("edge-only", "reception = \"digital\"", [0.0, 0.0, 0.0, s * 15.0 / 80e6, 0.0, edge_all, downlink]),
            ("device-only", "", [0.0, all, f64::NAN, f64::NAN, f64::NAN, f64::NAN, f64::NAN]),
        ] {
            let row = alone(mode, channel, tokens);
            for (phase, expected) in row.phases().into_iter().zip(expected) {
                match phase {
                    Some(phase) => assert!(
                        (phase.as_secs_f64() - expected).abs() <= 1e-9,
                        "{mode}, {channel}, {tokens} tokens: {phase} for {expected}: {row:#?}"
                    ),
                    None => assert!(expected.is_nan(), "{mode}: {row:#?}"),
                }
            }
            let watts = row.ue_energy_j.unwrap() / row.ue_compute_s.unwrap().as_secs_f64().max(1e-12);
            assert!(mode == "edge-only" || (watts - 4.0).abs() < 1e-9, "{watts}");
        }
    }
    // By hand once more: 16 layers of 404.75 MB at 100 GB/s and 1 ms.
    assert_eq!(alone("split", "", 20).ue_compute_s, Some(SimTime::from_nanos(65_760_054)));
}

/// Weights are read once per batch; arithmetic adds up.
#[test]
fn a_batch_takes_its_sum_of_flop_or_one_reading_of_the_weights() {
    let layers = f64::from(assembly("name = \"layers\"\nquality.source = \"none\"").network.model_layers);
    let at_edge = 32.0 - (2.0 * 32.0 / layers).round();
    for k in [1u32, 4, 8, 16] {
        let edge = format!("discipline = \"batch\"\nmax_batch = {k}\nmax_wait_ms = 1.0");
        let finished = together(&vec![0.5; k as usize], 20, 20.0, "", &edge);
        let flop = f64::from(k) * (at_edge * layer_flop(20.0) + 2.0 * HEAD);
        let expected = seconds(server(flop, at_edge * LAYER + HEAD));
        assert_eq!(finished.rows.len(), k as usize);
        for row in &finished.rows {
            assert!(row.edge_compute_s.unwrap().as_nanos().abs_diff(expected.as_nanos()) <= 1, "{k}: {row:#?}");
            assert_eq!(row.edge_wait_s, Some(SimTime::ZERO));
            // k equal flows that start together take k times their airtime.
            let air = SimTime::from_nanos(2_048_000);
            assert_eq!(row.uplink_air_s, Some(air));
            assert_eq!(row.uplink_wait_s.unwrap().as_nanos(), u64::from(k - 1) * air.as_nanos());
        }
    }
    // Alone in a batch that could be larger, a request waits its 1 ms and no longer.
    let edge = "discipline = \"batch\"\nmax_batch = 8\nmax_wait_ms = 1.0";
    assert_eq!(together(&[0.5], 20, 20.0, "", edge).rows[0].edge_wait_s, Some(seconds(1e-3)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::cases(60), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_network_keeps_its_books(
        mode in prop::sample::select(vec!["split", "split", "edge-only", "device-only"]),
        reception in prop::sample::select(vec!["raw", "equalised", "digital"]),
        unit in prop::sample::select(vec!["token-row", "chunk", "element-iid"]),
        sharing in prop::sample::select(vec!["flow-ps", "ideal"]),
        controller in prop::sample::select(vec!["fixed", "random"]),
        source in prop::sample::select(vec!["none", "none", "none", "llm"]),
        edge in prop::sample::select(vec![
            "discipline = \"fifo\"\nservers = 1",
            "discipline = \"fifo\"\nservers = 4\nservice_time = { mean_ms = 40.0 }",
            "discipline = \"ps\"",
            "discipline = \"ps\"\nservice_time = { law = \"deterministic\", mean_ms = 15.0 }",
            "discipline = \"batch\"\nmax_batch = 1",
            "discipline = \"batch\"\nmax_batch = 5\nmax_wait_ms = 0.0",
            "discipline = \"batch\"\nmax_batch = 4\nmax_wait_ms = 60.0",
        ]),
        workload in prop::sample::select(vec![
            "kind = \"poisson\", rate_per_s = 6.0",
            "kind = \"deterministic\", rate_per_s = 10.0",
            "kind = \"closed-loop\", think_time_s = 0.02",
            "kind = \"closed-loop\", think_time_s = 0.0",
        ]),
        (count, tokens, loss, fading) in (1u32..5, 1u32..24, 0.0f64..0.8, any::<bool>()),
        (deadline_ms, capacity) in (prop::option::of(0.001f64..300.0), prop::option::of(0u32..3)),
        (doppler_hz, delay_ms, most, packet_bytes) in (0.0f64..200.0, 0.1f64..30.0, 1u32..5, 1u32..3000),
        (duration_s, drain_s, requests) in (0.1f64..2.0, 0.0f64..0.3, 1u64..60),
        (seed, latency_ms, bandwidth) in (any::<u32>(), 0.0f64..10.0, 1.0f64..40.0),
    ) {
        let deadline = deadline_ms.map(|ms| format!("deadline_ms = {ms}\n")).unwrap_or_default();
        let capacity = capacity.map(|places| format!("queue_capacity = {places}\n")).unwrap_or_default();
        let (fading, loss) = if fading || unit == "element-iid" { ("rayleigh", loss) } else { ("none", 0.0) };
        let text = format!(
            "name = \"any\"
duration_s = {duration_s}
drain_limit_s = {drain_s}
stop = {{ requests = {requests} }}
service.mode = \"{mode}\"
quality.source = \"{source}\"
[split]
initial = {{ min = 1, max = 4, draw = \"per-episode\" }}
[controller]
kind = \"{controller}\"
steps_per_episode = 2
[channel]
reception = \"{reception}\"
loss_unit = \"{unit}\"
loss_probability = {loss}
doppler_hz = {doppler_hz}
fading = \"{fading}\"
[radio]
sharing = \"{sharing}\"
bandwidth_mhz = {bandwidth}
packet_bytes = {packet_bytes}
retransmission_delay_ms = {delay_ms}
max_transmissions = {most}
downlink_latency_ms = {latency_ms}
[[ue]]
name = \"phone\"
device = \"phone\"
count = {count}
{deadline}{capacity}workload = {{ {workload}, prompt_tokens = {tokens} }}
[edge]
device = \"server\"
{edge}
[output]
sample_interval_s = 0.1
{DEVICES}"
        );
        let assembly = assembly(&text);
        let finished = simulate(&assembly, u64::from(seed), 3);
        check(&assembly, &finished);
        let again = simulate(&assembly, u64::from(seed), 3);
        prop_assert_eq!(finished.rows, again.rows);
    }
}
