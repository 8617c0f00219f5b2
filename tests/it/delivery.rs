//! Deliveries of prompts: once, with hybrid ARQ, until all has arrived, until a deadline.

use splitwave::channel::{Fading, FadingModel, Link, gain_threshold_for};
use splitwave::kernel::Streams;
use splitwave::network::rows::Outcome;

use crate::network_support::{DEVICES, Finished, Row, run};

fn scenario(channel: &str) -> String {
    format!(
        "name = \"delivery\"\nduration_s = 100.0\n[model]\nsource = \"none\"\n[quality]\nsource = \"none\"\n[split]\ninitial = 4\n\
         [channel]\nreception = \"digital\"\nloss_probability = 0.3\ndoppler_hz = 20.0\nloss_unit = \"chunk\"\n{channel}\n\
         [radio]\nbandwidth_mhz = 20.0\nspectral_efficiency_bps_hz = 2.0\nretransmission_delay_ms = 8.0\nmax_transmissions = 500\n\
         [[ue]]\ndevice = \"phone\"\nworkload = {{ kind = \"deterministic\", rate_per_s = 1.0, prompt_tokens = 8 }}\n\
         [edge]\ndevice = \"server\"\n{DEVICES}"
    )
}

fn sum(finished: &Finished, of: impl Fn(&Row) -> Option<u32>) -> u32 {
    finished.rows.iter().filter_map(of).sum()
}

/// The lone UE has the air to itself: packet k's attempt j falls on `start + (k + ½)/K·airtime + j·RTT`.
#[test]
fn attempts_meet_the_gains_of_their_own_instants() {
    let link = Fading::new(&FadingModel::Rayleigh { sinusoids: 32 }, &Streams::new(1, 0), Link::of_ue(0)).unwrap();
    let threshold = gain_threshold_for(0.3, std::f64::consts::FRAC_1_SQRT_2).unwrap();
    for (combining, chase) in [("chase", true), ("none", false)] {
        let harq = format!(
            "delivery = \"um\"\nharq = {{ max_transmissions = 3, round_trip_ms = 4.0, combining = \"{combining}\" }}"
        );
        let finished = run(&scenario(&harq));
        // 8 tokens of 4096 values in f16: 65,536 B, 47 packets of at most 1400 B at 40 Mbit/s.
        let (packets, airtime) = (47u32, 8.0 * 65_536.0 / 40e6);
        let mut repeated = 0;
        for row in &finished.rows {
            let start = (row.arrival_s + row.ue_wait_s.unwrap() + row.ue_compute_s.unwrap()).as_secs_f64();
            let (mut sent, mut missing, mut last) = (0, 0, start + airtime);
            for k in 0..packets {
                let at = start + airtime * (f64::from(k) + 0.5) / f64::from(packets);
                let (mut combined, mut arrived) = (0.0, false);
                for attempt in 0..3 {
                    sent += 1;
                    let at = at + 4e-3 * f64::from(attempt);
                    let gain = link.envelope(splitwave::channel::Moment::at(at, 20.0));
                    combined = if chase { combined + gain * gain } else { gain * gain };
                    arrived = combined >= threshold * threshold;
                    if attempt > 0 {
                        last = f64::max(last, at);
                    }
                    if arrived {
                        break;
                    }
                }
                missing += u32::from(!arrived);
            }
            assert_eq!((row.packets_sent, row.packets_missing), (Some(sent), Some(missing)), "{row:#?}");
            assert_eq!(row.packets_lost, Some(sent - packets + missing));
            // The air of the first attempts and of the others; then the last attempt may still be out.
            let air = airtime * f64::from(sent) / f64::from(packets);
            assert!((row.uplink_air_s.unwrap().as_secs_f64() - air).abs() < 1e-8, "{row:#?}");
            let sojourn = (row.uplink_air_s.unwrap() + row.uplink_wait_s.unwrap()).as_secs_f64();
            assert!((sojourn - f64::max(air, last - start)).abs() < 1e-7, "{sojourn} {air} {}", last - start);
            assert_eq!(row.uplink_bits, Some(8 * 65_536 * u64::from(sent) / u64::from(packets)));
            repeated += u32::from(sent > packets);
        }
        assert!(repeated > 30 && sum(&finished, |row| row.packets_missing) > 50);
    }
}

#[test]
fn acknowledged_prompts_arrive_whole() {
    let once = run(&scenario("delivery = \"none\""));
    let again = run(&scenario("delivery = \"am\""));
    assert!(sum(&once, |row| row.packets_missing) > 500);
    assert_eq!(sum(&again, |row| row.packets_missing), 0);
    assert_eq!(again.count(Outcome::Completed), again.rows.len());
    for (a, b) in once.by_arrival().iter().zip(again.by_arrival()) {
        // The first transmissions are the same; what they lost is sent again.
        assert!(b.packets_sent.unwrap() >= 47 + a.packets_lost.unwrap());
        assert_eq!(b.packets_sent.unwrap() - b.packets_lost.unwrap(), 47);
        assert!(b.uplink_wait_s >= a.uplink_wait_s);
    }
}

#[test]
fn a_deadline_keeps_what_is_through() {
    // The first transmission takes 13.1 ms. After 6 ms 21 of 47 packets are through (6/13.1072·47 = 21.5).
    let cut = run(&scenario("delivery = \"deadline\"\ndelivery_deadline_ms = 6.0"));
    for row in &cut.rows {
        if row.outcome == Outcome::Completed {
            assert_eq!(row.packets_sent, Some(21), "{row:#?}");
            assert_eq!(row.packets_missing, Some(47 - 21 + row.packets_lost.unwrap()));
            let sojourn = (row.uplink_air_s.unwrap() + row.uplink_wait_s.unwrap()).as_nanos();
            assert_eq!(sojourn, 6_000_000);
        } else {
            assert_eq!(row.outcome, Outcome::Outage);
        }
    }
    assert!(cut.count(Outcome::Completed) > 50);
    // With `am` what is on the air at the deadline brings nothing.
    let nothing = run(&scenario("delivery = \"am\"\ndelivery_deadline_ms = 6.0"));
    assert_eq!(nothing.count(Outcome::Outage), nothing.rows.len());
    // A later deadline leaves time for a second transmission, of what the first one lost.
    let later = run(&scenario("delivery = \"deadline\"\ndelivery_deadline_ms = 40.0"));
    let once = run(&scenario("delivery = \"none\""));
    assert!(sum(&later, |row| row.packets_missing) < sum(&once, |row| row.packets_missing));
    assert!(later.rows.iter().all(|row| {
        row.uplink_air_s.unwrap() + row.uplink_wait_s.unwrap() <= splitwave::units::SimTime::from_nanos(40_000_000)
    }));
}
