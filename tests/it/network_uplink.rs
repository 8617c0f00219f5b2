//! The shared uplink: what its packets meet, and how often they are lost.

use splitwave::channel::{Fading, FadingModel, Link, Moment, Packets, gain_threshold_for, rayleigh_gain};
use splitwave::kernel::Streams;
use splitwave::network::rows::Outcome;
use splitwave::stats::mean_interval;

use crate::network_support::{Row, run, seconds, together};

/// (packets lost, bursts, mean gain) for given midpoints.
fn losses(ue: u32, loss_probability: f64, doppler_hz: f64, midpoints: impl Iterator<Item = f64>) -> (u32, u32, f64) {
    let fading = Fading::new(&FadingModel::Rayleigh { sinusoids: 32 }, &Streams::new(1, 0), Link::of_ue(ue))
        .expect("32 sinusoids");
    let scale = std::f64::consts::FRAC_1_SQRT_2;
    let threshold = gain_threshold_for(loss_probability, scale).expect("a threshold");
    let mut packets = Packets::default();
    for at in midpoints {
        let gain = rayleigh_gain(scale, fading.envelope(Moment::at(at, doppler_hz)));
        packets.push(gain, gain < threshold);
    }
    (packets.lost() as u32, packets.loss_bursts() as u32, packets.mean_gain().expect("packets"))
}

fn assert_losses(row: &Row, expected: (u32, u32, f64)) {
    assert_eq!((row.packets_lost, row.loss_bursts), (Some(expected.0), Some(expected.1)), "{row:#?}");
    assert!((row.mean_gain.unwrap() - expected.2).abs() < 1e-5, "{row:#?} for {expected:?}");
}

/// 60 packets in 122.88 ms, with a fade every few of them.
#[test]
fn each_packet_meets_the_fading_at_its_own_midpoint() {
    let channel = "loss_probability = 0.3\ndoppler_hz = 40.0";
    let (air, packets) = (60.0 * 4096.0 / 2e6, 60.0);
    let offsets = || (0..60).map(move |k| air * (f64::from(k) + 0.5) / packets);
    let on_uplink = |row: &Row| (row.arrival_s + row.ue_wait_s.unwrap() + row.ue_compute_s.unwrap()).as_secs_f64();

    // Alone.
    let row = together(&[0.5], 60, 1.0, channel, "").rows[0].clone();
    let start = on_uplink(&row);
    let expected = losses(0, 0.3, 40.0, offsets().map(|offset| start + offset));
    assert!(expected.1 > 3, "{expected:?}");
    assert_losses(&row, expected);

    // The second starts when the first is half through: both run at half speed
    // until the first leaves, 1.5 airtimes after its start.
    let rows = together(&[0.5, 0.5 + air / 2.0], 60, 1.0, channel, "").by_arrival();
    let shared = seconds(air / 2.0);
    assert!(rows.iter().all(|row| row.uplink_wait_s == Some(shared)), "{rows:#?}");
    let first = offsets().map(|work| start + if work < air / 2.0 { work } else { 2.0 * work - air / 2.0 });
    assert_losses(&rows[0], losses(0, 0.3, 40.0, first));
    let joined = on_uplink(&rows[1]);
    assert!((joined - start - air / 2.0).abs() < 2e-9);
    let second = offsets().map(|work| joined + if work < air / 2.0 { 2.0 * work } else { work + air / 2.0 });
    assert_losses(&rows[1], losses(1, 0.3, 40.0, second));
}

/// 800 phones, 10 requests each: packets of a phone are correlated, phones are not.
fn loss_rates(loss: f64, channel: &str) -> Vec<f64> {
    let finished = run(&format!(
        "name = \"losses\"
duration_s = 10.0
drain_limit_s = 100.0
[quality]
source = \"none\"
[channel]
loss_probability = {loss}
doppler_hz = 30.0
sinusoids = 128
{channel}
[radio]
bandwidth_mhz = 400.0
[[ue]]
name = \"phone\"
count = 800
workload = {{ kind = \"deterministic\", rate_per_s = 1.0, prompt_tokens = 20 }}
[edge]
service_time = {{ law = \"deterministic\", mean_ms = 0.01 }}
"
    ));
    let mut counts = vec![(0u32, 0u32); 800];
    for row in &finished.rows {
        let (lost, sent) = &mut counts[row.ue_id as usize];
        *lost += row.packets_lost.unwrap_or(0);
        *sent += row.packets_sent.unwrap_or(0);
    }
    counts.into_iter().map(|(lost, sent)| f64::from(lost) / f64::from(sent)).collect()
}

#[test]
fn packets_are_lost_at_the_stated_rate() {
    for loss in [0.05, 0.2] {
        for channel in ["", "reception = \"digital\""] {
            let rates = loss_rates(loss, channel);
            let interval = mean_interval(&rates, 0.999).expect("many phones");
            assert!(interval.covers(loss), "{loss}, {channel}: {} to {}", interval.low(), interval.high());
            assert!(interval.high() - interval.low() < 0.35 * loss, "{} to {}", interval.low(), interval.high());
        }
        assert!(loss_rates(loss, "loss_unit = \"element-iid\"").iter().all(|&rate| rate == 0.0));
    }
}

/// 40000 token ids are 600 kbit: 54 packets. All arrive in the end, or it is an outage.
#[test]
fn token_ids_are_sent_until_they_arrive_or_it_is_enough() {
    for (most, outages) in [(100, false), (2, true)] {
        let finished = run(&format!(
            "name = \"retransmissions\"
duration_s = 50.0
service.mode = \"edge-only\"
quality.source = \"none\"
[channel]
reception = \"digital\"
loss_probability = 0.4
[radio]
max_transmissions = {most}
[[ue]]
name = \"phone\"
count = 5
workload = {{ rate_per_s = 1.0, prompt_tokens = 40000 }}
[edge]
service_time = {{ law = \"deterministic\", mean_ms = 1.0 }}
"
        ));
        let mut retransmitted = 0;
        for row in &finished.rows {
            let (sent, lost) = (row.packets_sent.unwrap(), row.packets_lost.unwrap());
            let packet = 600_000.0 / 54.0;
            let bits = row.uplink_bits.unwrap() as f64;
            assert!((bits / packet - f64::from(sent)).abs() < 0.1, "{row:#?}");
            let air = row.uplink_air_s.unwrap().as_secs_f64();
            assert!((air - bits / 80e6).abs() < 1e-6, "{row:#?}");
            retransmitted += u32::from(sent > 54);
            match row.outcome {
                Outcome::Completed => assert_eq!(sent - lost, 54, "{row:#?}"),
                _ => assert!(outages && row.outcome == Outcome::Outage && sent - lost < 54, "{row:#?}"),
            }
            // Each further transmission begins 8 ms after the last one.
            assert!(sent == 54 || row.uplink_wait_s.unwrap() >= seconds(8e-3));
        }
        assert!(retransmitted > 50, "{retransmitted}");
        assert_eq!(finished.count(Outcome::Outage) > 0, outages);
    }
}
