//! The kernel's queues against queueing theory.

use splitwave::kernel::{CapacityGain, ProcessorSharing, Purpose, Streams};
use splitwave::units::SimTime;

use crate::estimates::mean;
use crate::page::{Check, Page};
use crate::queueing_support::{Load, ServiceLaw, Totals, Visit, fifo, processor_sharing};

const REPLICATIONS: u32 = 100;
const CUSTOMERS: u64 = 20_000;
/// Customers left out of the front.
const WARMUP: u64 = 2_000;

/// By replication, the mean of a quantity over customers.
fn means(run: impl Fn(Streams, &mut dyn FnMut(&Visit)), quantity: impl Fn(&Visit) -> f64) -> Vec<f64> {
    let of = |replication| {
        let (mut seen, mut sum) = (0u64, 0.0);
        run(Streams::new(108, replication), &mut |visit| {
            seen += 1;
            if seen > WARMUP {
                sum += quantity(visit);
            }
        });
        sum / (seen - WARMUP) as f64
    };
    (0..REPLICATIONS).map(of).collect()
}

fn fifo_means(rate: f64, law: ServiceLaw, servers: usize, quantity: impl Fn(&Visit) -> f64) -> Vec<f64> {
    let load = Load { rate, law, customers: CUSTOMERS };
    let run = |streams: Streams, observe: &mut dyn FnMut(&Visit)| {
        fifo(&load, servers, u32::MAX, streams, |visit| observe(visit));
    };
    means(run, quantity)
}

/// Erlang's C: B by its recursion over servers, then c B/(c - a (1 - B)).
fn erlang_c(servers: u32, offered: f64) -> f64 {
    let b = (1..=servers).fold(1.0, |b, n| offered * b / (f64::from(n) + offered * b));
    let c = f64::from(servers);
    c * b / (c - offered * (1.0 - b))
}

fn first_come() -> Vec<Check> {
    let mut rows = Vec::new();
    let sojourns = fifo_means(0.8, ServiceLaw::Exponential, 1, Visit::sojourn);
    rows.push(Check::mean("M/M/1, ρ = 0.8: sojourn", 5.0, mean(&sojourns)));
    let waits = fifo_means(0.8, ServiceLaw::Exponential, 1, Visit::wait);
    rows.push(Check::mean("M/M/1, ρ = 0.8: wait", 4.0, mean(&waits)));
    for (servers, offered) in [(2, 1.2), (5, 4.0)] {
        let delayed = |visit: &Visit| f64::from(u8::from(visit.start > visit.arrival));
        let shares = fifo_means(offered, ServiceLaw::Exponential, servers as usize, delayed);
        let theory = erlang_c(servers, offered);
        rows.push(Check::mean(format!("M/M/{servers}, a = {offered}: who waits"), theory, mean(&shares)));
        let waits = fifo_means(offered, ServiceLaw::Exponential, servers as usize, Visit::wait);
        let theory = theory / (f64::from(servers) - offered);
        rows.push(Check::mean(format!("M/M/{servers}, a = {offered}: wait"), theory, mean(&waits)));
    }
    for (name, law) in [
        ("M/D/1", ServiceLaw::Deterministic),
        ("M/E₃/1", ServiceLaw::Erlang(3)),
        ("M/H₂/1, C² = 4", ServiceLaw::Hyperexponential(4.0)),
    ] {
        let waits = fifo_means(0.6, law, 1, Visit::wait);
        let theory = 0.6 * (1.0 + law.scv()) / (2.0 * 0.4);
        rows.push(Check::mean(format!("{name}, ρ = 0.6: wait"), theory, mean(&waits)));
    }
    let a: f64 = 1.8;
    let states = [1.0, a, a.powi(2) / 2.0, a.powi(3) / 4.0, a.powi(4) / 8.0, a.powi(5) / 16.0];
    let blocked = |replication| {
        let load = Load { rate: a, law: ServiceLaw::Exponential, customers: CUSTOMERS };
        let totals = fifo(&load, 2, 5, Streams::new(109, replication), |_| {});
        totals.blocked as f64 / totals.arrivals as f64
    };
    let shares: Vec<f64> = (0..REPLICATIONS).map(blocked).collect();
    rows.push(Check::mean("M/M/2/5, a = 1.8: who is blocked", states[5] / states.iter().sum::<f64>(), mean(&shares)));
    rows
}

fn shared() -> Vec<Check> {
    let mut rows = Vec::new();
    for (name, law) in [
        ("deterministic", ServiceLaw::Deterministic),
        ("exponential", ServiceLaw::Exponential),
        ("hyperexponential, C² = 4", ServiceLaw::Hyperexponential(4.0)),
    ] {
        let load = Load { rate: 0.6, law, customers: CUSTOMERS };
        let run = |streams: Streams, observe: &mut dyn FnMut(&Visit)| {
            processor_sharing(&load, streams, |visit| observe(visit));
        };
        let sojourns = means(run, Visit::sojourn);
        rows.push(Check::mean(format!("M/G/1-PS, ρ = 0.6, {name}: sojourn"), 2.5, mean(&sojourns)));
        let products = means(run, |visit| visit.sojourn() * visit.work.as_secs_f64());
        let theory = (1.0 + law.scv()) / 0.4;
        rows.push(Check::mean("the same: E T·S = E S²/(1 - ρ)", theory, mean(&products)));
    }
    rows
}

/// Mean sojourns of two classes, in mean works of 1 ms, without a tenth of the customers in front.
fn classes(
    mut server: ProcessorSharing<(u64, usize)>,
    replication: u32,
    rates: [f64; 2],
    work: impl Fn(f64, usize) -> f64,
    weights: [u32; 2],
) -> [f64; 2] {
    const MILLISECOND: f64 = 1e6;
    let customers = 15_000;
    let draws = Streams::new(110, replication).stream(0, Purpose::Test);
    let total = rates[0] + rates[1];
    let (mut sums, mut counts) = ([0.0; 2], [0.0; 2]);
    let mut clock = 0.0;
    for customer in 0..=customers {
        let [gap, class, size] = [0, 1, 2].map(|kind| draws.uniform(3 * customer + kind));
        clock += -gap.ln() / total * MILLISECOND;
        let now = if customer == customers { SimTime::MAX } else { SimTime::from_nanos(clock as u64) };
        while let Some(at) = server.next_departure().filter(|&at| at <= now) {
            let gone = server.depart(at).expect("a departure at its time");
            let (number, class) = gone.job;
            if number >= customers / 10 {
                sums[class] += (gone.finish - gone.start).as_nanos() as f64 / MILLISECOND;
                counts[class] += 1.0;
            }
        }
        if customer < customers {
            let class = usize::from(class * total >= rates[0]);
            let work = SimTime::from_nanos((work(-size.ln(), class) * MILLISECOND) as u64);
            server.arrive_weighted(now, work, weights[class], (customer, class));
        }
    }
    [sums[0] / counts[0], sums[1] / f64::max(counts[1], 1.0)]
}

fn weighted() -> Vec<Check> {
    let (rates, service) = ([0.3, 0.8], [1.0, 2.0]);
    let load = [rates[0] / service[0], rates[1] / service[1]];
    let mut rows = Vec::new();
    for weights in [[1, 1], [4, 1], [1, 10]] {
        let work = |exponential: f64, class: usize| exponential / service[class];
        let runs: Vec<[f64; 2]> =
            (0..60).map(|run| classes(ProcessorSharing::new(), run, rates, work, weights)).collect();
        let w = weights.map(f64::from);
        let d = service[0] * w[0] * (1.0 - load[0]) + service[1] * w[1] * (1.0 - load[1]);
        for (class, other) in [(0, 1), (1, 0)] {
            let alone = 1.0 / (service[class] * (1.0 - load[0] - load[1]));
            let theory = alone * (1.0 + service[class] * load[other] * (w[other] - w[class]) / d);
            let sojourns: Vec<f64> = runs.iter().map(|run| run[class]).collect();
            let what = format!("weights {} : {}, class {}: sojourn", weights[0], weights[1], class + 1);
            rows.push(Check::mean(what, theory, mean(&sojourns)));
        }
    }
    rows
}

fn gained() -> Vec<Check> {
    let (gains, rate) = ([1.0, 1.25, 1.5, 1.625], 1.2);
    let (mut weight, mut total, mut flows) = (1.0, 1.0, 0.0);
    for n in 1..400 {
        weight *= rate / gains[n.min(gains.len()) - 1];
        total += weight;
        flows += n as f64 * weight;
    }
    let theory = flows / total / rate;
    let of = |(name, law): (&str, fn(f64, usize) -> f64)| {
        let run = |replication| {
            let server = ProcessorSharing::with_gain(CapacityGain::new(gains).expect("gains"));
            classes(server, replication, [rate, 0.0], law, [1, 1])[0]
        };
        let sojourns: Vec<f64> = (0..60).map(run).collect();
        Check::mean(format!("G(n) = 1, 1.25, 1.5, 1.625, load 1.2, {name}: sojourn"), theory, mean(&sojourns))
    };
    vec![of(("exponential", |exponential, _| exponential)), of(("deterministic", |_, _| 1.0))]
}

fn little() -> Vec<Check> {
    let mut rows = Vec::new();
    let mut row = |name: &str, run: &dyn Fn(Streams) -> Totals| {
        let apart: u128 = (0..20)
            .map(|replication| {
                let totals = run(Streams::new(111, replication));
                totals.area.abs_diff(totals.sojourns)
            })
            .sum();
        rows.push(Check::equal(format!("{name}: ∫N dt - Σ T, ns"), 0, apart as u64));
    };
    let load = Load { rate: 0.9, law: ServiceLaw::Hyperexponential(9.0), customers: 5_000 };
    row("M/H₂/1", &|streams| fifo(&load, 1, u32::MAX, streams, |_| {}));
    row("M/H₂/2/6", &|streams| fifo(&Load { rate: 2.7, ..load }, 2, 6, streams, |_| {}));
    row("M/H₂/1-PS", &|streams| processor_sharing(&load, streams, |_| {}));
    rows
}

/// Adds the topic.
pub fn check(page: &mut Page) {
    page.topic("Queues and sharing: the kernel");
    page.table(
        "First come, first served",
        "M/M/1; Erlang's C; Pollaczek and Khinchine, E W = ρ (1 + C²)/(2 (1 - ρ)); the full state of M/M/2/5. Times in mean services; \
         100 replications of 20,000 customers.",
        "`tests/it/kernel_theory.rs`",
        first_come(),
    );
    page.table(
        "Processor sharing is insensitive to the law of work",
        "E T = E S/(1 - ρ), and x/(1 - ρ) for work x.",
        "`tests/it/kernel_theory.rs`",
        shared(),
    );
    page.table(
        "Discriminatory processor sharing",
        "Fayolle, Mitrani, Iasnogorodski, J. ACM 27(3), 1980, two classes of exponential work: rates 0.3 and 0.8, mean works 1 and 1/2.",
        "`src/kernel/processor_sharing/weighted_tests.rs`",
        weighted(),
    );
    page.table(
        "Processor sharing with a gain",
        "Cohen, Acta Informatica 12, 1979: π_n ∝ Π λ/(μ G(k)), whatever the law of work.",
        "`src/kernel/processor_sharing/weighted_tests.rs`",
        gained(),
    );
    page.table(
        "Little's law by path",
        "between two empty instants the area under N(t) is the sum of the sojourns, to the nanosecond.",
        "`tests/it/kernel_theory.rs`",
        little(),
    );
}
