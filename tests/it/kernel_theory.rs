//! The kernel against queueing theory: distributions where they are known,
//! means by the coverage of confidence intervals, and identities of the sample
//! path exactly, in integer nanoseconds.
//!
//! Formulas: Kleinrock, "Queueing Systems", vol. 1 (chapters 3 and 5) and vol. 2 (section 4.4).

use splitwave::kernel::Streams;
use splitwave::stats::{Moments, StudentInterval, ks_critical_value, ks_statistic, mean_interval};
use statrs::distribution::{Binomial, ChiSquared, ContinuousCDF, DiscreteCDF};

use crate::queueing_support::{Load, ServiceLaw, Totals, Visit, fifo, processor_sharing};

const REPLICATIONS: u32 = 300;
const BATCHES: u64 = 20;
/// Chance of a false alarm per check, were the seeds not fixed.
const ALPHA: f64 = 1e-3;

const UNBOUNDED: u32 = u32::MAX;

fn load(rate: f64, law: ServiceLaw, customers: u64) -> Load {
    Load { rate, law, customers }
}

/// Means of [`BATCHES`] consecutive batches of customers, after a warm-up of one batch.
struct BatchMeans<const M: usize> {
    batch: u64,
    seen: u64,
    current: [Moments; M],
    means: [Vec<f64>; M],
}

impl<const M: usize> BatchMeans<M> {
    fn new(batch: u64) -> Self {
        Self { batch, seen: 0, current: [Moments::new(); M], means: [const { Vec::new() }; M] }
    }

    fn push(&mut self, values: [f64; M]) {
        for (current, value) in self.current.iter_mut().zip(values) {
            current.push(value);
        }
        self.seen += 1;
        if self.seen.is_multiple_of(self.batch) {
            for (current, means) in self.current.iter_mut().zip(&mut self.means) {
                if self.seen > self.batch {
                    means.extend(current.mean());
                }
                *current = Moments::new();
            }
        }
    }
}

/// Judges the means of `M` quantities per customer against `theory`.
///
/// `run` simulates one replication of `(BATCHES + 1) · batch` customers. From
/// each comes a 95 % interval by batch means. The number of intervals that
/// cover the theory must lie in the central 99.9 % of Binomial(300, 0.95),
/// which is 272 to 296; and the 99.9 % interval over all replications must cover it too.
fn assert_means<const M: usize>(
    name: &str,
    batch: u64,
    theory: [f64; M],
    mut run: impl FnMut(u64, Streams, &mut dyn FnMut([f64; M])),
) {
    let mut covered = [0u64; M];
    let mut overall = [Moments::new(); M];
    for replication in 0..REPLICATIONS {
        let mut batches = BatchMeans::new(batch);
        run((BATCHES + 1) * batch, Streams::new(2025, replication), &mut |values| batches.push(values));
        for metric in 0..M {
            let interval = mean_interval(&batches.means[metric], 0.95).expect("several batches");
            covered[metric] += u64::from(interval.covers(theory[metric]));
            overall[metric].push(interval.mean);
        }
    }
    let binomial = Binomial::new(0.95, u64::from(REPLICATIONS)).expect("a valid law");
    for metric in 0..M {
        let count = covered[metric];
        let (low, high) = (binomial.cdf(count), 1.0 - binomial.cdf(count.saturating_sub(1)));
        let interval = StudentInterval::from_moments(&overall[metric], 1.0 - ALPHA).expect("many replications");
        let summary = format!(
            "{name}, quantity {metric}: theory {:.6}, found {:.6} ± {:.6}, {count} of {REPLICATIONS} intervals cover",
            theory[metric], interval.mean, interval.half_width
        );
        println!("{summary}");
        assert!(low > ALPHA / 2.0 && high > ALPHA / 2.0, "{summary}");
        assert!(interval.covers(theory[metric]), "{summary}");
    }
}

/// Judges independent counts of how many customers an arrival saw against
/// `P(n) = (1 - ρ) ρⁿ` by Pearson's χ².
fn assert_geometric(name: &str, seen: &[u32], rho: f64) {
    const CELLS: usize = 8;
    let mut counts = [0u32; CELLS];
    for &n in seen {
        counts[(n as usize).min(CELLS - 1)] += 1;
    }
    let mut tail = seen.len() as f64;
    let mut chi2 = 0.0;
    for (n, &count) in counts.iter().enumerate() {
        let expected = if n + 1 < CELLS { (1.0 - rho) * tail } else { tail };
        chi2 += (f64::from(count) - expected).powi(2) / expected;
        tail -= expected;
    }
    let critical = ChiSquared::new((CELLS - 1) as f64).expect("a valid law").inverse_cdf(1.0 - ALPHA);
    println!("{name}: χ² = {chi2:.2} of {} arrivals, critical {critical:.2}", seen.len());
    assert!(chi2 < critical, "{name}: χ² = {chi2}");
}

/// Every `apart`-th visit, far enough from each other to count as independent.
struct Subsample {
    apart: u64,
    count: u64,
    visits: Vec<Visit>,
}

impl Subsample {
    fn new(apart: u64) -> Self {
        Self { apart, count: 0, visits: Vec::new() }
    }

    fn push(&mut self, visit: &Visit) {
        self.count += 1;
        if self.count.is_multiple_of(self.apart) {
            self.visits.push(*visit);
        }
    }

    fn seen(&self) -> Vec<u32> {
        self.visits.iter().map(|visit| visit.seen).collect()
    }
}

/// M/M/1: the sojourn is exponential of rate `μ - λ`, and an arrival sees `n`
/// customers with probability `(1 - ρ) ρⁿ`. `apart` is over six relaxation times `λ/(√μ - √λ)²`.
fn check_mm1(rho: f64, batch: u64, apart: u64) {
    let name = format!("M/M/1 at {rho}");
    let mut subsample = Subsample::new(apart);
    assert_means(&name, batch, [1.0 / (1.0 - rho)], |customers, streams, push| {
        fifo(&load(rho, ServiceLaw::Exponential, customers), 1, UNBOUNDED, streams, |visit| {
            push([visit.sojourn()]);
            subsample.push(visit);
        });
    });
    let mut sojourns: Vec<f64> = subsample.visits.iter().map(Visit::sojourn).collect();
    sojourns.sort_unstable_by(f64::total_cmp);
    let distance = ks_statistic(&sojourns, |t| -(-(1.0 - rho) * t).exp_m1());
    let critical = ks_critical_value(sojourns.len(), ALPHA);
    println!("{name}: D = {distance:.5} of {} sojourns, critical {critical:.5}", sojourns.len());
    assert!(distance < critical, "{name}: D = {distance}");
    assert_geometric(&name, &subsample.seen(), rho);
}

#[test]
fn mm1_at_half_load_has_its_distributions() {
    check_mm1(0.5, 300, 50);
}

#[test]
fn mm1_at_high_load_has_its_distributions() {
    check_mm1(0.8, 2000, 500);
}

/// Erlang's C formula: the probability that an arrival waits, of `c` servers
/// with an offered load of `a < c`.
fn erlang_c(c: u32, a: f64) -> f64 {
    // Erlang's B by its recursion over servers, then C = c·B / (c - a·(1 - B)).
    let b = (1..=c).fold(1.0, |b, servers| a * b / (f64::from(servers) + a * b));
    let c = f64::from(c);
    c * b / (c - a * (1.0 - b))
}

#[test]
fn erlang_c_is_that_of_the_tables() {
    assert!((erlang_c(1, 0.7) - 0.7).abs() < 1e-15);
    // c = 2: C = a²/(2 + a).
    assert!((erlang_c(2, 1.5) - 2.25 / 3.5).abs() < 1e-15);
}

#[test]
fn mmc_waits_as_erlang_says() {
    for (servers, offered, batch) in [(2, 1.2, 600), (5, 4.0, 1000)] {
        let waits = erlang_c(servers, offered);
        let mean_wait = waits / (f64::from(servers) - offered);
        assert_means(&format!("M/M/{servers}"), batch, [waits, mean_wait], |customers, streams, push| {
            let load = load(offered, ServiceLaw::Exponential, customers);
            fifo(&load, servers as usize, UNBOUNDED, streams, |visit| {
                push([f64::from(u8::from(visit.start > visit.arrival)), visit.wait()]);
            });
        });
    }
}

/// M/M/2/5: blocked with the probability of the full state, `π₅`, where `πₙ ∝ aⁿ/n!` up to 2 and falls by `a/2` beyond.
#[test]
fn a_finite_queue_blocks_as_often_as_it_is_full() {
    let a: f64 = 1.8;
    let states = [1.0, a, a.powi(2) / 2.0, a.powi(3) / 4.0, a.powi(4) / 8.0, a.powi(5) / 16.0];
    let theory = states[5] / states.iter().sum::<f64>();
    let blocked: Moments = (0..REPLICATIONS)
        .map(|replication| {
            let load = load(a, ServiceLaw::Exponential, 10_000);
            let totals = fifo(&load, 2, 5, Streams::new(2026, replication), |_| {});
            assert_eq!(totals.arrivals, totals.blocked + totals.departures);
            totals.blocked as f64 / totals.arrivals as f64
        })
        .collect();
    let interval = StudentInterval::from_moments(&blocked, 1.0 - ALPHA).expect("many replications");
    assert!(interval.covers(theory), "{interval:?} for {theory}");
    assert!(interval.half_width < 0.01 * theory, "too wide to tell: {interval:?}");
}

/// Pollaczek and Khinchine: `E W = ρ (1 + C²) / (2 (1 - ρ))` for a mean service time of 1.
#[test]
fn mg1_waits_as_pollaczek_and_khinchine_say() {
    let rho = 0.6;
    for (law, batch) in [
        (ServiceLaw::Deterministic, 600),
        (ServiceLaw::Erlang(2), 600),
        (ServiceLaw::Erlang(3), 600),
        (ServiceLaw::Erlang(4), 600),
        (ServiceLaw::Hyperexponential(4.0), 1500),
    ] {
        let theory = rho * (1.0 + law.scv()) / (2.0 * (1.0 - rho));
        assert_means(&format!("M/G/1, {law:?}"), batch, [theory, rho], |customers, streams, push| {
            fifo(&load(rho, law, customers), 1, UNBOUNDED, streams, |visit| {
                push([visit.wait(), f64::from(u8::from(visit.seen > 0))]);
            });
        });
    }
}

/// Under processor sharing `E T = E S / (1 - ρ)` and `P(n) = (1 - ρ) ρⁿ` whatever
/// the law of the service time, and a customer of work `x` stays `x / (1 - ρ)`
/// in the mean: here checked through `E[T·S] = E S² / (1 - ρ)`.
#[test]
fn processor_sharing_is_insensitive_to_the_service_law() {
    let rho = 0.6;
    for law in
        [ServiceLaw::Exponential, ServiceLaw::Deterministic, ServiceLaw::Erlang(3), ServiceLaw::Hyperexponential(4.0)]
    {
        let name = format!("M/G/1-PS, {law:?}");
        let mut subsample = Subsample::new(200);
        let theory = [1.0 / (1.0 - rho), (1.0 + law.scv()) / (1.0 - rho)];
        assert_means(&name, 500, theory, |customers, streams, push| {
            processor_sharing(&load(rho, law, customers), streams, |visit| {
                assert!(visit.finish - visit.arrival >= visit.work);
                push([visit.sojourn(), visit.sojourn() * visit.work.as_secs_f64()]);
                subsample.push(visit);
            });
        });
        assert_geometric(&name, &subsample.seen(), rho);
    }
}

/// Little's law is an identity over a window that begins and ends empty: the
/// area under `N(t)` is the sum of the sojourns, to the nanosecond. And all that came went.
#[test]
fn littles_law_holds_to_the_nanosecond() {
    let check = |totals: Totals, customers: u64| {
        assert!(totals.departures > 0);
        assert_eq!(totals.arrivals, customers);
        assert_eq!(totals.arrivals, totals.departures + totals.blocked);
        assert_eq!(totals.area, totals.sojourns);
    };
    for replication in 0..20 {
        let streams = Streams::new(7, replication);
        for law in [ServiceLaw::Exponential, ServiceLaw::Deterministic, ServiceLaw::Hyperexponential(9.0)] {
            let single = load(0.9, law, 5_000);
            check(fifo(&single, 1, UNBOUNDED, streams, |_| {}), 5_000);
            check(fifo(&load(2.7, law, 5_000), 3, UNBOUNDED, streams, |_| {}), 5_000);
            check(fifo(&load(2.7, law, 5_000), 2, 6, streams, |_| {}), 5_000);
            check(processor_sharing(&single, streams, |_| {}), 5_000);
        }
    }
}

/// Work is conserved: a single server that never idles while there is work ends
/// at the same instant under either discipline, but for the rounding of
/// departures under processor sharing.
#[test]
fn both_disciplines_empty_at_the_same_time() {
    for replication in 0..20 {
        let streams = Streams::new(8, replication);
        let load = load(0.9, ServiceLaw::Exponential, 5_000);
        let queue = fifo(&load, 1, UNBOUNDED, streams, |_| {});
        let shared = processor_sharing(&load, streams, |_| {});
        assert_eq!(queue.work, shared.work);
        assert!(queue.end <= shared.end);
        assert!((shared.end - queue.end).as_nanos() <= 5_000, "at most a nanosecond per departure");
    }
}
