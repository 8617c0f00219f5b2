use super::*;
use crate::kernel::{Purpose, Streams};

fn ns(nanos: u64) -> SimTime {
    SimTime::from_nanos(nanos)
}

/// Lets everything finish; returns the departures in order.
fn drain<J: Copy>(server: &mut ProcessorSharing<J>) -> Vec<Departed<J>> {
    std::iter::from_fn(|| server.next_departure().and_then(|at| server.depart(at))).collect()
}

fn instants<J: Copy>(server: &ProcessorSharing<J>, departed: &Departed<J>, amounts: &[u64]) -> Vec<u64> {
    let mut out = Vec::new();
    assert!(server.service_instants(departed, amounts.iter().map(|&amount| ns(amount)), &mut out));
    out.into_iter().map(SimTime::as_nanos).collect()
}

#[test]
fn a_flow_alone_departs_after_its_work() {
    let mut server = ProcessorSharing::new();
    server.arrive(ns(7), ns(1_000_003), 'a');
    assert_eq!(server.next_departure(), Some(ns(1_000_010)));
    assert_eq!(server.depart(ns(1_000_009)), None);
    let departed = server.depart(ns(1_000_010)).unwrap();
    assert_eq!((departed.start, departed.work, departed.finish), (ns(7), ns(1_000_003), ns(1_000_010)));
    assert_eq!(
        instants(&server, &departed, &[0, 1, 500_000, 1_000_003, 2_000_000]),
        [7, 8, 500_007, 1_000_010, 1_000_010]
    );
    assert_eq!((server.active(), server.next_departure()), (0, None));
}

#[test]
fn flows_of_equal_work_share_evenly_and_leave_in_order_of_arrival() {
    let mut server = ProcessorSharing::new();
    for job in 0..3 {
        server.arrive(ns(0), ns(10), job);
    }
    // A breakpoint at a third of a nanosecond of virtual time must not cost one.
    server.arrive(ns(1), ns(0), 99);
    let departures: Vec<_> = drain(&mut server).iter().map(|d| (d.job, d.finish.as_nanos())).collect();
    assert_eq!(departures, [(99, 1), (0, 30), (1, 30), (2, 30)]);
}

/// By hand: a (work 30) from 0, b (work 10) from 10, c (work 4) from 16.
/// V: 10 at 10, 13 at 16; c leaves when V = 17, at 28; b when V = 20, at 34; a (V = 30) alone from there, at 44.
#[test]
fn a_worked_example() {
    let mut server = ProcessorSharing::new();
    server.arrive(ns(0), ns(30), 'a');
    server.arrive(ns(10), ns(10), 'b');
    server.arrive(ns(16), ns(4), 'c');
    let c = server.depart(ns(28)).unwrap();
    assert_eq!((c.job, instants(&server, &c, &[1, 2, 3, 4])), ('c', vec![19, 22, 25, 28]));
    let b = server.depart(ns(34)).unwrap();
    assert_eq!((b.job, instants(&server, &b, &[0, 2, 3, 4, 7, 9, 10])), ('b', vec![10, 14, 16, 19, 28, 32, 34]));
    let a = server.depart(ns(44)).unwrap();
    assert_eq!((a.job, instants(&server, &a, &[10, 13, 17, 20, 25, 30])), ('a', vec![10, 16, 28, 34, 39, 44]));
}

#[test]
fn a_cancelled_flow_returns_what_it_received_and_frees_its_share() {
    let mut server = ProcessorSharing::new();
    let a = server.arrive(ns(0), ns(100), 'a');
    let b = server.arrive(ns(0), ns(100), 'b');
    let mut early = Vec::new();
    assert!(server.service_instants_so_far(ns(50), b, [10, 20, 30, 110].map(ns), &mut early));
    assert_eq!(early, [ns(20), ns(40)]);
    assert_eq!(server.cancel(ns(50), b), Some(ns(25)));
    assert_eq!(server.cancel(ns(50), b), None);
    assert!(!server.service_instants_so_far(ns(50), b, [ns(1)], &mut early));
    assert_eq!(server.next_departure(), Some(ns(125)));
    assert!(server.depart(ns(125)).is_some());
    assert_eq!(server.cancel(ns(125), a), None);
}

#[test]
fn history_is_kept_until_the_next_change_and_no_longer() {
    let mut server = ProcessorSharing::new();
    server.arrive(ns(0), ns(10), 'a');
    server.arrive(ns(5), ns(10), 'b');
    let a = server.depart(ns(15)).unwrap();
    assert_eq!(instants(&server, &a, &[5, 10]), [5, 15]);
    server.arrive(ns(16), ns(1), 'c');
    let mut out = Vec::new();
    assert!(!server.service_instants(&a, [ns(5)], &mut out));
    assert!(out.is_empty());
}

#[test]
fn history_reaches_back_to_the_oldest_flow_only() {
    let mut server = ProcessorSharing::new();
    let mut oldest = std::collections::VecDeque::new();
    for job in 0..10_000u64 {
        oldest.push_back(server.arrive(ns(3 * job), ns(1 << 40), job));
        if job >= 8 {
            server.cancel(ns(3 * job), oldest.pop_front().unwrap());
        }
        assert!(server.history.len() <= 10, "{} breakpoints for {} flows", server.history.len(), server.active());
        assert!(server.tags.len() <= 2 * server.active() + SWEEP_SLACK + 1);
    }
    assert!(server.slots.len() <= 10);
}

/// Points (time, work received) of one flow's service.
type ServiceCurve = Vec<(f64, f64)>;

/// The definition, flow by flow, in floating point.
struct Reference {
    now: f64,
    /// (arrival number, remaining work, service so far)
    flows: Vec<(u64, f64, ServiceCurve)>,
}

impl Reference {
    fn advance(&mut self, now: f64) {
        let share = (now - self.now) / self.flows.len().max(1) as f64;
        for (_, remaining, curve) in &mut self.flows {
            *remaining -= share;
            let received = curve.last().map_or(0.0, |point| point.1) + share;
            curve.push((now, received));
        }
        self.now = now;
    }

    fn next_departure(&self) -> f64 {
        let least = self.flows.iter().map(|flow| flow.1).fold(f64::INFINITY, f64::min);
        self.now + least * self.flows.len() as f64
    }
}

/// The instant at which a piecewise linear service curve reaches `amount`.
fn inverse(curve: &[(f64, f64)], amount: f64) -> f64 {
    let k = curve.partition_point(|point| point.1 < amount).clamp(1, curve.len() - 1);
    let ((t0, v0), (t1, v1)) = (curve[k - 1], curve[k]);
    if v1 > v0 { t0 + (amount - v0) / (v1 - v0) * (t1 - t0) } else { t1 }
}

/// Random arrivals, departures and cancellations against the definition.
#[test]
fn agrees_with_the_definition() {
    for seed in 0..200 {
        let draws = Streams::new(seed, 0).stream(0, Purpose::Test);
        let mut server = ProcessorSharing::new();
        let mut reference = Reference { now: 0.0, flows: Vec::new() };
        let mut ids = Vec::new();
        let (mut arrivals, mut departures) = (0, 0);
        for step in 0..400 {
            let [gap, work, action, pick] = draws.block(step);
            let event = ns(reference.now as u64 + u64::from(gap % 2_000));
            while server.next_departure().is_some_and(|at| at <= event) {
                let now = server.next_departure().unwrap();
                let departed = server.depart(now).unwrap();
                departures += 1;
                assert!((reference.next_departure() - now.as_nanos() as f64).abs() < 1.01, "seed {seed} step {step}");
                reference.advance(now.as_nanos() as f64);
                let index = reference.flows.iter().position(|flow| flow.0 == departed.job).unwrap();
                let (_, remaining, curve) = reference.flows.remove(index);
                assert!(remaining.abs() < 1.01);
                assert!(departed.finish - departed.start >= departed.work);
                let work = departed.work.as_nanos();
                let amounts: Vec<u64> = (0..=7).map(|k| k * work / 7).collect();
                let found = instants(&server, &departed, &amounts);
                assert!(found.is_sorted());
                // The first amount is 0 (the start), the last one all the work (the finish).
                assert_eq!((found[0], found[7]), (departed.start.as_nanos(), departed.finish.as_nanos()));
                for (&amount, &instant) in amounts.iter().zip(&found) {
                    let error = inverse(&curve, amount as f64) - instant as f64;
                    assert!(error.abs() < 1.01, "seed {seed} step {step}: {error} ns");
                }
            }
            reference.advance(event.as_nanos() as f64);
            if action % 10 < 7 {
                let work = u64::from(work % 3_000);
                ids.push((server.arrive(event, ns(work), arrivals), arrivals));
                reference.flows.push((arrivals, work as f64, vec![(event.as_nanos() as f64, 0.0)]));
                arrivals += 1;
            } else if !ids.is_empty() {
                let (id, job) = ids.swap_remove(pick as usize % ids.len());
                let expected = reference.flows.iter().position(|flow| flow.0 == job);
                let received = server.cancel(event, id);
                assert_eq!(received.is_some(), expected.is_some());
                if let (Some(index), Some(received)) = (expected, received) {
                    let (.., curve) = reference.flows.remove(index);
                    let (_, served) = curve[curve.len() - 1];
                    assert!((served - received.as_nanos() as f64).abs() < 0.51);
                }
            }
            assert_eq!(server.active(), reference.flows.len());
        }
        assert!(departures > 100, "{departures} departures");
    }
}

/// A busy server wastes nothing but the rounding: work done is time elapsed.
#[test]
fn a_busy_period_lasts_as_long_as_its_work() {
    let draws = Streams::new(3, 0).stream(0, Purpose::Test);
    let mut server = ProcessorSharing::new();
    let mut work = 0;
    for index in 0..1000 {
        let [gap, size, ..] = draws.block(index).map(u64::from);
        let now = ns(index * 1_000 + gap % 1_000);
        while server.next_departure().is_some_and(|at| at <= now) {
            assert!(server.depart(server.next_departure().unwrap()).is_some());
        }
        let size = 2_000 + size % 10_000;
        work += size;
        server.arrive(now, ns(size), index);
    }
    let first = draws.block(0)[0] as u64 % 1_000;
    let last = drain(&mut server).last().unwrap().finish.as_nanos();
    let waste = last - first - work;
    assert!(waste < 1000, "{waste} ns over 1000 departures");
}

#[test]
fn extremes_saturate() {
    let mut server = ProcessorSharing::new();
    server.arrive(ns(1), SimTime::MAX, 'a');
    server.arrive(ns(1), SimTime::MAX, 'b');
    assert_eq!(server.next_departure(), Some(SimTime::MAX));
}

#[test]
fn a_flow_in_service_knows_what_it_has_received() {
    let ns = SimTime::from_nanos;
    let mut server = ProcessorSharing::new();
    let a = server.arrive(ns(0), ns(100), 'a');
    assert_eq!(server.received(ns(40), a), Some(ns(40)));
    let b = server.arrive(ns(40), ns(100), 'b');
    // Half speed from here; asking changes nothing.
    assert_eq!((server.received(ns(60), a), server.received(ns(60), b)), (Some(ns(50)), Some(ns(10))));
    assert_eq!(server.next_departure(), Some(ns(160)));
    assert_eq!((server.cancel(ns(100), a), server.received(ns(100), a)), (Some(ns(70)), None));
    assert_eq!(server.received(ns(120), b), Some(ns(50)));
}
