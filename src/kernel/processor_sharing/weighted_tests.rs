use proptest::prelude::*;

use super::*;
use crate::kernel::{Purpose, Streams};

fn ns(nanos: u64) -> SimTime {
    SimTime::from_nanos(nanos)
}

/// By hand: a (work 30, weight 1) and b (work 30, weight 2) from 0, capacity 1.5 for two.
/// a is served at 0.5 and b at 1: b leaves at 30 with a at 15; a alone from there, at 45.
#[test]
fn a_worked_example_with_weights_and_gain() {
    let mut server = ProcessorSharing::with_gain(CapacityGain::new([1.0, 1.5]).unwrap());
    server.arrive(ns(0), ns(30), 'a');
    server.arrive_weighted(ns(0), ns(30), 2, 'b');
    let b = server.depart(ns(30)).unwrap();
    let mut out = Vec::new();
    // Served at rate 1 throughout, though never alone.
    assert!(server.service_instants(&b, [0, 10, 30].map(ns), &mut out));
    assert_eq!((b.job, b.weight, out), ('b', 2, [0, 10, 30].map(ns).to_vec()));
    let a = server.depart(ns(45)).unwrap();
    let mut out = Vec::new();
    assert!(server.service_instants(&a, [5, 15, 16, 30].map(ns), &mut out));
    assert_eq!((a.job, out), ('a', [10, 30, 31, 45].map(ns).to_vec()));
}

#[test]
fn a_weighted_flow_that_is_cancelled_returns_what_it_received() {
    let mut server = ProcessorSharing::new();
    server.arrive(ns(0), ns(1000), 'a');
    let b = server.arrive_weighted(ns(0), ns(1000), 9, 'b');
    let mut out = Vec::new();
    assert!(server.service_instants_so_far(ns(100), b, [9, 90, 91].map(ns), &mut out));
    assert_eq!(out, [10, 100].map(ns));
    assert_eq!(server.cancel(ns(100), b), Some(ns(90)));
    assert_eq!(server.next_departure(), Some(ns(1090)));
}

#[test]
fn weights_out_of_range_count_as_the_nearest() {
    let mut server = ProcessorSharing::new();
    server.arrive_weighted(ns(0), ns(10), 0, 'a');
    server.arrive_weighted(ns(0), ns(10), u32::MAX, 'b');
    // 10 / 1000 of a's virtual time, at Σw = 1001.
    assert_eq!(server.next_departure(), Some(ns(11)));
    assert_eq!(server.depart(ns(11)).map(|b| (b.job, b.weight)), Some(('b', MAX_WEIGHT)));
}

#[test]
fn extremes_saturate_with_any_gain() {
    for gain in [1.0 / 1024.0, 1024.0] {
        let mut server = ProcessorSharing::with_gain(CapacityGain::new([gain]).unwrap());
        server.arrive_weighted(ns(0), SimTime::MAX, MAX_WEIGHT, 'a');
        server.arrive(ns(0), SimTime::MAX, 'b');
        assert_eq!(server.next_departure().is_some_and(|at| at == SimTime::MAX), gain < 1.0);
        server.arrive(SimTime::from_nanos(u64::MAX >> 12), SimTime::MAX, 'c');
        assert!(server.next_departure().is_some());
    }
}

/// The definition in floating point: flow i is served at rate G(n)·wᵢ/Σw.
struct Reference {
    now: f64,
    flows: Vec<ReferenceFlow>,
    gain: Vec<f64>,
}

struct ReferenceFlow {
    job: u64,
    weight: f64,
    remaining: f64,
    /// Points (time, work received).
    curve: Vec<(f64, f64)>,
}

impl Reference {
    fn capacity_per_weight(&self) -> f64 {
        let weights: f64 = self.flows.iter().map(|flow| flow.weight).sum();
        self.gain[self.flows.len().clamp(1, self.gain.len()) - 1] / weights.max(1.0)
    }

    fn advance(&mut self, now: f64) {
        let growth = (now - self.now) * self.capacity_per_weight();
        for flow in &mut self.flows {
            flow.remaining -= growth * flow.weight;
            let received = flow.curve[flow.curve.len() - 1].1 + growth * flow.weight;
            flow.curve.push((now, received));
        }
        self.now = now;
    }

    fn next_departure(&self) -> f64 {
        let least = self.flows.iter().map(|flow| flow.remaining / flow.weight).fold(f64::INFINITY, f64::min);
        self.now + least.max(0.0) / self.capacity_per_weight()
    }
}

/// The instant at which a piecewise linear service curve reaches `amount`.
fn inverse(curve: &[(f64, f64)], amount: f64) -> f64 {
    let k = curve.partition_point(|point| point.1 < amount).clamp(1, curve.len() - 1);
    let ((t0, v0), (t1, v1)) = (curve[k - 1], curve[k]);
    if v1 > v0 { (t0 + (amount - v0) / (v1 - v0) * (t1 - t0)).min(t1) } else { t1 }
}

proptest! {
    /// Random arrivals, weights, gains, departures and cancellations against the definition.
    ///
    /// Instants agree to 1 ns, the rounding, and 1e-3 ns for the reference's own floating point; what the
    /// rounding of one departure costs a flow is in the reference too, as it is advanced to the server's instants.
    #[test]
    fn agrees_with_the_definition(seed: u64, with_gain: bool, steps in 50..300u64) {
        let draws = Streams::new(seed, 0).stream(0, Purpose::Test);
        let gain = if with_gain { vec![1.0, 1.25, 1.5, 1.625] } else { vec![1.0] };
        let mut server = ProcessorSharing::new();
        if with_gain {
            server = ProcessorSharing::with_gain(CapacityGain::new(gain.clone()).unwrap());
        }
        let largest = gain[gain.len() - 1];
        let mut reference = Reference { now: 0.0, flows: Vec::new(), gain };
        let (mut ids, mut arrivals) = (Vec::new(), 0u64);
        for step in 0..steps {
            let [gap, work, action, pick] = draws.block(step);
            let event = ns(reference.now as u64 + u64::from(gap % 2_000_000));
            while let Some(now) = server.next_departure().filter(|&at| at <= event) {
                let departed = server.depart(now).unwrap();
                let at = now.as_nanos() as f64;
                prop_assert!((reference.next_departure() - at).abs() < 1.001, "step {}", step);
                // Work that the rounding of the instant leaves at most, at this flow's rate.
                let share = reference.capacity_per_weight() * f64::from(departed.weight);
                reference.advance(at);
                let index = reference.flows.iter().position(|flow| flow.job == departed.job).unwrap();
                let flow = reference.flows.remove(index);
                prop_assert!(flow.remaining.abs() < 1.001 * share.max(1.0), "step {}: {}", step, flow.remaining);
                let sojourn = (departed.finish - departed.start).as_nanos() as f64;
                let work = departed.work.as_nanos();
                prop_assert!(sojourn >= work as f64 / largest);
                let amounts = [0, work / 7, work / 3, work / 2, work];
                let mut found = Vec::new();
                prop_assert!(server.service_instants(&departed, amounts.map(ns), &mut found));
                prop_assert!(found.is_sorted());
                prop_assert_eq!((found[0], found[4]), (departed.start, departed.finish));
                for (&amount, instant) in amounts.iter().zip(&found) {
                    let error = inverse(&flow.curve, amount as f64) - instant.as_nanos() as f64;
                    prop_assert!(error.abs() < 1.001, "step {}: {} ns", step, error);
                }
            }
            reference.advance(event.as_nanos() as f64);
            if action % 10 < 7 {
                let (work, weight) = (u64::from(work % 3_000_000), 1 + pick % 7);
                ids.push((server.arrive_weighted(event, ns(work), weight, arrivals), arrivals));
                let curve = vec![(event.as_nanos() as f64, 0.0)];
                let (weight, remaining) = (f64::from(weight), work as f64);
                reference.flows.push(ReferenceFlow { job: arrivals, weight, remaining, curve });
                arrivals += 1;
            } else if !ids.is_empty() {
                let (id, job) = ids.swap_remove(pick as usize % ids.len());
                let expected = reference.flows.iter().position(|flow| flow.job == job);
                let received = server.cancel(event, id);
                prop_assert_eq!(received.is_some(), expected.is_some());
                if let (Some(index), Some(received)) = (expected, received) {
                    let flow = reference.flows.remove(index);
                    let served = flow.curve[flow.curve.len() - 1].1;
                    prop_assert!((served - received.as_nanos() as f64).abs() < 0.501);
                }
            }
            prop_assert_eq!(server.active(), reference.flows.len());
        }
    }
}

/// One replication of an M/G/1 queue with customers of class 0 and 1: mean sojourns of the
/// classes, in mean works of 1 ms, after a warm-up of a tenth of the customers.
fn sojourns(
    mut server: ProcessorSharing<(u64, usize)>,
    replication: u32,
    arrival_rates: [f64; 2],
    customers: u64,
    work: impl Fn(f64, usize) -> f64,
    weights: [u32; 2],
) -> [f64; 2] {
    const MILLISECOND: f64 = 1e6;
    let draws = Streams::new(41, replication).stream(0, Purpose::Test);
    let total = arrival_rates[0] + arrival_rates[1];
    let (mut sums, mut counts) = ([0.0; 2], [0.0; 2]);
    let mut clock = 0.0;
    for customer in 0..=customers {
        let [gap, class, size] = [0, 1, 2].map(|kind| draws.uniform(3 * customer + kind));
        clock += -gap.ln() / total * MILLISECOND;
        let now = if customer == customers { SimTime::MAX } else { ns(clock as u64) };
        while let Some(at) = server.next_departure().filter(|&at| at <= now) {
            let gone = server.depart(at).unwrap();
            let (number, class) = gone.job;
            if number >= customers / 10 {
                sums[class] += (gone.finish - gone.start).as_nanos() as f64 / MILLISECOND;
                counts[class] += 1.0;
            }
        }
        if customer < customers {
            let class = usize::from(class * total >= arrival_rates[0]);
            let work = ns((work(-size.ln(), class) * MILLISECOND) as u64);
            server.arrive_weighted(now, work, weights[class], (customer, class));
        }
    }
    [sums[0] / counts[0], sums[1] / counts[1]]
}

/// Asserts that the mean over 40 replications is within four of its standard errors of theory.
fn assert_mean(values: &[f64], expected: f64, what: &str) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let error = (variance / n).sqrt();
    assert!(error < 0.02 * expected, "{what}: the standard error {error} says little about {expected}");
    assert!((mean - expected).abs() < 4.0 * error, "{what}: {mean}, theory {expected}, standard error {error}");
}

/// Two classes of exponential work, by Fayolle, Mitrani, Iasnogorodski, "Sharing a processor among many job
/// classes", J. ACM 27(3), 1980:
/// `T₁ = 1/(μ₁(1 - ρ)) · (1 + μ₁ρ₂(w₂ - w₁)/D)`, `D = μ₁w₁(1 - ρ₁) + μ₂w₂(1 - ρ₂)`, and T₂ likewise.
#[test]
fn discriminatory_sharing_has_the_known_mean_sojourns() {
    let (arrivals, service) = ([0.3, 0.8], [1.0, 2.0]);
    let load = [arrivals[0] / service[0], arrivals[1] / service[1]];
    for weights in [[1, 1], [4, 1], [1, 10]] {
        let runs: Vec<_> = (0..40)
            .map(|replication| {
                let work = |exponential: f64, class: usize| exponential / service[class];
                sojourns(ProcessorSharing::new(), replication, arrivals, 10_000, work, weights)
            })
            .collect();
        let w = weights.map(f64::from);
        let d = service[0] * w[0] * (1.0 - load[0]) + service[1] * w[1] * (1.0 - load[1]);
        for (class, other) in [(0, 1), (1, 0)] {
            let alone = 1.0 / (service[class] * (1.0 - load[0] - load[1]));
            let expected = alone * (1.0 + service[class] * load[other] * (w[other] - w[class]) / d);
            let means: Vec<f64> = runs.iter().map(|run| run[class]).collect();
            assert_mean(&means, expected, &format!("weights {weights:?}, class {class}"));
        }
    }
}

/// With a capacity G(n) the number of flows has the weights `πₙ ∝ Πₖ λ/(μG(k))`, whatever the law of
/// the work (Cohen, "The multiple phase service network with generalized processor sharing", Acta Informatica
/// 12, 1979), and E T = E N/λ. Load 1.2: stable only by the gain.
#[test]
fn a_gain_serves_as_the_product_form_says_whatever_the_law_of_work() {
    let gains = [1.0, 1.25, 1.5, 1.625];
    let rate = 1.2;
    let (mut weight, mut total, mut flows) = (1.0, 1.0, 0.0);
    for n in 1..400 {
        weight *= rate / gains[n.min(gains.len()) - 1];
        total += weight;
        flows += n as f64 * weight;
    }
    let expected = flows / total / rate;
    for exponential_law in [true, false] {
        let means: Vec<f64> = (0..40)
            .map(|replication| {
                let server = ProcessorSharing::with_gain(CapacityGain::new(gains).unwrap());
                let work = |exponential: f64, _| if exponential_law { exponential } else { 1.0 };
                sojourns(server, replication, [rate, 0.0], 10_000, work, [1, 1])[0]
            })
            .collect();
        assert_mean(&means, expected, if exponential_law { "exponential" } else { "deterministic" });
    }
}
