//! Sessions of several rounds: timelines by hand, rows that are sent again, and what
//! always holds.

use splitwave::channel::{Fading, Link, LossUnit, Moment, gain_threshold_for, rayleigh_gain};
use splitwave::kernel::Streams;
use splitwave::network::rows::Outcome;
use splitwave::run::assembly::Assembly;
use splitwave::units::SimTime;

use crate::network_support::{
    DEVICES, Finished, HEAD, LAYER, Row, assembly, check, layer_flop, run, seconds, simulate, trace,
};

/// Bytes of a layer's keys and values per position: 2·4096 values in f16.
const KV: f64 = 16_384.0;
/// A token id of 15 bits at 50 Mbit/s after 5 ms.
const BACK: f64 = 0.005 + 15.0 / 50e6;

/// FLOP of a layer for one token that attends to `context` positions.
fn decode_layer_flop(context: f64) -> f64 {
    2.0 * LAYER + 4.0 * context * 4096.0
}

/// Time of a decoded token in `layers` layers (and the head) at `flop_per_s` and
/// `bytes_per_s`: reading takes longer than computing.
fn decode_s(layers: f64, head: f64, context: f64, bytes_per_s: f64, overhead_s: f64) -> f64 {
    ((layers * LAYER + head) * 2.0 + layers * KV * context) / bytes_per_s + overhead_s
}

fn phone_decode_s(layers: f64, context: f64) -> f64 {
    decode_s(layers, 0.0, context, 100e9, 1e-3)
}

fn server_decode_s(layers: f64, context: f64) -> f64 {
    decode_s(layers, HEAD, context, 1e12, 2e-3)
}

/// Phones whose prompts of 16 tokens arrive at the given instants, one each in turn.
fn phones(mode: &str, count: usize, arrivals: &[f64], tokens: u32, radio: &str, edge: &str) -> Finished {
    let file = trace(arrivals, 16);
    let path = file.path().display();
    run(&format!(
        "name = \"sessions\"
duration_s = 2.0
service.mode = \"{mode}\"
quality.source = \"none\"
[split]
initial = 2
[controller]
kind = \"fixed\"
[channel]
fading = \"none\"
[radio]
{radio}
[[ue]]
name = \"phone\"
device = \"phone\"
count = {count}
workload = {{ kind = \"trace\", path = \"{path}\", output_tokens = {tokens} }}
[edge]
device = \"server\"
{edge}
{DEVICES}"
    ))
}

/// 1 MHz: a row of 4096 values takes 2.048 ms, a prompt of 16 of them 32.768 ms.
const NARROW: &str = "bandwidth_mhz = 1.0";
const ROW: f64 = 2.048e-3;

/// Prefill of 16 tokens: 4 of 32 layers on the phone, the rest and the head on the server.
fn phone_prefill_s() -> f64 {
    (4.0 * layer_flop(16.0) / 10e12).max(4.0 * LAYER * 2.0 / 100e9) + 1e-3
}

fn server_prefill_s(layers: f64) -> f64 {
    ((layers * layer_flop(16.0) + 2.0 * HEAD) / 100e12).max((layers * LAYER + HEAD) * 2.0 / 1e12) + 2e-3
}

/// The sum of spans that the simulation rounds one by one.
fn nanos(spans: &[f64]) -> SimTime {
    spans.iter().map(|&span| seconds(span)).sum()
}

#[test]
fn a_split_session_by_hand() {
    let row = phones("split", 1, &[0.5], 3, NARROW, "").rows.remove(0);
    let ue = [phone_prefill_s(), phone_decode_s(4.0, 17.0), phone_decode_s(4.0, 18.0)];
    let edge = [server_prefill_s(28.0), server_decode_s(28.0, 17.0), server_decode_s(28.0, 18.0)];
    assert_eq!(row.ue_compute_s, Some(nanos(&ue)));
    assert_eq!(row.uplink_air_s, Some(nanos(&[16.0 * ROW, ROW, ROW])));
    assert_eq!(row.edge_compute_s, Some(nanos(&edge)));
    assert_eq!(row.downlink_s, Some(nanos(&[BACK, BACK, BACK])));
    assert_eq!((row.ue_wait_s, row.edge_wait_s), (Some(SimTime::ZERO), Some(SimTime::ZERO)));
    assert_eq!(row.ttft_s, Some(nanos(&[ue[0], 16.0 * ROW, edge[0], BACK])));
    let further = row.e2e_s.unwrap() - row.ttft_s.unwrap();
    assert_eq!(further, nanos(&[ue[1], ue[2], ROW, ROW, edge[1], edge[2], BACK, BACK]));
    assert_eq!(row.tpot_s, Some(further.as_secs_f64() / 2.0));
    // 16 rows of the prompt and two further ones, a packet each; gain 1 and nothing lost.
    assert_eq!((row.packets_sent, row.packets_lost, row.rows_lost), (Some(18), Some(0), Some(0)));
    let same = |found: Option<f64>, expected: f64| assert!((found.unwrap() / expected - 1.0).abs() < 1e-12);
    same(row.ue_flop, 4.0 * (layer_flop(16.0) + decode_layer_flop(17.0) + decode_layer_flop(18.0)));
    same(
        row.edge_flop,
        28.0 * (layer_flop(16.0) + decode_layer_flop(17.0) + decode_layer_flop(18.0)) + 3.0 * 2.0 * HEAD,
    );
    same(row.ue_energy_j, 4.0 * row.ue_compute_s.unwrap().as_secs_f64());
}

#[test]
fn alone_on_the_device_and_alone_at_the_edge() {
    let device = phones("device-only", 1, &[0.5], 3, NARROW, "").rows.remove(0);
    let prefill = ((32.0 * layer_flop(16.0) + 2.0 * HEAD) / 10e12).max((32.0 * LAYER + HEAD) * 2.0 / 100e9) + 1e-3;
    let decode = |context: f64| decode_s(32.0, HEAD, context, 100e9, 1e-3);
    assert_eq!(device.ttft_s, Some(nanos(&[prefill])));
    assert_eq!(device.e2e_s, Some(nanos(&[prefill, decode(17.0), decode(18.0)])));
    assert_eq!((device.ue_compute_s, device.downlink_s), (device.e2e_s, None));

    let edge = phones("edge-only", 1, &[0.5], 3, NARROW, "").rows.remove(0);
    // 16 token ids of 15 bits at 2 bit/s/Hz.
    let up = 16.0 * 15.0 / 2e6;
    let served = [server_prefill_s(32.0), server_decode_s(32.0, 17.0), server_decode_s(32.0, 18.0)];
    assert_eq!(edge.ttft_s, Some(nanos(&[up, served[0], BACK])));
    assert_eq!(edge.edge_compute_s, Some(nanos(&served)));
    assert_eq!(edge.e2e_s, Some(nanos(&[up, served[0], served[1], served[2], BACK])));
    assert_eq!(edge.downlink_s, Some(nanos(&[BACK])), "the first two tokens return while the edge goes on");
    assert_eq!((edge.packets_sent, edge.uplink_air_s), (Some(1), Some(nanos(&[up]))));
}

/// (edge_wait, edge_compute, ttft, e2e) \[s\] of two edge-only sessions of two tokens.
fn at_the_edge(edge: &str) -> Vec<[SimTime; 4]> {
    let finished = phones("edge-only", 2, &[0.1, 0.15], 2, "sharing = \"ideal\"", edge);
    let times = |row: &Row| [row.edge_wait_s, row.edge_compute_s, row.ttft_s, row.e2e_s].map(Option::unwrap);
    finished.by_arrival().iter().map(times).collect()
}

#[test]
fn rounds_are_jobs_of_the_edges_discipline() {
    let law = "service_time = { law = \"deterministic\", mean_ms = 100.0 }";
    let back = seconds(BACK);
    let after = |times: [f64; 4]| {
        let [wait, compute, ttft, e2e] = times.map(seconds);
        [wait, compute, ttft + back, e2e + back]
    };
    // A serves 0.1–0.2 and 0.3–0.4 (behind B), B 0.2–0.3 and 0.4–0.5.
    assert_eq!(at_the_edge(law), [after([0.1, 0.2, 0.1, 0.3]), after([0.15, 0.2, 0.15, 0.35])]);
    // A alone to 0.15, both at half speed: A's rounds end at 0.25 and 0.45, B's at 0.35 and 0.5.
    let shared = format!("discipline = \"ps\"\n{law}");
    assert_eq!(at_the_edge(&shared), [after([0.15, 0.2, 0.15, 0.35]), after([0.15, 0.2, 0.2, 0.35])]);
}

/// A's prompt alone; B's prompt with A's token, weights read once; B's token alone.
#[test]
fn rounds_and_prompts_share_batches() {
    let edge = "discipline = \"batch\"\nmax_batch = 4\nmax_wait_ms = 0.0";
    let finished = phones("edge-only", 2, &[0.1, 0.1], 2, "sharing = \"ideal\"", edge);
    let [a, b] = &finished.by_arrival()[..] else { panic!("two requests") };
    let flop = 32.0 * (layer_flop(16.0) + decode_layer_flop(17.0)) + 4.0 * HEAD;
    let bytes = (32.0 * LAYER + HEAD) * 2.0 + 32.0 * KV * 17.0;
    let together = (flop / 100e12).max(bytes / 1e12) + 2e-3;
    let (first, last) = (server_prefill_s(32.0), server_decode_s(32.0, 17.0));
    assert!(together > first, "the batch is no faster than its prompt");
    assert_eq!((a.ttft_s, a.e2e_s), (Some(nanos(&[first, BACK])), Some(nanos(&[first, together, BACK]))));
    assert_eq!(b.ttft_s, Some(nanos(&[first, together, BACK])));
    assert_eq!(b.e2e_s, Some(nanos(&[first, together, last, BACK])));
    assert_eq!((a.edge_wait_s, b.edge_wait_s), (Some(SimTime::ZERO), Some(nanos(&[first]))));
}

/// While A's tensor is away, B's prompt takes the phone; A's next row comes back while B
/// is computed and goes before C, which has waited longer.
#[test]
fn a_decode_round_goes_before_new_prompts() {
    let quick = "service_time = { law = \"deterministic\", mean_ms = 1.0 }";
    let radio = "sharing = \"ideal\"\ndownlink_latency_ms = 2.0";
    let finished = phones("split", 1, &[0.1, 0.105, 0.11], 2, radio, quick);
    let [a, b, c] = &finished.by_arrival()[..] else { panic!("three requests") };
    let (prompt, token) = (seconds(phone_prefill_s()), seconds(phone_decode_s(4.0, 17.0)));
    let away = seconds(1e-3) + seconds(2e-3 + 15.0 / 50e6);
    assert!(away < prompt && seconds(0.01) < prompt);
    // On the phone: A, B, A's token, B's token, C, C's token.
    assert_eq!(a.ue_wait_s, Some(prompt - away));
    assert_eq!(a.e2e_s, Some(prompt + prompt + token + away));
    // B's row is back before A's token is done.
    assert!(away < token);
    assert_eq!(b.ue_wait_s, Some((prompt - seconds(0.005)) + (token - away)));
    assert_eq!(c.ue_wait_s, Some(prompt + prompt + token + token - seconds(0.01)));
    assert_eq!(c.ttft_s, Some(c.ue_wait_s.unwrap() + prompt + away));
}

/// A full queue holds new prompts only: rounds that come back need no place in it.
#[test]
fn rounds_that_come_back_are_never_dropped() {
    let text = |tokens: u32| {
        format!(
            "name = \"full\"\nduration_s = 20.0\nquality.source = \"none\"\n[channel]\nfading = \"none\"\n[[ue]]\n\
             device = \"phone\"\nqueue_capacity = 0\nworkload = {{ rate_per_s = 8.0, prompt_tokens = 16, \
             output_tokens = {tokens} }}\n[edge]\ndevice = \"server\"\n{DEVICES}"
        )
    };
    let finished = run(&text(8));
    assert!(finished.count(Outcome::Dropped) > 0);
    assert_eq!(finished.count(Outcome::Completed) + finished.count(Outcome::Dropped), finished.rows.len());
}

/// Rows in packets of 1400 bytes (six) or of one row over a fading uplink, sent again every 3 ms.
fn fading(channel: &str, loss: f64, seed: u64) -> (Assembly, Finished) {
    let assembly = assembly(&format!(
        "name = \"again\"
duration_s = 60.0
quality.source = \"none\"
[controller]
kind = \"fixed\"
[channel]
loss_probability = {loss}
doppler_hz = 25.0
{channel}
[radio]
bandwidth_mhz = 1.0
retransmission_delay_ms = 3.0
max_transmissions = 4
[[ue]]
device = \"phone\"
workload = {{ kind = \"deterministic\", rate_per_s = 0.5, prompt_tokens = 16, output_tokens = 12 }}
[edge]
device = \"server\"
{DEVICES}"
    ));
    let finished = simulate(&assembly, seed, 0);
    check(&assembly, &finished);
    (assembly, finished)
}

/// What a session must be, from the gains of its only link alone.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    sent: u32,
    lost: u32,
    rows_lost: u32,
    air: SimTime,
    wait: SimTime,
    e2e: SimTime,
}

/// Follows a session on a UE, an uplink and an edge that serve nobody else.
/// Gives the rows lost of the decode rounds besides.
fn follow(assembly: &Assembly, row: &Row, seed: u64, loss: f64, deadline: Option<SimTime>) -> (Expected, u32) {
    let network = &assembly.network;
    let link = Fading::new(&network.channels[0].fading, &Streams::new(seed, 0), Link::of_ue(0)).unwrap();
    let threshold = gain_threshold_for(loss, std::f64::consts::FRAC_1_SQRT_2).unwrap();
    let is_lost = |at: SimTime| {
        rayleigh_gain(std::f64::consts::FRAC_1_SQRT_2, link.envelope(Moment::at(at.as_secs_f64(), 25.0))) < threshold
    };
    let midpoints = |start: SimTime, airtime: u64, packets: u64| {
        (0..packets).map(move |k| start + SimTime::from_nanos(airtime * (2 * k + 1) / (2 * packets)))
    };
    let by_chunk = network.channels[0].loss_unit == LossUnit::Chunk;
    // Of the packets lost[k] of as many rows: those rows that lose a packet, or all of theirs.
    let rows_lost = |lost: &[bool], rows: usize| {
        let is_lost = |row: &usize| {
            let parts =
                (0..lost.len()).filter(|k| k * rows < (row + 1) * lost.len() && (k + 1) * rows > row * lost.len());
            let (all, missing) = parts.fold((0, 0), |(all, missing), k| (all + 1, missing + u32::from(lost[k])));
            if by_chunk { missing == all } else { missing > 0 }
        };
        (0..rows).filter(is_lost).count() as u32
    };
    let mut expected = Expected::default();
    let mut now = row.arrival_s + seconds((2.0 * layer_flop(16.0) / 10e12).max(2.0 * LAYER * 2.0 / 100e9) + 1e-3);
    let prompt = network.tensor_payload(0, 16);
    expected.sent = prompt.packets;
    let lost: Vec<bool> = midpoints(now, prompt.airtime.as_nanos(), u64::from(prompt.packets)).map(is_lost).collect();
    expected.lost = lost.iter().filter(|&&lost| lost).count() as u32;
    expected.rows_lost = rows_lost(&lost, 16);
    let of_prompt = expected.rows_lost;
    expected.air = prompt.airtime;
    now += prompt.airtime + seconds(server_prefill_s(30.0)) + seconds(BACK);
    let whole = network.tensor_payload(0, 1);
    for round in 1..row.output_tokens {
        let context = f64::from(16 + round);
        now += seconds(phone_decode_s(2.0, context));
        let begun = now;
        let mut pending = u64::from(whole.packets);
        for transmission in 1.. {
            let airtime = whole.airtime.as_nanos() * pending / u64::from(whole.packets);
            let done = now + SimTime::from_nanos(airtime);
            if deadline.is_some_and(|deadline| done > begun + deadline) {
                expected.air += (begun + deadline.unwrap()).saturating_sub(now);
                now = begun + deadline.unwrap();
                break;
            }
            let lost = midpoints(now, airtime, pending).filter(|&at| is_lost(at)).count() as u64;
            expected.sent += pending as u32;
            expected.lost += lost as u32;
            expected.air += done - now;
            (now, pending) = (done, lost);
            if lost == 0 || deadline.is_none() || transmission == 4 {
                break;
            }
            let again = now + seconds(3e-3);
            if again >= begun + deadline.unwrap() {
                now = begun + deadline.unwrap();
                break;
            }
            now = again;
        }
        let allowed = if by_chunk { u64::from(whole.packets) - 1 } else { 0 };
        expected.rows_lost += u32::from(pending > allowed);
        expected.wait += now - begun;
        now += seconds(server_decode_s(30.0, context)) + seconds(BACK);
    }
    // So far the whole time of rows on the uplink; what is left is between transmissions.
    expected.wait = (expected.wait + prompt.airtime) - expected.air;
    expected.e2e = now - row.arrival_s;
    let of_rounds = expected.rows_lost - of_prompt;
    (expected, of_rounds)
}

#[test]
fn rows_are_sent_again_until_they_arrive_or_it_is_enough() {
    let am = |ms: f64| (format!("decode = {{ deadline_ms = {ms} }}"), Some(seconds(ms * 1e-3)));
    let none = || ("decode = { delivery = \"none\" }".to_owned(), None);
    let (mut again, mut concealed, mut by_chunk, mut followed) = (0, [0; 5], [0; 5], 0);
    for (case, (decode, deadline)) in [am(100.0), am(9.0), am(1.5), am(1e12), none()].into_iter().enumerate() {
        for reception in ["", "reception = \"digital\"", "reception = \"digital\"\nloss_unit = \"chunk\""] {
            for seed in 1..=2 {
                let (assembly, finished) = fading(&format!("{reception}\n{decode}"), 0.25, seed);
                for row in finished.rows.iter().filter(|row| row.outcome == Outcome::Completed) {
                    let (expected, of_rounds) = follow(&assembly, row, seed, 0.25, deadline);
                    let found = Expected {
                        sent: row.packets_sent.unwrap(),
                        lost: row.packets_lost.unwrap(),
                        rows_lost: row.rows_lost.unwrap(),
                        air: row.uplink_air_s.unwrap(),
                        wait: row.uplink_wait_s.unwrap(),
                        e2e: row.e2e_s.unwrap(),
                    };
                    assert_eq!(found, expected, "{decode}, {reception}: {row:#?}");
                    again += expected.sent.saturating_sub(16 * 6 + 11 * 6);
                    let of_case = if reception.ends_with("\"chunk\"") { &mut by_chunk } else { &mut concealed };
                    of_case[case] += of_rounds;
                    followed += 1;
                }
            }
        }
    }
    assert!(followed > 300, "{followed}");
    assert!(again > 50, "{again} packets sent again");
    // A row takes 2 ms: within 1.5 ms none arrives. Four transmissions are not always enough.
    assert!(concealed[0] < concealed[1] && concealed[1] < concealed[2], "{concealed:?}");
    assert!(concealed[3] > 0 && concealed[3] < concealed[4], "{concealed:?}");
    // A row of six packets takes 16 ms; it rarely loses all of them.
    assert_eq!((by_chunk[0], by_chunk[1], by_chunk[3]), (0, by_chunk[2], 0), "{by_chunk:?}");
    assert!(by_chunk[4] > 0 && by_chunk[4] * 10 < concealed[4], "{by_chunk:?}, {concealed:?}");
}

#[test]
fn lone_elements_are_never_sent_again() {
    let (_, finished) = fading("loss_unit = \"element-iid\"", 0.25, 1);
    assert!(finished.rows.len() > 20);
    for row in &finished.rows {
        assert_eq!(row.outcome, Outcome::Completed);
        assert_eq!((row.packets_sent, row.packets_lost, row.rows_lost), (Some(16 + 11), Some(0), None));
        assert_eq!(row.uplink_wait_s, Some(SimTime::ZERO));
    }
}

/// Everything drawn, everything scarce: `check` adds up phases, outcomes and work.
#[test]
fn phases_add_up_and_every_arrival_ends() {
    let mut outcomes = [0; 5];
    for mode in ["split", "edge-only", "device-only"] {
        for edge in ["", "discipline = \"ps\"", "discipline = \"batch\"\nmax_batch = 3"] {
            for (seed, decode) in
                [(1, ""), (2, "decode = { delivery = \"none\" }"), (3, "decode = { deadline_ms = 5.0 }")]
            {
                let assembly = assembly(&format!(
                    "name = \"sessions\"
duration_s = 12.0
drain_limit_s = 0.3
service.mode = \"{mode}\"
quality.source = \"none\"
[split]
initial = {{ min = 1, max = 16, draw = \"per-request\" }}
[channel]
loss_probability = {{ min = 0.0, max = 0.6, draw = \"per-request\" }}
doppler_hz = 20.0
{decode}
[radio]
bandwidth_mhz = 1.0
[[ue]]
name = \"phone\"
device = \"phone\"
count = 3
queue_capacity = 1
deadline_ms = 700.0
workload = {{ rate_per_s = 2.0, prompt_tokens = {{ min = 2, max = 16, draw = \"per-request\" }}, output_tokens = 6 }}
[[ue]]
name = \"loop\"
device = \"phone\"
workload = {{ kind = \"closed-loop\", think_time_s = 0.1, prompt_tokens = 8, output_tokens = 1 }}
[edge]
device = \"server\"
{edge}
[output]
sample_interval_s = 0.1
{DEVICES}"
                ));
                let finished = simulate(&assembly, seed, 0);
                check(&assembly, &finished);
                for row in &finished.rows {
                    outcomes[row.outcome as usize] += 1;
                    assert!(row.ttft_s.is_none_or(|first| first <= row.spent()));
                }
                assert!(finished.series.iter().all(|sample| sample.ue_queue_mean <= 30.0), "a count below zero");
            }
        }
    }
    assert!(outcomes.iter().all(|&count| count > 0), "{outcomes:?}");
}

/// Rounds without any time of their own follow each other by events, not down the stack.
#[test]
fn a_hundred_thousand_rounds_in_no_time() {
    let edge = "discipline = \"ps\"\nservice_time = { law = \"deterministic\", mean_ms = 1e-7 }";
    let row = phones("edge-only", 1, &[0.1], 100_000, "sharing = \"ideal\"", edge).rows.remove(0);
    assert_eq!((row.ttft_s, row.e2e_s), (Some(seconds(BACK)), Some(seconds(BACK))));
    assert_eq!(row.edge_compute_s, Some(SimTime::ZERO));
}
