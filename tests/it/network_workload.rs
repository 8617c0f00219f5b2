//! Arrivals, the UE's queue, and how a run ends.

use splitwave::network::rows::Outcome;
use splitwave::stats::mean_interval;
use splitwave::units::SimTime;

use crate::network_support::{DEVICES, Finished, Row, run, seconds, trace};

/// A workload at an edge that takes exactly 100 ms.
fn paced(head: &str, ue: &str, edge: &str) -> Finished {
    run(&format!(
        "name = \"paced\"
{head}
service.mode = \"edge-only\"
quality.source = \"none\"
[radio]
sharing = \"ideal\"
downlink_latency_ms = 0.0
[[ue]]
name = \"source\"
{ue}
[edge]
{edge}
service_time = {{ law = \"deterministic\", mean_ms = 100.0 }}
"
    ))
}

#[test]
fn stop_rules_end_arrivals() {
    let poisson = "count = 3\nworkload = { rate_per_s = 2.0 }";
    let finished = paced("duration_s = 1000.0\nstop = { requests = 37 }", poisson, "");
    assert_eq!((finished.rows.len(), finished.count(Outcome::Completed)), (37, 37));
    assert_eq!(Some(finished.totals.arrivals_end), finished.rows.iter().map(|row| row.arrival_s).max());
    let finished = paced("duration_s = 5.0\nstop = { requests = 3700 }", poisson, "");
    assert!(finished.rows.iter().all(|row| row.arrival_s < seconds(5.0)) && finished.rows.len() < 60);
    assert_eq!(finished.totals.arrivals_end, seconds(5.0));
    // Decisions: one phone that never queues takes exactly as many.
    let steps = run(&format!(
        "name = \"steps\"\nduration_s = 1000.0\nquality.source = \"none\"\nstop = {{ env_steps = 23 }}\n\
         [[ue]]\nname = \"phone\"\ndevice = \"phone\"\nworkload = {{ kind = \"closed-loop\", think_time_s = 0.5 }}\n{DEVICES}"
    ));
    assert_eq!((steps.steps.len(), steps.rows.len()), (23, 23));
}

#[test]
fn the_drain_limit_ends_what_is_under_way() {
    // Three requests at 0.3, 0.6 and 0.9 s, 100 ms each, one server: 0.4, 0.7, 1.0.
    let ue = "workload = { kind = \"deterministic\", rate_per_s = 3.3333333333333335 }";
    for (drain, done) in [("0.05", 2), ("0.1", 3)] {
        let finished = paced(&format!("duration_s = 0.900001\ndrain_limit_s = {drain}"), ue, "");
        assert_eq!((finished.rows.len(), finished.count(Outcome::Completed)), (3, done), "{drain}");
        assert_eq!(finished.count(Outcome::Unfinished), 3 - done);
    }
}

#[test]
fn the_warm_up_is_left_out_of_utilisations() {
    // Busy in 0.3–0.4, 0.6–0.7, 0.9–1.0, …: a third, whatever the warm-up's length in periods.
    let ue = "workload = { kind = \"deterministic\", rate_per_s = 3.3333333333333335 }";
    let utilisation = |warmup: &str| {
        let finished = paced(&format!("duration_s = 3.0\nwarmup_s = {warmup}"), ue, "");
        finished.totals.edge_utilisation.unwrap()
    };
    // Nine services of 0.1 s end by 3 s; none is under way then.
    assert!((utilisation("0.0") - 0.9 / 3.0).abs() < 1e-6);
    assert!((utilisation("0.35") - 0.85 / 2.65).abs() < 1e-6);
    assert!((utilisation("2.5") - 0.1 / 0.5).abs() < 1e-6);
}

/// An outage on an ideal radio takes no time, and this phone doesn't think: time must go on all the same.
#[test]
fn a_closed_loop_cannot_stop_time() {
    let finished = run(&format!(
        "name = \"restless\"\nduration_s = 1e-6\nstop = {{ requests = 5000 }}\nservice.mode = \"edge-only\"\n\
         quality.source = \"none\"\n[channel]\nrayleigh_scale = 1.0\ngain_threshold = 100.0\n\
         [radio]\nsharing = \"ideal\"\nmax_transmissions = 1\n[[ue]]\nname = \"phone\"\ndevice = \"phone\"\n\
         workload = {{ kind = \"closed-loop\", think_time_s = 0.0 }}\n{DEVICES}"
    ));
    // 1000 ns, a request in each but the first.
    assert_eq!((finished.rows.len(), finished.count(Outcome::Outage)), (999, 999));
}

/// Whoever arrives is dropped if and only if all waiting places are taken.
#[test]
fn drops_happen_exactly_when_the_queue_is_full() {
    for capacity in [0u32, 1, 3] {
        let finished = run(&format!(
            "name = \"full\"\nduration_s = 60.0\nservice.mode = \"device-only\"\nquality.source = \"none\"\n\
             [[ue]]\nname = \"phone\"\ndevice = \"phone\"\ncount = 2\nqueue_capacity = {capacity}\ndeadline_ms = 400.0\n\
             workload = {{ rate_per_s = 9.0 }}\n{DEVICES}"
        ));
        let rows = finished.by_arrival();
        let mut dropped = 0;
        for row in &rows {
            // Present at the arrival: accepted before, not gone yet. What ends at the same instant is gone.
            let waiting = rows.iter().filter(|other| {
                let leaves_queue = other.arrival_s + other.ue_wait_s.unwrap_or(SimTime::ZERO);
                other.ue_id == row.ue_id
                    && other.request_id < row.request_id
                    && other.outcome != Outcome::Dropped
                    && leaves_queue > row.arrival_s
            });
            let serving = rows.iter().any(|other| {
                other.ue_id == row.ue_id
                    && other.request_id < row.request_id
                    && other.ue_compute_s.is_some()
                    && other.arrival_s + other.ue_wait_s.unwrap() <= row.arrival_s
                    && other.arrival_s + other.spent() > row.arrival_s
            });
            let full = serving && waiting.count() >= capacity as usize;
            assert_eq!(row.outcome == Outcome::Dropped, full, "{row:#?}");
            dropped += u32::from(full);
        }
        assert!(dropped > 50, "{dropped} of {}", rows.len());
        assert!(capacity < 3 || finished.count(Outcome::Timeout) > 0);
    }
}

#[test]
fn a_closed_loop_has_no_more_requests_than_phones() {
    let count = 5;
    let ue = "count = 5\ndeadline_ms = 350.0\nworkload = { kind = \"closed-loop\", think_time_s = 0.3 }";
    let finished = paced("duration_s = 400.0", ue, "");
    let mut thinks = Vec::new();
    let mut changes = Vec::new();
    for ue in 0..count {
        let rows: Vec<Row> = finished.by_arrival().into_iter().filter(|row| row.ue_id == ue).collect();
        let mut ended = SimTime::ZERO;
        for row in &rows {
            assert!(row.arrival_s >= ended, "a phone has one request at a time");
            thinks.push((row.arrival_s - ended).as_secs_f64());
            ended = row.arrival_s + row.spent();
            changes.extend([(row.arrival_s, 1), (ended, -1)]);
        }
    }
    changes.sort_unstable();
    let most = changes
        .iter()
        .scan(0, |level, &(_, step)| {
            *level += step;
            Some(*level)
        })
        .max();
    assert!(most <= Some(5), "{most:?}");
    let interval = mean_interval(&thinks, 0.999).expect("many");
    assert!(interval.covers(0.3) && thinks.len() > 2000, "{} to {}", interval.low(), interval.high());
    assert!(finished.count(Outcome::Timeout) > 10);
}

#[test]
fn a_trace_arrives_at_its_times_and_a_clock_is_staggered() {
    let times = [0.0, 0.125, 0.125, 0.300_000_001, 1.75, 9.0];
    let file = trace(&times, 12);
    let ue = format!("count = 2\nworkload = {{ kind = \"trace\", path = \"{}\" }}", file.path().display());
    let rows = paced("duration_s = 2.0", &ue, "").by_arrival();
    // The last one comes after the end. Dealt in turn: 0, 2, 4 and 1, 3.
    let arrivals: Vec<(SimTime, u32)> = rows.iter().map(|row| (row.arrival_s, row.ue_id)).collect();
    let expected: Vec<(SimTime, u32)> =
        times[..5].iter().zip([0, 1, 0, 1, 0]).map(|(&at, ue)| (seconds(at), ue)).collect();
    let sorted = |mut list: Vec<(SimTime, u32)>| {
        list.sort_unstable();
        list
    };
    assert_eq!(sorted(arrivals), sorted(expected));
    assert!(rows.iter().all(|row| row.prompt_tokens == 12));

    let ue = "count = 4\nworkload = { kind = \"deterministic\", rate_per_s = 2.0 }";
    for row in paced("duration_s = 3.0", ue, "").rows {
        // 0.125, 0.25, 0.375 and 0.5 s, and every 0.5 s from there.
        let offset = row.arrival_s.as_nanos() - 125_000_000 * u64::from(row.ue_id + 1);
        assert_eq!(offset % 500_000_000, 0, "{row:#?}");
    }
}
