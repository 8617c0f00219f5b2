//! Cells by hand: SINR, rate, airtime, interference, handover; and flows against slots.

use splitwave::channel::{Environment, LinkGeometry};
use splitwave::network::rows::Outcome;
use splitwave::stats::mean_interval;

use crate::network_support::{DEVICES, Finished, assembly, check, run, simulate, trace};

/// Free places, no shadowing, lines of sight, no fading: everything can be computed by hand.
fn plain(cells: &str, radio: &str, ues: &str) -> String {
    format!(
        "name = \"cells\"\nduration_s = 60.0\n[model]\nsource = \"none\"\n[quality]\nsource = \"none\"\n[split]\ninitial = 4\n\
         [channel]\nkind = \"cellular\"\nenvironment = \"uma\"\ncarrier_ghz = 3.5\nline_of_sight = \"always\"\n\
         shadowing = false\nreception = \"digital\"\nencoding = \"int8\"\nfading = \"none\"\n\
         [radio]\nbandwidth_mhz = 20.0\nsubcarrier_spacing_khz = 30\n{radio}\n{cells}\n{ues}\n\
         [edge]\ndevice = \"server\"\n{DEVICES}"
    )
}

fn path_loss_db(distance_m: f64) -> f64 {
    let geometry = LinkGeometry { distance_2d_m: distance_m, bs_height_m: 25.0, ut_height_m: 1.5 };
    Environment::Uma.path_loss_db(3.5, &geometry, true)
}

/// Received power \[W\] at `distance_m` by the formulas of docs/model.md, antenna of 8 dB, 51 resource blocks.
fn received_w(distance_m: f64) -> (f64, f64) {
    let loss_db = path_loss_db(distance_m) - 8.0;
    let radiated_dbm = (-90.0 + loss_db + 10.0 * 51f64.log10()).min(23.0);
    (1e-3 * 10f64.powf(0.1 * (radiated_dbm - loss_db)), radiated_dbm)
}

/// Noise of 20 MHz at a noise figure of 5 dB \[W\].
fn noise_w() -> f64 {
    1e-3 * 10f64.powf(0.1 * (-174.0 + 10.0 * 20e6f64.log10() + 5.0))
}

fn db(ratio: f64) -> f64 {
    10.0 * ratio.log10()
}

fn one_ue(x_m: f64, arrivals: &str, tokens: u32) -> String {
    format!(
        "[[ue]]\nname = \"ue-{x_m}\"\ndevice = \"phone\"\nworkload = {{ kind = \"trace\", path = \"{arrivals}\", \
         prompt_tokens = {tokens} }}\nmobility = {{ x_m = {x_m:?}, y_m = 0.0, radius_m = 0.0 }}\n"
    )
}

#[test]
fn a_link_by_hand() {
    let file = trace(&[1.0], 64);
    let path = file.path().display().to_string();
    for (distance, efficiency) in [(100.0, 5.5547), (3000.0, f64::NAN), (20_000.0, 0.1523)] {
        let text = plain("[cell]\nname = \"only\"", "link = \"cqi\"", &one_ue(distance, &path, 64));
        let row = run(&text).rows.remove(0);
        let (power_w, _) = received_w(distance);
        let sinr_db = db(power_w / noise_w());
        assert!((row.sinr_db.unwrap() - sinr_db).abs() < 1e-4, "{distance} m: {:?} for {sinr_db}", row.sinr_db);
        let found = row.spectral_efficiency_bps_hz.unwrap();
        if efficiency.is_nan() {
            // The highest row of the table at or below the SINR less a margin of 3 dB.
            let rows = [(0.1523, -8.8), (0.2344, -6.8), (0.3770, -4.5), (0.6016, -2.5), (0.8770, 0.5), (1.1758, 2.4)];
            let expected = rows.iter().rev().find(|row| row.1 <= sinr_db - 3.0).unwrap().0;
            assert_eq!(found, expected, "{distance} m at {sinr_db} dB");
        } else {
            assert_eq!(found, efficiency, "{distance} m at {sinr_db} dB");
        }
        assert_eq!((row.distance_m, row.x_m, row.handovers), (Some(distance), Some(distance), Some(0)));
        // 64 tokens of 4096 values of 8 bits with a scale of 16.
        let bits = 64.0 * (4096.0 * 8.0 + 16.0);
        let sent = f64::from(row.packets_sent.unwrap()) / 188.0;
        let air = row.uplink_air_s.unwrap().as_secs_f64();
        let expected = bits / (found * 20e6) * sent;
        assert!((air / expected - 1.0).abs() < 1e-6, "{air} s for {expected}");
        assert_eq!(row.packets_missing, Some(if distance > 10_000.0 { 188 } else { 0 }));
        assert_eq!(row.outcome, if distance > 10_000.0 { Outcome::Outage } else { Outcome::Completed });
    }
}

#[test]
fn shannons_rate_is_the_sinrs() {
    let file = trace(&[1.0], 64);
    let path = file.path().display().to_string();
    let text = plain("[cell]", "link = \"shannon\"\nlink_margin_db = 0.0", &one_ue(2000.0, &path, 64));
    let row = run(&text).rows.remove(0);
    let (power_w, _) = received_w(2000.0);
    let expected = (1.0 + power_w / noise_w() / 10f64.powf(0.15)).log2();
    assert!((row.spectral_efficiency_bps_hz.unwrap() / expected - 1.0).abs() < 1e-4, "{row:?} for {expected}");
}

#[test]
fn the_other_cell_is_heard_while_it_is_busy() {
    // A long payload in cell 1, computed from 1 s on and on the air from 1.9 to 3 s; short ones in cell 0 before, during, and long after.
    let (long, short) = (trace(&[1.0], 4000), trace(&[0.5, 2.5, 50.0], 16));
    let cells = "[[cell]]\nname = \"a\"\nx_m = 0.0\n[[cell]]\nname = \"b\"\nx_m = 1000.0\n";
    let ues = one_ue(200.0, &short.path().display().to_string(), 16)
        + &one_ue(700.0, &long.path().display().to_string(), 4000);
    for interference in [true, false] {
        let finished = run(&plain(cells, &format!("link = \"cqi\"\ninterference = {interference}"), &ues));
        let mut rows = finished.by_arrival();
        rows.retain(|row| row.ue_id == 0);
        let (signal, _) = received_w(200.0);
        // From 300 m to its own cell, as loud at 700 m.
        let (own, radiated_dbm) = received_w(300.0);
        let loss = |distance_m: f64| path_loss_db(distance_m) - 8.0;
        assert!((db(own) + 30.0 - (radiated_dbm - loss(300.0))).abs() < 1e-9);
        let heard = 1e-3 * 10f64.powf(0.1 * (radiated_dbm - loss(700.0)));
        let alone = db(signal / noise_w());
        let disturbed = if interference { db(signal / (noise_w() + heard)) } else { alone };
        for (row, expected) in rows.iter().zip([alone, disturbed, alone]) {
            assert!((row.sinr_db.unwrap() - expected).abs() < 1e-3, "{row:?} for {expected}");
        }
        assert!(!interference || alone - disturbed > 1.0, "{alone} {disturbed}");
        assert_eq!(finished.rows.iter().find(|row| row.ue_id == 1).unwrap().x_m, Some(700.0));
    }
}

/// A car at 10 m/s from cell 0 to cell 1, 1000 m apart, and when it should change the cell.
fn drive(in_flight: &str, arrivals: &[f64], tokens: u32) -> (Finished, f64) {
    let file = trace(arrivals, tokens);
    let ue = format!(
        "[[ue]]\ndevice = \"phone\"\nworkload = {{ kind = \"trace\", path = \"{}\", prompt_tokens = {tokens} }}\n\
         mobility = {{ kind = \"linear\", speed_m_s = 10.0, x_m = 400.0, y_m = 0.0, radius_m = 0.0 }}\n",
        file.path().display()
    );
    let cells = "[[cell]]\nname = \"a\"\nx_m = 0.0\n[[cell]]\nname = \"b\"\nx_m = 1000.0\n[handover]\n\
                 hysteresis_db = 3.0\ntime_to_trigger_ms = 160.0\nmeasurement_interval_ms = 80.0\ninterruption_ms = 30.0\n"
        .to_owned()
        + &format!("in_flight = \"{in_flight}\"\n");
    let finished = run(&plain(&cells, "link = \"cqi\"\nlink_margin_db = 0.0", &ue));
    let better = |x: f64| path_loss_db(x) - path_loss_db(1000.0 - x) > 3.0;
    let x = (0..100_000).map(|k| 500.0 + f64::from(k) * 0.001).find(|&x| better(x)).unwrap();
    let crossing = (x - 400.0) / 10.0;
    // The next measurement sees it, and the second after that acts.
    let handover = ((crossing / 0.08).ceil() + 2.0) * 0.08;
    (finished, handover)
}

#[test]
fn a_neighbour_takes_over_when_it_has_been_better_for_long_enough() {
    let (finished, handover) = drive("carried", &[handover_time() - 0.5, handover_time() + 0.5], 1);
    let rows = finished.by_arrival();
    assert!((handover - handover_time()).abs() < 1e-9);
    // Distance tells the cell: on either side of the middle.
    let of = |row: usize| (rows[row].x_m.unwrap(), rows[row].distance_m.unwrap());
    let ((x0, d0), (x1, d1)) = (of(0), of(1));
    assert!((d0 - x0).abs() < 1e-9 && (d1 - (1000.0 - x1)).abs() < 1e-9, "{rows:#?}");
    assert_eq!((rows[0].handovers, rows[1].handovers), (Some(0), Some(0)));
}

/// What [`drive`] computes, for tests that need it beforehand.
fn handover_time() -> f64 {
    drive("carried", &[1.0], 1).1
}

#[test]
fn a_request_on_the_air_is_carried_or_restarted() {
    let handover = handover_time();
    // 2000 tokens take some seconds.
    let compute_s = drive("carried", &[1.0], 2000).0.rows[0].ue_compute_s.unwrap().as_secs_f64();
    let before = handover - compute_s - 0.2;
    let packets = 2000 * (4096 * 8 + 16) / 11_200 + 1;
    let carried = drive("carried", &[before], 2000).0.rows.remove(0);
    let restarted = drive("restarted", &[before], 2000).0.rows.remove(0);
    for row in [&carried, &restarted] {
        assert_eq!((row.handovers, row.packets_missing), (Some(1), Some(0)), "{row:#?}");
        assert_eq!(row.outcome, Outcome::Completed);
    }
    // Each packet once; but of what was under way when it was cut off only its airtime counts.
    assert_eq!(carried.packets_sent, Some(packets));
    assert_eq!(restarted.packets_sent, Some(packets));
    let (air, again) = (carried.uplink_air_s.unwrap().as_secs_f64(), restarted.uplink_air_s.unwrap().as_secs_f64());
    let on_air_before = handover - (before + carried.ue_compute_s.unwrap().as_secs_f64());
    assert!(on_air_before > 0.1, "{on_air_before}");
    // Restarted: the time before the handover is spent for nothing. Both rates are equal in the middle of the way,
    // but for a step of the CQI table.
    assert!((again - air - on_air_before).abs() < 0.02 * air + 1e-3, "{again} {air} {on_air_before}");
    // The 30 ms of interruption are waiting.
    assert!((carried.uplink_wait_s.unwrap().as_secs_f64() - 0.03).abs() < 1e-6, "{carried:?}");
}

#[test]
fn everything_at_once_keeps_its_books() {
    for (sharing, mobility) in [
        ("flow-ps", "kind = \"random-waypoint\", min_speed_m_s = 10.0, max_speed_m_s = 30.0"),
        ("flow-pf", "kind = \"gauss-markov\", mean_speed_m_s = 20.0, speed_std_m_s = 5.0"),
        ("slot-pf", "kind = \"random-waypoint\", min_speed_m_s = 10.0, max_speed_m_s = 30.0"),
        ("slot-max-ci", "kind = \"linear\", speed_m_s = 30.0, wrap = true"),
    ] {
        for (delivery, extra) in [
            ("none", ""),
            ("um", ""),
            ("am", ""),
            ("am", "delivery_deadline_ms = 200.0"),
            ("deadline", "delivery_deadline_ms = 100.0"),
        ] {
            for mode in ["split", "edge-only"] {
                let weight = if sharing == "flow-ps" { 3 } else { 1 };
                let text = format!(
                    "name = \"books\"\nduration_s = 6.0\ndrain_limit_s = 2.0\n[model]\nsource = \"none\"\n[quality]\nsource = \"none\"\n\
                     [service]\nmode = \"{mode}\"\n[split]\ninitial = {{ min = 1, max = 32, draw = \"per-request\" }}\n\
                     [channel]\nkind = \"cellular\"\nreception = \"digital\"\nencoding = \"int4\"\ndelivery = \"{delivery}\"\n{extra}\n\
                     decode = {{ delivery = \"deadline\", deadline_ms = 30.0 }}\n\
                     [radio]\nbandwidth_mhz = 20.0\nsharing = \"{sharing}\"\nretransmission_delay_ms = 5.0\n\
                     [cell]\nlayout = \"hexagonal\"\nsites = 7\ninter_site_distance_m = 400.0\n\
                     [handover]\nin_flight = \"restarted\"\ntime_to_trigger_ms = 0.0\n\
                     [[ue]]\nname = \"one\"\ncount = 40\ndevice = \"phone\"\ndeadline_ms = 1500.0\nbattery_j = 30.0\nweight = {weight}\n\
                     workload = {{ rate_per_s = 0.5, prompt_tokens = 24 }}\nmobility = {{ {mobility} }}\n\
                     [[ue]]\nname = \"session\"\ncount = 20\ndevice = \"phone\"\n\
                     workload = {{ rate_per_s = 0.3, prompt_tokens = 12, output_tokens = 5 }}\nmobility = {{ {mobility} }}\n\
                     [edge]\ndevice = \"server\"\nservers = 8\n{DEVICES}"
                );
                let assembly = assembly(&text);
                let finished = simulate(&assembly, 3, 0);
                let again = simulate(&assembly, 3, 0);
                assert_eq!(finished.rows, again.rows);
                let what = format!("{sharing} {delivery} {extra} {mode}");
                assert!(finished.count(Outcome::Completed) > 60, "{what}: {}", finished.count(Outcome::Completed));
                for row in &finished.rows {
                    let spent = row.spent();
                    if row.outcome == Outcome::Completed {
                        assert_eq!(row.e2e_s, Some(spent), "{what}: {row:#?}");
                    }
                    let (sent, lost) = (row.packets_sent.unwrap_or(0), row.packets_lost.unwrap_or(0));
                    assert!(lost <= sent, "{what}: {row:#?}");
                    assert!(row.loss_bursts.unwrap_or(0) <= lost, "{what}: {row:#?}");
                    if let Some(missing) = row.packets_missing {
                        assert!(mode == "split" || missing == 0 || row.outcome == Outcome::Outage, "{what}: {row:#?}");
                        // 24 tokens of 16,400 bit are 36 packets: each arrives in one attempt, or is missing. A restart
                        // slot by slot sends some again that were through.
                        if mode == "split" && row.output_tokens == 1 && extra.is_empty() {
                            let accounted = sent - lost + missing;
                            let twice = sharing.starts_with("slot") && row.handovers > Some(0);
                            assert!(accounted == 36 || twice && accounted > 36, "{what}: {row:#?}");
                        }
                        if delivery == "am"
                            && extra.is_empty()
                            && row.output_tokens == 1
                            && row.outcome == Outcome::Completed
                        {
                            assert_eq!(missing, 0, "{what}: {row:#?}");
                        }
                    }
                }
                check(&assembly, &finished);
                let busy = finished.series.iter().map(|sample| sample.edge_busy).max().unwrap_or(0);
                assert!(busy <= 8, "{what}: {busy} busy of 8 servers");
            }
        }
    }
}

/// A row of a session that its deadline cuts off leaves nothing behind: the request is served once, the next row
/// is received, and no server is counted twice.
#[test]
fn a_row_that_is_cut_off_leaves_nothing_behind() {
    let text = |deadline: &str| {
        format!(
            "name = \"chat\"\nduration_s = 20.0\n[model]\nsource = \"none\"\n[quality]\nsource = \"none\"\n[split]\ninitial = 4\n\
             [channel]\nkind = \"cellular\"\nreception = \"digital\"\ndecode = {{ delivery = \"am\", deadline_ms = 15.0 }}\n\
             [radio]\nbandwidth_mhz = 5.0\n[cell]\nlayout = \"hexagonal\"\nsites = 7\n\
             [[ue]]\ncount = 12\ndevice = \"phone\"\n{deadline}\n\
             workload = {{ rate_per_s = 0.3, prompt_tokens = 8, output_tokens = 12 }}\n\
             mobility = {{ kind = \"random-waypoint\", min_speed_m_s = 10.0, max_speed_m_s = 30.0 }}\n\
             [edge]\ndevice = \"server\"\n{DEVICES}"
        )
    };
    let without = run(&text(""));
    let with = run(&text("deadline_ms = 1e6"));
    assert!(without.rows.iter().any(|row| row.packets_missing > Some(0)), "no row was cut off");
    assert_eq!(without.count(Outcome::Completed), without.rows.len() - without.count(Outcome::Outage));
    // A deadline that nobody misses changes nothing.
    for (a, b) in without.rows.iter().zip(&with.rows) {
        let b = crate::network_support::Row { deadline_met: None, ..b.clone() };
        assert_eq!(*a, b);
    }
    assert!(without.series.iter().all(|sample| sample.edge_busy <= 1));
}

/// With `am` nothing counts of a transmission that the deadline cuts off, however it is served.
#[test]
fn a_cut_off_transmission_is_no_tensor() {
    for sharing in ["flow-ps", "slot-round-robin"] {
        let text = plain(
            "[cell]",
            &format!("sharing = \"{sharing}\""),
            "[[ue]]\ndevice = \"phone\"\nworkload = { kind = \"deterministic\", rate_per_s = 1.0, prompt_tokens = 64 }\n\
             mobility = { x_m = 500.0, y_m = 0.0, radius_m = 0.0 }",
        );
        let text =
            text.replace("encoding = \"int8\"", "encoding = \"int8\"\ndelivery = \"am\"\ndelivery_deadline_ms = 8.0");
        let finished = run(&text);
        assert_eq!(finished.count(Outcome::Outage), finished.rows.len(), "{sharing}");
        // And with `deadline` what is through counts: 8 ms of some 19.
        let finished = run(&text.replace("\"am\"", "\"deadline\""));
        assert!(finished.count(Outcome::Completed) > 50, "{sharing}");
        for row in &finished.rows {
            let (sent, missing) = (row.packets_sent.unwrap(), row.packets_missing.unwrap());
            assert_eq!(sent + missing, 188, "{sharing}: {row:#?}");
            // Rows of 64 with a part in a packet that is missing.
            let rows_lost = 64 - (64 * sent / 188);
            assert!(row.rows_lost.unwrap().abs_diff(rows_lost) <= 1, "{sharing}: {row:#?}");
            assert_eq!(row.uplink_bits, Some(64 * (4096 * 8 + 16) * u64::from(sent) / 188), "{sharing}");
        }
    }
}

/// Paired replications of one scenario shared as flows and by turns of slots: the mean sojourn on the uplink.
fn flow_and_slot(scenario: &str) -> (f64, f64, f64) {
    let sojourn = |sharing: &str, replication: u32| {
        let finished = simulate(&assembly(&scenario.replace("SHARING", sharing)), 7, replication);
        let times: Vec<f64> = finished
            .rows
            .iter()
            .filter(|row| row.outcome == Outcome::Completed)
            .map(|row| (row.uplink_wait_s.unwrap() + row.uplink_air_s.unwrap()).as_secs_f64())
            .collect();
        assert!(times.len() > 200, "{}", times.len());
        times.iter().sum::<f64>() / times.len() as f64
    };
    let pairs: Vec<[f64; 2]> = (0..12)
        .map(|replication| ["flow-ps", "slot-round-robin"].map(|sharing| sojourn(sharing, replication)))
        .collect();
    let flow = pairs.iter().map(|pair| pair[0]).sum::<f64>() / pairs.len() as f64;
    let relative: Vec<f64> = pairs.iter().map(|pair| (pair[1] - pair[0]) / flow).collect();
    let interval = mean_interval(&relative, 0.99).unwrap();
    (flow, interval.mean, interval.half_width)
}

/// 50 UEs. A slot of half a millisecond is what the two may differ by: a flow begins up to a slot later, and
/// waits for whole slots of others.
#[test]
fn flows_and_slots_agree_at_fifty_ues() {
    let common = format!(
        "name = \"fifty\"\nduration_s = 40.0\n[model]\nsource = \"none\"\n[quality]\nsource = \"none\"\n[split]\ninitial = 4\n\
         CHANNEL\n[radio]\nbandwidth_mhz = 20.0\nsharing = \"SHARING\"\nsubcarrier_spacing_khz = 30\nRADIO\n\
         [[ue]]\ncount = 50\ndevice = \"phone\"\nworkload = {{ rate_per_s = RATE, prompt_tokens = 32 }}\nMOBILITY\n\
         [edge]\ndevice = \"server\"\nservers = 64\n{DEVICES}"
    );
    let statistical = common
        .replace("CHANNEL", "[channel]\nreception = \"digital\"\nencoding = \"int8\"\nloss_probability = 0.1")
        .replace("RADIO", "spectral_efficiency_bps_hz = 2.0")
        .replace("RATE", "0.045")
        .replace("prompt_tokens = 32", "prompt_tokens = 320")
        .replace("duration_s = 40.0", "duration_s = 400.0")
        .replace("MOBILITY", "");
    let cellular = common
        .replace(
            "CHANNEL",
            "[channel]\nkind = \"cellular\"\nreception = \"digital\"\nencoding = \"int8\"\ndoppler_hz = DOPPLER\n[cell]",
        )
        .replace("RADIO", "link = \"cqi\"\nlink_adapts_to = \"reports\"\ncsi_period_ms = 5.0")
        .replace("RATE", "0.5")
        .replace("MOBILITY", "mobility = { radius_m = 150.0 }");
    let doppler = |hz: &str| cellular.replace("DOPPLER", hz);
    // A flow takes the airtime that it would have in the company of its start; slot by slot company comes and goes. That
    // tells where a fade lasts about as long as a flow (25 ms; T_c = 42 ms at 10 Hz).
    for (name, scenario, allowed) in [
        ("statistical", statistical, 0.002),
        ("cellular, 0 Hz", doppler("0.0"), 0.01),
        ("cellular, 10 Hz", doppler("10.0"), 0.01),
    ] {
        let (flow, difference, half_width) = flow_and_slot(&scenario);
        println!("{name}: {flow:.4} s, slots {:+.2} % ± {:.2} %", 100.0 * difference, 100.0 * half_width);
        assert!(
            difference.abs() - half_width < allowed && half_width < 0.05,
            "{name}: {flow:.4} s, slots {:+.2} % ± {:.2} %",
            100.0 * difference,
            100.0 * half_width
        );
    }
}

/// What is drawn for places, shadowing and fading is the same whatever the controller does.
#[test]
fn two_controllers_meet_the_same_places() {
    let text = plain(
        "[cell]\nlayout = \"hexagonal\"\nsites = 7",
        "link = \"cqi\"\ninterference = false",
        "[[ue]]\ncount = 30\ndevice = \"phone\"\nworkload = { rate_per_s = 0.3, prompt_tokens = 16 }\n\
         mobility = { kind = \"random-waypoint\" }",
    )
    .replace("shadowing = false", "shadowing = true")
    .replace("line_of_sight = \"always\"", "line_of_sight = \"drawn\"");
    let fixed = run(&text).by_arrival();
    let later = run(&text.replace("initial = 4", "initial = 20")).by_arrival();
    assert_eq!(fixed.len(), later.len());
    for (a, b) in fixed.iter().zip(&later) {
        assert_eq!((a.ue_id, a.arrival_s), (b.ue_id, b.arrival_s));
        // They send at other times, and have walked up to 1.5 m/s meanwhile.
        let apart = (a.x_m.unwrap() - b.x_m.unwrap()).hypot(a.y_m.unwrap() - b.y_m.unwrap());
        let later_s = ((b.ue_wait_s.unwrap() + b.ue_compute_s.unwrap()).as_secs_f64()
            - (a.ue_wait_s.unwrap() + a.ue_compute_s.unwrap()).as_secs_f64())
        .abs();
        assert!(apart <= 1.5 * (later_s + 0.08) + 1e-9, "{apart} m in {later_s} s");
    }
}
